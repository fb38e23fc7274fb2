// Scheduling calls that name a thread. An LWKT's class is its own (src/sysport/schedclass.h); what a
// program sets is checked by the kernel.

#include <errno.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "../arch/context.h"
#include "../arch/rawcall.h"
#include "../arch/usercopy.h"
#include "../src/lwkt/rank.h"
#include "../src/lwkt/rfork.h"
#include "../src/sysport/schedclass.h"
#include "../src/sysport/sysport.h"
#include "../src/sysport/tid.h"
#include "sysent.h"

namespace cr {

namespace {

// Replaces a virtual tid in argument `i` by one that the kernel knows. False: ESRCH.
bool kernel_tid(union sysunion* m, int i) {
  auto tid = static_cast<int32_t>(m->raw.arg[i]);
  if (tid < kTidBase) return true;
  if (tid_find(tid) == nullptr) return false;
  m->raw.arg[i] = static_cast<uint64_t>(raw0(SYS_getpid));
  return true;
}

int forward(union sysunion* m, int i) { return kernel_tid(m, i) ? sysport_trap(m) : ESRCH; }

}  // namespace

int sys_sched_yield(union sysunion* m) {
  m->sm.sm_result = 0;
  if (nthreads == 1) return sysport_trap(m);
  // Nobody here: other processes may want the cpu.
  if (!sched_yield_cpu()) return sysport_trap(m);
  return 0;
}

int sys_sched_setaffinity(union sysunion* m) {
  auto tid = static_cast<int32_t>(m->raw.arg[0]);
  if (tid >= kTidBase && tid_find(tid) == nullptr) return ESRCH;
  if (tid != 0 && tid < kTidBase && tid != static_cast<int32_t>(raw0(SYS_getpid))) {
    return sysport_trap(m);
  }
  // An affinity is the kernel's business with the rforks: the mask goes to all of them, so that
  // the process never runs where it was told not to.
  int error = 0;
  for (globaldata* gd = rforks; gd != nullptr; gd = gd->gd_next) {
    if (gd->gd_ktid <= 0) continue;
    m->raw.arg[0] = static_cast<uint64_t>(gd->gd_ktid);
    error = sysport_trap(m);
    if (error != 0) break;
  }
  return error;
}

int sys_sched_getaffinity(union sysunion* m) { return forward(m, 0); }

namespace {

int32_t first_tid(const union sysunion* m) { return static_cast<int32_t>(m->raw.arg[0]); }

// The class of this process's LWKT that argument 0 names. EAGAIN: it is the kernel's business.
int class_of(const union sysunion* m, int* policy, int* priority) {
  int32_t tid = first_tid(m);
  if (!schedclass_own() || tid < 0) return EAGAIN;
  int error = schedclass_get(tid, policy, priority);
  return error == ESRCH && tid < kTidBase ? EAGAIN : error;
}

int set_class(union sysunion* m, int policy, uint64_t param_at) {
  sched_param p;
  if (param_at == 0) return EINVAL;
  if (user_copy(&p, reinterpret_cast<const void*>(param_at), sizeof p) != 0) return EFAULT;
  m->sm.sm_result = 0;
  return schedclass_set(first_tid(m), policy, p.sched_priority);
}

struct SchedAttr {  // the kernel's struct sched_attr, its first version
  uint32_t size, policy;
  uint64_t flags;
  int32_t nice;
  uint32_t priority;
  uint64_t runtime, deadline, period;
};
inline constexpr uint64_t kResetOnFork = 1;  // in flags
inline constexpr int kPolicyReset = 0x40000000;  // SCHED_RESET_ON_FORK
inline constexpr uint32_t kSchedDeadline = 6;

}  // namespace

int sys_sched_setscheduler(union sysunion* m) {
  int policy, priority;
  int error = class_of(m, &policy, &priority);
  if (error != 0) return error == EAGAIN ? sysport_trap(m) : error;
  return set_class(m, static_cast<int>(m->raw.arg[1]), m->raw.arg[2]);
}

int sys_sched_setparam(union sysunion* m) {
  int policy, priority;
  int error = class_of(m, &policy, &priority);
  if (error != 0) return error == EAGAIN ? sysport_trap(m) : error;
  return set_class(m, policy, m->raw.arg[1]);
}

int sys_sched_getscheduler(union sysunion* m) {
  int policy, priority;
  int error = class_of(m, &policy, &priority);
  if (error != 0) return error == EAGAIN ? sysport_trap(m) : error;
  m->sm.sm_result = policy;
  return 0;
}

int sys_sched_getparam(union sysunion* m) {
  int policy;
  sched_param p{};
  int error = class_of(m, &policy, &p.sched_priority);
  if (error != 0) return error == EAGAIN ? sysport_trap(m) : error;
  m->sm.sm_result = 0;
  if (m->raw.arg[1] == 0) return EINVAL;
  return user_copy(reinterpret_cast<void*>(m->raw.arg[1]), &p, sizeof p) != 0 ? EFAULT : 0;
}

// The kernel thread has the caller's class, whoever asks about whom.
int sys_sched_rr_get_interval(union sysunion* m) {
  int policy, priority, mine, my_priority;
  int error = class_of(m, &policy, &priority);
  if (error != 0) return error == EAGAIN ? sysport_trap(m) : error;
  schedclass_get(0, &mine, &my_priority);
  if (policy != mine && rank_set_kernel(0, policy, priority) == 0) {
    mygd()->gd_class = rank_class(policy, priority);
  }
  m->raw.arg[0] = 0;
  error = sysport_trap(m);
  rank_settle(curthread());
  return error;
}

int sys_sched_setattr(union sysunion* m) {
  int policy, priority;
  int error = class_of(m, &policy, &priority);
  if (error != 0) return error == EAGAIN ? sysport_trap(m) : error;
  SchedAttr a;
  if (user_copy(&a, reinterpret_cast<const void*>(m->raw.arg[1]), sizeof a) != 0) return EFAULT;
  if (a.policy >= kSchedDeadline || a.flags > kResetOnFork) return forward(m, 0);
  int32_t tid = first_tid(m);
  m->raw.arg[0] = 0;
  error = sysport_trap(m);  // checks the rest, and sets the nice value
  if (error != 0) return error;
  bool reset = (a.flags & kResetOnFork) != 0;
  return schedclass_set(tid, static_cast<int>(a.policy) | (reset ? kPolicyReset : 0),
                        static_cast<int>(a.priority));
}

int sys_sched_getattr(union sysunion* m) {
  int policy, priority;
  int error = class_of(m, &policy, &priority);
  if (error != 0) return error == EAGAIN ? sysport_trap(m) : error;
  m->raw.arg[0] = 0;
  error = sysport_trap(m);
  if (error != 0) return error;
  auto* at = reinterpret_cast<SchedAttr*>(m->raw.arg[1]);
  auto plain = static_cast<uint32_t>(policy & ~kPolicyReset), real = static_cast<uint32_t>(priority);
  uint64_t flags = (policy & kPolicyReset) != 0 ? kResetOnFork : 0;
  bool bad = user_copy(&at->policy, &plain, sizeof plain) != 0 ||
             user_copy(&at->flags, &flags, sizeof flags) != 0 ||
             user_copy(&at->priority, &real, sizeof real) != 0;
  return bad ? EFAULT : 0;
}

int sys_getpriority(union sysunion* m) {
  return static_cast<int>(m->raw.arg[0]) == PRIO_PROCESS ? forward(m, 1) : sysport_trap(m);
}
int sys_setpriority(union sysunion* m) {
  return static_cast<int>(m->raw.arg[0]) == PRIO_PROCESS ? forward(m, 1) : sysport_trap(m);
}

int sys_prctl(union sysunion* m) {
  thread* td = curthread();
  uint64_t name = m->raw.arg[1];
  switch (static_cast<int>(m->raw.arg[0])) {
    case PR_SET_NAME: {
      char buf[16] = {};
      for (int i = 0; i < 15; i++) {
        if (user_copy(&buf[i], reinterpret_cast<const void*>(name + static_cast<uint64_t>(i)), 1) != 0) {
          return EFAULT;
        }
        if (buf[i] == '\0') break;
      }
      for (int i = 0; i < 16; i++) td->td_comm[i] = buf[i];
      m->sm.sm_result = 0;
      // The process's name is its first thread's.
      return (td->td_flags & TDF_MAIN) != 0 ? sysport_trap(m) : 0;
    }
    case PR_GET_NAME:
      if ((td->td_flags & TDF_MAIN) != 0) return sysport_trap(m);
      m->sm.sm_result = 0;
      return user_copy(reinterpret_cast<void*>(name), td->td_comm, 16) != 0 ? EFAULT : 0;
    case PR_SET_TIMERSLACK:
      td->td_slack = name != 0 ? name : td->td_slackdef;
      m->sm.sm_result = 0;
      // Alone it sleeps by plain traps; with others, by the timer queue, and the rforks have none.
      return sched_others() ? 0 : sysport_trap(m);
    case PR_GET_TIMERSLACK:
      m->sm.sm_result = static_cast<int64_t>(td->td_slack);
      return 0;
    case PR_GET_TID_ADDRESS:
      m->sm.sm_result = 0;
      return user_copy(reinterpret_cast<void*>(name), &td->td_cleartid, 8) != 0 ? EFAULT : 0;
    default:
      return sysport_trap_block(m);
  }
}

int sys_arch_prctl(union sysunion* m) {
  constexpr uint64_t kSetGs = 0x1001, kSetFs = 0x1002, kGetGs = 0x1004;
  uint64_t code = m->raw.arg[0];
  // The per-cpu register is ours.
  if (code == kSetGs || code == kGetGs) return EPERM;
  int error = sysport_trap(m);
  if (error == 0 && code == kSetFs) curthread()->td_tls.base = m->raw.arg[1];
  return error;
}

int sys_membarrier(union sysunion* m) { return sysport_trap(m); }

}  // namespace cr
