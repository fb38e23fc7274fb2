// Futexes in memory that other processes see. Their queues are the kernel's, so that native
// processes take part; a call is a trap that gives the cpu away. Two kinds need more, because the
// kernel does not know the tids of LWKTs.
//
// Robust locks: the kernel marks those of a dead thread only if the word holds that thread's own
// kernel tid. A waiter here that finds an LWKT's tid looks from time to time whether the owner's
// process lives, and marks the word itself (robust.cc).
//
// PI locks: FUTEX_LOCK_PI finds the owner by the tid in the word (ESRCH for an LWKT's) and writes
// the tid of the kernel thread that calls. So the kernel can serve only the main thread, on the
// kernel thread that has its tid, when the word's owner is of its kind, too. All other locks are
// taken in userland with the same word: a waiter sets FUTEX_WAITERS, which sends the owner into
// FUTEX_UNLOCK_PI, and sleeps on the owner's bell (peers.h), not on the word: the kernel answers
// EINVAL to an unlock when somebody sleeps there by FUTEX_WAIT. Every unlock that came here rings
// the owner's bell, and those that sleep on it look again.
//
//   owner \ waiter     LWKT                   main thread            native thread
//   LWKT               the bell               the bell               ESRCH: see below
//   main thread        the bell               the kernel             the kernel
//   native thread      looks again and again  the kernel             the kernel
//
// A native thread that has to wait for an LWKT (not for a main thread) gets ESRCH from its kernel,
// upon which glibc hangs it: that pair can't share a PI lock.
//
// A free word with FUTEX_WAITERS may be on its way to a kernel waiter (the owner died, and the
// waiter has yet to write its tid). FUTEX_WAKE tells: EINVAL if there is one, and it is left to it.

#include <errno.h>
#include <linux/futex.h>
#include <sys/syscall.h>

#include "../arch/rawcall.h"
#include "../arch/usercopy.h"
#include "../src/lwkt/clock.h"
#include "../src/signal/broadcast.h"
#include "../src/sysport/sysport.h"
#include "../src/sysport/tid.h"
#include "futex.h"
#include "futex_inherit.h"
#include "futex_internal.h"
#include "robust.h"

