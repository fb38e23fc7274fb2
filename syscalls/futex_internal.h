// What the files of the futex family share: the buckets, how an LWKT hangs in one, sleeps and
// is woken. Inner to syscalls/futex*.cc; the rest of the runtime has futex.h.
//
//   futex.cc          the buckets, wait and wake, and the call's dispatch
//   futex_requeue.cc  the operations on two words: REQUEUE, CMP_REQUEUE, WAKE_OP
//   futex_pi.cc       the priority-inheritance locks
//   futex_inherit.cc  what their owners inherit
//   futex_waitv.cc    waiting on several words
//   futex2.cc         the calls of Linux 6.7 that do the same as FUTEX_WAIT, _WAKE and _REQUEUE
//   futex_shared.cc   words that other processes see
//
// Waiters hang in buckets by address, first in first out (but by rank first: rank.h), each bucket under its own lock. A
// woken waiter was taken out of the bucket by the waker; one that timed out or was interrupted
// takes itself out. Lock order: bucket (lower address first), then the run queue's atomics.
#pragma once

#include <errno.h>
#include <linux/futex.h>
#include <stdint.h>

#include "../arch/usercopy.h"
#include "../src/lwkt/spinlock.h"
#include "../src/lwkt/thread.h"

union sysunion;

namespace cr {

// td_wmask of those that no FUTEX_WAKE may wake: they wait for a lock to be handed over.
inline constexpr uint32_t kNoWake = 0;

struct WaitvRecord;

inline constexpr uint32_t kBuckets = 1u << 16;

struct Bucket {
  SpinLock lock;
  thread* head = nullptr;
  thread** tail = nullptr;         // of an empty bucket: anything
  WaitvRecord* several = nullptr;  // of those that wait on several words (futex_waitv.cc)
};
extern Bucket buckets[kBuckets];

inline Bucket* bucket_of(uint64_t addr) {
  uint64_t h = (addr >> 2) * 0x9e3779b97f4a7c15ull;
  return &buckets[h >> 48];
}

// Before the first waiter of a lower rank, as the kernel orders its waiters.
void append_ranked(Bucket* b, thread* td);

inline void append(Bucket* b, thread* td) {
  if (__builtin_expect(td->td_rank != 0, 0)) return append_ranked(b, td);
  if (b->head == nullptr) b->tail = &b->head;
  td->td_wnext = nullptr;
  td->td_wprev = b->tail;
  *b->tail = td;
  b->tail = &td->td_wnext;
}

inline void unlink(Bucket* b, thread* td) {
  *td->td_wprev = td->td_wnext;
  if (td->td_wnext != nullptr) {
    td->td_wnext->td_wprev = td->td_wprev;
  } else {
    b->tail = td->td_wprev;
  }
  td->td_wprev = nullptr;
}

// td will wait in b, which is locked.
inline void hang(Bucket* b, thread* td, uint64_t addr, uint32_t mask) {
  td->td_waddr = addr;
  td->td_wmask = mask;
  append(b, td);
}

// 0 if the word holds `value`, else why a wait for it to change is over.
inline int futex_check(uint64_t addr, uint32_t value) {
  int64_t seen = user_fetch32(reinterpret_cast<const uint32_t*>(addr));
  if (__builtin_expect(seen == value, 1)) return 0;
  return seen < 0 ? EFAULT : EAGAIN;
}

// To another bucket; both are locked.
inline void move(Bucket* from, Bucket* to, thread* td, uint64_t addr) {
  unlink(from, td);
  store_release(&td->td_waddr, addr);
  append(to, td);
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

// Wakes up to n waiters on addr, one at least. How many; in wake_locked the bucket is locked.
int wake_locked(Bucket* b, uint64_t addr, int n, uint32_t mask);
int futex_wake(uint64_t addr, int n, uint32_t mask);

// Hangs td in b, which is locked and is unlocked here, and sleeps until a wake (0), deadline
// (ETIMEDOUT) or signal (EINTR); ENOMEM if no timer is to be had.
int futex_sleep(thread* td, Bucket* b, uint64_t addr, uint32_t mask, uint64_t deadline);

// The absolute CLOCK_MONOTONIC deadline that a timespec of the program's means, in the form of
// call `nr`; null: kNever.
int futex_deadline(uint32_t nr, uint64_t user, bool relative, bool realtime, uint64_t* out);

int futex_requeue(uint64_t from, uint64_t to, int nwake, int nmove, const uint32_t* expect,
                  long* result);
int futex_wake_op(uint64_t a1, uint64_t a2, int n1, int n2, uint32_t op, long* result);
int futex_lock_pi(uint64_t addr, uint64_t deadline, bool try_only);
int futex_unlock_pi(uint64_t addr);
int futex_wait_requeue_pi(uint64_t addr, uint32_t value, uint64_t lock, uint64_t deadline);
int futex_cmp_requeue_pi(uint64_t from, uint64_t to, int nwake, int nmove, uint32_t expect,
                         long* result);
// wake_locked for those that wait on several words.
int futex_wake_several(Bucket* b, uint64_t addr, int n);
// Any operation on a word in shared memory.
int futex_shared(union sysunion* m, uint32_t cmd);

}  // namespace cr
