// What libcr knows of the timers of timer_create.
//
// The kernel keeps them and their time. It is told to signal the process even where the program named
// a thread (SIGEV_THREAD_ID, which SIGEV_THREAD is built on): the tid of an LWKT is no kernel
// thread's. And the kernel takes a signal as delivered when libcr's handler has it, so that the next
// expiry sends another; a timer has one signal pending at most, and the others are its overruns,
// so they are counted here until the program has the first. What a deleted or newly set
// timer had pending is dropped, as by Linux since 6.13.
//
// What the processor time of an LWKT is (src/lwkt/cputime.h), the kernel does not know either. A timer of
// that clock has a kernel timer on the process's clock, which can't be slower, for its alarm: it is set to
// what the LWKT has yet to use, and again if it has not used that by then. So a process that sleeps has
// no ticks, and one that computes at most those at which the kernel looks at such timers anyway.

#include <errno.h>
#include <limits.h>
#include <sys/syscall.h>
#include <time.h>

#include "../../arch/rawcall.h"
#include "../lwkt/clock.h"
#include "../lwkt/cputime.h"
#include "../lwkt/rfork.h"
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
  // Of those that count an LWKT's processor time.
  int32_t clock;            // its tid, or kEnded; 0: it is none of these
  bool signals;
  uint64_t due, period;     // ns of that time; 0: not set, once
  sigval value;
};

inline constexpr int32_t kEnded = -1;

inline constexpr uint32_t kBuckets = 64;  // ids are given out in order

PosixTimer* buckets[kBuckets];  // siglock
uint32_t counting;              // those that have a clock

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

// ---- those that count an LWKT's processor time --------------------------------------------------

// False: it has ended.
bool time_of(const PosixTimer* t, uint64_t* now) {
  const thread* td = t->clock != kEnded ? tid_find(t->clock) : nullptr;
  if (td != nullptr) *now = cputime_of(td);
  return td != nullptr;
}

void set_alarm(const PosixTimer* t, uint64_t now) {
  constexpr uint64_t kLeast = 10'000, kMost = 3600 * kSecond;
  if (!t->signals) return;
  itimerspec it{};
  if (t->due != 0) {
    uint64_t ns = t->due > now + kLeast ? t->due - now : kLeast;
    if (ns > kMost) ns = kMost;
    it.it_value = {static_cast<time_t>(ns / kSecond), static_cast<long>(ns % kSecond)};
  }
  raw4(SYS_timer_settime, t->id, 0, reinterpret_cast<long>(&it), 0);
}

// How often it has expired by now. It is set to the next time, or not any more.
uint64_t expire(PosixTimer* t, uint64_t now) {
  if (t->due == 0 || now < t->due) return 0;
  uint64_t times = 1;
  if (t->period != 0) times += (now - t->due) / t->period;
  t->due = t->period != 0 ? t->due + times * t->period : 0;
  return times;
}

// Its alarm went off. True: it has expired, and e is its signal.
bool alarm(PosixTimer* t, sigqueue_entry* e) {
  uint64_t now;
  if (!time_of(t, &now)) return false;
  uint64_t times = expire(t, now);
  if (t->due != 0) set_alarm(t, now);
  e->info.si_signo = t->sig;
  e->info.si_value = t->value;
  e->info.si_overrun = times > INT_MAX ? INT_MAX : static_cast<int>(times) - 1;
  return times != 0;
}

TimerSetting setting_of(PosixTimer* t, uint64_t now) {
  if (!t->signals) expire(t, now);
  uint64_t left = t->due == 0 ? 0 : t->due > now ? t->due - now : 1;
  return {left, t->period};
}

}  // namespace

bool sig_timer_add(int32_t id, int sig, int32_t tid) {
  auto* t = static_cast<PosixTimer*>(slab_alloc(sizeof(PosixTimer)));
  if (t == nullptr) return false;
  Guard g(siglock);
  PosixTimer** p = slot_of(id);
  *t = PosixTimer{*p, id, sig, tid, nullptr, 0, 0, false, 0, 0, {}};
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
    if (t->clock != 0) counting--;
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
    if (t->clock != 0) return true;
  }
  if (sig_comes_here(sig) && !sig_is_left(sig)) return true;
  if ((curthread()->td_sigmask & sigbit(sig)) == 0) sig_drop_ignored(sigbit(sig));
  return false;
}

int sig_timer_expired(sigqueue_entry* e, thread** target) {
  PosixTimer* t = *slot_of(e->info.si_timerid);
  if (t == nullptr) return ESRCH;  // deleted meanwhile
  if (t->clock != 0 && e->info.si_signo == kIpiSignal && !alarm(t, e)) return ESRCH;
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

void sig_timer_count(int32_t id, int32_t clock_tid, bool signals, sigval value) {
  Guard g(siglock);
  PosixTimer* t = *slot_of(id);
  t->clock = clock_tid;
  t->signals = signals;
  t->value = value;
  counting++;
}

bool sig_timer_get(int32_t id, TimerSetting* now) {
  Guard g(siglock);
  PosixTimer* t = *slot_of(id);
  if (t == nullptr || t->clock == 0) return false;
  uint64_t used;
  *now = time_of(t, &used) ? setting_of(t, used) : TimerSetting{0, t->period};
  return true;
}

bool sig_timer_set(int32_t id, bool absolute, TimerSetting fresh, TimerSetting* old, int* error) {
  bool over = false;
  {
    Guard g(siglock);
    PosixTimer* t = *slot_of(id);
    if (t == nullptr || t->clock == 0) return false;
    uint64_t now;
    *error = ESRCH;
    if (!time_of(t, &now)) return true;
    *error = 0;
    *old = setting_of(t, now);
    drop_pending(t);
    t->overrun = 0;
    t->due = fresh.value == 0 ? 0 : absolute ? fresh.value : now + fresh.value;
    t->period = fresh.interval;
    over = t->signals && t->due != 0 && t->due <= now;
    if (!over) set_alarm(t, now);
  }
  if (!over) return true;
  // At once, even if the process computes nothing from now on.
  siginfo_t info{};
  info.si_signo = kIpiSignal;
  info.si_code = SI_TIMER;
  info.si_timerid = id;
  sig_inbox_put(&info);
  sig_route();
  return true;
}

void sig_timer_thread_gone(int32_t tid) {
  if (__builtin_expect(counting == 0, 1)) return;
  for (PosixTimer* t : buckets) {
    for (; t != nullptr; t = t->next) {
      if (t->clock == tid) t->clock = kEnded;
    }
  }
}

void sig_timer_atfork_child() {
  counting = 0;
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
