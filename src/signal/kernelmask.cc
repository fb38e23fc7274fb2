#include "kernelmask.h"

#include <sys/syscall.h>
#include <time.h>

#include "../../arch/rawcall.h"
#include "../lwkt/clock.h"
#include "../lwkt/rfork.h"
#include "../sysport/tid.h"
#include "broadcast.h"

namespace cr {

uint64_t kmask;
uint64_t kmask_left;
uint64_t sig_fd_reads;
uint64_t sig_held;
uint32_t sig_mask_changes;

namespace {

bool tell_later;
uint32_t last_block;  // the number of the last change that blocked something

void set_mask(uint64_t mask) { raw4(SYS_rt_sigprocmask, SIG_SETMASK, reinterpret_cast<long>(&mask), 0, 8); }

// mask(), and again if it has changed meanwhile: whoever changes it may have interrupted this before the trap. The
// number of changes that it is of. From then on changes are followed again.
template <typename Mask>
uint32_t set_mask_as_it_is(Mask mask) {
  uint32_t seen;
  do {
    seen = __atomic_load_n(&sig_mask_changes, __ATOMIC_ACQUIRE);
    set_mask(mask());
    mygd()->gd_flags &= ~GDF_MASKLENT;
    cpu_ccfence();  // before the last look: what interrupts this later follows a change by itself
  } while (seen != __atomic_load_n(&sig_mask_changes, __ATOMIC_ACQUIRE));
  return seen;
}

void set_own_mask(uint64_t held) {
  uint32_t seen = set_mask_as_it_is([held] { return sig_kernel_mask() | held; });
  mygd()->gd_maskseen = seen;
}

// Whether gd's LWKT is in a trap: a signal could cut its result short.
bool in_trap(globaldata* gd) {
  cpu* c = load_acquire(&gd->gd_cpu);
  return c == nullptr || load_acquire(&c->c_gd) != gd || load_acquire(&c->c_state) == CPU_TRAP;
}

// The other rforks are told, and follow at once if they run, else when they come by a cpu. Until then one of them may still
// drop what it is to keep, and blocks what it is to take; this one does what is right, and holds a cpu. `all`: also those
// in traps, since what comes to them would have to be passed on.
void apply(bool all) {
  __atomic_add_fetch(&sig_mask_changes, 1, __ATOMIC_SEQ_CST);
  if (tell_later) return;
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

// Takes up to `most` that are pending in the kernel. Taking a timer's sets it going again, and a fast one sends faster
// than they are taken: of its signal no more.
template <typename Each>
void each_pending(uint64_t set, int most, Each each) {
  siginfo_t info;
  for (int i = 0; set != 0 && i < most && kmask_take(set, &info) != 0; i++) {
    each(info);
    if (sig_is_timers(&info)) set &= ~sigbit(info.si_signo);
  }
}

void to_inbox(const siginfo_t& info) {
  sig_inbox_put(&info);
  mygd()->gd_ast = 1;
}

uint64_t closed(const thread* td) { return td->td_sigmask & ~td->td_sigwait; }

// Others may have put into the inbox what nobody with a cpu was there to see.
void look_at_inbox() {
  __atomic_thread_fence(__ATOMIC_SEQ_CST);  // between holding the cpu and the look
  if (!sig_inbox_empty()) mygd()->gd_ast = 1;
}

}  // namespace

int kmask_take(uint64_t set, siginfo_t* info) {
  constexpr timespec kAtOnce{};
  long sig = raw4(SYS_rt_sigtimedwait, reinterpret_cast<long>(&set), reinterpret_cast<long>(info),
                  reinterpret_cast<long>(&kAtOnce), 8);
  return raw_failed(sig) ? 0 : static_cast<int>(sig);
}

void kmask_tell_later(bool later) { tell_later = later; }

void kmask_block(uint64_t set, bool all) {
  if ((set & ~kmask) == 0) return;
  kmask |= set;
  store_release(&last_block, sig_mask_changes + 1);
  apply(all);
}

void kmask_collect(uint64_t set) {
  constexpr int kMost = 64;  // others may send as fast
  each_pending(set, kMost, to_inbox);
}

void kmask_unblock(uint64_t set) {
  if ((kmask & set) == 0) return;
  kmask_collect(kmask & set);
  kmask &= ~set;
  kmask_left &= ~set;
  sig_unsettle(set);
  apply(false);
}

bool sig_waits_in_kernel(int sig) { return (kmask & sigbit(sig)) != 0; }

void sig_drop_ignored(uint64_t set) {
  constexpr int kAll = 0x7fffffff;
  each_pending(set & load_bits(&kmask) & ~load_bits(&kmask_left), kAll, [](const siginfo_t&) {});
}

void sig_discard_in_kernel(uint64_t set) {
  set &= load_bits(&kmask);
  while (set != 0 && kmask_take(set, nullptr) != 0) {
  }
}

// ---- the rforks' masks ---------------------------------------------------------------------------

// The first rfork is the last of the list.
uint64_t sig_kernel_mask() { return kmask | (mygd()->gd_next != nullptr ? kFirstTakes : 0); }

void sig_set_rfork_mask() {
  sig_held = 0;
  set_own_mask(0);
}

void sig_begin_with_cpu() {
  sig_set_rfork_mask();
  look_at_inbox();
}

void sig_follow_mask() {
  if (__builtin_expect(mygd()->gd_maskseen == __atomic_load_n(&sig_mask_changes, __ATOMIC_ACQUIRE), 1)) return;
  set_own_mask(sig_held);
}

void sig_go_on_with_cpu() {
  sig_follow_mask();
  look_at_inbox();
}

void sig_go_on_without_cpu() {
  set_mask_as_it_is([] { return mygd()->gd_next != nullptr ? kBlockAll : kBlockAll & ~(kFirstTakes & ~kmask); });
}

void sig_kernel_mask_set(uint64_t mask) {
  mygd()->gd_flags |= GDF_MASKLENT;
  set_mask(mask);
}

void sig_kernel_mask_restore() { sig_set_rfork_mask(); }

namespace {

// Whether gd, which runs, may have taken what the last change keeps from it.
bool lags(globaldata* gd) {
  if (load_acquire(&gd->gd_ktid) <= 0 || load_acquire(&gd->gd_deaf) != 0 || in_trap(gd)) return false;
  if (load_acquire(&gd->gd_untouchable) != 0) return false;
  return static_cast<int32_t>(load_acquire(&gd->gd_maskseen) - load_acquire(&last_block)) < 0;
}

}  // namespace

void sig_await_followers() {
  if (!smp) return;
  bool any = false;
  globaldata* self = mygd();
  for (globaldata* gd = load_acquire(&rforks); gd != nullptr; gd = gd->gd_next) {
    if (gd == self || !lags(gd)) continue;
    rfork_interrupt(gd);
    any = true;
  }
  if (__builtin_expect(!any, 1)) return;
  constexpr uint64_t kPatience = 20'000'000;
  uint64_t deadline = clock_monotonic() + kPatience;
  for (globaldata* gd = load_acquire(&rforks); gd != nullptr; gd = gd->gd_next) {
    spin_until([&] { return gd == self || !lags(gd) || clock_monotonic() >= deadline; });
  }
}

// ---- held while their LWKT has yet to take the last one --------------------------------------------

bool sig_one_kernel_thread() {
  const globaldata* gd = load_acquire(&rforks);
  return gd != nullptr && gd->gd_next == nullptr && nthreads == 1;
}

bool sig_hold(const thread* td, const siginfo_t* info) {
  uint64_t bit = sigbit(info->si_signo);
  if (!sig_one_kernel_thread()) return false;
  if ((td->td_flags & TDF_IDLE) == 0 && tid_main() != td) return false;
  if ((bit & kSynchronous) != 0) return false;
  if ((bit & kJobs) != 0 && !sig_is_timers(info)) return false;  // each must be seen: it discards others
  sig_held |= bit;
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
  set_mask(kmask | sig_held);
}

void sig_release_open() {
  if (__builtin_expect(sig_held == 0, 1)) return;
  const thread* td = tid_main();
  sig_release(td != nullptr ? ~closed(td) : ~0ull);
}

// Each release lets one through, and another process, or a timer, may send faster.
void sig_collect(uint64_t set) {
  constexpr int kMost = 64;
  for (int i = 0; i < kMost && (sig_held & set) != 0; i++) {
    sig_release(set);
    if (sig_inbox_empty()) return;
    sig_route();
  }
}

void sig_drop_held(int sig) {
  if ((sig_held & sigbit(sig)) == 0) return;
  siginfo_t info;
  while (kmask_take(sigbit(sig), &info) != 0) {
    if (!sig_is_timers(&info)) continue;
    to_inbox(info);  // each timer's has a place of its own, and the next may be there already
    return;
  }
}

// ---- left for a signalfd -----------------------------------------------------------------------------

bool sig_is_left(int sig) { return (kmask_left & kmask & sigbit(sig)) != 0; }

void sig_fd_begins(uint64_t set) {
  if ((set & kJobs) != 0) set |= kJobs;  // these discard each other, so that one place must know of all
  set &= ~(kUnblockable | kSynchronous | sigbit(kIpiSignal));
  {
    Guard g(siglock);
    store_bits(&sig_fd_reads, sig_fd_reads | set);
    sig_unsettle(0);
    kmask_unblock(sig_takers(set & kmask & ~kmask_left));  // what somebody would take must not wait there
  }
  sig_leave(set);
  uint64_t now;
  {
    Guard g(siglock);
    now = kmask_left & kmask;
  }
  // On every rfork, and before the caller looks at its signalfd: one that takes it instead has yet to pass it on.
  uint64_t args[6] = {SIG_BLOCK, reinterpret_cast<uintptr_t>(&now), 0, 8};
  broadcast_call(SYS_rt_sigprocmask, args);
}

void sig_leave(uint64_t set) {
  sig_collect(set & sig_fd_reads);  // it would come before what is passed on
  {
    Guard g(siglock);
    uint64_t before = kmask_left, now = set & sig_fd_reads & ~before;
    store_bits(&kmask_left, before | now);
    if (smp) __atomic_thread_fence(__ATOMIC_SEQ_CST);  // who opens its mask now sees that, or is seen here
    now &= ~sig_takers(now);
    store_bits(&kmask_left, before | now);
    if (now == 0) return;
    kmask_block(now, true);
  }
  sig_pass_on_left();
}

void sig_take_back(uint64_t set) {
  if ((set & load_bits(&kmask_left)) == 0) return;
  {
    Guard g(siglock);
    kmask_unblock(set & kmask_left);
  }
  sig_route();
  sig_collect(set);
}

}  // namespace cr
