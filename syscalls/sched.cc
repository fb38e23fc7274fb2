// Scheduling calls that name a thread. LWKTs have no kernel scheduling class of their own: what
// a program sets is checked as the kernel would, kept by the kernel for the process's first
// thread, and answered for every LWKT.

#include <errno.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "../arch/context.h"
#include "../arch/rawcall.h"
#include "../arch/usercopy.h"
#include "../src/lwkt/rfork.h"
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
int sys_sched_setscheduler(union sysunion* m) { return forward(m, 0); }
int sys_sched_getscheduler(union sysunion* m) { return forward(m, 0); }
int sys_sched_setparam(union sysunion* m) { return forward(m, 0); }
int sys_sched_getparam(union sysunion* m) { return forward(m, 0); }
int sys_sched_rr_get_interval(union sysunion* m) { return forward(m, 0); }
int sys_sched_setattr(union sysunion* m) { return forward(m, 0); }
int sys_sched_getattr(union sysunion* m) { return forward(m, 0); }

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
