// Dispositions: the program's table, and what the kernel is told.

#include <errno.h>
#include <sys/syscall.h>

#include "../../arch/rawcall.h"
#include "../lwkt/rfork.h"
#include "../sysport/tid.h"
#include "kernelmask.h"

namespace cr {

GlobalLock siglock;
ksigaction sigactions[kNsig + 1];

uint64_t sig_plain;

namespace {

inline constexpr uint64_t kSaRestorer = 0x04000000;
inline constexpr uint64_t kSaNoCld = SA_NOCLDSTOP | SA_NOCLDWAIT;

uint64_t known;      // the inherited disposition was read
uint64_t installed;  // libcr's handler is the kernel's
uint64_t captured;   // ... even where the program's is the default
uint64_t kept;       // ... whatever the program's is
uint64_t ignored;    // the program's is SIG_IGN
uint64_t settled;    // sig_capture has nothing to do for these
uint64_t own;        // the program has blocked them, not its libc alone

void kernel_set(int sig, uint64_t handler, uint64_t flags) {
  ksigaction k{static_cast<uintptr_t>(handler), static_cast<uintptr_t>(flags | kSaRestorer),
               reinterpret_cast<uintptr_t>(&cr_kernel_restorer), 0};
  if (handler > 1) k.mask = kBlockAll;
  raw4(SYS_rt_sigaction, sig, reinterpret_cast<long>(&k), 0, 8);
}

ksigaction kernel_get(int sig) {
  ksigaction k{};
  raw4(SYS_rt_sigaction, sig, 0, reinterpret_cast<long>(&k), 8);
  return k;
}

void ignore_in_kernel(int sig) { kernel_set(sig, 1, 0); }

void install(int sig, uint64_t program_flags) {
  kernel_set(sig, reinterpret_cast<uintptr_t>(&sig_kernel_handler),
             SA_SIGINFO | SA_ONSTACK | SA_RESTART | (program_flags & kSaNoCld));
  installed |= sigbit(sig);
}

void set_settled(uint64_t now) {
  settled = now;
  store_bits(&sig_plain, settled & own & ~(kIgnoredByDefault | kTerminalSignals | sig_fd_reads | ignored));
}

void uninstall(int sig, uint64_t handler, uint64_t flags) {
  kernel_set(sig, handler, flags & kSaNoCld);
  installed &= ~sigbit(sig);
  set_settled(settled & ~sigbit(sig));
}

// What the process was started with: SIG_DFL or SIG_IGN, read at first use.
void learn(int sig) {
  if ((known & sigbit(sig)) != 0) return;
  known |= sigbit(sig);
  sigactions[sig] = kernel_get(sig);
  if (sigactions[sig].handler == 1) ignored |= sigbit(sig);
}

// Whatever the program's disposition is, it comes here.
void capture(int sig) {
  captured |= sigbit(sig);
  if ((installed & sigbit(sig)) == 0) install(sig, sigactions[sig].flags);
}

// Ignored or not, a SIGCONT must be seen once the program has blocked a stop signal, which waits here then, and a SIGTSTP
// beside it: they discard each other.
bool must_be_seen(int sig, uint64_t blocked) { return (blocked & kStopsByDefault) != 0 && (kFirstTakes & sigbit(sig)) != 0; }

// Those that wait in the kernel while they are ignored and blocked. The others come here, or are their thread's own.
constexpr uint64_t kWaitInKernel =
    ~(kUnblockable | kSynchronous | sigbit(kIpiSignal) | sigbit(SIGPIPE) | sigbit(SIGXFSZ));

// The kernel must know that these are ignored: children are not waited for, and who may use the terminal.
constexpr uint64_t kIgnoredByKernel = sigbit(SIGCHLD) | kTerminalSignals;

// Somebody waits for it, who hears of it though the program ignores it.
bool is_waited_for(int sig) {
  bool found = false;
  tid_each([&](const thread* td) { return found = (td->td_sigwait & sigbit(sig)) != 0; });
  return found;
}

// Ignored by the program, but not by the kernel.
uint64_t ignored_here() { return ignored & installed & ~sig_never_blocked(); }

}  // namespace

int sig_action(int sig, const ksigaction* act, ksigaction* old) {
  if (sig < 1 || sig > kNsig) return EINVAL;
  if (act != nullptr && (sigbit(sig) & kUnblockable) != 0) return EINVAL;
  if (act != nullptr && sig_ignores(sig, *act) && !sig_inbox_empty()) sig_route();
  Guard g(siglock);
  learn(sig);
  if (old != nullptr) *old = sigactions[sig];
  if (act == nullptr) return 0;
  ksigaction before = sigactions[sig];
  sigactions[sig] = *act;
  sigactions[sig].mask &= ~kUnblockable;
  if (sig == kIpiSignal) return 0;  // NPTL's SIGSETXID: it travels between LWKTs only
  ignored = act->handler == 1 ? ignored | sigbit(sig) : ignored & ~sigbit(sig);
  set_settled(settled);
  bool same = (before.flags & kSaNoCld) == (act->flags & kSaNoCld);
  bool was_installed = (installed & sigbit(sig)) != 0;
  bool always = (kept & sigbit(sig)) != 0;
  bool in_kernel = !always && ((kmask | sig_held) & sigbit(sig)) != 0;
  bool now = sig_ignores(sig, *act);
  bool waited = act->handler == 1 && (kIgnoredByKernel & sigbit(sig)) == 0 && is_waited_for(sig);
  bool seen = now && (must_be_seen(sig, own) || waited);
  if (seen) captured |= sigbit(sig);
  bool here = act->handler > 1 || seen || always || (act->handler == 0 && (captured & sigbit(sig)) != 0);
  // A disposition that ignores discards what is pending. The kernel does so when it is told of one.
  bool tell = now && !always && (was_installed || in_kernel);
  // What waits there though somebody would take it was ignored.
  bool stale = in_kernel && sig_ignores(sig, before) && !sig_is_left(sig) && sig_choose(sig) != nullptr;
  if (here) {
    if (tell) kernel_set(sig, act->handler, act->flags & kSaNoCld);
    if (stale) kernel_set(sig, before.handler, before.flags & kSaNoCld);
    if (tell || stale || !was_installed || !same) install(sig, act->flags);
    if (!always) kmask_unblock(sigbit(sig) & ~kmask_left);
  } else if (tell || before.handler != act->handler || was_installed || !same) {
    uninstall(sig, act->handler, act->flags);
  }
  if (!now) return 0;
  sig_discard_locked(sigbit(sig));
  if (here) return 0;
  own &= ~sigbit(sig);
  set_settled(settled);
  bool waits = (kWaitInKernel & ~sig_fd_reads & sigbit(sig)) != 0 && sig_choose(sig) == nullptr;
  if (waits) kmask_block(sigbit(sig));
  return 0;
}

bool sig_captured(uint64_t set) { return (set & ~load_bits(&settled)) == 0; }

void sig_capture(uint64_t set) {
  if (sig_captured(set)) return;
  Guard g(siglock);
  set_settled(settled | set);
  set &= ~(kUnblockable | kSynchronous | sigbit(kIpiSignal));
  uint64_t held = kIgnoredByDefault;
  if ((set & kStopsByDefault) != 0) {
    held &= ~sigbit(SIGCONT);
    set |= sigbit(SIGCONT);
  }
  uint64_t take = set & ~held & ~captured;
  sig_each(take, [](int sig) {
    learn(sig);
    captured |= sigbit(sig);
    if (sigactions[sig].handler == 0) capture(sig);
  });
  kmask_unblock(take & ~kmask_left);
  kmask_block(set & held & ~installed & ~sig_fd_reads);
}

void sig_capture_own(uint64_t set) {
  if ((set & kStopsByDefault) != 0) set |= kFirstTakes;
  if ((set & ~load_bits(&own)) == 0) return;
  Guard g(siglock);
  uint64_t seen = 0, wait = 0;
  sig_each(set & ~own & ~kUnblockable, [&](int sig) {
    learn(sig);
    if (!sig_ignores(sig, sigactions[sig])) return;
    if (must_be_seen(sig, set)) {
      capture(sig);
      seen |= sigbit(sig);
    } else {
      wait |= sigbit(sig);
    }
  });
  kmask_unblock(seen & ~kmask_left);
  kmask_block(wait & kWaitInKernel & ~installed & ~sig_fd_reads);
  store_bits(&own, own | set);  // now nobody need look who blocks them
  set_settled(settled);
}

bool sig_comes_here(int sig) {
  return (load_bits(&installed) & sigbit(sig)) != 0;
}

namespace {
// What of these is ignored, waits in the kernel or is to come, shall come here. `waiting`: td_sigwait says so already.
void want_ignored(uint64_t set, bool waiting) {
  set &= ~(load_bits(&installed) | kSynchronous | kUnblockable);
  if (set == 0) return;
  Guard g(siglock);
  uint64_t come = 0;
  sig_each(set, [&](int sig) {
    learn(sig);
    bool kernels = (kIgnoredByKernel & sigbit(sig)) != 0 && sigactions[sig].handler == 1;
    if (!kernels && sig_ignores(sig, sigactions[sig])) come |= sigbit(sig);
  });
  if (!waiting) sig_drop_ignored(sig_takers(come));
  sig_each(come, capture);
  kmask_unblock(come & ~kmask_left);
}
}  // namespace

void sig_want(uint64_t set) {
  want_ignored(set, false);
  sig_take_back(set);
  sig_collect(set);
}

void sig_waits(uint64_t set) {
  want_ignored(set, true);
  sig_take_back(set);
}

void sig_unsettle(uint64_t set) { set_settled(settled & ~set); }

void sig_reset_to_default(int sig) {
  sigactions[sig].handler = 0;
  if (must_be_seen(sig, own)) captured |= sigbit(sig);
  if (((captured | kept) & sigbit(sig)) == 0) uninstall(sig, 0, sigactions[sig].flags);
}

void sig_keep_sigtrap() {
  Guard g(siglock);
  if (sig_never_blocked() != 0) return;
  learn(SIGTRAP);
  install(SIGTRAP, sigactions[SIGTRAP].flags);
  kept |= sigbit(SIGTRAP);
}

uint64_t sig_never_blocked() { return kept & sigbit(SIGTRAP); }

// For a default action that only the kernel can do: ours away, theirs there, and back.
void sig_kernel_default(int sig) { kernel_set(sig, 0, 0); }
void sig_kernel_recapture(int sig) { install(sig, sigactions[sig].flags); }

void sig_threads_start() {
  sig_release(~0ull);
  // What waits in the kernel for this thread becomes the process's. (Not unblocked: it might be ignored.)
  kmask_collect(kmask_left & kmask);
  if (!sig_inbox_empty()) sig_route();
  sig_install_ipi();
}

void sig_install_ipi() { install(kIpiSignal, 0); }

void (*sig_terminal_masked)();

namespace {
void keep(int sig) {
  learn(sig);
  install(sig, 0);
  kept |= sigbit(sig);
}
}  // namespace

void sig_expect_filters() {
  Guard g(siglock);
  if ((kept & sigbit(SIGSYS)) == 0) keep(SIGSYS);
}

void sig_init(thread* td, void (*terminal_masked)()) {
  sig_terminal_masked = terminal_masked;
  sigframe_init();
  sigqueue_init();
  uint64_t inherited = 0;
  raw4(SYS_rt_sigprocmask, SIG_BLOCK, 0, reinterpret_cast<long>(&inherited), 8);
  td->td_sigmask = inherited & ~kUnblockable;
  constexpr int kFaults[] = {SIGSEGV, SIGBUS};
  for (int sig : kFaults) keep(sig);  // faults on the program's pointers inside libcr: EFAULT
  if ((inherited & kTerminalSignals) != 0) sig_terminal_masked();
  if (inherited != 0) {
    kmask_tell_later(true);  // what is pending and ignored is not dropped between the two
    sig_capture(inherited);
    sig_capture_own(inherited);
    kmask_tell_later(false);
    sig_set_rfork_mask();
  }
}

void sig_prepare_exec(thread* td) {
  // Handlers become the default by themselves, captured ones too; ignored ones stay ignored. What is
  // still blocked and pending here goes to this kernel thread, which blocks it, so that it waits in the
  // new image. (To the process, it would go to one that does not.) If the exec fails it comes back.
  sig_take_back(ignored_here());
  sig_collect(~0ull);
  sig_kernel_mask_set(td->td_sigmask);
  sig_route();
  {
    Guard g(siglock);
    sig_each(ignored_here(), ignore_in_kernel);
  }
  siginfo_t info;
  while (sig_take(td, td->td_sigmask, &info)) {
    raw4(SYS_rt_tgsigqueueinfo, raw0(SYS_getpid), raw0(SYS_gettid), info.si_signo,
         reinterpret_cast<long>(&info));
  }
}

void sig_unprepare_exec() {
  {
    Guard g(siglock);
    sig_each(ignored_here(), sig_kernel_recapture);
  }
  sig_kernel_mask_restore();
  sig_leave(sig_fd_reads);
}

namespace {
bool is_ours(const ksigaction& k) { return k.handler == reinterpret_cast<uintptr_t>(&sig_kernel_handler); }
}  // namespace

long sig_child_action(const uint64_t* a) {
  long r = raw4(SYS_rt_sigaction, static_cast<long>(a[0]), static_cast<long>(a[1]), static_cast<long>(a[2]),
                static_cast<long>(a[3]));
  auto* old = reinterpret_cast<ksigaction*>(a[2]);
  if (r == 0 && old != nullptr && is_ours(*old)) *old = sigactions[static_cast<int>(a[0])];
  return r;
}

void sig_child_exec() {
  sig_each(ignored_here(), [](int sig) {
    ksigaction k = kernel_get(sig);
    if (is_ours(k)) ignore_in_kernel(sig);
  });
}

}  // namespace cr