namespace cr {

namespace {

inline constexpr uint64_t kMillisecond = 1'000'000;

// How long to sleep before the next look: `first`, then five times as long up to `most`.
struct Pause {
  uint64_t next, most;
  uint64_t until(uint64_t deadline) {
    uint64_t end = clock_monotonic() + next;
    next = next * 5 < most ? next * 5 : most;
    return end < deadline ? end : deadline;
  }
};
// A look at a process costs four traps; at a word that no unlock announces, one.
inline constexpr Pause kLookAtProcess{2 * kMillisecond, 100 * kMillisecond};
inline constexpr Pause kLookAtWord{50'000, 5 * kMillisecond};

// FUTEX_WAIT in the kernel until a deadline of CLOCK_MONOTONIC.
int kernel_wait(uint64_t addr, uint32_t value, uint32_t mask, uint64_t deadline) {
  timespec ts{static_cast<time_t>(deadline / kSecond), static_cast<long>(deadline % kSecond)};
  union sysunion m;
  m.sm.sm_nr = SYS_futex;
  uint64_t* a = m.raw.arg;
  a[0] = addr;
  a[1] = FUTEX_WAIT_BITSET;
  a[2] = value;
  a[3] = deadline == kNever ? 0 : reinterpret_cast<uintptr_t>(&ts);
  a[4] = 0;
  a[5] = mask;
  return sysport_trap_sleep(&m);
}

// Whether the owner can still unlock. A thread that ended in a living process of LWKTs counts as
// living there: its own process has marked its locks, if they are robust.
bool owner_lives(int32_t owner) {
  if (tid_is_ours(owner)) return tid_find(owner) != nullptr;
  if (tid_is_virtual(owner)) return peers_alive(owner);
  return raw2(SYS_tkill, owner, 0) != -ESRCH;
}

// ---- robust locks --------------------------------------------------------------------------

int wait_robust(uint64_t addr, uint32_t value, uint32_t mask, uint64_t deadline) {
  Pause pause = kLookAtProcess;
  for (;;) {
    int error = kernel_wait(addr, value, mask, pause.until(deadline));
    if (error != ETIMEDOUT) return error;
    if (!owner_lives(static_cast<int32_t>(value & FUTEX_TID_MASK))) {
      robust_mark_dead(addr, value);
      return 0;  // the caller looks at the word
    }
    if (clock_monotonic() >= deadline) return ETIMEDOUT;
  }
}

// ---- PI locks ------------------------------------------------------------------------------

// The caller's tid is that of the kernel thread it runs on.
bool kernel_knows(const thread* td) { return mygd()->gd_ktid == td->td_tid; }

bool kernel_waiters(uint64_t addr) {
  return raw3(SYS_futex, static_cast<long>(addr), FUTEX_WAKE, 1) == -EINVAL;
}

int not_interrupted(int error) {
  return error == EINTR || error == ERESTARTSYS ? ERESTARTNOINTR : error;
}

enum class Step { kAgain, kDone };

// One look at the lock. kDone: *error is the answer. kAgain: the word has changed, or the caller
// has slept until it may have.
Step try_lock(union sysunion* m, uint64_t addr, uint64_t deadline, Pause& look, Pause& patience,
              uint32_t& bits, PiWait* w, int* error) {
  thread* td = curthread();
  auto* word = reinterpret_cast<uint32_t*>(addr);
  bool try_only = (m->raw.arg[1] & FUTEX_CMD_MASK) == FUTEX_TRYLOCK_PI;
  uint32_t seen;
  *error = EFAULT;
  if (user_load32(&seen, word) != 0) return Step::kDone;
  auto owner = static_cast<int32_t>(seen & FUTEX_TID_MASK);
  *error = EDEADLK;
  if (owner == td->td_tid) return Step::kDone;

  if (kernel_knows(td) && !tid_is_virtual(owner)) {
    *error = not_interrupted(sysport_trap_sleep_once(m));
    // Somebody whom the kernel does not know may have taken it before the trap.
    bool changed = *error == ESRCH && user_load32(&seen, word) == 0 &&
                   tid_is_virtual(static_cast<int32_t>(seen & FUTEX_TID_MASK));
    return changed ? Step::kAgain : Step::kDone;
  }

  bool left_to_kernel = owner == 0 && (seen & FUTEX_WAITERS) != 0 && kernel_waiters(addr);
  if (owner == 0 && !left_to_kernel) {
    uint32_t mine = static_cast<uint32_t>(td->td_tid) | bits;
    int r = user_cas32(word, &seen, mine | (seen & (FUTEX_WAITERS | FUTEX_OWNER_DIED)));
    *error = r < 0 ? EFAULT : 0;
    return r == 0 ? Step::kAgain : Step::kDone;
  }
  *error = EAGAIN;
  if (try_only) return Step::kDone;
  if (owner != 0 && (seen & FUTEX_WAITERS) == 0) {
    int r = user_cas32(word, &seen, seen | FUTEX_WAITERS);
    *error = EFAULT;
    return r < 0 ? Step::kDone : Step::kAgain;
  }

  uint32_t* bell = peers_bell(owner);
  uint32_t rings = load_acquire(bell);
  uint32_t now;
  *error = EFAULT;
  if (user_load32(&now, word) != 0) return Step::kDone;
  if (now != seen) return Step::kAgain;
  bits = FUTEX_WAITERS;  // once asleep, one does not know who else is
  *error = EDEADLK;
  if (!inherit_begin_shared(w, owner)) return Step::kDone;
  Pause& pause = tid_is_virtual(owner) ? patience : look;
  *error = kernel_wait(reinterpret_cast<uintptr_t>(bell), rings, FUTEX_BITSET_MATCH_ANY,
                       pause.until(deadline));
  if (*error == EINTR || *error == ERESTARTSYS) {
    *error = ERESTARTNOINTR;
    return Step::kDone;
  }
  if (*error != ETIMEDOUT) return Step::kAgain;
  if (owner != 0 && !owner_lives(owner)) {
    *error = ESRCH;
    if (!robust_pending(td, addr)) return Step::kDone;
    robust_mark_dead(addr, seen);
    return Step::kAgain;
  }
  return clock_monotonic() >= deadline ? Step::kDone : Step::kAgain;
}

int lock_pi(union sysunion* m, uint32_t cmd) {
  const uint64_t* a = m->raw.arg;
  bool realtime = cmd == FUTEX_LOCK_PI || (a[1] & FUTEX_CLOCK_REALTIME) != 0;
  uint64_t deadline = kNever;
  int error = 0;
  if (cmd != FUTEX_TRYLOCK_PI) {
    error = futex_deadline(m->sm.sm_nr, a[3], false, realtime, &deadline);
  }
  if (error != 0) return error;
  Pause look = kLookAtWord, patience = kLookAtProcess;
  uint32_t bits = 0;
  PiWait w{.waiter = curthread(), .lock = a[0], .in_kernel = true};
  m->sm.sm_result = 0;
  while (try_lock(m, a[0], deadline, look, patience, bits, &w, &error) == Step::kAgain) {
  }
  if (w.waiter->td_piwait != nullptr) inherit_end_shared(&w);
  return error;
}

int unlock_pi(union sysunion* m) {
  thread* td = curthread();
  uint64_t addr = m->raw.arg[0];
  auto* word = reinterpret_cast<uint32_t*>(addr);
  auto self = static_cast<uint32_t>(td->td_tid);
  uint32_t seen;
  if (user_load32(&seen, word) != 0) return EFAULT;
  if ((seen & FUTEX_TID_MASK) != self) return EPERM;
  int error = 0;
  m->sm.sm_result = 0;
  if (tid_is_virtual(td->td_tid)) {
    // No kernel waiter can hang on a word with this tid.
    int r = 0;
    while (r == 0 && (seen & FUTEX_TID_MASK) == self) r = user_cas32(word, &seen, 0);
    error = r < 0 ? EFAULT : r == 0 ? EPERM : 0;
  } else if (kernel_knows(td)) {
    error = sysport_trap(m);
  } else {
    error = sysport_result(m, broadcast_to(td->td_tid, SYS_futex, m->raw.arg));
  }
  if (td->td_lenders != nullptr) inherit_unlocked_shared(addr);
  peers_ring(td->td_tid);
  return error;
}

}  // namespace

int futex_shared(union sysunion* m, uint32_t cmd) {
  const uint64_t* a = m->raw.arg;
  auto value = static_cast<uint32_t>(a[2]);
  switch (cmd) {
    case FUTEX_WAIT:
    case FUTEX_WAIT_BITSET: {
      if (!tid_is_virtual(static_cast<int32_t>(value & FUTEX_TID_MASK)) ||
          !robust_pending(curthread(), a[0])) {
        return sysport_trap_sleep(m);
      }
      bool relative = cmd == FUTEX_WAIT;
      bool realtime = (a[1] & FUTEX_CLOCK_REALTIME) != 0;
      uint64_t deadline;
      int error =
          futex_deadline(m->sm.sm_nr, a[3], relative, realtime, &deadline);
      if (error != 0) return error;
      m->sm.sm_result = 0;
      return wait_robust(a[0], value,
                         relative ? FUTEX_BITSET_MATCH_ANY : static_cast<uint32_t>(a[5]), deadline);
    }
    case FUTEX_LOCK_PI:
    case FUTEX_LOCK_PI2:
    case FUTEX_TRYLOCK_PI:
      return lock_pi(m, cmd);
    case FUTEX_UNLOCK_PI:
      return unlock_pi(m);
    case FUTEX_WAIT_REQUEUE_PI:
    case FUTEX_CMP_REQUEUE_PI:
      // The kernel's for those it knows; no glibc since 2.25 makes these calls.
      return kernel_knows(curthread()) ? not_interrupted(sysport_trap_sleep_once(m)) : ENOSYS;
    default:
      return sysport_trap(m);
  }
}

}  // namespace cr
