// Dispositions: the program's table, and what the kernel is told.

#include <errno.h>
#include <sys/syscall.h>
#include <time.h>

#include "../../arch/rawcall.h"
#include "../lwkt/rfork.h"
#include "../sysport/tid.h"
#include "broadcast.h"
#include "signal.h"

namespace cr {

GlobalLock siglock;
ksigaction sigactions[kNsig + 1];

uint64_t sig_plain;
uint64_t sig_fd_reads;
uint32_t sig_mask_changes;

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
uint64_t kmask;      // blocked in the kernel on every rfork
// SIGTSTP and SIGCONT undo each other by the order in which they come, which two kernel threads would not keep:
// the first takes both. (Not SIGTTIN and SIGTTOU: blocking those has a meaning for terminals.)
inline constexpr uint64_t kFirstTakes = sigbit(SIGTSTP) | sigbit(SIGCONT);
uint64_t left;       // of those that a signalfd reads: nobody takes them here, so the kernel blocks and keeps them

void kernel_set(int sig, uint64_t handler, uint64_t flags) {
  ksigaction k{static_cast<uintptr_t>(handler), static_cast<uintptr_t>(flags | kSaRestorer), reinterpret_cast<uintptr_t>(&cr_kernel_restorer), 0};
  if (handler > 1) k.mask = ~0ull;
  raw4(SYS_rt_sigaction, sig, reinterpret_cast<long>(&k), 0, 8);
}

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
  ksigaction k{};
  raw4(SYS_rt_sigaction, sig, 0, reinterpret_cast<long>(&k), 8);
  sigactions[sig] = k;
  if (k.handler == 1) ignored |= sigbit(sig);
}

bool starting;  // the kernel is told of the mask at the end

// Whether gd's LWKT is in a trap: a signal could cut its result short.
bool in_trap(globaldata* gd) {
  cpu* c = load_acquire(&gd->gd_cpu);
  return c == nullptr || load_acquire(&c->c_gd) != gd || load_acquire(&c->c_state) == CPU_TRAP;
}

// The other rforks are told, and follow at once if they run, else when they come by a cpu. Until then one of them may still
// drop what it is to keep, and blocks what it is to take; this one does what is right, and holds a cpu. `all`: also those
// in traps, since what comes to them would have to be passed on.
void apply_kmask(bool all) {
  __atomic_add_fetch(&sig_mask_changes, 1, __ATOMIC_SEQ_CST);
  if (starting) return;
  sig_set_rfork_mask();
  globaldata* self = mygd();
  for (globaldata* gd = load_acquire(&rforks); gd != nullptr; gd = gd->gd_next) {
    if (gd == self || load_acquire(&gd->gd_ktid) <= 0) continue;
    if (load_acquire(&gd->gd_deaf) != 0) {
      if (gd->gd_next == nullptr) rfork_look_at_mask(gd);
      continue;
    }
    cpu* c = load_acquire(&gd->gd_cpu);
    if (!all && in_trap(gd)) {
      if (c == nullptr || load_acquire(&c->c_gd) != gd) continue;
      __atomic_store_n(&c->c_yield, 1u, __ATOMIC_SEQ_CST);  // it looks when it is back
      if (in_trap(gd)) continue;
    }
    rfork_interrupt(gd);
  }
}

void block_in_kernel(uint64_t set, bool all = false) {
  if ((set & ~kmask) == 0) return;
  kmask |= set;
  apply_kmask(all);
}

// What waits in the kernel of these comes here now, and not when some rfork takes it.
void collect_from_kernel(uint64_t set) {
  constexpr int kMost = 64;  // others may send as fast
  timespec none{};
  siginfo_t info;
  for (int i = 0; set != 0 && i < kMost; i++) {
    if (raw4(SYS_rt_sigtimedwait, reinterpret_cast<long>(&set), reinterpret_cast<long>(&info),
             reinterpret_cast<long>(&none), 8) <= 0) {
      return;
    }
    sig_inbox_put(&info);
    mygd()->gd_ast = 1;
    if (sig_is_timers(&info)) set &= ~sigbit(info.si_signo);  // it is going again
  }
}

