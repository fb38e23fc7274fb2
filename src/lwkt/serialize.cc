// Serializers (libcr/serialize.h): a sleeping lock with hand-over.
//
// slz_owner is the holder's thread pointer; bit 0 says that slz_waitq is not empty, and is
// set and cleared under slz_lock only. The way in and out without contention is one
// compare-and-swap on it.
//
// Hand-over (the leaver names the next holder) makes waiters switch for each turn even if the
// leaver wants to come right back; letting the leaver barge in again is faster for one pair
// of LWKTs and starves the third. A serializer is held across blocking calls, so waits are
// long and order matters more than a switch.
#include <libcr/serialize.h>

#include "assert.h"
#include "export.h"
#include "waiter.h"

namespace cr {

namespace {

constexpr uintptr_t kWaiters = 1;

uintptr_t self() { return reinterpret_cast<uintptr_t>(curthread()); }

void lock(lwkt_serialize* slz) {
  if (!smp) {
    slz->slz_lock = 1;
  } else if (__atomic_exchange_n(&slz->slz_lock, 1u, __ATOMIC_ACQUIRE) != 0) {
    spin_contended(&slz->slz_lock);
  }
}

void unlock(lwkt_serialize* slz) { store_release(&slz->slz_lock, 0u); }

// Under slz_lock: true if the caller became the holder, false if it must queue (bit 0 is set).
bool enter_or_announce(lwkt_serialize* slz, uintptr_t me) {
  for (;;) {
    uintptr_t owner = load_acquire(&slz->slz_owner);
    if (owner == 0) {
      if (atomic_cas(&slz->slz_owner, uintptr_t{0}, me)) return true;
    } else if ((owner & kWaiters) != 0 ||
               atomic_cas(&slz->slz_owner, owner, owner | kWaiters)) {
      return false;
    }
  }
}

// Sleeps once; the wake may have been a signal's.
void sleep_queued(lwkt_serialize* slz, waiter* w) {
  lock(slz);
  if (load_acquire(&w->state) != W_QUEUED) {
    unlock(slz);
    return;
  }
  sched_block(w->td);
  unlock(slz);
  sched_sleep();
}

[[gnu::noinline]] void enter_contended(lwkt_serialize* slz, uintptr_t me) {
  KASSERT((load_acquire(&slz->slz_owner) & ~kWaiters) != me);
  waiter w{.td = curthread(), .key = slz, .next = nullptr, .state = W_QUEUED};
  lock(slz);
  if (enter_or_announce(slz, me)) {
    unlock(slz);
    return;
  }
  waitq_add(&slz->slz_waitq, &w);
  unlock(slz);
  while (load_acquire(&w.state) == W_QUEUED) sleep_queued(slz, &w);
  waiter_await_woken(w);
}

[[gnu::noinline]] void exit_contended(lwkt_serialize* slz) {
  lock(slz);
  waiter* w = waitq_claim(&slz->slz_waitq, slz);
  uintptr_t next = reinterpret_cast<uintptr_t>(w->td);
  if (slz->slz_waitq != nullptr) next |= kWaiters;
  store_release(&slz->slz_owner, next);
  unlock(slz);
  waiter_wake(w);
}

}  // namespace

}  // namespace cr

using namespace cr;

extern "C" {

CR_API void lwkt_serialize_init(lwkt_serialize_t slz) { *slz = lwkt_serialize{}; }

CR_API void lwkt_serialize_enter(lwkt_serialize_t slz) {
  uintptr_t me = self();
  if (!atomic_cas(&slz->slz_owner, uintptr_t{0}, me)) enter_contended(slz, me);
}

CR_API int lwkt_serialize_try(lwkt_serialize_t slz) {
  return atomic_cas(&slz->slz_owner, uintptr_t{0}, self());
}

CR_API void lwkt_serialize_exit(lwkt_serialize_t slz) {
  KASSERT(lwkt_serialize_held(slz));
  if (!atomic_cas(&slz->slz_owner, self(), uintptr_t{0})) exit_contended(slz);
}

CR_API int lwkt_serialize_held(lwkt_serialize_t slz) {
  return (load_acquire(&slz->slz_owner) & ~kWaiters) == self();
}

}  // extern "C"
