// Calls that i386 alone has: older and wider forms of others, whose functions serve them (the
// message's number says which form it is).

#include <errno.h>
#include <signal.h>

#include "../../src/signal/signal.h"
#include "../../src/sysport/sysport.h"
#include "../../src/sysport/tid.h"
#include "abi.h"
#include "sysent.h"

namespace cr {

// These have no row of their own here.
int sys_semtimedop(union sysunion* m);
int sys_select(union sysunion* m);

int sys_clock_nanosleep_time64(union sysunion* m) { return sys_clock_nanosleep(m); }
int sys_rt_sigtimedwait_time64(union sysunion* m) { return sys_rt_sigtimedwait(m); }
int sys_semtimedop_time64(union sysunion* m) { return sys_semtimedop(m); }
int sys_futex_time64(union sysunion* m) { return sys_futex(m); }
int sys_sched_rr_get_interval_time64(union sysunion* m) { return sys_sched_rr_get_interval(m); }
int sys_timer_settime64(union sysunion* m) { return sys_timer_settime(m); }
int sys_timer_gettime64(union sysunion* m) { return sys_timer_gettime(m); }
int sys_clock_gettime64(union sysunion* m) { return sys_clock_gettime(m); }
int sys_clock_getres_time64(union sysunion* m) { return sys_clock_getres(m); }
int sys_ppoll_time64(union sysunion* m) { return sys_ppoll(m); }
int sys_pselect6_time64(union sysunion* m) { return sys_pselect6(m); }
int sys__newselect(union sysunion* m) { return sys_select(m); }
int sys_recvmmsg_time64(union sysunion* m) { return sys_recvmmsg(m); }
int sys_mq_timedsend_time64(union sysunion* m) { return sys_mq_timedsend(m); }
int sys_mq_timedreceive_time64(union sysunion* m) { return sys_mq_timedreceive(m); }

// Offsets and locks of 64 bits.
int sys_sendfile64(union sysunion* m) { return sys_sendfile(m); }
int sys_fcntl64(union sysunion* m) { return sys_fcntl(m); }

// An argument less.
int sys_waitpid(union sysunion* m) {
  m->sm.sm_nr = SYS_wait4;
  m->raw.arg[3] = 0;
  return sys_wait4(m);
}

// Credentials have 32 bits in the newer ones.
int sys_setuid32(union sysunion* m) { return sys_setuid(m); }
int sys_setgid32(union sysunion* m) { return sys_setgid(m); }
int sys_setreuid32(union sysunion* m) { return sys_setreuid(m); }
int sys_setregid32(union sysunion* m) { return sys_setregid(m); }
int sys_setresuid32(union sysunion* m) { return sys_setresuid(m); }
int sys_setresgid32(union sysunion* m) { return sys_setresgid(m); }
int sys_setgroups32(union sysunion* m) { return sys_setgroups(m); }
int sys_setfsuid32(union sysunion* m) { return sys_setfsuid(m); }
int sys_setfsgid32(union sysunion* m) { return sys_setfsgid(m); }

// ---- signal calls from before there were more than 32 ---------------------------------------------

namespace {

struct old_sigaction {
  uint32_t handler;
  uint32_t mask;
  uint32_t flags;
  uint32_t restorer;
};

// The sets of these calls are the first word of a set.
uint64_t low(uint64_t set) { return set & 0xffffffff; }

template <typename T>
bool get(T* to, uint64_t from) {
  return user_copy(to, reinterpret_cast<const void*>(static_cast<uintptr_t>(from)), sizeof(T)) == 0;
}
template <typename T>
bool put(uint64_t to, const T& from) {
  return user_copy(reinterpret_cast<void*>(static_cast<uintptr_t>(to)), &from, sizeof(T)) == 0;
}

}  // namespace

int sys_sigaction(union sysunion* m) {
  const uint64_t* a = m->raw.arg;
  old_sigaction user{};
  if (a[1] != 0 && !get(&user, a[1])) return EFAULT;
  ksigaction act{user.handler, user.flags, user.restorer, user.mask}, old;
  int error = sig_action(static_cast<int>(a[0]), a[1] != 0 ? &act : nullptr, &old);
  m->sm.sm_result = 0;
  if (error != 0 || a[2] == 0) return error;
  user = {old.handler, static_cast<uint32_t>(old.mask), old.flags, old.restorer};
  return put(a[2], user) ? 0 : EFAULT;
}

int sys_signal(union sysunion* m) {
  const uint64_t* a = m->raw.arg;
  ksigaction act{static_cast<uint32_t>(a[1]), SA_RESETHAND | SA_NODEFER, 0, 0}, old;
  int error = sig_action(static_cast<int>(a[0]), &act, &old);
  m->sm.sm_result = static_cast<long>(old.handler);
  return error;
}

int sys_sigprocmask(union sysunion* m) {
  const uint64_t* a = m->raw.arg;
  thread* td = curthread();
  uint64_t old = td->td_sigmask;
  if (a[1] != 0) {
    uint32_t set;
    if (!get(&set, a[1])) return EFAULT;
    uint64_t mask = old;
    switch (static_cast<int>(a[0])) {
      case SIG_BLOCK: mask |= set; break;
      case SIG_UNBLOCK: mask &= ~uint64_t{set}; break;
      case SIG_SETMASK: mask = (old & ~0xffffffffull) | set; break;
      default: return EINVAL;
    }
    sig_setmask(td, mask);
  }
  m->sm.sm_result = 0;
  return a[2] == 0 || put(a[2], static_cast<uint32_t>(old)) ? 0 : EFAULT;
}

int sys_sgetmask(union sysunion* m) {
  m->sm.sm_result = static_cast<long>(low(curthread()->td_sigmask));
  return 0;
}

int sys_ssetmask(union sysunion* m) {
  thread* td = curthread();
  m->sm.sm_result = static_cast<long>(low(td->td_sigmask));
  sig_setmask(td, low(m->raw.arg[0]));
  return 0;
}

int sys_sigpending(union sysunion* m) {
  thread* td = curthread();
  uint64_t kernel = 0;
  raw2(SYS_rt_sigpending, reinterpret_cast<long>(&kernel), 8);
  auto set = static_cast<uint32_t>((sig_pending_for(td) | kernel) & td->td_sigmask);
  m->sm.sm_result = 0;
  return put(m->raw.arg[0], set) ? 0 : EFAULT;
}

// The mask is an argument; two more before it mean nothing.
int sys_sigsuspend(union sysunion* m) {
  uint64_t mask = low(m->raw.arg[2]);
  m->raw.arg[0] = reinterpret_cast<uintptr_t>(&mask);
  m->raw.arg[1] = sizeof mask;
  return sys_rt_sigsuspend(m);
}

extern "C" kucontext* sig_old_return(old_sigframe* f);

// A bare sigreturn from the program (its own restorer): the number was popped off its frame, too.
int sys_sigreturn(union sysunion* m) {
  auto* f = reinterpret_cast<old_sigframe*>(static_cast<uintptr_t>(sysport_frame(m)->sp - 8));
  auto uc = reinterpret_cast<uintptr_t>(sig_old_return(f));
  signal_return_to(uc - offsetof(rt_sigframe, uc) + 4);
}

}  // namespace cr
