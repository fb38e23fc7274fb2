// wait4 and waitid: waiting for children.
//
// Only the kernel knows which children a wait is for and what they did: exits, stops, what a tracer
// asked for, of the children of all threads. A pidfd tells of exits alone; SIGCHLD is not sent
// where it is ignored or SA_NOCLDSTOP says so, and one may stand for many.
//
// Policy, in this order
//   1. One LWKT, or WNOHANG: a plain trap.
//   2. If nothing else could use the cpu: a trap with the cpu on offer.
//   3. The call is tried with WNOHANG: somebody may have ended already.
//   4. Where the engine completes calls and the kernel knows IORING_OP_WAITID (Linux 6.7): it stands
//      in the kernel's own queue. It is asked for readiness only (WNOWAIT), and the call is then
//      tried again. So the status, the usage and their places are the kernel's; nobody is reaped
//      twice; and a wait that a signal ends has reaped nobody.
//   5. Otherwise the cpu is given away at once.
//
// 2,000 threads that wait for a child each: by the ring 33 kernel threads, given away 2,002, as
// natively. A thread beside them that naps for a millisecond at a time comes to 815 and 804 naps a
// second, natively to 861; when the waits were on offer to 247.

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "../arch/usercopy.h"
#include "../src/signal/signal.h"
#include "blocking.h"
#include "sysent.h"

namespace cr {

namespace {

inline constexpr int kNobody = -1;  // an answer beside 0 and errno: none has changed yet

struct Wait {
  int which;  // P_
  int32_t id;
  int options;  // waitid's
  int (*try_once)(union sysunion* m);
};

bool no_ring_wait;  // the kernel said that it does not know it

int try_wait4(union sysunion* m) {
  const uint64_t* a = m->raw.arg;
  long r = raw4(SYS_wait4, static_cast<long>(a[0]), static_cast<long>(a[1]),
                static_cast<long>(a[2] | WNOHANG), static_cast<long>(a[3]));
  return r == 0 ? kNobody : sysport_result(m, r);
}

// What the kernel writes of a siginfo, of nobody (zeros: the call failed) or somebody.
int tell(const union sysunion* m, const siginfo_t& info, int error) {
  auto* to = reinterpret_cast<char*>(m->raw.arg[2]);
  if (to == nullptr) return error;
  const auto* from = reinterpret_cast<const char*>(&info);
  constexpr size_t kFirst = offsetof(siginfo_t, si_code) + sizeof info.si_code;
  constexpr size_t kRest = offsetof(siginfo_t, si_pid);
  constexpr size_t kEnd = offsetof(siginfo_t, si_status) + sizeof info.si_status;
  bool whole =
      user_copy(to, from, kFirst) == 0 && user_copy(to + kRest, from + kRest, kEnd - kRest) == 0;
  return whole ? error : EFAULT;
}

// Not into the program's memory yet: if that is not writable a child must have been reaped when it
// is said.
int try_waitid(union sysunion* m) {
  const uint64_t* a = m->raw.arg;
  siginfo_t info{};
  long r = raw6(SYS_waitid, static_cast<long>(a[0]), static_cast<long>(a[1]),
                reinterpret_cast<long>(&info), static_cast<long>(a[3] | WNOHANG),
                static_cast<long>(a[4]), 0);
  if (r == 0 && info.si_pid == 0) return kNobody;
  return tell(m, info, sysport_result(m, r));
}

inline constexpr uint8_t kOpWaitid = 50;  // IORING_OP_WAITID: headers may be older than the kernel

// Until it is worth another try. 0, or -errno as io_call's.
int64_t ring_wait(const Wait& w) {
  if (__atomic_load_n(&no_ring_wait, __ATOMIC_RELAXED)) return -EOPNOTSUPP;
  iorequest io{};
  io.op = kOpWaitid;
  io.fd = w.id;
  io.len = static_cast<uint32_t>(w.which);
  io.file_index = static_cast<uint32_t>(w.options | WNOWAIT);
  int64_t r = io_call(&io, true);
  if (r == -EINVAL) __atomic_store_n(&no_ring_wait, true, __ATOMIC_RELAXED);
  return r;
}

int wait_for(union sysunion* m, const Wait& w) {
  for (bool interrupted = false;;) {
    int error = w.try_once(m);
    if (error != kNobody) return error;
    if (interrupted) return ERESTARTSYS;
    int64_t r = ring_wait(w);
    if (r == -ECANCELED || r == -EINTR) {
      interrupted = sig_interrupts(curthread());
    } else if (r < 0) {
      return sysport_trap_sleep(m);
    }
  }
}

}  // namespace

int sys_wait4(union sysunion* m) {
  const uint64_t* a = m->raw.arg;
  auto pid = static_cast<int32_t>(a[0]);
  auto options = static_cast<int>(a[2]);
  if (!sched_others() || sched_alone()) return sysport_trap_first(m);
  if ((options & WNOHANG) != 0) return sysport_trap(m);
  Wait w{P_ALL, 0, options | WEXITED, try_wait4};
  if (pid > 0) {
    w.which = P_PID;
    w.id = pid;
  } else if (pid != -1) {
    w.which = P_PGID;
    w.id = -pid;  // INT_MIN is refused by the first try
  }
  // Not of this thread alone: the LWKT may be on another kernel thread by then.
  return (options & __WNOTHREAD) != 0 ? sysport_trap_sleep(m) : wait_for(m, w);
}

int sys_waitid(union sysunion* m) {
  const uint64_t* a = m->raw.arg;
  auto which = static_cast<int>(a[0]);
  auto options = static_cast<int>(a[3]);
  if (!sched_others() || sched_alone()) return sysport_trap_first(m);
  if ((options & WNOHANG) != 0) return sysport_trap(m);
  if ((options & __WNOTHREAD) != 0) return sysport_trap_sleep(m);
  // A pidfd that is non-blocking makes the call so.
  if (which == P_PIDFD && (raw2(SYS_fcntl, static_cast<long>(a[1]), F_GETFL) & O_NONBLOCK) != 0) {
    return sysport_trap(m);
  }
  int error = wait_for(m, {which, static_cast<int32_t>(a[1]), options, try_waitid});
  return error == ERESTARTSYS ? tell(m, siginfo_t{}, error) : error;
}

}  // namespace cr
