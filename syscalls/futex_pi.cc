// The priority-inheritance locks in memory of this process alone: FUTEX_LOCK_PI and its kin, and
// the pair that moves a condition variable's waiters to such a lock. The owner does not
// inherit its waiters' priorities: these are hand-over locks, to the highest waiter first, with the kernel's word format: the owner's tid,
// FUTEX_WAITERS, FUTEX_OWNER_DIED. Whoever unlocks writes the next owner's tid before it wakes it;
// one that timed out meanwhile passes the bucket's lock on its way out, so the word is another's by
// then.
//
// A waiter hangs in the lock's bucket with no bit in its mask, so that no FUTEX_WAKE finds it (the
// kernel answers EINVAL to one). td_wtarget is the lock that a FUTEX_WAIT_REQUEUE_PI waits to be
// moved to; moved, it is a waiter like the others.
//
// Interrupted, these calls are made again whatever the handler's SA_RESTART says: glibc takes any
// answer but a few for "locked".

#include <errno.h>

#include "../arch/usercopy.h"
#include "../src/lwkt/sched.h"
#include "../src/sysport/sysport.h"
#include "../src/sysport/tid.h"
#include "futex.h"
#include "futex_internal.h"

namespace cr {

namespace {

bool waits_for(const thread* td, uint64_t addr) {
  return td->td_waddr == addr && td->td_wmask == kNoWake && td->td_wtarget == 0;
}

thread* next_waiter(thread* from, uint64_t addr) {
  while (from != nullptr && !waits_for(from, addr)) from = from->td_wnext;
  return from;
}

// One try to make `tid` the owner, as the kernel's futex_lock_pi_atomic. 0: it is; EBUSY: somebody
// else is, and has FUTEX_WAITERS set if `mark`. The bucket is locked.
int try_own(uint64_t addr, uint32_t tid, bool mark, uint32_t extra) {
  auto* word = reinterpret_cast<uint32_t*>(addr);
  uint32_t seen;
  if (user_load32(&seen, word) != 0) return EFAULT;
  for (;;) {
    uint32_t owner = seen & FUTEX_TID_MASK;
    if (owner == tid) return EDEADLK;
    int r;
    if (owner == 0) {
      // Free, or its owner died: take it and keep the bits that say so and who else waits.
      r = user_cas32(word, &seen, tid | extra | (seen & (FUTEX_WAITERS | FUTEX_OWNER_DIED)));
      if (r == 1) return 0;
    } else {
      if (tid_find(static_cast<int32_t>(owner)) == nullptr) return ESRCH;
      if (!mark) return EBUSY;
      r = user_cas32(word, &seen, seen | FUTEX_WAITERS);
      if (r == 1) return EBUSY;
    }
    if (r < 0) return EFAULT;
  }
}

// Gives addr to the first waiter, with `bits` in its word; without one it is free. The bucket is
// locked and `seen` was read from the word.
int hand_over(Bucket* b, uint64_t addr, uint32_t seen, uint32_t bits) {
  auto* word = reinterpret_cast<uint32_t*>(addr);
  for (;;) {
    thread* next = next_waiter(b->head, addr);
    uint32_t fresh = bits;
    if (next != nullptr) {
      bool more = next_waiter(next->td_wnext, addr) != nullptr;
      fresh |= static_cast<uint32_t>(next->td_tid) | (more ? FUTEX_WAITERS : 0);
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

}  // namespace

int futex_lock_pi(uint64_t addr, uint64_t deadline, bool try_only) {
  thread* td = curthread();
  Bucket* b = bucket_of(addr);
  b->lock.lock();
  int error = try_own(addr, static_cast<uint32_t>(td->td_tid), !try_only, 0);
  if (error != EBUSY || try_only) {
    b->lock.unlock();
    return error == EBUSY ? EAGAIN : error;
  }
  td->td_wtarget = 0;
  error = futex_sleep(td, b, addr, kNoWake, deadline);
  return error == EINTR ? ERESTARTNOINTR : error;
}

int futex_unlock_pi(uint64_t addr) {
  Bucket* b = bucket_of(addr);
  Guard g(b->lock);
  uint32_t seen;
  if (user_load32(&seen, reinterpret_cast<const uint32_t*>(addr)) != 0) return EFAULT;
  if ((seen & FUTEX_TID_MASK) != static_cast<uint32_t>(curthread()->td_tid)) return EPERM;
  return hand_over(b, addr, seen, 0);
}

int futex_wait_requeue_pi(uint64_t addr, uint32_t value, uint64_t lock, uint64_t deadline) {
  if (addr == lock || (lock & 3) != 0) return EINVAL;
  thread* td = curthread();
  Bucket* b = bucket_of(addr);
  b->lock.lock();
  uint32_t seen;
  int error = user_load32(&seen, reinterpret_cast<const uint32_t*>(addr)) != 0 ? EFAULT
              : seen != value                                                  ? EAGAIN
                                                                               : 0;
  if (error != 0) {
    b->lock.unlock();
    return error;
  }
  td->td_wtarget = lock;
  error = futex_sleep(td, b, addr, kNoWake, deadline);
  if (error != EINTR) return error;
  // Made again after it was moved, the call would find another value and say the same.
  return td->td_wtarget == 0 ? EAGAIN : ERESTARTNOINTR;
}

int futex_cmp_requeue_pi(uint64_t from, uint64_t to, int nwake, int nmove, uint32_t expect,
                         long* result) {
  if (from == to || nwake != 1 || nmove < 0 || (to & 3) != 0) return EINVAL;
  Bucket *bf = bucket_of(from), *bt = bucket_of(to);
  TwoBuckets g(bf, bt);
  uint32_t seen;
  if (user_load32(&seen, reinterpret_cast<const uint32_t*>(from)) != 0) return EFAULT;
  if (seen != expect) return EAGAIN;
  // The first waiter counts as the woken one, the others as moved, whether the lock is free or not.
  long done = 0;
  for (thread* td = bf->head; td != nullptr && done <= nmove;) {
    thread* next = td->td_wnext;
    if (td->td_waddr != from) {
      td = next;
      continue;
    }
    if (td->td_wmask != kNoWake || td->td_wtarget != to) return EINVAL;
    int error = EBUSY;
    if (done == 0) {
      uint32_t more = nmove > 0 ? FUTEX_WAITERS : 0;
      error = try_own(to, static_cast<uint32_t>(td->td_tid), true, more);
      if (error != 0 && error != EBUSY) return error;
    }
    td->td_wtarget = 0;
    if (error == EBUSY) {
      move(bf, bt, td, to);
      done++;
      td = next;
      continue;
    }
    unlink(bf, td);
    if (lwkt_wake(td, 0)) {
      done++;
    } else {
      // It timed out just now, but the word names it: the next one's turn.
      user_load32(&seen, reinterpret_cast<const uint32_t*>(to));
      hand_over(bt, to, seen, 0);
    }
    td = next;
  }
  *result = done;
  return 0;
}

bool futex_pi_owner_died(uint64_t addr, int32_t tid) {
  Bucket* b = bucket_of(addr);
  Guard g(b->lock);
  uint32_t seen;
  if (user_load32(&seen, reinterpret_cast<const uint32_t*>(addr)) != 0) return false;
  if ((seen & FUTEX_TID_MASK) == static_cast<uint32_t>(tid)) {
    hand_over(b, addr, seen, FUTEX_OWNER_DIED);
  }
  return true;
}

}  // namespace cr
