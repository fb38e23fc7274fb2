#include "futex_inherit.h"

#include "../arch/usercopy.h"
#include "../src/sysport/tid.h"
#include "futex.h"

namespace cr {

namespace {

// The kernel's limit, too (max_lock_depth). Only what changes meanwhile makes a circle of it.
inline constexpr int kMostLinks = 1024;

void lend(PiWait* w, thread* owner) {
  w->owner = owner;
  w->next = owner->td_lenders;
  w->prev = &owner->td_lenders;
  if (w->next != nullptr) w->next->prev = &w->next;
  owner->td_lenders = w;
}

bool waits_for(const thread* td, uint64_t lock) {
  return td->td_waddr == lock && td->td_wmask == kNoWake && td->td_piwait != nullptr &&
         td->td_piwait->target == 0;
}

// Who waits by w has another rank. The lock's owner, null: he does not care.
thread* reorder(PiWait* w) {
  if (w->in_kernel) return w->owner;
  Bucket* b = bucket_of(w->waiter->td_waddr);
  Guard g(b->lock);
  if (w->waiter->td_wprev == nullptr) return nullptr;
  unlink(b, w->waiter);
  append(b, w->waiter);
  if (w->target != 0) return nullptr;
  // Who was the first may be any by now, so he must not lend any more; he has the same owner.
  inherit_take_back(w);
  thread* owner = inherit_owner(w->lock);
  inherit_settle(b, w->lock, owner);
  return owner;
}

}  // namespace

thread* inherit_owner(uint64_t lock) {
  uint32_t seen;
  if (user_load32(&seen, reinterpret_cast<const uint32_t*>(lock)) != 0) return nullptr;
  return tid_find(static_cast<int32_t>(seen & FUTEX_TID_MASK));
}

thread* inherit_next_waiter(thread* from, uint64_t lock) {
  while (from != nullptr && !waits_for(from, lock)) from = from->td_wnext;
  return from;
}

void inherit_settle(Bucket* b, uint64_t lock, thread* owner) {
  thread* first = inherit_next_waiter(b->head, lock);
  if (first == nullptr) return;
  // One that came before the first made it the second.
  thread* second = inherit_next_waiter(first->td_wnext, lock);
  if (second != nullptr) inherit_take_back(second->td_piwait);
  if (first->td_piwait->owner == owner) return;
  inherit_take_back(first->td_piwait);
  if (owner != nullptr) lend(first->td_piwait, owner);
}

thread* inherit_take_back(PiWait* w) {
  thread* owner = w->owner;
  if (owner == nullptr) return nullptr;
  *w->prev = w->next;
  if (w->next != nullptr) w->next->prev = w->prev;
  w->owner = nullptr;
  return owner;
}

void inherit_spread(thread* td) {
  for (int i = 0; td != nullptr && i < kMostLinks && rank_reckon(td); i++) {
    PiWait* w = td->td_piwait;
    sched_rank_changed(td);
    td = w != nullptr ? reorder(w) : nullptr;
  }
}

bool inherit_circle(thread* td, const thread* self) {
  for (int i = 0; td != nullptr && i < kMostLinks; i++) {
    if (td == self) return true;
    const PiWait* w = td->td_piwait;
    if (w == nullptr || w->target != 0) return false;
    td = inherit_owner(w->lock);
  }
  return false;
}

void inherit_class_changed(int32_t tid, bool all) {
  Guard g(ranklock);
  auto told = [](thread* td) {
    if (td->td_piwait != nullptr) inherit_spread(reorder(td->td_piwait));
    return false;
  };
  if (all) {
    tid_each(told);
  } else if (tid != 0) {
    thread* td = tid_find(tid);
    if (td != nullptr) told(td);
  }
}

void inherit_thread_gone(thread* td) {
  for (;;) {
    uint64_t lock = 0;
    {
      Guard g(ranklock);
      PiWait* w = td->td_lenders;
      if (w == nullptr) return;
      if (w->in_kernel) {
        inherit_take_back(w);
        continue;
      }
      lock = w->lock;
    }
    futex_pi_owner_died(lock, td->td_tid);
    // The word may name another one, by the program's doing.
    Guard g(ranklock);
    for (PiWait* w = td->td_lenders; w != nullptr; w = w->next) {
      if (w->lock != lock) continue;
      inherit_take_back(w);
      break;
    }
  }
}

bool inherit_begin_shared(PiWait* w, int32_t tid) {
  Guard g(ranklock);
  thread* owner = tid_find(tid);
  thread* before = inherit_take_back(w);
  w->waiter->td_piwait = w;
  if (owner != nullptr) {
    if (inherit_circle(owner, w->waiter)) return false;
    lend(w, owner);
  }
  if (before != owner) inherit_spread(before);
  inherit_spread(owner);
  return true;
}

void inherit_end_shared(PiWait* w) {
  Guard g(ranklock);
  w->waiter->td_piwait = nullptr;
  inherit_spread(inherit_take_back(w));
}

void inherit_unlocked_shared(uint64_t lock) {
  thread* td = curthread();
  Guard g(ranklock);
  for (PiWait *w = td->td_lenders, *next; w != nullptr; w = next) {
    next = w->next;
    if (w->lock == lock) inherit_take_back(w);
  }
  inherit_spread(td);
}

}  // namespace cr
