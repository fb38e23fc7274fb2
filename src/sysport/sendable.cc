#include "sendable.h"

#include <linux/futex.h>
#include <fcntl.h>
#include <sys/syscall.h>

#include "../../arch/abi.h"
#include "../../arch/usercopy.h"

namespace cr {

namespace {

// A signal mask for the time of the call is the sender's own. An unreadable one is for the call
// to find.
bool brings_mask(const union sysunion* m) {
  const uint64_t* a = m->raw.arg;
  uintptr_t set = 0;
  switch (plain_call(m->sm.sm_nr)) {
    case SYS_pselect6:
      return a[5] != 0 && user_copy(&set, reinterpret_cast<const void*>(a[5]), sizeof set) == 0 && set != 0;
    case SYS_ppoll: return a[3] != 0;
    default: return a[4] != 0;  // epoll_pwait, epoll_pwait2
  }
}

Sendable futex(uint64_t op) {
  switch (op & FUTEX_CMD_MASK) {
    case FUTEX_WAIT:
    case FUTEX_WAIT_BITSET: return Sendable::kMaySleep;
    // The caller would own the lock.
    case FUTEX_LOCK_PI:
    case FUTEX_LOCK_PI2:
    case FUTEX_WAIT_REQUEUE_PI: return Sendable::kNo;
    default: return Sendable::kAtOnce;
  }
}

Sendable fcntl_command(uint64_t cmd) {
  switch (static_cast<uint32_t>(cmd)) {
    case F_DUPFD:
    case F_DUPFD_CLOEXEC:
    case F_GETFD:
    case F_SETFD:
    case F_GETFL:
    case F_SETFL: return Sendable::kAtOnce;
    default: return Sendable::kMaySleep;
  }
}

// `user`: whose function has no use for the frame.
Sendable without_frame(const union sysunion* m) {
  switch (plain_call(m->sm.sm_nr)) {
    case SYS_pselect6:
    case SYS_ppoll:
    case SYS_epoll_pwait:
    case SYS_epoll_pwait2: return brings_mask(m) ? Sendable::kNo : Sendable::kMaySleep;
    case SYS_unshare: return Sendable::kAtOnce;
    default: return Sendable::kNo;
  }
}

Sendable quick(const union sysunion* m) {
  switch (sendable_quick(m->sm.sm_nr)) {
    case Quick::kByArgument:
      return plain_call(m->sm.sm_nr) == SYS_fcntl ? fcntl_command(m->raw.arg[1]) : futex(m->raw.arg[1]);
    case Quick::kMaySleep: return Sendable::kMaySleep;
    default: return Sendable::kAtOnce;
  }
}

}  // namespace

Sendable sysport_sendable(const union sysunion* m, Serve serve) {
  switch (serve) {
    case Serve::user: return without_frame(m);
    case Serve::quick: return quick(m);
    case Serve::fold: return Sendable::kNo;  // send the call that is meant
    case Serve::block:
    case Serve::whole:
    case Serve::async:
      // A tracer is a kernel thread, and the rest of a call is the one's that began it.
      return m->sm.sm_nr == SYS_ptrace || m->sm.sm_nr == SYS_restart_syscall ? Sendable::kNo
                                                                             : Sendable::kMaySleep;
    default: return Sendable::kAtOnce;
  }
}

}  // namespace cr
