// futex and futex_waitv: what NPTL's locks, condition variables, semaphores and joins are made
// of. Private futexes park and wake LWKTs; those in memory shared with other processes go to
// the kernel (a native process may be on the other side).
//
// "Private" is decided by the memory, not only by the flag: glibc joins a thread with a shared
// futex on its own stack, because that is how the kernel wakes a cleared tid. src/mem/shared.h
// knows which mappings are shared.
//
// Waiters hang in buckets by address, first in first out, each bucket under its own lock. A
// woken waiter was taken out of the bucket by the waker; one that timed out or was interrupted
// takes itself out. Lock order: bucket (lower address first), then the run queue's atomics.

#include <errno.h>
#include <linux/futex.h>
#include <sys/syscall.h>

#include "../arch/x86_64/rawcall.h"
#include "../arch/x86_64/usercopy.h"
#include "../src/async/timer.h"
#include "../src/lwkt/assert.h"
#include "../src/lwkt/spinlock.h"
#include "../src/mem/shared.h"
#include "../src/signal/signal.h"
#include "../src/sysport/sysport.h"
#include "../src/sysport/tid.h"
#include "futex.h"
#include "sysent.h"

namespace cr {

uint32_t futex_dying;

namespace {

inline constexpr uint32_t kBuckets = 1u << 16;
inline constexpr uint32_t kWaiters = FUTEX_WAITERS;
inline constexpr uint32_t kOwnerDied = FUTEX_OWNER_DIED;
inline constexpr uint32_t kTidMask = FUTEX_TID_MASK;

struct Bucket {
  SpinLock lock;
  thread* head = nullptr;
  thread** tail = nullptr;  // null while the bucket was never used
};
constinit Bucket buckets[kBuckets];  // in .bss: pages come as they are used

Bucket* bucket_of(uint64_t addr) {
  uint64_t h = (addr >> 2) * 0x9e3779b97f4a7c15ull;
  return &buckets[h >> 48];
}

void append(Bucket* b, thread* td) {
  if (b->tail == nullptr || b->head == nullptr) b->tail = &b->head;
  td->td_wnext = nullptr;
  td->td_wprev = b->tail;
  *b->tail = td;
  b->tail = &td->td_wnext;
}

void unlink(Bucket* b, thread* td) {
  *td->td_wprev = td->td_wnext;
  if (td->td_wnext != nullptr) {
    td->td_wnext->td_wprev = td->td_wprev;
  } else {
    b->tail = td->td_wprev;
  }
  td->td_wprev = nullptr;
}

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

struct TwoBuckets {
  Bucket *a, *b;
  TwoBuckets(Bucket* x, Bucket* y) : a(x < y ? x : y), b(x < y ? y : x) {
    a->lock.lock();
    if (a != b) b->lock.lock();
  }
  ~TwoBuckets() {
    if (a != b) b->lock.unlock();
    a->lock.unlock();
  }
};

// Wakes up to n waiters on addr. The bucket is locked.
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
  return woken;
}

int futex_sleep(thread* td, Bucket* b, uint64_t addr, uint32_t mask, uint64_t deadline) {
  // b is locked.
  td->td_waddr = addr;
  td->td_wmask = mask;
  append(b, td);
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

int wait(uint64_t addr, uint32_t value, uint32_t mask, uint64_t deadline) {
  if (mask == 0) return EINVAL;
  thread* td = curthread();
  Bucket* b = bucket_of(addr);
  b->lock.lock();
  uint32_t seen;
  if (user_load32(&seen, reinterpret_cast<const uint32_t*>(addr)) != 0) {
    b->lock.unlock();
    return EFAULT;
  }
  if (seen != value) {
    b->lock.unlock();
    return EAGAIN;
  }
  int error = futex_sleep(td, b, addr, mask, deadline);
  return error == EINTR ? (deadline == kNever ? ERESTARTSYS : EINTR) : error;
}

int requeue(uint64_t from, uint64_t to, int nwake, int nmove, const uint32_t* expect, long* result) {
  Bucket *bf = bucket_of(from), *bt = bucket_of(to);
  TwoBuckets g(bf, bt);
  if (expect != nullptr) {
    uint32_t seen;
    if (user_load32(&seen, reinterpret_cast<const uint32_t*>(from)) != 0) return EFAULT;
    if (seen != *expect) return EAGAIN;
  }
  long n = wake_locked(bf, from, nwake, FUTEX_BITSET_MATCH_ANY);
  if (from == to) {
    *result = n;
    return 0;
  }
  int moved = 0;
  for (thread* td = bf->head; td != nullptr && moved < nmove;) {
    thread* next = td->td_wnext;
    if (td->td_waddr == from) {
      unlink(bf, td);
      store_release(&td->td_waddr, to);
      append(bt, td);
      moved++;
    }
    td = next;
  }
  // FUTEX_CMP_REQUEUE counts both, FUTEX_REQUEUE too since Linux 2.6.
  *result = n + moved;
  return 0;
}

bool compare(uint32_t cmp, int32_t old, int32_t arg) {
  switch (cmp) {
    case FUTEX_OP_CMP_EQ: return old == arg;
    case FUTEX_OP_CMP_NE: return old != arg;
    case FUTEX_OP_CMP_LT: return old < arg;
    case FUTEX_OP_CMP_GE: return old >= arg;
    case FUTEX_OP_CMP_LE: return old <= arg;
    default: return old > arg;
  }
}

int wake_op(uint64_t a1, uint64_t a2, int n1, int n2, uint32_t op, long* result) {
  uint32_t what = op >> 28 & 7, cmp = op >> 24 & 15;
  int32_t oparg = static_cast<int32_t>(op << 8) >> 20;
  int32_t cmparg = static_cast<int32_t>(op << 20) >> 20;
  if ((op >> 28 & FUTEX_OP_OPARG_SHIFT) != 0) oparg = 1 << (oparg & 31);
  if (what > FUTEX_OP_XOR || cmp > FUTEX_OP_CMP_GT) return ENOSYS;
  TwoBuckets g(bucket_of(a1), bucket_of(a2));
  auto* word = reinterpret_cast<uint32_t*>(a2);
  uint32_t old;
  if (user_load32(&old, word) != 0) return EFAULT;
  for (;;) {
    auto arg = static_cast<uint32_t>(oparg);
    uint32_t fresh = what == FUTEX_OP_SET   ? arg
                     : what == FUTEX_OP_ADD ? old + arg
                     : what == FUTEX_OP_OR  ? (old | arg)
                     : what == FUTEX_OP_ANDN ? (old & ~arg)
                                             : (old ^ arg);
    int r = user_cas32(word, &old, fresh);
    if (r < 0) return EFAULT;
    if (r == 1) break;
  }
  long n = wake_locked(bucket_of(a1), a1, n1, FUTEX_BITSET_MATCH_ANY);
  if (compare(cmp, static_cast<int32_t>(old), cmparg)) {
    n += wake_locked(bucket_of(a2), a2, n2, FUTEX_BITSET_MATCH_ANY);
  }
  *result = n;
  return 0;
}

// ---- priority inheritance ----------------------------------------------------------------
// LWKTs have no priorities to inherit, so these are fair hand-over locks with the kernel's
// word format: the owner's tid, FUTEX_WAITERS, FUTEX_OWNER_DIED.

int lock_pi(uint64_t addr, uint64_t deadline, bool try_only) {
  thread* td = curthread();
  auto* word = reinterpret_cast<uint32_t*>(addr);
  auto self = static_cast<uint32_t>(td->td_tid);
  Bucket* b = bucket_of(addr);
  for (;;) {
    b->lock.lock();
    uint32_t seen;
    if (user_load32(&seen, word) != 0) {
      b->lock.unlock();
      return EFAULT;
    }
    for (;;) {
      uint32_t owner = seen & kTidMask;
      if (owner == self) {
        b->lock.unlock();
        return EDEADLK;
      }
      if (owner == 0) {
        // Free, or its owner died: take it and keep the bits that say who else waits.
        int r = user_cas32(word, &seen, self | (seen & (kWaiters | kOwnerDied)));
        if (r == 0) continue;
        b->lock.unlock();
        return r < 0 ? EFAULT : 0;
      }
      if (tid_find(static_cast<int32_t>(owner)) == nullptr) {
        b->lock.unlock();
        return ESRCH;
      }
      if (try_only) {
        b->lock.unlock();
        return EAGAIN;
      }
      int r = user_cas32(word, &seen, seen | kWaiters);
      if (r < 0) {
        b->lock.unlock();
        return EFAULT;
      }
      if (r == 1) break;
    }
    // unlock_pi writes our tid before it wakes us.
    int error = futex_sleep(td, b, addr, FUTEX_BITSET_MATCH_ANY, deadline);
    if (error == 0) return 0;
    if (error != EINTR) return error;
    return ERESTARTSYS;
  }
}

// Gives addr to the first waiter, with `bits` in its word; without one it is free. The bucket is
// locked and `seen` was read from the word.
int hand_over_pi(Bucket* b, uint64_t addr, uint32_t seen, uint32_t bits) {
  auto* word = reinterpret_cast<uint32_t*>(addr);
  for (;;) {
    thread* next = b->head;
    while (next != nullptr && next->td_waddr != addr) next = next->td_wnext;
    uint32_t fresh = bits;
    if (next != nullptr) {
      bool more = false;
      for (thread* o = next->td_wnext; o != nullptr; o = o->td_wnext) more |= o->td_waddr == addr;
      fresh |= static_cast<uint32_t>(next->td_tid) | (more ? kWaiters : 0);
    }
    int r = user_cas32(word, &seen, fresh);
    if (r < 0) return EFAULT;
    if (r == 0) continue;
    if (next == nullptr) return 0;
    unlink(b, next);
    if (lwkt_wake(next, 0)) return 0;
    // It timed out meanwhile; the word names it, so hand over again.
    seen = fresh;
  }
}

int unlock_pi(uint64_t addr) {
  Bucket* b = bucket_of(addr);
  Guard g(b->lock);
  uint32_t seen;
  if (user_load32(&seen, reinterpret_cast<const uint32_t*>(addr)) != 0) return EFAULT;
  if ((seen & kTidMask) != static_cast<uint32_t>(curthread()->td_tid)) return EPERM;
  return hand_over_pi(b, addr, seen, 0);
}

int deadline_of(const void* user, bool relative, bool realtime, uint64_t* out) {
  *out = kNever;
  if (user == nullptr) return 0;
  timespec ts;
  if (user_copy(&ts, user, sizeof ts) != 0) return EFAULT;
  if (ts.tv_nsec < 0 || ts.tv_nsec >= static_cast<long>(kSecond) || ts.tv_sec < 0) return EINVAL;
  *out = time_deadline(ts, relative, realtime);
  return 0;
}

}  // namespace

void futex_wake_all(uint64_t addr, int n) {
  Bucket* b = bucket_of(addr);
  Guard g(b->lock);
  wake_locked(b, addr, n, FUTEX_BITSET_MATCH_ANY);
}

void futex_pi_owner_died(uint64_t addr, int32_t tid) {
  Bucket* b = bucket_of(addr);
  Guard g(b->lock);
  uint32_t seen;
  if (user_load32(&seen, reinterpret_cast<const uint32_t*>(addr)) != 0) return;
  if ((seen & kTidMask) == static_cast<uint32_t>(tid)) hand_over_pi(b, addr, seen, kOwnerDied);
}

void futex_atfork_child() {
  futex_dying = 0;
  // All waiters are gone with their threads. Dropping the pages is cheaper than walking them.
  raw3(SYS_madvise, static_cast<long>((reinterpret_cast<uint64_t>(buckets) + 4095) & ~4095ull),
       static_cast<long>((sizeof buckets - 4096) & ~4095ull), 4 /* MADV_DONTNEED */);
  auto* bytes = reinterpret_cast<uint8_t*>(buckets);
  uint64_t first = ((reinterpret_cast<uint64_t>(buckets) + 4095) & ~4095ull) -
                   reinterpret_cast<uint64_t>(buckets);
  uint64_t done = first + ((sizeof buckets - 4096) & ~4095ull);
  for (uint64_t i = 0; i < first; i++) bytes[i] = 0;
  for (uint64_t i = done; i < sizeof buckets; i++) bytes[i] = 0;
}

int sys_futex(union sysunion* m) {
  const uint64_t* a = m->raw.arg;
  uint64_t addr = a[0];
  auto op = static_cast<uint32_t>(a[1]);
  auto value = static_cast<uint32_t>(a[2]);
  uint32_t cmd = op & FUTEX_CMD_MASK;
  if ((addr & 3) != 0) return EINVAL;
  // One LWKT: nobody here can wake it or be woken; the kernel's answer is the right one. But one
  // that has left and is not reaped yet will still clear its tid and wake its joiner.
  bool ours = (op & FUTEX_PRIVATE_FLAG) != 0 || !shared_contains(addr);
  if (!ours || (nthreads == 1 && load_acquire(&futex_dying) == 0)) {
    bool sleeps = cmd == FUTEX_WAIT || cmd == FUTEX_WAIT_BITSET || cmd == FUTEX_LOCK_PI ||
                  cmd == FUTEX_LOCK_PI2 || cmd == FUTEX_WAIT_REQUEUE_PI;
    return sleeps ? sysport_trap_sleep(m) : sysport_trap(m);
  }
  bool realtime = (op & FUTEX_CLOCK_REALTIME) != 0;
  const void* timeout = reinterpret_cast<const void*>(a[3]);
  uint64_t deadline = kNever;
  int error = 0;
  long result = 0;
  switch (cmd) {
    case FUTEX_WAIT:
      error = deadline_of(timeout, true, false, &deadline);
      if (error == 0) error = wait(addr, value, FUTEX_BITSET_MATCH_ANY, deadline);
      break;
    case FUTEX_WAIT_BITSET:
      error = deadline_of(timeout, false, realtime, &deadline);
      if (error == 0) error = wait(addr, value, static_cast<uint32_t>(a[5]), deadline);
      break;
    case FUTEX_WAKE:
    case FUTEX_WAKE_BITSET: {
      uint32_t mask = cmd == FUTEX_WAKE ? FUTEX_BITSET_MATCH_ANY : static_cast<uint32_t>(a[5]);
      if (mask == 0) return EINVAL;
      Bucket* b = bucket_of(addr);
      Guard g(b->lock);
      int n = static_cast<int>(value);
      result = wake_locked(b, addr, n < 1 ? 1 : n, mask);
      break;
    }
    case FUTEX_REQUEUE:
    case FUTEX_CMP_REQUEUE: {
      auto expect = static_cast<uint32_t>(a[5]);
      if (static_cast<int>(value) < 0 || static_cast<int>(a[3]) < 0) return EINVAL;
      if ((a[4] & 3) != 0) return EINVAL;
      error = requeue(addr, a[4], static_cast<int>(value), static_cast<int>(a[3]),
                      cmd == FUTEX_CMP_REQUEUE ? &expect : nullptr, &result);
      break;
    }
    case FUTEX_WAKE_OP:
      if ((a[4] & 3) != 0) return EINVAL;
      error = wake_op(addr, a[4], static_cast<int>(value), static_cast<int>(a[3]),
                      static_cast<uint32_t>(a[5]), &result);
      break;
    case FUTEX_LOCK_PI:
    case FUTEX_LOCK_PI2:
      error = deadline_of(timeout, false, cmd == FUTEX_LOCK_PI || realtime, &deadline);
      if (error == 0) error = lock_pi(addr, deadline, false);
      break;
    case FUTEX_TRYLOCK_PI:
      error = lock_pi(addr, kNever, true);
      break;
    case FUTEX_UNLOCK_PI:
      error = unlock_pi(addr);
      break;
    default:
      return ENOSYS;  // FUTEX_FD is gone, the REQUEUE_PI pair is not used by any glibc since 2.25
  }
  m->sm.sm_result = result;
  return error;
}

// Waiting on several words. An LWKT hangs in one bucket at a time and the kernel does not see
// our wakers, so this looks at all of them in turns, with pauses that grow from 20 us to 2 ms.
// No glibc uses the call; programs that do (game runtimes) get a late wake at worst.
int sys_futex_waitv(union sysunion* m) {
  struct Entry {
    uint64_t val, uaddr;
    uint32_t flags, reserved;
  };
  const uint64_t* a = m->raw.arg;
  auto n = static_cast<uint32_t>(a[1]);
  if (nthreads == 1) return sysport_trap_sleep(m);
  if (a[2] != 0 || n == 0 || n > 128) return EINVAL;
  auto* entries = reinterpret_cast<const Entry*>(a[0]);
  bool realtime = static_cast<int>(a[4]) == 0;  // CLOCK_REALTIME
  uint64_t deadline;
  int error = deadline_of(reinterpret_cast<const void*>(a[3]), false, realtime, &deadline);
  if (error != 0) return error;
  thread* td = curthread();
  uint64_t pause = 20'000;
  for (bool first = true;; first = false) {
    for (uint32_t i = 0; i < n; i++) {
      Entry e;
      uint32_t seen;
      if (user_copy(&e, &entries[i], sizeof e) != 0) return EFAULT;
      if ((e.flags & 3) != 2 || e.reserved != 0) return EINVAL;  // FUTEX2_SIZE_U32
      if (user_load32(&seen, reinterpret_cast<const uint32_t*>(e.uaddr)) != 0) return EFAULT;
      if (seen == static_cast<uint32_t>(e.val)) continue;
      if (first) return EAGAIN;
      m->sm.sm_result = static_cast<long>(i);
      return 0;
    }
    uint64_t now = clock_monotonic();
    if (now >= deadline) return ETIMEDOUT;
    uint64_t until = now + pause < deadline ? now + pause : deadline;
    sched_block(td);
    if (!timer_arm(td, until)) {
      td->td_state = TDS_RUNNING;
      return ENOMEM;
    }
    int64_t why = sched_sleep_interruptible();
    timer_cancel(td);
    if (why == -EINTR) return EINTR;
    if (pause < 2'000'000) pause *= 2;
  }
}

}  // namespace cr
