// Sleeping, and the clocks of an LWKT.
//
// With one LWKT a sleep is a plain trap. With several the LWKT parks on the timer queue and
// its cpu goes on.

#include <errno.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>

#include "../arch/abi.h"
#include "../arch/rawcall.h"
#include "../arch/usercopy.h"
#include "../src/async/timer.h"
#include "../src/lwkt/cputime.h"
#include "../src/signal/signal.h"
#include "../src/sysport/sysport.h"
#include "../src/sysport/tid.h"
#include "kernelwait.h"
#include "sysent.h"
#include "threadclock.h"
#include "timespec.h"

namespace cr {

namespace {
inline constexpr uint64_t kLongest = INT64_MAX;  // ns: the kernel's clocks end there
}

uint64_t time_deadline(const __kernel_timespec& ts, bool relative, bool realtime) {
  if (ts.tv_sec >= static_cast<int64_t>(kLongest / kSecond)) return kNever;
  uint64_t ns = static_cast<uint64_t>(ts.tv_sec) * kSecond + static_cast<uint64_t>(ts.tv_nsec);
  if (!relative && !realtime) return ns;
  uint64_t now = clock_monotonic();
  if (!relative) {
    uint64_t real = clock_realtime();
    if (ns <= real) return now;
    ns -= real;
  }
  return ns < kLongest - now ? now + ns : kNever;
}

namespace {

// Sleeps until `deadline`, which may be past: then until the timers are next looked at. 0 or EINTR.
int sleep_until(uint64_t deadline) {
  thread* td = curthread();
  sched_block(td);
  if (!timer_arm(td, deadline)) {
    td->td_state = TDS_RUNNING;
    return ENOMEM;
  }
  int64_t why = sched_sleep_interruptible();
  timer_cancel(td);
  return why == -EINTR ? EINTR : 0;
}

// The rest of an interrupted relative sleep, of call `nr`.
int report_rest(uint32_t nr, uint64_t rem, uint64_t deadline) {
  if (rem == 0) return EINTR;
  uint64_t now = clock_monotonic();
  uint64_t end = deadline < kLongest ? deadline : kLongest;
  uint64_t left = end > now ? end - now : 0;
  return user_timespec_store(nr, rem, timespec_of(left)) != 0 ? EFAULT : EINTR;
}

// A deadline that has come already: others get their turn, as by a yield.
int no_sleep() {
  sched_yield_cpu();
  return 0;
}

// A signal that runs no handler (another LWKT took it, or it is ignored) does not end a sleep.
int sleep_through(uint64_t deadline) {
  for (;;) {
    int error = sleep_until(deadline);
    if (error != EINTR) return error;
    if (sig_interrupts(curthread())) return EINTR;
  }
}

// A relative sleep in the kernel: the request is argument `i`, the rest goes to the next one.
int nap(union sysunion* m, int i, const __kernel_timespec& ts) {
  uint32_t nr = m->sm.sm_nr;
  uint64_t user_rest = m->raw.arg[i + 1];
  __kernel_timespec request, rest;  // in the call's form
  user_timespec_store(nr, reinterpret_cast<uintptr_t>(&request), ts);
  rest = request;
  m->raw.arg[i] = reinterpret_cast<uintptr_t>(&request);
  m->raw.arg[i + 1] = reinterpret_cast<uintptr_t>(&rest);
  int error = sysport_trap_timed(m, true, [&](union sysunion*) {
    request = rest;
    return true;
  });
  if (error != EINTR || user_rest == 0) return error;
  __kernel_timespec left;
  user_timespec(nr, reinterpret_cast<uintptr_t>(&rest), &left);
  return user_timespec_store(nr, user_rest, left) != 0 ? EFAULT : EINTR;
}

}  // namespace

int sys_nanosleep(union sysunion* m) {
  const uint64_t* a = m->raw.arg;
  __kernel_timespec ts;
  if (user_timespec(m->sm.sm_nr, a[0], &ts) != 0) return EFAULT;
  if (!timespec_valid(ts)) return EINVAL;
  if (nthreads == 1) return nap(m, 0, ts);
  m->sm.sm_result = 0;
  if (ts.tv_sec == 0 && ts.tv_nsec == 0) return no_sleep();
  uint64_t deadline = time_deadline(ts, true, false);
  int error = sleep_through(deadline);
  return error == EINTR ? report_rest(m->sm.sm_nr, a[1], deadline) : error;
}

// A clock of a thread of this process, as libc makes them: ~tid << 3 | CPUCLOCK_PERTHREAD |
// CPUCLOCK_SCHED (the kernel's include/linux/posix-timers_types.h). Whose? False: any other clock.
// A tid of ours may have 30 bits, of which 29 are left: the highest is guessed.
bool thread_of_clock(int clock, int32_t* tid) {
  constexpr int kKind = 7, kThread = 6, kStatic = 16;
  constexpr uint32_t kBits = (1u << 29) - 1;
  *tid = 0;
  if (clock == CLOCK_THREAD_CPUTIME_ID) return true;
  if ((clock >= 0 && clock < kStatic) || (clock & kKind) != kThread) return false;
  auto low = static_cast<int32_t>(~static_cast<uint32_t>(clock) >> 3 & kBits);
  auto high = static_cast<int32_t>(static_cast<uint32_t>(low) | (kBits + 1));
  *tid = tid_find(high) != nullptr ? high : low;
  return *tid == 0 || tid_is_virtual(*tid) || *tid == tid_process();
}

namespace {

// False: there is no such thread (any more).
bool cputime_of_tid(int32_t tid, uint64_t* ns) {
  if (tid == 0) {
    *ns = cputime_of(curthread());
    return true;
  }
  Guard g(siglock);
  const thread* td = tid_find(tid);
  if (td != nullptr) *ns = cputime_of(td);
  return td != nullptr;
}

// Until another thread has used so much processor time. The process's clock can't be slower.
int sleep_on_thread(union sysunion* m, int32_t tid, bool absolute, const __kernel_timespec& ts) {
  uint32_t nr = m->sm.sm_nr;
  uint64_t user_rest = m->raw.arg[3], used;
  if (tid == curthread()->td_tid || !cputime_of_tid(tid, &used)) return EINVAL;
  uint64_t ns = timespec_ns(ts);
  uint64_t deadline = absolute ? ns : used + ns;
  __kernel_timespec request;  // in the call's form
  auto left = [&] {
    cputime_of_tid(tid, &used);  // of one that has ended: what it had used
    return deadline > used ? deadline - used : 0;
  };
  auto ask = [&](union sysunion*) {
    return user_timespec_store(nr, reinterpret_cast<uintptr_t>(&request), timespec_of(left())) == 0;
  };
  m->raw.arg[0] = static_cast<uint32_t>(CLOCK_PROCESS_CPUTIME_ID);
  m->raw.arg[1] = m->raw.arg[3] = 0;
  m->raw.arg[2] = reinterpret_cast<uintptr_t>(&request);
  m->sm.sm_result = 0;
  int error = 0;
  for (bool slept = false; error == 0 && left() != 0; slept = true) {
    ask(m);
    error = sysport_trap_timed(m, true, ask);
    if (slept && (error == ERESTARTNOINTR || error == ERESTARTSYS)) error = EINTR;
  }
  if (error != EINTR || absolute || user_rest == 0) return error;
  return user_timespec_store(nr, user_rest, timespec_of(left())) != 0 ? EFAULT : EINTR;
}

}  // namespace

int sys_clock_nanosleep(union sysunion* m) {
  const uint64_t* a = m->raw.arg;
  auto clock = static_cast<int>(a[0]);
  bool monotonic = clock == CLOCK_MONOTONIC || clock == CLOCK_BOOTTIME;
  bool absolute = (a[1] & TIMER_ABSTIME) != 0;
  int32_t tid = 0;
  bool threads = thread_of_clock(clock, &tid) && tid != 0;
  bool in_kernel = nthreads == 1 || (!monotonic && clock != CLOCK_REALTIME);
  if (in_kernel && absolute && !threads) return sysport_trap_first_sleep(m);
  __kernel_timespec ts;
  if (user_timespec(m->sm.sm_nr, a[2], &ts) != 0) return EFAULT;
  if (threads) return !timespec_valid(ts) ? EINVAL : sleep_on_thread(m, tid, absolute, ts);
  if (in_kernel) return nap(m, 2, ts);
  if (!timespec_valid(ts)) return EINVAL;
  m->sm.sm_result = 0;
  if (absolute && clock == CLOCK_BOOTTIME) return sysport_trap_first_sleep(m);
  for (;;) {
    uint64_t deadline = time_deadline(ts, !absolute, clock == CLOCK_REALTIME);
    // A relative time was in the future when it was made a deadline, unless it is none at all.
    bool past = absolute ? clock_monotonic() >= deadline : ts.tv_sec == 0 && ts.tv_nsec == 0;
    int error = past ? no_sleep() : sleep_through(deadline);
    if (error == EINTR) return absolute ? EINTR : report_rest(m->sm.sm_nr, a[3], deadline);
    if (error != 0 || !absolute || clock != CLOCK_REALTIME) return error;
    // The clock may have been set back meanwhile.
    if (clock_realtime() >= timespec_ns(ts)) return 0;
  }
}

int sys_semtimedop(union sysunion* m) {
  uint64_t at = m->raw.arg[3];
  uint32_t nr = m->sm.sm_nr;
  __kernel_timespec ts, left;  // `left` in the call's form
  if (at != 0) {
    if (user_timespec(nr, at, &ts) != 0) return EFAULT;
    if (!timespec_valid(ts)) return EINVAL;
  }
  if (sched_others()) {
    int error = kernelwait_try_semop(m);
    if (error != kWouldSleep) return error;
  }
  if (at == 0) return sched_others() ? sysport_trap_sleep(m) : sysport_trap_first(m);
  uint64_t deadline = time_deadline(ts, true, false);
  return sysport_trap_timed(m, true, [&](union sysunion* u) {
    uint64_t now = clock_monotonic();
    uint64_t ns = deadline > now ? deadline - now : 0;
    user_timespec_store(nr, reinterpret_cast<uintptr_t>(&left), timespec_of(ns));
    u->raw.arg[3] = reinterpret_cast<uintptr_t>(&left);
    return ns != 0;
  });
}

int sys_clock_gettime(union sysunion* m) {
  const uint64_t* a = m->raw.arg;
  int32_t tid;
  uint64_t ns = 0;
  if (!thread_of_clock(static_cast<int>(a[0]), &tid)) return sysport_trap(m);
  if (!cputime_of_tid(tid, &ns)) return EINVAL;
  m->sm.sm_result = 0;
  return user_timespec_store(m->sm.sm_nr, a[1], timespec_of(ns)) != 0 ? EFAULT : 0;
}

int sys_clock_getres(union sysunion* m) {
  int32_t tid;
  if (thread_of_clock(static_cast<int>(m->raw.arg[0]), &tid) && tid != 0) {
    if (tid_find(tid) == nullptr) return EINVAL;
    m->raw.arg[0] = CLOCK_THREAD_CPUTIME_ID;
  }
  return sysport_trap(m);
}

// RUSAGE_THREAD: the kernel thread's, but for the times. They are shared out as the kernel thread's
// own are.
int sys_getrusage(union sysunion* m) {
  const uint64_t* a = m->raw.arg;
  int error = sysport_trap(m);
  if (error != 0 || static_cast<int>(a[0]) != RUSAGE_THREAD) return error;
  auto* usage = reinterpret_cast<rusage*>(a[1]);
  timeval kernels[2];  // user, system
  if (user_copy(kernels, &usage->ru_utime, sizeof kernels) != 0) return EFAULT;
  auto us = [](const timeval& t) {
    return static_cast<uint64_t>(t.tv_sec) * 1'000'000 + static_cast<uint64_t>(t.tv_usec);
  };
  uint64_t user = us(kernels[0]), all = user + us(kernels[1]);
  uint64_t own = cputime_of(curthread()) / 1000;
  uint64_t own_user = all == 0 ? own : own * (user * 1024 / all) / 1024;
  auto tv = [](uint64_t t) {
    return timeval{static_cast<time_t>(t / 1'000'000), static_cast<suseconds_t>(t % 1'000'000)};
  };
  timeval times[2] = {tv(own_user), tv(own - own_user)};
  return user_copy(&usage->ru_utime, times, sizeof times) != 0 ? EFAULT : 0;
}

}  // namespace cr
