#include "rank.h"

#include <sched.h>
#include <sys/syscall.h>

#include "../../arch/rawcall.h"
#include "rfork.h"

#ifndef SCHED_RESET_ON_FORK
#define SCHED_RESET_ON_FORK 0x40000000
#endif

namespace cr {

uint32_t sched_ranked;
int rank_base;
SpinLock ranklock;

namespace {

inline constexpr int kTop = 99;

struct Class {
  int policy, priority;
};

Class class_of(const thread* td, int boost) {
  int policy = td->td_policy & ~TDP_RESET, priority = td->td_priority;
  if (boost > priority) {
    priority = boost;
    if (policy != SCHED_RR) policy = SCHED_FIFO;
  }
  return {(td->td_policy & TDP_RESET) != 0 ? policy | SCHED_RESET_ON_FORK : policy, priority};
}

// Of a kernel thread that runs td, or nobody.
Class class_for(const thread* td) {
  bool nobody = td == nullptr || (td->td_flags & TDF_IDLE) != 0;
  return nobody ? Class{SCHED_FIFO, kTop} : class_of(td, td->td_boost);
}

}  // namespace

long rank_set_kernel(int32_t ktid, int policy, int priority) {
  sched_param p{};
  p.sched_priority = priority;
  return raw3(SYS_sched_setscheduler, ktid, policy, reinterpret_cast<long>(&p));
}

void rank_begin() {
  if (__atomic_exchange_n(&sched_ranked, 1u, __ATOMIC_SEQ_CST) != 0) return;
  // One that is in the middle of sched_pick may write its own over it: it sees the rank 61 switches
  // later.
  for (int i = 0; i < ncpus; i++) __atomic_store_n(&cpus[i]->c_look, uint64_t{0}, __ATOMIC_SEQ_CST);
  monitor_rank(kTop);
}

void rank_atfork_child() {
  sched_ranked = 0;
  ranklock = SpinLock{};
}

bool rank_reckon(thread* td) {
  int boost = 0;
  bool owns = (td->td_flags & (TDF_NPTL | TDF_MAIN)) != 0;
  for (const PiWait* w = owns ? td->td_lenders : nullptr; w != nullptr; w = w->next) {
    if (w->waiter->td_rank > boost) boost = w->waiter->td_rank;
  }
  int own = td->td_priority > rank_base ? td->td_priority : 0;
  auto rank = static_cast<uint8_t>(boost > own ? boost : own);
  td->td_boost = static_cast<uint8_t>(boost);
  if (td->td_rank == rank) return false;
  __atomic_store_n(&td->td_rank, rank, __ATOMIC_SEQ_CST);
  return true;
}

void rank_settle_other(globaldata* gd) {
  if (gd == nullptr || gd->gd_ktid <= 0) return;
  // It can't do so itself: the kernel may not let it run before its class is another one.
  const thread* td;
  do {
    td = __atomic_load_n(&gd->gd_curthread, __ATOMIC_ACQUIRE);
    Class c = class_for(td);
    rank_set_kernel(gd->gd_ktid, c.policy, c.priority);
    __atomic_store_n(&gd->gd_class, kClassUnknown, __ATOMIC_SEQ_CST);
  } while (__atomic_load_n(&gd->gd_curthread, __ATOMIC_ACQUIRE) != td);
  rfork_interrupt(gd);
}

void rank_settle(const thread* td) {
  globaldata* gd = mygd();
  auto [policy, priority] = class_for(td);
  uint32_t want = rank_class(policy, priority);
  if (gd->gd_class == want) return;
  gd->gd_class = want;  // refused or not: it is not asked again for the same
  rank_set_kernel(0, policy, priority);
}

namespace {
inline constexpr uint32_t kPriority = 0xff;  // in gd_class
}

void rank_settle_next(const thread* td) {
  globaldata* gd = mygd();
  if (gd->gd_class == kClassUnknown) rank_settle(nullptr);
  Class next = class_for(td);
  if (static_cast<uint32_t>(next.priority) >= (gd->gd_class & kPriority)) return rank_settle(td);
  gd->gd_leaving = reinterpret_cast<thread*>(reinterpret_cast<uintptr_t>(gd->gd_leaving) | kUnsettled);
}

void rank_settle_to_take(int rank) {
  globaldata* gd = mygd();
  if (gd->gd_class == kClassUnknown) return rank_settle(nullptr);
  if ((gd->gd_class & kPriority) >= static_cast<uint32_t>(rank)) return;
  gd->gd_class = rank_class(SCHED_FIFO, rank);  // most often the one that it will have
  rank_set_kernel(0, SCHED_FIFO, rank);
}

void rank_settle_own(const thread* td) {
  Class c = class_of(td, 0);
  mygd()->gd_class = rank_class(c.policy, c.priority);
  rank_set_kernel(0, c.policy, c.priority);
}

}  // namespace cr