void unblock_in_kernel(uint64_t set) {
  if ((kmask & set) == 0) return;
  collect_from_kernel(kmask & set);
  kmask &= ~set;
  left &= ~set;
  set_settled(settled & ~set);
  apply_kmask(false);
}

bool ignores(int sig, const ksigaction& act) {
  return act.handler == 1 || (act.handler == 0 && (kIgnoredByDefault & sigbit(sig)) != 0);
}

// Ignored or not, a SIGCONT must be seen once the program has blocked a stop signal, which waits here then, and a SIGTSTP
// beside it: they discard each other.
bool must_be_seen(int sig, uint64_t blocked) { return (blocked & kStopsByDefault) != 0 && (kFirstTakes & sigbit(sig)) != 0; }

// Those that wait in the kernel while they are ignored and blocked. The others come here, or are their thread's own.
constexpr uint64_t kWaitInKernel =
    ~(kUnblockable | kSynchronous | sigbit(kIpiSignal) | sigbit(SIGPIPE) | sigbit(SIGXFSZ));

void set_ignored_in_kernel(uint64_t set) {
  for (; set != 0; set &= set - 1) kernel_set(__builtin_ctzll(set) + 1, 1, 0);
}

// The kernel must know that these are ignored: children are not waited for, and who may use the terminal.
constexpr uint64_t kIgnoredByKernel = sigbit(SIGCHLD) | kTerminalSignals;

// Somebody waits for it, who hears of it though the program ignores it.
bool is_waited_for(int sig) {
  bool found = false;
  tid_each([&](const thread* td) { return found = (td->td_sigwait & sigbit(sig)) != 0; });
  return found;
}

// Ignored by the program, but not by the kernel.
uint64_t ignored_here() {
  return ignored & installed & ~sig_never_blocked();
}

}  // namespace

uint64_t sig_held;

namespace {
uint64_t closed(const thread* td) { return td->td_sigmask & ~td->td_sigwait; }
}  // namespace

bool sig_one_kernel_thread() {
  const globaldata* gd = load_acquire(&rforks);
  return gd != nullptr && gd->gd_next == nullptr && nthreads == 1;
}

bool sig_hold(const thread* td, int sig, const siginfo_t* info) {
  if (!sig_one_kernel_thread()) return false;
  if ((td->td_flags & TDF_IDLE) == 0 && tid_main() != td) return false;
  if ((sigbit(sig) & kSynchronous) != 0) return false;
  if ((sigbit(sig) & kJobs) != 0 && !sig_is_timers(info)) return false;  // each must be seen: it discards others
  sig_held |= sigbit(sig);
  return true;
}

uint64_t sig_open_again() {
  const thread* td = tid_main();
  uint64_t open = td != nullptr ? sig_held & ~closed(td) : sig_held;
  sig_held &= ~open;
  return open;
}

void sig_release(uint64_t set) {
  if ((sig_held & set) == 0) return;
  sig_held &= ~set;
  uint64_t mask = kmask | sig_held;
  raw4(SYS_rt_sigprocmask, SIG_SETMASK, reinterpret_cast<long>(&mask), 0, 8);
}

void sig_release_open() {
  if (__builtin_expect(sig_held == 0, 1)) return;
  const thread* td = tid_main();
  sig_release(td != nullptr ? ~closed(td) : ~0ull);
}

void sig_drop_held(int sig) {
  if ((sig_held & sigbit(sig)) == 0) return;
  uint64_t set = sigbit(sig);
  timespec none{};
  siginfo_t info;
  while (raw4(SYS_rt_sigtimedwait, reinterpret_cast<long>(&set), reinterpret_cast<long>(&info),
              reinterpret_cast<long>(&none), 8) > 0) {
    if (!sig_is_timers(&info)) continue;
    // Each timer's has a place of its own, and the next may be there already.
    sig_inbox_put(&info);
    mygd()->gd_ast = 1;
    return;
  }
}

