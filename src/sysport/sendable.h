// Which calls a program may send to syscall_port as messages, and which of those may sleep.
//
// The serve word of syscalls.master answers for most: `trap` doesn't sleep, `block`, `whole` and `async` may,
// `user` has a use for the caller's trap frame, and a message has none. The lists here are what the
// words don't say.
//
// What concerns the calling thread and doesn't sleep (gettid, rt_sigprocmask, set_robust_list, prctl
// ...) is answered in the sender's context, as if the sender had called. What would need the sender's
// identity *and* may sleep can't be carried out by anybody else.
#pragma once

#include <libcr/sysunion.h>

#include "../../arch/abi.h"
#include "sysdesc.h"

namespace cr {

enum class Sendable : uint8_t {
  kNo,
  kAtOnce,   // it doesn't sleep: in the sender's context
  kMaySleep, // by a worker (worker.h)
};
Sendable sysport_sendable(const union sysunion* m, Serve serve);

enum class Quick : uint8_t {
  kUnknown,
  kNoSleep,
  kMaySleep,
  kByArgument,  // futex, fcntl
};

// Of the `quick` rows; arch/*/abi.h lists what one architecture alone has. sysport.cc asserts that each is known here.
constexpr Quick sendable_quick(uint32_t nr) {
  switch (plain_call(nr)) {
    case CR_SYS_futex:
    case CR_SYS_fcntl: return Quick::kByArgument;
    case CR_SYS_close:
    case CR_SYS_close_range:
    case CR_SYS_epoll_wait:
    case CR_SYS_futex_wait:
    case CR_SYS_futex_waitv:
    case CR_SYS_ioctl:
    case CR_SYS_mlockall:
    case CR_SYS_clock_nanosleep:
    case CR_SYS_nanosleep:
    case CR_SYS_poll: return Quick::kMaySleep;
    case CR_SYS_arch_prctl:
    case CR_SYS_capset:
    case CR_SYS_clock_getres:
    case CR_SYS_clock_gettime:
    case CR_SYS_dup:
    case CR_SYS_dup2:
    case CR_SYS_dup3:
    case CR_SYS_futex_requeue:
    case CR_SYS_futex_wake:
    case CR_SYS_get_robust_list:
    case CR_SYS_getpriority:
    case CR_SYS_getrusage:
    case CR_SYS_getpid:
    case CR_SYS_gettid:
    case CR_SYS_kill:
    case CR_SYS_madvise:
    case CR_SYS_membarrier:
    case CR_SYS_mprotect:
    case CR_SYS_mremap:
    case CR_SYS_munlockall:
    case CR_SYS_munmap:
    case CR_SYS_prctl:
    case CR_SYS_prlimit64:
    case CR_SYS_rseq:
    case CR_SYS_rt_sigaction:
    case CR_SYS_rt_sigpending:
    case CR_SYS_rt_sigprocmask:
    case CR_SYS_rt_sigqueueinfo:
    case CR_SYS_rt_tgsigqueueinfo:
    case CR_SYS_sched_getaffinity:
    case CR_SYS_sched_getattr:
    case CR_SYS_sched_getparam:
    case CR_SYS_sched_getscheduler:
    case CR_SYS_sched_rr_get_interval:
    case CR_SYS_sched_setaffinity:
    case CR_SYS_sched_setattr:
    case CR_SYS_sched_setparam:
    case CR_SYS_sched_setscheduler:
    case CR_SYS_sched_yield:
    case CR_SYS_seccomp:
    case CR_SYS_set_robust_list:
    case CR_SYS_set_tid_address:
    case CR_SYS_setfsgid:
    case CR_SYS_setfsuid:
    case CR_SYS_setgid:
    case CR_SYS_setgroups:
    case CR_SYS_setpriority:
    case CR_SYS_setregid:
    case CR_SYS_setresgid:
    case CR_SYS_setresuid:
    case CR_SYS_setreuid:
    case CR_SYS_setrlimit:
    case CR_SYS_setsockopt:
    case CR_SYS_setuid:
    case CR_SYS_shmat:
    case CR_SYS_shmdt:
    case CR_SYS_signalfd:
    case CR_SYS_signalfd4:
    case CR_SYS_socket:
    case CR_SYS_socketpair:
    case CR_SYS_tgkill:
    case CR_SYS_timer_create:
    case CR_SYS_timer_delete:
    case CR_SYS_timer_getoverrun:
    case CR_SYS_timer_settime:
    case CR_SYS_timer_gettime:
    case CR_SYS_tkill: return Quick::kNoSleep;
    default: break;
  }
  for (uint32_t here : kOnlyHereSleeping) {
    if (nr == here) return Quick::kMaySleep;
  }
  for (uint32_t here : kOnlyHereNoSleep) {
    if (nr == here) return Quick::kNoSleep;
  }
  return Quick::kUnknown;
}

}  // namespace cr
