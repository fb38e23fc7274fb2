// timer_create and its family: the kernel's timers, for LWKTs (src/signal/posixtimer.cc).

#include <errno.h>
#include <signal.h>
#include <sys/syscall.h>
#include <time.h>

#include "../arch/abi.h"
#include "../arch/rawcall.h"
#include "../arch/usercopy.h"
#include "../src/lwkt/rfork.h"
#include "../src/signal/signal.h"
#include "../src/sysport/sysport.h"
#include "../src/sysport/tid.h"
#include "sysent.h"
#include "threadclock.h"
#include "timespec.h"

namespace cr {

namespace {
int32_t timer_of(const union sysunion* m) { return static_cast<int32_t>(m->raw.arg[0]); }

// To an itimerspec in the form of call `nr`: the interval comes first. 0 or EFAULT.
int store_setting(uint32_t nr, uint64_t at, const TimerSetting& s) {
  bool bad = user_timespec_store(nr, at, timespec_of(s.interval)) != 0 ||
             user_timespec_store(nr, at + user_timespec_size(nr), timespec_of(s.value)) != 0;
  return bad ? EFAULT : 0;
}
}  // namespace

int sys_timer_create(union sysunion* m) {
  uint64_t event_at = m->raw.arg[1], id_at = m->raw.arg[2];
  sigevent event{};
  int32_t tid = 0;
  if (event_at != 0) {
    if (user_copy(&event, reinterpret_cast<const void*>(event_at), sizeof event) != 0) return EFAULT;
    if (event.sigev_notify == (SIGEV_SIGNAL | SIGEV_THREAD_ID)) {
      tid = event._sigev_un._tid;
      if (tid_find(tid) == nullptr) return EINVAL;
      event.sigev_notify = SIGEV_SIGNAL;
    }
    m->raw.arg[1] = reinterpret_cast<uintptr_t>(&event);
  }
  bool signals = event_at == 0 || event.sigev_notify != SIGEV_NONE;
  int sig = event_at == 0 ? SIGALRM : event.sigev_signo;
  int32_t id = 0, clock_tid;
  m->raw.arg[2] = reinterpret_cast<uintptr_t>(&id);
  bool counts = thread_of_clock(static_cast<int>(m->raw.arg[0]), &clock_tid);
  if (counts) {
    if (clock_tid == 0) clock_tid = curthread()->td_tid;
    if (tid_find(clock_tid) == nullptr || (signals && (sig < 1 || sig > kNsig))) return EINVAL;
    // The kernel's is its alarm (src/signal/posixtimer.cc).
    sig_install_ipi();
    if (signals) event.sigev_signo = kIpiSignal;
    m->raw.arg[0] = static_cast<uint32_t>(CLOCK_PROCESS_CPUTIME_ID);
    m->raw.arg[1] = reinterpret_cast<uintptr_t>(&event);
  }
  int error = sysport_trap(m);
  if (error != 0) return error;
  if ((signals || counts) && !sig_timer_add(id, sig, tid)) {
    error = EAGAIN;
  } else if (user_copy(reinterpret_cast<void*>(id_at), &id, sizeof id) != 0) {
    error = EFAULT;
  }
  if (event_at == 0) event.sigev_value.sival_int = id;
  if (error == 0 && counts) sig_timer_count(id, clock_tid, signals, event.sigev_value);
  if (error == 0) return 0;
  raw1(SYS_timer_delete, id);
  sig_timer_remove(id);
  return error;
}

int sys_timer_settime(union sysunion* m) {
  uint32_t nr = m->sm.sm_nr;
  uint64_t at = m->raw.arg[2], old_at = m->raw.arg[3];
  __kernel_timespec value, interval;
  bool good = user_timespec(nr, at, &interval) == 0 && timespec_valid(interval) &&
              user_timespec(nr, at + user_timespec_size(nr), &value) == 0 && timespec_valid(value);
  if (!good) return sysport_trap(m);
  sig_timer_rearm(timer_of(m));
  bool absolute = (m->raw.arg[1] & TIMER_ABSTIME) != 0;
  TimerSetting old{};
  int error;
  if (!sig_timer_set(timer_of(m), absolute, {timespec_ns(value), timespec_ns(interval)}, &old, &error)) {
    return sysport_trap(m);
  }
  m->sm.sm_result = 0;
  return error != 0 || old_at == 0 ? error : store_setting(nr, old_at, old);
}

int sys_timer_gettime(union sysunion* m) {
  TimerSetting now;
  if (!sig_timer_get(timer_of(m), &now)) return sysport_trap(m);
  m->sm.sm_result = 0;
  return store_setting(m->sm.sm_nr, m->raw.arg[1], now);
}

int sys_timer_getoverrun(union sysunion* m) {
  int overrun;
  if (!sig_timer_overrun(timer_of(m), &overrun)) return sysport_trap(m);
  m->sm.sm_result = overrun;
  return 0;
}

int sys_timer_delete(union sysunion* m) {
  int error = sysport_trap(m);
  if (error == 0) sig_timer_remove(timer_of(m));
  return error;
}

}  // namespace cr