namespace {
// What changes it meanwhile may have interrupted this before the trap.
void set_mask_of_changes(uint64_t held) {
  uint32_t seen;
  do {
    seen = __atomic_load_n(&sig_mask_changes, __ATOMIC_ACQUIRE);
    mygd()->gd_maskseen = seen;
    uint64_t mask = sig_kernel_mask() | held;
    raw4(SYS_rt_sigprocmask, SIG_SETMASK, reinterpret_cast<long>(&mask), 0, 8);
    mygd()->gd_flags &= ~GDF_MASKLENT;
  } while (seen != __atomic_load_n(&sig_mask_changes, __ATOMIC_ACQUIRE));
}
}  // namespace

void sig_set_rfork_mask() {
  sig_held = 0;
  set_mask_of_changes(0);
}

void sig_follow_mask() {
  if (__builtin_expect(mygd()->gd_maskseen == __atomic_load_n(&sig_mask_changes, __ATOMIC_ACQUIRE), 1)) return;
  set_mask_of_changes(sig_held);
}

void sig_kernel_mask_set(uint64_t mask) {
  mygd()->gd_flags |= GDF_MASKLENT;
  raw4(SYS_rt_sigprocmask, SIG_SETMASK, reinterpret_cast<long>(&mask), 0, 8);
}

void sig_kernel_mask_restore() { sig_set_rfork_mask(); }

// The first rfork is the last of the list.
uint64_t sig_kernel_mask() { return kmask | (mygd()->gd_next != nullptr ? kFirstTakes : 0); }

void sig_set_deaf_mask() {
  bool first = mygd()->gd_next == nullptr;
  uint32_t seen;
  do {
    seen = __atomic_load_n(&sig_mask_changes, __ATOMIC_ACQUIRE);
    uint64_t mask = first ? ~(kFirstTakes & ~kmask) : ~0ull;
    raw4(SYS_rt_sigprocmask, SIG_SETMASK, reinterpret_cast<long>(&mask), 0, 8);
  } while (first && seen != __atomic_load_n(&sig_mask_changes, __ATOMIC_ACQUIRE));
}

int sig_action(int sig, const ksigaction* act, ksigaction* old) {
  if (sig < 1 || sig > kNsig) return EINVAL;
  if (act != nullptr && (sigbit(sig) & kUnblockable) != 0) return EINVAL;
  if (act != nullptr && ignores(sig, *act) && !sig_inbox_empty()) sig_route();
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
  bool now = ignores(sig, *act);
  bool waited = act->handler == 1 && (kIgnoredByKernel & sigbit(sig)) == 0 && is_waited_for(sig);
  bool seen = now && (must_be_seen(sig, own) || waited);
  if (seen) captured |= sigbit(sig);
  bool here = act->handler > 1 || seen || always || (act->handler == 0 && (captured & sigbit(sig)) != 0);
  // A disposition that ignores discards what is pending. The kernel does so when it is told of one.
  bool tell = now && !always && (was_installed || in_kernel);
  // What waits there though somebody would take it was ignored.
  bool stale = in_kernel && ignores(sig, before) && !sig_is_left(sig) && sig_choose(sig) != nullptr;
  if (here) {
    if (tell) kernel_set(sig, act->handler, act->flags & kSaNoCld);
    if (stale) kernel_set(sig, before.handler, before.flags & kSaNoCld);
    if (tell || stale || !was_installed || !same) install(sig, act->flags);
    if (!always) unblock_in_kernel(sigbit(sig) & ~left);
  } else if (tell || before.handler != act->handler || was_installed || !same) {
    uninstall(sig, act->handler, act->flags);
  }
  if (now) sig_discard_locked(sigbit(sig));
  if (now && !here) {
    own &= ~sigbit(sig);
    set_settled(settled);
    bool waits = (kWaitInKernel & ~sig_fd_reads & sigbit(sig)) != 0 && sig_choose(sig) == nullptr;
    if (waits) block_in_kernel(sigbit(sig));
  }
  return 0;
}

