// timer_create and its family: the kernel's timers, for LWKTs (src/signal/posixtimer.cc).

#include <errno.h>
#include <signal.h>
#include <sys/syscall.h>
#include <time.h>

#include "../arch/rawcall.h"
#include "../arch/usercopy.h"
#include "../src/signal/signal.h"
#include "../src/sysport/sysport.h"
#include "../src/sysport/tid.h"
#include "sysent.h"

namespace cr {

namespace {
int32_t timer_of(const union sysunion* m) { return static_cast<int32_t>(m->raw.arg[0]); }

bool is_time(const timespec& ts) {
  return ts.tv_sec >= 0 && ts.tv_nsec >= 0 && ts.tv_nsec < 1'000'000'000;
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
  int32_t id = 0;
  m->raw.arg[2] = reinterpret_cast<uintptr_t>(&id);
  int error = sysport_trap(m);
  if (error != 0) return error;
  bool signals = event_at == 0 || event.sigev_notify != SIGEV_NONE;
  int sig = event_at == 0 ? SIGALRM : event.sigev_signo;
  if (signals && !sig_timer_add(id, sig, tid)) {
    error = EAGAIN;
  } else if (user_copy(reinterpret_cast<void*>(id_at), &id, sizeof id) != 0) {
    error = EFAULT;
  }
  if (error == 0) return 0;
  raw1(SYS_timer_delete, id);
  sig_timer_remove(id);
  return error;
}

int sys_timer_settime(union sysunion* m) {
  itimerspec value;
  if (user_copy(&value, reinterpret_cast<const void*>(m->raw.arg[2]), sizeof value) == 0 &&
      is_time(value.it_value) && is_time(value.it_interval)) {
    sig_timer_rearm(timer_of(m));
  }
  return sysport_trap(m);
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
