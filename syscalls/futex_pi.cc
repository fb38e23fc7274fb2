// The priority-inheritance locks in memory of this process alone: FUTEX_LOCK_PI and its kin, and
// the pair that moves a condition variable's waiters to such a lock. They are handed over, to the highest
// waiter first, with the kernel's word format: the owner's tid, FUTEX_WAITERS, FUTEX_OWNER_DIED. Whoever
// unlocks writes the next owner's tid before it wakes it; one that timed out meanwhile passes ranklock
// on its way out, so the word is another's by then. What the owner inherits: futex_inherit.h.
//
// A waiter hangs in the lock's bucket with no bit in its mask, so that no FUTEX_WAKE finds it (the
// kernel answers EINVAL to one). td_piwait says for which lock; its target is the lock that a
// FUTEX_WAIT_REQUEUE_PI waits to be moved to; moved, it is a waiter like the others. All that changes
// these is under ranklock.
//
// Interrupted, these calls are made again whatever the handler's SA_RESTART says: glibc takes any
// answer but a few for "locked".

#include <errno.h>

#include "../arch/usercopy.h"
#include "../src/async/timer.h"
#include "../src/lwkt/clock.h"
#include "../src/lwkt/sched.h"
#include "../src/sysport/sysport.h"
#include "../src/sysport/tid.h"
#include "futex.h"
#include "futex_inherit.h"
#include "futex_internal.h"

namespace cr {

namespace {

// One try to make `tid` the owner, as the kernel's futex_lock_pi_atomic. 0: it is; EBUSY: somebody
// else, *holder, is, and has FUTEX_WAITERS set if `mark`. ranklock is held, the bucket locked.
int try_own(uint64_t addr, uint32_t tid, bool mark, uint32_t extra, thread** holder) {
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
      *holder = tid_find(static_cast<int32_t>(owner));
      if (*holder == nullptr) return ESRCH;
      if (!mark) return EBUSY;
      r = user_cas32(word, &seen, seen | FUTEX_WAITERS);
      if (r == 1) return EBUSY;
    }
    if (r < 0) return EFAULT;
  }
}

// td, which hangs in b, waits no longer. Whom it lent to has yet to be told.
thread* unhang(Bucket* b, thread* td) {
  thread* owner = inherit_take_back(td->td_piwait);
  td->td_piwait = nullptr;
  unlink(b, td);
  return owner;
}

// Hangs td in b.
void hang(Bucket* b, thread* td, PiWait* w, uint64_t addr) {
  td->td_piwait = w;
  hang(b, td, addr, kNoWake);
}

// Sleeps until somebody has taken the caller out of its bucket, or it does so itself. ranklock is held
// and is free after it. As futex_sleep.
int sleep(thread* td, uint64_t deadline) {
  sched_block(td);
  int64_t why = -ENOMEM;
  bool timed = deadline != kNever;
  if (timed && !timer_arm(td, deadline)) {
    td->td_state = TDS_RUNNING;
  } else {
    ranklock.unlock();
    why = sched_sleep_interruptible();
    if (timed) timer_cancel(td);
    if (why == 0) return 0;
    ranklock.lock();
  }
  if (const PiWait* w = td->td_piwait) {
    uint64_t addr = td->td_waddr;
    bool lent = w->target == 0;
    Bucket* b = bucket_of(addr);
    b->lock.lock();
    thread* owner = unhang(b, td);
    if (lent) inherit_settle(b, addr, owner);
    b->lock.unlock();
    inherit_spread(owner);
  }
  ranklock.unlock();
  return static_cast<int>(-why);
}

// Gives addr to the first waiter, with `bits` in its word; without one it is free. ranklock is held, the bucket
// locked, and `seen` was read from the word.
int hand_over(Bucket* b, uint64_t addr, uint32_t seen, uint32_t bits) {
  auto* word = reinterpret_cast<uint32_t*>(addr);
  for (;;) {
    thread* next = inherit_next_waiter(b->head, addr);
    uint32_t fresh = bits;
    if (next != nullptr) {
      bool more = inherit_next_waiter(next->td_wnext, addr) != nullptr;
      fresh |= static_cast<uint32_t>(next->td_tid) | (more ? FUTEX_WAITERS : 0);
    }
    int r = user_cas32(word, &seen, fresh);
    if (r < 0) return EFAULT;
    if (r == 0) continue;
    if (next == nullptr) return 0;
    thread* before = unhang(b, next);
    inherit_settle(b, addr, next);
    // Neither waits, so that nobody else hears of it. (The others' ranks are below the new one's.)
    if (before != nullptr && rank_reckon(before)) sched_rank_changed(before);
    rank_reckon(next);
    if (lwkt_wake(next, 0)) return 0;
    // It timed out meanwhile; the word names it, so hand over again.
    seen = fresh;
  }
}

