#include "preempt.h"

#include "../lwkt/assert.h"
#include "../lwkt/rfork.h"
#include "../mem/arena.h"

namespace cr {

// At the upper end of its stack.
struct PreemptStack {
  PreemptStack* next;
  uint64_t pad;
};

namespace {

inline constexpr uint64_t kStack = 32 * 1024;  // a frame of up to 12 KB (AMX), and the scheduler
inline constexpr uint64_t kGuard = 4096;
inline constexpr uint32_t kKept = 64;  // that nobody uses

GlobalLock lock;
PreemptStack* kept;
uint32_t nkept;

uint64_t base_of(const PreemptStack* s) { return reinterpret_cast<uintptr_t>(s) + sizeof *s - kStack; }

// The stack at whose end the frame of uc is. All of them are aligned alike, so that the frame's place is, too.
PreemptStack* stack_of(const kucontext* uc) {
  constexpr uint64_t kEnd = kStack - sizeof(PreemptStack);
  uint64_t below = kEnd - reinterpret_cast<uintptr_t>(sigframe_place(kEnd).frame);
  return reinterpret_cast<PreemptStack*>(reinterpret_cast<uintptr_t>(uc) - offsetof(rt_sigframe, uc) + below);
}

PreemptStack* make() {
  uint64_t base = arena_alloc_own(kStack, kGuard);
  return base == 0 ? nullptr : reinterpret_cast<PreemptStack*>(base + kStack - sizeof(PreemptStack));
}

PreemptStack* take() {
  globaldata* gd = mygd();
  if (PreemptStack* s = gd->gd_preemptleft; s != nullptr) {
    gd->gd_preemptleft = nullptr;
    return s;
  }
  {
    Guard g(lock);
    if (PreemptStack* s = kept; s != nullptr) {
      kept = s->next;
      nkept--;
      return s;
    }
  }
  return make();
}

void put(PreemptStack* s) {
  if (__atomic_load_n(&nkept, __ATOMIC_RELAXED) >= kKept && arena_free(base_of(s), kStack)) return;
  Guard g(lock);
  s->next = kept;
  kept = s;
  nkept++;
}

void run_preempt(int) {
  // All cpus may compute: then nobody but the one that is stopped looks at the timers.
  sched_run_timers();
  sched_harvest();
  sched_preempt_cpu();
}

}  // namespace

void sig_push_preempt(thread* td, kucontext* uc) {
  KASSERT((td->td_flags & TDF_PREEMPTED) == 0);
  PreemptStack* s = take();
  if (s == nullptr) return;
  td->td_flags |= TDF_PREEMPTED;
  rt_sigframe* f = sig_push_frame(td, uc, reinterpret_cast<uintptr_t>(s));
  uc->mc.ip = reinterpret_cast<uintptr_t>(&run_preempt);
  uc->mc.sp = reinterpret_cast<uintptr_t>(f);
}

bool preempt_stands_at(thread* td, const kucontext* uc) {
  globaldata* gd = mygd();
  // A signal in the last moment: it has not left it after all.
  if (gd->gd_preemptleft != nullptr && gd->gd_preemptleft == stack_of(uc)) {
    gd->gd_preemptleft = nullptr;
    td->td_flags |= TDF_PREEMPTED;
  }
  return (td->td_flags & TDF_PREEMPTED) != 0;
}

void preempt_leave(thread* td, const kucontext* uc) {
  globaldata* gd = mygd();
  PreemptStack* before = gd->gd_preemptleft;
  gd->gd_preemptleft = stack_of(uc);
  td->td_flags &= ~TDF_PREEMPTED;
  if (before != nullptr) put(before);
}

void preempt_lock() { lock.lock(); }
void preempt_unlock() { lock.unlock(); }

}  // namespace cr
