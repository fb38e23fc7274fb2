#include "schedclass.h"

#include <errno.h>
#include <sched.h>
#include <sys/syscall.h>

#include "../../arch/rawcall.h"
#include "../lwkt/rank.h"
#include "../signal/signal.h"
#include "tid.h"

#ifndef SCHED_RESET_ON_FORK
#define SCHED_RESET_ON_FORK 0x40000000
#endif

namespace cr {

namespace {

bool own;  // td_policy and td_priority, which are under siglock, say it

void note(thread* td, int policy, int priority) {
  int bits = policy & ~SCHED_RESET_ON_FORK;
  if ((policy & SCHED_RESET_ON_FORK) != 0) bits |= TDP_RESET;
  td->td_policy = static_cast<uint8_t>(bits);
  td->td_priority = static_cast<uint8_t>(priority);
}

// ranklock and siglock are held.
void lower_base(int priority) {
  if (priority >= rank_base) return;
  rank_base = priority;
  tid_each([](thread* td) {
    rank_reckon(td);
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
  rank_base = p.sched_priority;
  mygd()->gd_class = rank_class(static_cast<int>(policy), rank_base);
  own = true;
}

void schedclass_atfork_child() {
  own = false;
  thread* td = curthread();
  if (td->td_boost != 0) rank_settle_own(td);  // what the parent was lent is not the child's
  td->td_rank = td->td_boost = 0;
  td->td_lenders = nullptr;
}

void schedclass_inherit(thread* td, const thread* maker) {
  if ((maker->td_policy | maker->td_priority) == 0) return;  // as td is, and of no rank
  Guard g(siglock);
  bool reset = (maker->td_policy & TDP_RESET) != 0;
  td->td_policy = reset ? static_cast<uint8_t>(SCHED_OTHER) : maker->td_policy;
  td->td_priority = reset ? uint8_t{0} : maker->td_priority;
  rank_reckon(td);
}

int schedclass_set(int32_t tid, int policy, int priority) {
  long r = rank_set_kernel(0, policy, priority);
  if (raw_failed(r)) return static_cast<int>(-r);
  mygd()->gd_class = rank_class(policy, priority);
  bool different = false, found = false;
  int base = rank_base;
  {
    Guard g(ranklock);
    Guard s(siglock);
    thread* td = find(tid);
    found = td != nullptr;
    if (found) {
      note(td, policy, priority);
      different = priority != rank_base;
      lower_base(priority);
      rank_reckon(td);
    }
  }
  if (different) rank_begin();
  rank_settle(curthread());
  if (!found) return ESRCH;
  if (sched_ranked == 0) return 0;
  if (rank_base != base) sched_resort();
  // The kernel goes by it at once, as the program expects: one that is raised runs before this call has returned.
  Guard g(ranklock);
  thread* td = find(tid);
  if (td != nullptr) sched_rank_changed(td);
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
