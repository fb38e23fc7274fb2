// The priority-inheritance locks: FUTEX_LOCK_PI, FUTEX_TRYLOCK_PI, FUTEX_UNLOCK_PI. LWKTs have no
// priorities to inherit, so these are fair hand-over locks with the kernel's word format: the
// owner's tid, FUTEX_WAITERS, FUTEX_OWNER_DIED. The unlocker writes the next owner's tid before
// it wakes it.

#include <errno.h>

#include "../arch/x86_64/usercopy.h"
#include "../src/lwkt/sched.h"
#include "../src/sysport/sysport.h"
#include "../src/sysport/tid.h"
#include "futex.h"
#include "futex_internal.h"

namespace cr {

namespace {

inline constexpr uint32_t kWaiters = FUTEX_WAITERS;
inline constexpr uint32_t kOwnerDied = FUTEX_OWNER_DIED;
inline constexpr uint32_t kTidMask = FUTEX_TID_MASK;

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

}  // namespace

int futex_lock_pi(uint64_t addr, uint64_t deadline, bool try_only) {
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

int futex_unlock_pi(uint64_t addr) {
  Bucket* b = bucket_of(addr);
  Guard g(b->lock);
  uint32_t seen;
  if (user_load32(&seen, reinterpret_cast<const uint32_t*>(addr)) != 0) return EFAULT;
  if ((seen & kTidMask) != static_cast<uint32_t>(curthread()->td_tid)) return EPERM;
  return hand_over_pi(b, addr, seen, 0);
}

void futex_pi_owner_died(uint64_t addr, int32_t tid) {
  Bucket* b = bucket_of(addr);
  Guard g(b->lock);
  uint32_t seen;
  if (user_load32(&seen, reinterpret_cast<const uint32_t*>(addr)) != 0) return;
  if ((seen & kTidMask) == static_cast<uint32_t>(tid)) hand_over_pi(b, addr, seen, kOwnerDied);
}

}  // namespace cr