void sig_capture(uint64_t set) {
  // Everything that pthread_create blocks has been seen after the first time.
  if (__builtin_expect((set & ~load_bits(&settled)) == 0, 1)) return;
  Guard g(siglock);
  set_settled(settled | set);
  set &= ~(kUnblockable | kSynchronous | sigbit(kIpiSignal));
  uint64_t held = kIgnoredByDefault;
  if ((set & kStopsByDefault) != 0) {
    held &= ~sigbit(SIGCONT);
    set |= sigbit(SIGCONT);
  }
  uint64_t take = set & ~held & ~captured;
  for (int sig = 1; sig <= kNsig; sig++) {
    if ((take & sigbit(sig)) == 0) continue;
    learn(sig);
    captured |= sigbit(sig);
    if (sigactions[sig].handler == 0 && (installed & sigbit(sig)) == 0) {
      install(sig, sigactions[sig].flags);
    }
  }
  if ((take & ~left & kmask) != 0) unblock_in_kernel(take & ~left);
  block_in_kernel(set & held & ~installed & ~sig_fd_reads);
}

void sig_capture_own(uint64_t set) {
  if ((set & kStopsByDefault) != 0) set |= kFirstTakes;
  if ((set & ~load_bits(&own)) == 0) return;
  Guard g(siglock);
  uint64_t block = 0;
  for (uint64_t rest = set & ~own & ~kUnblockable; rest != 0; rest &= rest - 1) {
    int sig = __builtin_ctzll(rest) + 1;
    learn(sig);
    if (!ignores(sig, sigactions[sig])) continue;
    if (must_be_seen(sig, set)) {
      captured |= sigbit(sig);
      if ((installed & sigbit(sig)) == 0) install(sig, sigactions[sig].flags);
      unblock_in_kernel(sigbit(sig) & ~left);
    } else {
      block |= sigbit(sig) & kWaitInKernel & ~installed;
    }
  }
  block_in_kernel(block & ~sig_fd_reads);
  store_bits(&own, own | set);  // now nobody need look who blocks them
  set_settled(settled);
}

bool sig_comes_here(int sig) {
  return (load_bits(&installed) & sigbit(sig)) != 0;
}

void sig_drop_ignored(uint64_t set) {
  set &= load_bits(&kmask) & ~load_bits(&left);
  if (set == 0) return;
  timespec none{};
  siginfo_t info;
  while (set != 0) {
    long sig = raw4(SYS_rt_sigtimedwait, reinterpret_cast<long>(&set), reinterpret_cast<long>(&info),
                    reinterpret_cast<long>(&none), 8);
    if (raw_failed(sig)) return;
    // Taking a timer's sets it going again, and a fast one sends faster than this could take.
    if (sig_is_timers(&info)) set &= ~sigbit(static_cast<int>(sig));
  }
}

void sig_discard_in_kernel(uint64_t set) {
  set &= load_bits(&kmask);
  if (set == 0) return;
  timespec none{};
  while (raw4(SYS_rt_sigtimedwait, reinterpret_cast<long>(&set), 0, reinterpret_cast<long>(&none), 8) > 0) {
  }
}

namespace {
// What waits in the kernel, and what is to come, shall come here, whoever ignores it.
void want_ignored(uint64_t set, bool waiting) {
  if (set == 0) return;
  Guard g(siglock);
  uint64_t come = 0;
  for (uint64_t rest = set; rest != 0; rest &= rest - 1) {
    int sig = __builtin_ctzll(rest) + 1;
    learn(sig);
    bool kernels = (kIgnoredByKernel & sigbit(sig)) != 0 && sigactions[sig].handler == 1;
    if (kernels || !ignores(sig, sigactions[sig])) continue;
    if (!waiting && sig_choose(sig) != nullptr) sig_drop_ignored(sigbit(sig));
    captured |= sigbit(sig);
    install(sig, sigactions[sig].flags);
    come |= sigbit(sig);
  }
  unblock_in_kernel(come & ~left);
}
}  // namespace

// Each release lets one through, and another process, or a timer, may send faster.
void sig_collect(uint64_t set) {
  constexpr int kMost = 64;
  for (int i = 0; i < kMost && (sig_held & set) != 0; i++) {
    sig_release(set);
    if (sig_inbox_empty()) return;
    sig_route();
  }
}

void sig_want(uint64_t set) {
  want_ignored(set & ~(load_bits(&installed) | kSynchronous | kUnblockable), false);
  sig_take_back(set);
  sig_collect(set);
}

void sig_waits(uint64_t set) {
  want_ignored(set & ~(load_bits(&installed) | kSynchronous | kUnblockable), true);
  sig_take_back(set);
}

