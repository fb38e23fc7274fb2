// set*id: credentials are the kernel thread's on Linux, so a change must reach every rfork.
//
// NPTL sends each of its threads a SIGSETXID and has it repeat the call; that reaches the rforks
// that happen to run them. Here the first one to call goes round all rforks: each gets the IPI
// signal and makes the call in its handler.

#include <errno.h>
#include <sys/syscall.h>

#include "../arch/rawcall.h"
#include "../src/signal/broadcast.h"
#include "../src/sysport/sysport.h"
#include "sysent.h"

namespace cr {

namespace {
int everywhere(union sysunion* m) {
  int error = sysport_trap(m);
  if (error == 0) broadcast_call(m->sm.sm_nr, m->raw.arg);
  return error;
}
}  // namespace

int sys_setuid(union sysunion* m) { return everywhere(m); }
int sys_setgid(union sysunion* m) { return everywhere(m); }
int sys_setreuid(union sysunion* m) { return everywhere(m); }
int sys_setregid(union sysunion* m) { return everywhere(m); }
int sys_setresuid(union sysunion* m) { return everywhere(m); }
int sys_setresgid(union sysunion* m) { return everywhere(m); }
int sys_setgroups(union sysunion* m) { return everywhere(m); }
int sys_setfsuid(union sysunion* m) { return everywhere(m); }
int sys_setfsgid(union sysunion* m) { return everywhere(m); }

}  // namespace cr