// The buckets are locked here. Whoever owns `to` afterwards has yet to be told.
int requeue(uint64_t from, uint64_t to, int nmove, uint32_t expect, long* result) {
  Bucket *bf = bucket_of(from), *bt = bucket_of(to);
  TwoBuckets g(bf, bt);
  if (int error = futex_check(from, expect); error != 0) return error;
  // The first waiter counts as the woken one, the others as moved, whether the lock is free or not.
  long done = 0;
  thread* owner = nullptr;
  for (thread* td = bf->head; td != nullptr && done <= nmove;) {
    thread* next = td->td_wnext;
    if (td->td_waddr != from) {
      td = next;
      continue;
    }
    if (td->td_piwait == nullptr || td->td_piwait->target != to) return EINVAL;
    int error = EBUSY;
    if (done == 0) {
      uint32_t more = nmove > 0 ? FUTEX_WAITERS : 0;
      error = try_own(to, static_cast<uint32_t>(td->td_tid), true, more, &owner);
      if (error != 0 && error != EBUSY) return error;
    }
    td->td_piwait->target = 0;
    if (error == EBUSY) {
      move(bf, bt, td, to);
      inherit_settle(bt, to, owner);
      done++;
      td = next;
      continue;
    }
    unhang(bf, td);
    owner = td;
    if (lwkt_wake(td, 0)) {
      done++;
    } else {
      // It timed out just now, but the word names it: the next one's turn.
      uint32_t seen = 0;
      user_load32(&seen, reinterpret_cast<const uint32_t*>(to));
      hand_over(bt, to, seen, 0);
      owner = inherit_owner(to);
    }
    td = next;
  }
  *result = done;
  return 0;
}

}  // namespace

int futex_lock_pi(uint64_t addr, uint64_t deadline, bool try_only) {
  thread* td = curthread();
  Bucket* b = bucket_of(addr);
  PiWait w{.waiter = td, .lock = addr};
  ranklock.lock();
  b->lock.lock();
  thread* owner = nullptr;
  int error = try_own(addr, static_cast<uint32_t>(td->td_tid), !try_only, 0, &owner);
  bool circle = error == EBUSY && !try_only && inherit_circle(owner, td);
  if (error != EBUSY || try_only || circle) {
    b->lock.unlock();
    ranklock.unlock();
    return circle ? EDEADLK : error == EBUSY ? EAGAIN : error;
  }
  hang(b, td, &w, addr);
  inherit_settle(b, addr, owner);
  b->lock.unlock();
  inherit_spread(owner);
  error = sleep(td, deadline);
  return error == EINTR ? ERESTARTNOINTR : error;
}

int futex_unlock_pi(uint64_t addr) {
  Guard r(ranklock);
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
  PiWait w{.waiter = td, .lock = lock, .target = lock};
  ranklock.lock();
  b->lock.lock();
  int error = futex_check(addr, value);
  if (error == 0) hang(b, td, &w, addr);
  b->lock.unlock();
  if (error != 0) {
    ranklock.unlock();
    return error;
  }
  error = sleep(td, deadline);
  if (error != EINTR) return error;
  // Made again after it was moved, the call would find another value and say the same.
  return w.target == 0 ? EAGAIN : ERESTARTNOINTR;
}

int futex_cmp_requeue_pi(uint64_t from, uint64_t to, int nwake, int nmove, uint32_t expect,
                         long* result) {
  if (from == to || nwake != 1 || nmove < 0 || (to & 3) != 0) return EINVAL;
  Guard r(ranklock);
  int error = requeue(from, to, nmove, expect, result);
  inherit_spread(inherit_owner(to));
  return error;
}

bool futex_pi_owner_died(uint64_t addr, int32_t tid) {
  Guard r(ranklock);
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
