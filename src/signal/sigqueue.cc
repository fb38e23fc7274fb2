#include "sigqueue.h"

#include <sys/resource.h>
#include <sys/syscall.h>

#include "../../arch/rawcall.h"
#include "../lwkt/reserve.h"

namespace cr {

namespace {

inline constexpr uint32_t kLeast = 1024;      // beyond the limit: kill and tgkill know none
inline constexpr uint32_t kMost = 1u << 20;

sigqueue_entry* pool;
uint32_t capacity;
// Free entries: index + 1 of the first in the low half, a change count above it (ABA). Entries
// that were never used follow from `fresh`.
uint64_t free_head;
uint32_t fresh;
uint32_t in_use;
// So many may wait without asking for the limit: none where that is lower.
inline constexpr uint32_t kFew = 32;
uint32_t unasked;

struct Limit {
  uint64_t soft, hard;
};
Limit limit() {
  Limit l{kMost, kMost};
  raw4(SYS_prlimit64, 0, RLIMIT_SIGPENDING, 0, reinterpret_cast<long>(&l));
  return l;
}

void set_unasked(const Limit& l) { __atomic_store_n(&unasked, l.soft < kFew ? 0u : kFew, __ATOMIC_RELAXED); }

sigqueue_entry* take_entry() {
  uint64_t head = __atomic_load_n(&free_head, __ATOMIC_ACQUIRE);
  while (static_cast<uint32_t>(head) != 0) {
    sigqueue_entry* e = &pool[static_cast<uint32_t>(head) - 1];
    auto next = static_cast<uint32_t>(reinterpret_cast<uintptr_t>(e->next));
    uint64_t want = ((head >> 32) + 1) << 32 | next;
    if (__atomic_compare_exchange_n(&free_head, &head, want, false, __ATOMIC_ACQ_REL,
                                    __ATOMIC_ACQUIRE)) {
      return e;
    }
  }
  uint32_t i = __atomic_fetch_add(&fresh, 1, __ATOMIC_RELAXED);
  if (i < capacity) return &pool[i];
  __atomic_fetch_sub(&fresh, 1, __ATOMIC_RELAXED);
  return nullptr;
}

// Takes out the entry after p.
sigqueue_entry* take_after(sigqueue_entry** q, sigqueue_entry* p) {
  sigqueue_entry* e = p->next;
  p->next = e->next;
  if (e == *q) *q = e == p ? nullptr : p;
  return e;
}

}  // namespace

void sigqueue_init() {
  Limit l = limit();
  set_unasked(l);
  uint64_t want = l.hard;
  want = (want < kMost ? want : kMost) + kLeast;
  for (; want >= kLeast / 2; want /= 2) {
    long p = reserve(want * sizeof(sigqueue_entry));
    if (raw_failed(p)) continue;
    pool = reinterpret_cast<sigqueue_entry*>(p);
    capacity = static_cast<uint32_t>(want);
    return;
  }
}

void sigqueue_atfork_child() {
  free_head = 0;
  fresh = in_use = 0;
}

sigqueue_entry* sigqueue_alloc() {
  sigqueue_entry* e = take_entry();
  if (e != nullptr) __atomic_fetch_add(&in_use, 1, __ATOMIC_RELAXED);
  return e;
}

void sigqueue_free(sigqueue_entry* e) {
  __atomic_fetch_sub(&in_use, 1, __ATOMIC_RELAXED);
  auto index = static_cast<uint32_t>(e - pool) + 1;
  uint64_t head = __atomic_load_n(&free_head, __ATOMIC_RELAXED);
  do {
    e->next = reinterpret_cast<sigqueue_entry*>(static_cast<uintptr_t>(static_cast<uint32_t>(head)));
  } while (!__atomic_compare_exchange_n(&free_head, &head, ((head >> 32) + 1) << 32 | index, false,
                                        __ATOMIC_ACQ_REL, __ATOMIC_RELAXED));
}

void sigqueue_limit_changes() { set_unasked(limit()); }

bool sigqueue_limited() {
  uint32_t n = __atomic_load_n(&in_use, __ATOMIC_RELAXED);
  return n >= __atomic_load_n(&unasked, __ATOMIC_RELAXED) && n >= limit().soft;
}

void sigqueue_append(sigqueue_entry** q, sigqueue_entry* e) {
  if (*q != nullptr) {
    e->next = (*q)->next;
    (*q)->next = e;
  } else {
    e->next = e;
  }
  *q = e;
}

sigqueue_entry* sigqueue_take(sigqueue_entry** q, int sig, bool* more) {
  *more = false;
  sigqueue_entry* p = *q;
  if (p == nullptr) return nullptr;
  while (p->next->info.si_signo != sig) {
    p = p->next;
    if (p == *q) return nullptr;
  }
  bool newest = p->next == *q;
  sigqueue_entry* taken = take_after(q, p);
  // Only what came later can be another one.
  for (; !newest && !*more; newest = p == *q) {
    p = p->next;
    *more = p->info.si_signo == sig;
  }
  return taken;
}

bool sigqueue_remove(sigqueue_entry** q, sigqueue_entry* e) {
  int sig = e->info.si_signo;
  sigqueue_entry* p = *q;
  while (p->next != e) p = p->next;
  take_after(q, p);
  p = *q;
  if (p == nullptr) return false;
  do {
    if (p->info.si_signo == sig) return true;
    p = p->next;
  } while (p != *q);
  return false;
}

sigqueue_entry* sigqueue_pop(sigqueue_entry** q) {
  return *q == nullptr ? nullptr : take_after(q, *q);
}

}  // namespace cr
