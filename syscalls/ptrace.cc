// ptrace. The kernel knows a tracer by its kernel thread: the one that attached, or that forked the child which
// asked to be traced. An LWKT may have moved since. So a call that finds no tracee from here is made from
// the other kernel threads in turn; they live as long as the process. ESRCH is also the answer for a tracee
// that runs, which then costs a round.

#include <errno.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>

#include "../src/lwkt/rfork.h"
#include "../src/signal/broadcast.h"
#include "../src/sysport/sysport.h"
#include "ptrace.h"
#include "sysent.h"

namespace cr {

bool ptrace_tracee;

int sys_ptrace(union sysunion* m) {
  // Before the trap: the result takes the arguments' place.
  uint64_t args[6];
  for (int i = 0; i < 6; i++) args[i] = m->raw.arg[i];
  int error = sysport_trap(m);
  auto request = static_cast<long>(args[0]);
  if (request == PTRACE_TRACEME && error == 0) ptrace_tracee = true;
  bool begins = request == PTRACE_TRACEME || request == PTRACE_ATTACH || request == PTRACE_SEIZE;
  if (error != ESRCH || begins || !sched_others()) return error;
  globaldata* self = mygd();
  for (globaldata* gd = load_acquire(&rforks); gd != nullptr; gd = gd->gd_next) {
    int32_t ktid = load_acquire(&gd->gd_ktid);
    if (gd == self || ktid <= 0) continue;
    long r = broadcast_to(ktid, SYS_ptrace, args);
    if (r != -ESRCH) return sysport_result(m, r);
  }
  return ESRCH;
}

}  // namespace cr
