#include "schedclass.h"

#include <errno.h>
#include <sched.h>
#include <sys/syscall.h>

#include "../../arch/rawcall.h"
#include "../lwkt/rank.h"
#include "../lwkt/rfork.h"
#include "../signal/signal.h"
#include "tid.h"

#ifndef SCHED_RESET_ON_FORK
#define SCHED_RESET_ON_FORK 0x40000000
#endif

namespace cr {

namespace {

// Under siglock, which keeps an LWKT that was found by its tid, are td_policy, td_priority, td_rank and
int base;  // the lowest priority of any LWKT so far: those that have it have no rank
bool own;

void rank(thread* td) {
  int r = td->td_priority > base ? td->td_priority : 0;
  __atomic_store_n(&td->td_rank, static_cast<uint8_t>(r), __ATOMIC_RELAXED);
}

void note(thread* td, int policy, int priority) {
  int bits = policy & ~SCHED_RESET_ON_FORK;
  if ((policy & SCHED_RESET_ON_FORK) != 0) bits |= TDP_RESET;
  td->td_policy = static_cast<uint8_t>(bits);
  td->td_priority = static_cast<uint8_t>(priority);
}

void lower_base(int priority) {
  if (priority >= base) return;
  base = priority;
  tid_each([](thread* td) {
    rank(td);
    return false;
  });
}

thread* find(int32_t tid) { return tid == 0 ? curthread() : tid_find(tid); }

}  // namespace

bool schedclass_own() { return own; }

void schedclass_threads_start() {
  long policy = raw1(SYS_sched_getscheduler, 0);
  sched_param p{};
  raw2(SYS_sched_getparam, 0, reinterpret_cast<long>(&p));
  if (raw_failed(policy)) policy = SCHED_OTHER;
  note(curthread(), static_cast<int>(policy), p.sched_priority);
  base = p.sched_priority;
  mygd()->gd_class = rank_class(static_cast<int>(policy), base);
  own = true;
}

void schedclass_atfork_child() {
  own = false;
  curthread()->td_rank = 0;
}

void schedclass_inherit(thread* td, const thread* maker) {
  Guard g(siglock);
  bool reset = (maker->td_policy & TDP_RESET) != 0;
  td->td_policy = reset ? static_cast<uint8_t>(SCHED_OTHER) : maker->td_policy;
  td->td_priority = reset ? uint8_t{0} : maker->td_priority;
  rank(td);
}

int schedclass_set(int32_t tid, int policy, int priority) {
  long r = rank_set_kernel(0, policy, priority);
  if (raw_failed(r)) return static_cast<int>(-r);
  mygd()->gd_class = rank_class(policy, priority);
  bool different = false, found = false;
  globaldata* runs = nullptr;  // another rfork that runs it
  {
    Guard g(siglock);
    thread* td = find(tid);
    found = td != nullptr;
    if (found) {
      note(td, policy, priority);
      different = priority != base;
      lower_base(priority);
      rank(td);
      if (td != curthread() && load_acquire(&td->td_state) == TDS_RUNNING) runs = td->td_gd;
    }
  }
  if (different) rank_begin();
  rank_settle(curthread());
  if (!found) return ESRCH;
  if (sched_ranked == 0) return 0;
  sched_resort();
  if (runs != nullptr && runs->gd_ktid > 0) rfork_send_signal(runs, kIpiSignal);
  __atomic_or_fetch(&curthread()->td_ast, AST_RESCHED, __ATOMIC_SEQ_CST);
  return 0;
}

int schedclass_get(int32_t tid, int* policy, int* priority) {
  Guard g(siglock);
  const thread* td = find(tid);
  if (td == nullptr) return ESRCH;
  *policy = td->td_policy & ~TDP_RESET;
  if ((td->td_policy & TDP_RESET) != 0) *policy |= SCHED_RESET_ON_FORK;
  *priority = td->td_priority;
  return 0;
}

}  // namespace cr
