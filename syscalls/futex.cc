// futex: what NPTL's locks, condition variables, semaphores and joins are made
// of. Private futexes park and wake LWKTs; those in memory shared with other processes go to
// the kernel (a native process may be on the other side).
//
// "Private" is decided by the memory, not only by the flag: glibc joins a thread with a shared
// futex on its own stack, because that is how the kernel wakes a cleared tid. src/mem/shared.h
// knows which mappings are shared.
//
// futex_internal.h says what the rest of the family is and how waiters hang in the buckets.

#include "futex.h"

#include <errno.h>
#include <sys/syscall.h>

#include "../arch/abi.h"
#include "../arch/rawcall.h"
#include "../arch/usercopy.h"
#include "../src/async/timer.h"
#include "../src/lwkt/clock.h"
#include "../src/lwkt/large.h"
#include "../src/lwkt/sched.h"
#include "../src/mem/shared.h"
#include "../src/signal/signal.h"
#include "../src/sysport/deadlock.h"
#include "../src/sysport/sysport.h"
#include "futex_internal.h"
#include "sysent.h"
#include "timespec.h"

namespace cr {

uint32_t futex_dying;

alignas(4096) CR_LARGE constinit Bucket buckets[kBuckets];  // pages come as they are used
static_assert(sizeof buckets % 4096 == 0);

namespace {

// Takes the caller out of whatever bucket it hangs in (a requeue may have moved it). The lock is
// taken even if it hangs in none: a waker that has just unlinked it may not have called lwkt_wake
// yet, and would hit its next sleep; one that requeues it has it in no bucket for a moment.
void unhang(thread* td) {
  for (;;) {
    Bucket* b = bucket_of(load_acquire(&td->td_waddr));
    Guard g(b->lock);
    if (bucket_of(td->td_waddr) != b) continue;
    if (td->td_wprev != nullptr) unlink(b, td);
    return;
  }
}

}  // namespace

void append_ranked(Bucket* b, thread* td) {
  if (b->head == nullptr) b->tail = &b->head;
  thread** at = &b->head;
  while (*at != nullptr && (*at)->td_rank >= td->td_rank) at = &(*at)->td_wnext;
  td->td_wnext = *at;
  td->td_wprev = at;
  if (*at != nullptr) {
    (*at)->td_wprev = &td->td_wnext;
  } else {
    b->tail = &td->td_wnext;
  }
  *at = td;
}

int wake_locked(Bucket* b, uint64_t addr, int n, uint32_t mask) {
  int woken = 0;
  for (thread* td = b->head; td != nullptr && woken < n;) {
    thread* next = td->td_wnext;
    if (td->td_waddr == addr && (td->td_wmask & mask) != 0) {
      unlink(b, td);
      // False: it timed out or was interrupted just now and does not count.
      if (lwkt_wake(td, 0)) woken++;
    }
    td = next;
  }
  if (__builtin_expect(b->several != nullptr, 0) && woken < n) {
    woken += futex_wake_several(b, addr, n - woken);
  }
  return woken;
}

int futex_wake(uint64_t addr, int n, uint32_t mask) {
  Bucket* b = bucket_of(addr);
  Guard g(b->lock);
  return wake_locked(b, addr, n < 1 ? 1 : n, mask);
}

int futex_sleep(thread* td, Bucket* b, uint64_t addr, uint32_t mask, uint64_t deadline) {
  hang(b, td, addr, mask);
  sched_block(td);
  if (deadline != kNever && !timer_arm(td, deadline)) {
    td->td_state = TDS_RUNNING;
    unlink(b, td);
    b->lock.unlock();
    return ENOMEM;
  }
  b->lock.unlock();
  int64_t why = sched_sleep_interruptible();
  if (deadline != kNever) timer_cancel(td);
  if (why != 0) unhang(td);
  return static_cast<int>(-why);
}

namespace {

[[gnu::noinline]] int wait_ended(int64_t why) {
  unhang(curthread());
  return why == -EINTR ? ERESTARTSYS : static_cast<int>(-why);
}

// Hangs the caller in the word's bucket, to sleep there: 0, or why not.
[[gnu::always_inline]] inline int hang_locked(union sysunion* m, thread* td, Bucket* b, uint32_t mask) {
  uint64_t addr = m->raw.arg[0];
  int error = futex_check(addr, static_cast<uint32_t>(m->raw.arg[2]));
  if (error != 0) return error;
  hang(b, td, addr, mask);
  sched_block(td);
  return 0;
}

[[gnu::noinline]] int hang_beside_cpus(union sysunion* m, uint32_t mask) {
  Bucket* b = bucket_of(m->raw.arg[0]);
  Guard g(b->lock);
  return hang_locked(m, curthread(), b, mask);
}

// Without a timeout, in as little stack as can be: most threads that wait do it here.
[[gnu::noinline]] int wait_for_ever(union sysunion* m, uint32_t mask) {
  thread* td = curthread();
  m->sm.sm_result = 0;
  // On one cpu nobody takes the bucket's lock meanwhile.
  int error = smp || td->td_rank != 0 ? hang_beside_cpus(m, mask)
                                      : hang_locked(m, td, bucket_of(m->raw.arg[0]), mask);
  if (__builtin_expect(error != 0, 0)) return error;
  int64_t why = sched_sleep_interruptible();
  return __builtin_expect(why == 0, 1) ? 0 : wait_ended(why);
}

int wait(union sysunion* m, uint32_t mask, uint64_t deadline) {
  if (mask == 0) return EINVAL;
  if (deadline == kNever) return wait_for_ever(m, mask);
  m->sm.sm_result = 0;
  uint64_t addr = m->raw.arg[0];
  thread* td = curthread();
  Bucket* b = bucket_of(addr);
  for (;;) {
    b->lock.lock();
    int error = futex_check(addr, static_cast<uint32_t>(m->raw.arg[2]));
    if (error != 0) {
      b->lock.unlock();
      return error;
    }
    error = futex_sleep(td, b, addr, mask, deadline);
    if (__builtin_expect(error != EINTR, 1)) return error;
    if (sig_interrupts(td)) return EINTR;
  }
}

// After a wake-up: what the monitor wants the waker to leave the cpu for, if it does.
[[gnu::always_inline]] inline void give_way_if_asked() {
  cpu* c = mycpu();
  if (__builtin_expect(c->c_yield == 0, 1)) return;
  c->c_yield = 0;
  __atomic_or_fetch(&curthread()->td_ast, AST_RESCHED, __ATOMIC_SEQ_CST);
}

[[gnu::noinline]] int wake_some(union sysunion* m, uint32_t mask) {
  int woken = futex_wake(m->raw.arg[0], static_cast<int>(m->raw.arg[2]), mask);
  m->sm.sm_result = woken;
  if (woken > 0) give_way_if_asked();
  return 0;
}

// td is the first in its bucket, and meant.
[[gnu::noinline]] int wake_first(union sysunion* m, thread* td, uint32_t mask) {
  unlink(bucket_of(td->td_waddr), td);
  if (__builtin_expect(!lwkt_wake(td, 0), 0)) return wake_some(m, mask);  // it timed out just now and does not count
  m->sm.sm_result = 1;
  give_way_if_asked();
  return 0;
}

// On one cpu nobody takes the bucket's lock meanwhile, and mostly nobody waits or the first one is meant.
[[gnu::always_inline]] inline int wake(union sysunion* m, uint32_t mask) {
  const Bucket* b = bucket_of(m->raw.arg[0]);
  if (smp || b->several != nullptr) return wake_some(m, mask);
  thread* td = b->head;
  if (td == nullptr) {
    m->sm.sm_result = 0;
    return 0;
  }
  if (m->raw.arg[2] != 1 || td->td_waddr != m->raw.arg[0] || (td->td_wmask & mask) == 0) return wake_some(m, mask);
  return wake_first(m, td, mask);
}

// The only LWKT waits without end. Where nothing can ever end it, a deadlock is said after a while.
int wait_alone(union sysunion* m, uint32_t cmd) {
  uint64_t* a = m->raw.arg;
  if (a[3] != 0 || deadlock_alone_excluded()) return sysport_trap_first_sleep(m);
  uint64_t op = a[1], mask = a[5];
  uint64_t until = clock_monotonic() + kDeadlockPatience;
  __kernel_timespec ts;  // in the call's form
  user_timespec_store(m->sm.sm_nr, reinterpret_cast<uintptr_t>(&ts), timespec_of(until));
  a[1] = FUTEX_WAIT_BITSET | (op & FUTEX_PRIVATE_FLAG);
  a[3] = reinterpret_cast<uintptr_t>(&ts);
  if (cmd == FUTEX_WAIT) a[5] = FUTEX_BITSET_MATCH_ANY;
  int error = sysport_trap_first_sleep(m);
  a[1] = op, a[3] = 0, a[5] = mask;
  if (error == EINTR) return ERESTARTSYS;  // a wait with a timeout is not restarted, this one is
  if (error != ETIMEDOUT) return error;
  deadlock_alone_report(a[0]);
  return sysport_trap_sleep(m);
}

bool is_pi_lock(uint32_t cmd) {
  return cmd == FUTEX_LOCK_PI || cmd == FUTEX_LOCK_PI2 || cmd == FUTEX_TRYLOCK_PI ||
         cmd == FUTEX_UNLOCK_PI;
}

}  // namespace

int futex_deadline(uint32_t nr, uint64_t user, bool relative, bool realtime, uint64_t* out) {
  *out = kNever;
  if (user == 0) return 0;
  __kernel_timespec ts;
  if (user_timespec(nr, user, &ts) != 0) return EFAULT;
  if (!timespec_valid(ts)) return EINVAL;
  *out = time_deadline(ts, relative, realtime);
  return 0;
}

int futex_wake_all(uint64_t addr, int n) {
  return futex_wake(addr, n, FUTEX_BITSET_MATCH_ANY);
}

void futex_atfork_child() {
  futex_dying = 0;
  // All waiters are gone with their threads. Dropping the pages is cheaper than walking them.
  raw3(SYS_madvise, reinterpret_cast<long>(buckets), sizeof buckets, 4 /* MADV_DONTNEED */);
}

namespace {

[[gnu::noinline]] int futex_any(union sysunion* m) {
  const uint64_t* a = m->raw.arg;
  uint64_t addr = a[0];
  auto op = static_cast<uint32_t>(a[1]);
  auto value = static_cast<uint32_t>(a[2]);
  uint32_t cmd = op & FUTEX_CMD_MASK;
  bool realtime = (op & FUTEX_CLOCK_REALTIME) != 0;
  if (realtime && cmd != FUTEX_WAIT_BITSET && cmd != FUTEX_WAIT_REQUEUE_PI && cmd != FUTEX_LOCK_PI2) {
    bool timed = cmd == FUTEX_WAIT || cmd == FUTEX_LOCK_PI;
    uint64_t unused;
    int error = timed ? futex_deadline(m->sm.sm_nr, a[3], true, false, &unused) : 0;
    return error != 0 ? error : ENOSYS;
  }
  if ((addr & 3) != 0) return EINVAL;
  bool ours = (op & FUTEX_PRIVATE_FLAG) != 0 || !shared_contains(addr);
  if (!ours) return futex_shared(m, cmd);
  // One LWKT: nobody here can wake it or be woken; the kernel's answer is the right one. But one
  // that has left and is not reaped yet will still clear its tid and wake its joiner. And PI locks
  // hold tids that the kernel does not know.
  if (load_acquire(&nthreads) == 1 && load_acquire(&futex_dying) == 0 && !is_pi_lock(cmd)) {
    if (cmd == FUTEX_WAIT || cmd == FUTEX_WAIT_BITSET) return wait_alone(m, cmd);
    return cmd == FUTEX_WAIT_REQUEUE_PI ? sysport_trap_sleep(m) : sysport_trap(m);
  }
  uint64_t timeout = a[3];
  uint32_t nr = m->sm.sm_nr;
  uint64_t deadline = kNever;
  int error = 0;
  long result = 0;
  switch (cmd) {
    case FUTEX_WAIT:
      error = futex_deadline(nr, timeout, true, false, &deadline);
      return error != 0 ? error : wait(m, FUTEX_BITSET_MATCH_ANY, deadline);
    case FUTEX_WAIT_BITSET:
      error = futex_deadline(nr, timeout, false, realtime, &deadline);
      return error != 0 ? error : wait(m, static_cast<uint32_t>(a[5]), deadline);
    case FUTEX_WAKE:
      return wake_some(m, FUTEX_BITSET_MATCH_ANY);
    case FUTEX_WAKE_BITSET: {
      auto mask = static_cast<uint32_t>(a[5]);
      return mask == 0 ? EINVAL : wake_some(m, mask);
    }
    case FUTEX_REQUEUE:
    case FUTEX_CMP_REQUEUE: {
      auto expect = static_cast<uint32_t>(a[5]);
      if (static_cast<int>(value) < 0 || static_cast<int>(a[3]) < 0) return EINVAL;
      if ((a[4] & 3) != 0) return EINVAL;
      error = futex_requeue(addr, a[4], static_cast<int>(value), static_cast<int>(a[3]),
                            cmd == FUTEX_CMP_REQUEUE ? &expect : nullptr, &result);
      break;
    }
    case FUTEX_WAKE_OP:
      if ((a[4] & 3) != 0) return EINVAL;
      error = futex_wake_op(addr, a[4], static_cast<int>(value), static_cast<int>(a[3]),
                            static_cast<uint32_t>(a[5]), &result);
      break;
    case FUTEX_LOCK_PI:
    case FUTEX_LOCK_PI2:
      error = futex_deadline(nr, timeout, false, cmd == FUTEX_LOCK_PI || realtime, &deadline);
      if (error == 0) error = futex_lock_pi(addr, deadline, false);
      break;
    case FUTEX_TRYLOCK_PI:
      error = futex_lock_pi(addr, kNever, true);
      break;
    case FUTEX_UNLOCK_PI:
      error = futex_unlock_pi(addr);
      break;
    case FUTEX_WAIT_REQUEUE_PI:
      error = futex_deadline(nr, timeout, false, realtime, &deadline);
      if (error == 0) error = futex_wait_requeue_pi(addr, value, a[4], deadline);
      break;
    case FUTEX_CMP_REQUEUE_PI:
      error = futex_cmp_requeue_pi(addr, a[4], static_cast<int>(value), static_cast<int>(a[3]),
                                   static_cast<uint32_t>(a[5]), &result);
      break;
    default:
      return ENOSYS;
  }
  m->sm.sm_result = result;
  return error;
}

// The waits and wakes that locks, condition variables and joins consist of, told apart before all others. They
// leave nothing on the stack here.
[[gnu::always_inline]] inline int futex_private(union sysunion* m, uint32_t op) {
  if (op == FUTEX_WAKE_PRIVATE) return wake(m, FUTEX_BITSET_MATCH_ANY);
  if (m->raw.arg[3] == 0) {
    if (op == FUTEX_WAIT_PRIVATE) return wait_for_ever(m, FUTEX_BITSET_MATCH_ANY);
    auto mask = static_cast<uint32_t>(m->raw.arg[5]);
    bool by_mask = (op & ~static_cast<uint32_t>(FUTEX_CLOCK_REALTIME)) == FUTEX_WAIT_BITSET_PRIVATE;
    if (by_mask && mask != 0) return wait_for_ever(m, mask);
  }
  return futex_any(m);
}

[[gnu::noinline]] int futex_unmarked(union sysunion* m, uint32_t op) {
  return shared_contains(m->raw.arg[0]) ? futex_any(m) : futex_private(m, op | FUTEX_PRIVATE_FLAG);
}

}  // namespace

int sys_futex(union sysunion* m) {
  auto op = static_cast<uint32_t>(m->raw.arg[1]);
  if ((m->raw.arg[0] & 3) != 0 || load_acquire(&nthreads) == 1) return futex_any(m);
  return (op & FUTEX_PRIVATE_FLAG) != 0 ? futex_private(m, op) : futex_unmarked(m, op);
}

}  // namespace cr
