// The signal calls. What they mean is in src/signal/signal.h.

#include <errno.h>
#include <signal.h>
#include <sys/syscall.h>

#include "../arch/abi.h"
#include "../arch/rawcall.h"
#include "../arch/usercopy.h"
#include "../src/async/timer.h"
#include "../src/lwkt/assert.h"
#include "../src/signal/signal.h"
#include "../src/sysport/sysport.h"
#include "../src/sysport/tid.h"
#include "cred.h"
#include "ptrace.h"
#include "sysent.h"
#include "timespec.h"

namespace cr {

namespace {

inline constexpr uint64_t kSetSize = 8;

template <typename T>
int copy_in(T* to, uint64_t from) {
  return user_copy(to, reinterpret_cast<const void*>(from), sizeof(T)) != 0 ? EFAULT : 0;
}
template <typename T>
int copy_out(uint64_t to, const T& from) {
  return user_copy(reinterpret_cast<void*>(to), &from, sizeof(T)) != 0 ? EFAULT : 0;
}

void fill_sender(siginfo_t* info, int sig, int code) {
  *info = siginfo_t{};
  info->si_signo = sig;
  info->si_code = code;
  info->si_pid = tid_process();
  info->si_uid = cred_uid();
}

// The two that the kernel alone can do.
bool is_kernels(int sig) { return sig == SIGKILL || sig == SIGSTOP; }

int send_kernels(int sig) { return static_cast<int>(-raw2(SYS_kill, tid_process(), sig)); }

// The kernel takes pids and signals as ints, whatever else is in their registers.
bool valid(uint64_t sig) { return static_cast<uint32_t>(sig) <= static_cast<uint32_t>(kNsig); }

int to_own_process(uint64_t number, const siginfo_t* info) {
  auto sig = static_cast<int>(number);
  if (!valid(number)) return EINVAL;
  if (sig == 0) return 0;
  return is_kernels(sig) ? send_kernels(sig) : sig_post(nullptr, sig, info);
}

// ESRCH if the process has no LWKT with that tid, be the signal one or not.
int to_own_thread(int32_t tid, uint64_t number, const siginfo_t* info) {
  auto sig = static_cast<int>(number);
  if (valid(number) && sig != 0 && !is_kernels(sig)) return sig_post_tid(tid, sig, info);
  if (tid_find(tid) == nullptr) return ESRCH;
  if (!valid(number)) return EINVAL;
  return sig == 0 ? 0 : send_kernels(sig);
}

// The kernel reads what a siginfo has, and of a code that it does not know that the rest is zero.
int copy_siginfo(siginfo_t* to, uint64_t from) {
  constexpr int kLeastKnown = -7, kAsyncName = -60;  // SI_DETHREAD, SI_ASYNCNL
  *to = siginfo_t{};
  if (user_copy(to, reinterpret_cast<const void*>(from), kSiginfoSize) != 0) return EFAULT;
  if (to->si_code >= kLeastKnown || to->si_code == kAsyncName) return 0;
  for (uint64_t i = kSiginfoSize; i < sizeof *to; i++) {
    char rest;
    if (user_copy(&rest, reinterpret_cast<const void*>(from + i), 1) != 0) return EFAULT;
    if (rest != 0) return E2BIG;
  }
  return 0;
}

// What only a thread may say that sends to itself: that the signal is the kernel's, or of kill or tkill.
bool is_kernels_code(int code) { return code >= 0 || code == SI_TKILL; }

// A tracer is told of what the kernel delivers; of several LWKTs it knows none but the main one.
bool is_traced() { return ptrace_tracee && !sched_others(); }

// Any of a process's tids names it, too, to those calls that take a pid.
bool is_own(uint64_t pid) {
  auto id = static_cast<int32_t>(pid);
  return (id == tid_process() || (id > 0 && tid_find(id) != nullptr)) && !is_traced();
}

bool is_own_group(uint64_t tgid) { return static_cast<int32_t>(tgid) == tid_process() && !is_traced(); }

int tkill_own(int32_t tid, uint64_t sig, union sysunion* m) {
  if (tid <= 0) return EINVAL;
  siginfo_t info;
  fill_sender(&info, static_cast<int>(sig), SI_TKILL);
  m->sm.sm_result = 0;
  return to_own_thread(tid, sig, &info);
}

}  // namespace

int sys_rt_sigaction(union sysunion* m) {
  const uint64_t* a = m->raw.arg;
  if (a[3] != kSetSize) return EINVAL;
  ksigaction act, old;
  if (a[1] != 0 && copy_in(&act, a[1]) != 0) return EFAULT;
  int error = sig_action(static_cast<int>(a[0]), a[1] != 0 ? &act : nullptr, &old);
  if (error == 0 && a[2] != 0) error = copy_out(a[2], old);
  m->sm.sm_result = 0;
  return error;
}

int sys_rt_sigprocmask(union sysunion* m) {
  const uint64_t* a = m->raw.arg;
  if (a[3] != kSetSize) return EINVAL;
  thread* td = curthread();
  uint64_t old = td->td_sigmask;
  if (a[1] != 0) {
    uint64_t set;
    if (user_fetch64(&set, reinterpret_cast<const uint64_t*>(a[1])) != 0) return EFAULT;
    switch (static_cast<int>(a[0])) {
      case SIG_BLOCK: set = old | set; break;
      case SIG_UNBLOCK: set = old & ~set; break;
      case SIG_SETMASK: break;
      default: return EINVAL;
    }
    sig_setmask(td, set);
  }
  m->sm.sm_result = 0;
  return a[2] != 0 && user_store64(reinterpret_cast<uint64_t*>(a[2]), old) != 0 ? EFAULT : 0;
}

namespace {
uint64_t pending_in_kernel() {
  uint64_t set = 0;
  raw2(SYS_rt_sigpending, reinterpret_cast<long>(&set), 8);
  return set;
}
}  // namespace

int sys_rt_sigpending(union sysunion* m) {
  const uint64_t* a = m->raw.arg;
  if (a[1] > kSetSize) return EINVAL;
  thread* td = curthread();
  sig_await_followers();
  // In both orders, since another rfork may just be moving one from here to there, or back.
  uint64_t kernel = pending_in_kernel();
  uint64_t set = sig_pending_for(td) | kernel;
  if (smp) set |= pending_in_kernel();
  set &= td->td_sigmask;
  m->sm.sm_result = 0;
  return user_copy(reinterpret_cast<void*>(a[0]), &set, a[1]) != 0 ? EFAULT : 0;
}

namespace {

// Sleeps until a signal for this LWKT. With one LWKT it sleeps in the kernel, which then
// needs no second kernel thread to take the signal.
int sleep_for_signal(thread* td) {
  sched_block(td);
  sched_sleep_interruptible();
  return ERESTARTNOHAND;
}

}  // namespace

int sys_rt_sigsuspend(union sysunion* m) {
  const uint64_t* a = m->raw.arg;
  if (a[1] != kSetSize) return EINVAL;
  uint64_t mask;
  if (copy_in(&mask, a[0]) != 0) return EFAULT;
  thread* td = curthread();
  td->td_savedmask = td->td_sigmask;
  td->td_flags |= TDF_SUSPENDMASK;
  sig_setmask(td, mask);
  sig_recalc(td);
  return sleep_for_signal(td);
}

int sys_pause(union sysunion*) { return sleep_for_signal(curthread()); }

int sys_rt_sigtimedwait(union sysunion* m) {
  const uint64_t* a = m->raw.arg;
  if (a[3] != kSetSize) return EINVAL;
  uint64_t set;
  if (copy_in(&set, a[0]) != 0) return EFAULT;
  set &= ~kUnblockable;
  uint64_t deadline = kNever;
  bool poll = false;
  if (a[2] != 0) {
    __kernel_timespec ts;
    if (user_timespec(m->sm.sm_nr, a[2], &ts) != 0) return EFAULT;
    if (!timespec_valid(ts)) return EINVAL;
    poll = ts.tv_sec == 0 && ts.tv_nsec == 0;
    deadline = time_deadline(ts, true, false);
  }
  thread* td = curthread();
  sig_want(set);
  siginfo_t info;
  int error = 0;
  td->td_sigwait = set;  // from here on td is chosen for these though it blocks them
  if (smp) __atomic_thread_fence(__ATOMIC_SEQ_CST);
  sig_waits(set);
  sig_await_followers();
  for (;;) {
    if (!sig_inbox_empty()) sig_route();
    if (sig_take(td, set, &info)) break;
    if (poll) {
      error = EAGAIN;
      break;
    }
    sched_block(td);
    if (deadline != kNever && !timer_arm(td, deadline)) {
      td->td_state = TDS_RUNNING;
      error = EAGAIN;
      break;
    }
    int64_t why = sched_sleep_interruptible();
    if (deadline != kNever) timer_cancel(td);
    if (!sig_inbox_empty()) sig_route();  // what has come in time
    if (sig_take(td, set, &info)) break;
    if (why == -ETIMEDOUT) {
      error = EAGAIN;
      break;
    }
    sig_recalc(td);
    if ((td->td_ast & AST_SIGNAL) != 0) {
      error = EINTR;
      break;
    }
  }
  td->td_sigwait = 0;
  sig_pass_to_takers(set);
  sig_recalc(td);
  if ((set & load_bits(&sig_fd_reads)) != 0) sig_leave(set);
  if (error != 0) return error;
  m->sm.sm_result = info.si_signo;
  return a[1] != 0 ? copy_out(a[1], info) : 0;
}

// A bare rt_sigreturn from the program (its own restorer): the frame stands at its stack
// pointer as the kernel's would; cr_restore_rt does the same for ours.
int sys_rt_sigreturn(union sysunion* m) {
  signal_return_to(sysport_frame(m)->sp);
}

int sys_sigaltstack(union sysunion* m) {
  const uint64_t* a = m->raw.arg;
  thread* td = curthread();
  uint64_t sp = sysport_frame(m)->sp;
  bool on = td->td_altsize != 0 && sp > td->td_altsp && sp - td->td_altsp <= td->td_altsize;
  kstack old = make_kstack(td->td_altsp, static_cast<int32_t>(td->td_altflags) | (on ? SS_ONSTACK : 0),
                           td->td_altsize);
  if (td->td_altsize == 0) old.flags = SS_DISABLE;
  if (a[0] != 0) {
    kstack ss;
    if (copy_in(&ss, a[0]) != 0) return EFAULT;
    if (on) return EPERM;
    auto flags = static_cast<uint32_t>(ss.flags);
    uint32_t mode = flags & ~(1u << 31);
    if (mode != 0 && mode != SS_ONSTACK && mode != SS_DISABLE) return EINVAL;
    if (mode == SS_DISABLE) {
      td->td_altsp = td->td_altsize = 0;
      td->td_altflags = 0;
    } else {
      if (ss.size < 2048) return ENOMEM;
      td->td_altsp = ss.sp;
      td->td_altsize = ss.size;
      td->td_altflags = flags & (1u << 31);
    }
  }
  m->sm.sm_result = 0;
  return a[1] != 0 ? copy_out(a[1], old) : 0;
}

int sys_kill(union sysunion* m) {
  if (!is_own(m->raw.arg[0])) return sysport_trap(m);
  siginfo_t info;
  fill_sender(&info, static_cast<int>(m->raw.arg[1]), SI_USER);
  m->sm.sm_result = 0;
  return to_own_process(m->raw.arg[1], &info);
}

int sys_tkill(union sysunion* m) {
  if (is_traced()) return sysport_trap(m);
  int error = tkill_own(static_cast<int32_t>(m->raw.arg[0]), m->raw.arg[1], m);
  return error == ESRCH ? sysport_trap(m) : error;
}

int sys_tgkill(union sysunion* m) {
  const uint64_t* a = m->raw.arg;
  if (!is_own_group(a[0])) return sysport_trap(m);
  return tkill_own(static_cast<int32_t>(a[1]), a[2], m);
}

int sys_rt_sigqueueinfo(union sysunion* m) {
  const uint64_t* a = m->raw.arg;
  if (!is_own(a[0])) return sysport_trap(m);
  siginfo_t info;
  int error = copy_siginfo(&info, a[2]);
  if (error != 0) return error;
  if (is_kernels_code(info.si_code) && static_cast<int32_t>(a[0]) != curthread()->td_tid) return EPERM;
  m->sm.sm_result = 0;
  return to_own_process(a[1], &info);
}

int sys_rt_tgsigqueueinfo(union sysunion* m) {
  const uint64_t* a = m->raw.arg;
  auto tid = static_cast<int32_t>(a[1]);
  if (!is_own_group(a[0])) return sysport_trap(m);
  siginfo_t info;
  int error = copy_siginfo(&info, a[3]);
  if (error != 0) return error;
  if (tid <= 0) return EINVAL;
  if (is_kernels_code(info.si_code) && tid != curthread()->td_tid) return EPERM;
  m->sm.sm_result = 0;
  return to_own_thread(tid, a[2], &info);
}

namespace {
int signalfd_mask(union sysunion* m) {
  uint64_t set;
  if (m->raw.arg[2] != kSetSize) return EINVAL;
  if (copy_in(&set, m->raw.arg[1]) != 0) return EFAULT;
  sig_fd_begins(set);
  return sysport_trap(m);
}
}  // namespace

int sys_signalfd(union sysunion* m) { return signalfd_mask(m); }
int sys_signalfd4(union sysunion* m) { return signalfd_mask(m); }

}  // namespace cr
