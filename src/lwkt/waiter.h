// Somebody who sleeps on a port or a serializer: a record on the sleeper's own stack.
//
// The rules that lose no wake-up and leave nothing dangling:
//
//   1. The sleeper links its record and calls sched_block under the object's lock, then lets
//      go of the lock and sleeps. A waker that comes between the two finds it BLOCKED.
//   2. A waker unlinks the record under the lock (W_CLAIMED), lets go of the lock, calls
//      lwkt_wake and marks the record W_WOKEN. That store is its last touch of the record.
//   3. A sleeper that was claimed does not leave before W_WOKEN. A signal can wake it between
//      the claim and the wake; without this rule the late lwkt_wake would hit an LWKT that
//      sleeps somewhere else by then, or is dead.
//
// Waking under the lock would need no third rule, but lwkt_wake may trap to kick an idle cpu,
// and every sender to a busy port would spin through that trap. Linking LWKTs by td_qnext
// would need no record, but a signal's wake puts the LWKT on a run queue by the same field
// while it is still linked here.
//
// The list is circular, the head word points at its tail: first come, first served with one
// word. All wait queue functions need the object's lock.
#pragma once

#include <asm/errno.h>
#include <asm/unistd.h>

#include "sched.h"
#include "spinlock.h"

namespace cr {

enum WaiterState : uint32_t {
  W_QUEUED = 0,
  W_CLAIMED = 1,
  W_WOKEN = 2,
};

struct waiter {
  thread* td;
  const void* key;  // what it waits for: a message, a port, a serializer
  waiter* next;
  uint32_t state;  // WaiterState
};

inline void waitq_add(void** queue, waiter* w) {
  auto* tail = static_cast<waiter*>(*queue);
  if (tail == nullptr) {
    w->next = w;
  } else {
    w->next = tail->next;
    tail->next = w;
  }
  *queue = w;
}

// Unlinks the record behind `prev`.
inline waiter* waitq_unlink_next(void** queue, waiter* prev) {
  waiter* w = prev->next;
  if (w == prev) {
    *queue = nullptr;
  } else {
    prev->next = w->next;
    if (*queue == w) *queue = prev;
  }
  return w;
}

// Claims the longest waiter for `key`; null if there is none. To be followed by waiter_wake.
inline waiter* waitq_claim(void** queue, const void* key) {
  auto* tail = static_cast<waiter*>(*queue);
  if (tail == nullptr) return nullptr;
  waiter* prev = tail;
  do {
    if (prev->next->key == key) {
      waiter* w = waitq_unlink_next(queue, prev);
      store_release(&w->state, W_CLAIMED);
      return w;
    }
    prev = prev->next;
  } while (prev != tail);
  return nullptr;
}

// Takes a record that nobody claimed off its queue.
inline void waitq_remove(void** queue, waiter* w) {
  waiter* prev = w;
  while (prev->next != w) prev = prev->next;
  waitq_unlink_next(queue, prev);
}

// Without the lock. `w` may be null.
inline void waiter_wake(waiter* w) {
  if (w == nullptr) return;
  lwkt_wake(w->td, 0);
  store_release(&w->state, W_WOKEN);
}

inline void waiter_await_woken(const waiter& w) {
  spin_until([&] { return load_acquire(&w.state) == W_WOKEN; });
}

// The second half of a wait, after sched_block and without locks. True when a signal ended it;
// one that was posted before sched_block counts, too.
inline bool sleep_maybe_interruptible(bool catch_signals) {
  if (catch_signals) return sched_sleep_interruptible() == -EINTR;
  sched_sleep();
  return false;
}

// The same for what waits on a port, with its flags: 0, EINTR or ETIMEDOUT. LWKT_PTIMED: until
// td_deadline (lwkt_waitport_until).
inline int sleep_on_port(int flags) {
  bool catch_signals = (flags & LWKT_PCATCH) != 0;
  if (__builtin_expect((flags & LWKT_PTIMED) == 0, 1)) {
    return sleep_maybe_interruptible(catch_signals) ? EINTR : 0;
  }
  int64_t why = sched_sleep_until(catch_signals, curthread()->td_deadline);
  return why == -EINTR || why == -ETIMEDOUT ? static_cast<int>(-why) : 0;
}

// What a waiter for a message does when it was not the reply that ended its sleep: a signal sends
// one abort and the wait goes on without regard to signals; a wait with a deadline ends. Returns
// 0, or the vector's answer.
inline int message_wait_ended(int ended, lwkt_msg* msg, int* flags) {
  if ((*flags & LWKT_PTIMED) != 0) return -ended;
  *flags &= ~LWKT_PCATCH;
  lwkt_abortmsg(msg);
  return 0;
}

}  // namespace cr