void sig_fd_begins(uint64_t set) {
  if ((set & kJobs) != 0) set |= kJobs;  // these discard each other, so that one place must know of all
  set &= ~(kUnblockable | kSynchronous | sigbit(kIpiSignal));
  {
    Guard g(siglock);
    store_bits(&sig_fd_reads, sig_fd_reads | set);
    set_settled(settled);
    // What somebody would take must not wait there.
    uint64_t open = 0;
    for (uint64_t rest = set & kmask & ~left; rest != 0; rest &= rest - 1) {
      int sig = __builtin_ctzll(rest) + 1;
      if (sig_choose(sig) != nullptr) open |= sigbit(sig);
    }
    unblock_in_kernel(open);
  }
  sig_leave(set);
  uint64_t now;
  {
    Guard g(siglock);
    now = left & kmask;
  }
  // On every rfork, and before the caller looks at its signalfd: one that takes it instead has yet to pass it on.
  uint64_t args[6] = {SIG_BLOCK, reinterpret_cast<uintptr_t>(&now), 0, 8};
  broadcast_call(SYS_rt_sigprocmask, args);
}

void sig_leave(uint64_t set) {
  uint64_t now = 0;
  sig_collect(set & sig_fd_reads);  // it would come before what is passed on
  {
    Guard g(siglock);
    uint64_t before = left;
    now = set & sig_fd_reads & ~before;
    store_bits(&left, before | now);
    if (smp) __atomic_thread_fence(__ATOMIC_SEQ_CST);  // who opens its mask now sees that, or is seen here
    for (uint64_t rest = now; rest != 0; rest &= rest - 1) {
      int sig = __builtin_ctzll(rest) + 1;
      if (sig_choose(sig) != nullptr) now &= ~sigbit(sig);
    }
    store_bits(&left, before | now);
    if (now == 0) return;
    block_in_kernel(now, true);
  }
  sig_pass_on_left();
}

void sig_take_back(uint64_t set) {
  if ((set & load_bits(&left)) == 0) return;
  {
    Guard g(siglock);
    unblock_in_kernel(set & left);
  }
  sig_route();
  sig_collect(set);
}

bool sig_waits_in_kernel(int sig) { return (kmask & sigbit(sig)) != 0; }
bool sig_is_left(int sig) { return (left & kmask & sigbit(sig)) != 0; }

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
  collect_from_kernel(left & kmask);
  if (!sig_inbox_empty()) sig_route();
  sig_install_ipi();
}

void sig_install_ipi() { install(kIpiSignal, 0); }

void (*sig_terminal_masked)();

void sig_init(thread* td, void (*terminal_masked)()) {
  sig_terminal_masked = terminal_masked;
  sigframe_init();
  sigqueue_init();
  uint64_t inherited = 0;
  raw4(SYS_rt_sigprocmask, SIG_BLOCK, 0, reinterpret_cast<long>(&inherited), 8);
  td->td_sigmask = inherited & ~kUnblockable;
  constexpr int kFaults[] = {SIGSEGV, SIGBUS};
  for (int sig : kFaults) {  // faults on the program's pointers inside libcr: EFAULT
    learn(sig);
    install(sig, 0);
    kept |= sigbit(sig);
  }
  if ((inherited & kTerminalSignals) != 0) sig_terminal_masked();
  if (inherited != 0) {
    starting = true;  // what is pending and ignored is not dropped between the two
    sig_capture(inherited);
    sig_capture_own(inherited);
    starting = false;
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
    set_ignored_in_kernel(ignored_here());
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
    for (uint64_t set = ignored_here(); set != 0; set &= set - 1) {
      int sig = __builtin_ctzll(set) + 1;
      install(sig, sigactions[sig].flags);
    }
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
  for (uint64_t set = ignored_here(); set != 0; set &= set - 1) {
    int sig = __builtin_ctzll(set) + 1;
    ksigaction k{};
    raw4(SYS_rt_sigaction, sig, 0, reinterpret_cast<long>(&k), 8);
    if (is_ours(k)) set_ignored_in_kernel(sigbit(sig));
  }
}

}  // namespace cr
