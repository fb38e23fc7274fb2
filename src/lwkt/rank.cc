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

namespace {
inline constexpr int kTop = 99;
}

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

void rank_atfork_child() { sched_ranked = 0; }

void rank_settle(const thread* td) {
  globaldata* gd = mygd();
  int policy = SCHED_FIFO, priority = kTop;
  if (td != nullptr) {
    policy = td->td_policy & ~TDP_RESET;
    if ((td->td_policy & TDP_RESET) != 0) policy |= SCHED_RESET_ON_FORK;
    priority = td->td_priority;
  }
  uint32_t want = rank_class(policy, priority);
  if (gd->gd_class == want) return;
  gd->gd_class = want;  // refused or not: it is not asked again for the same
  rank_set_kernel(0, policy, priority);
}

}  // namespace cr
