// What libcr knows of the timers of timer_create.
//
// The kernel keeps them and their time. It is told to signal the process even where the program named
// a thread (SIGEV_THREAD_ID, which SIGEV_THREAD is built on): the tid of an LWKT is no kernel
// thread's. And the kernel takes a signal as delivered when libcr's handler has it, so that the next
// expiry sends another; a timer has one signal pending at most, and the others are its overruns,
// so they are counted here until the program has the first. What a deleted or newly set
// timer had pending is dropped, as by Linux since 6.13.

#include <errno.h>
#include <limits.h>

#include "../lwkt/slab.h"
#include "../sysport/tid.h"
#include "signal.h"

namespace cr {

namespace {

struct PosixTimer {
  PosixTimer* next;
  int32_t id;
  int32_t sig;
  int32_t tid;              // 0: the process
  sigqueue_entry* pending;  // its signal, in a queue
  int32_t overrun;          // of the last one taken
};

inline constexpr uint32_t kBuckets = 64;  // ids are given out in order

PosixTimer* buckets[kBuckets];  // siglock

PosixTimer** slot_of(int32_t id) {
  PosixTimer** p = &buckets[static_cast<uint32_t>(id) % kBuckets];
  while (*p != nullptr && (*p)->id != id) p = &(*p)->next;
  return p;
}

void drop_pending(PosixTimer* t) {
  if (t->pending != nullptr) sig_unqueue(t->pending);
  t->pending = nullptr;
}

int32_t add_overruns(int32_t a, int32_t b) {
  int32_t sum;
  return __builtin_add_overflow(a, b, &sum) ? INT_MAX : sum;
}

}  // namespace

bool sig_timer_add(int32_t id, int sig, int32_t tid) {
  auto* t = static_cast<PosixTimer*>(slab_alloc(sizeof(PosixTimer)));
  if (t == nullptr) return false;
  Guard g(siglock);
  PosixTimer** p = slot_of(id);
  *t = PosixTimer{*p, id, sig, tid, nullptr, 0};
  *p = t;
  return true;
}

void sig_timer_remove(int32_t id) {
  PosixTimer* t;
  {
    Guard g(siglock);
    PosixTimer** p = slot_of(id);
    t = *p;
    if (t == nullptr) return;
    drop_pending(t);
    *p = t->next;
  }
  slab_free(t, sizeof *t);
}

void sig_timer_rearm(int32_t id) {
  if (!sig_inbox_empty()) sig_route();
  Guard g(siglock);
  PosixTimer* t = *slot_of(id);
  if (t == nullptr) return;
  drop_pending(t);
  t->overrun = 0;
}

bool sig_timer_overrun(int32_t id, int* out) {
  int sig;
  {
    Guard g(siglock);
    PosixTimer* t = *slot_of(id);
    if (t == nullptr) return false;
    *out = t->overrun;
    sig = t->sig;
  }
  if (sig_comes_here(sig)) return true;
  if ((curthread()->td_sigmask & sigbit(sig)) == 0) sig_drop_ignored(sigbit(sig));
  return false;
}

int sig_timer_expired(sigqueue_entry* e, thread** target) {
  PosixTimer* t = *slot_of(e->info.si_timerid);
  if (t == nullptr) return ESRCH;  // deleted meanwhile
  if (t->pending != nullptr) {
    siginfo_t& first = t->pending->info;
    first.si_overrun = add_overruns(first.si_overrun, add_overruns(1, e->info.si_overrun));
    return EEXIST;
  }
  if (t->tid != 0) {
    *target = tid_find(t->tid);
    if (*target == nullptr) return ESRCH;
  }
  t->pending = e;
  return 0;
}

void sig_timer_taken(sigqueue_entry* e) {
  PosixTimer* t = *slot_of(e->info.si_timerid);
  if (t == nullptr || t->pending != e) return;
  t->pending = nullptr;
  t->overrun = e->info.si_overrun;
}

void sig_timer_atfork_child() {
  // The child has none of them.
  for (PosixTimer*& head : buckets) {
    while (head != nullptr) {
      PosixTimer* t = head;
      head = t->next;
      slab_free(t, sizeof *t);
    }
  }
}

}  // namespace cr
