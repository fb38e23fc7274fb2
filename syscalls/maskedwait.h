// What calls that wait for descriptors share: a signal mask for the time of the wait, and a time-out
// that is counted down over interruptions.
//
// The kernel must not be given the program's mask (it would hide signals from libcr that other
// LWKTs want): the LWKT's own mask is changed around the wait, as rt_sigsuspend does.
#pragma once

#include <errno.h>

#include "../arch/rawcall.h"
#include "../arch/usercopy.h"
#include "../src/lwkt/clock.h"
#include "../src/signal/signal.h"
#include "../src/sysport/sysport.h"
#include "timespec.h"

namespace cr {

// Runs `call` under the program's mask at `mask_at` (0: as it is). `look`: the same call with no time to wait, and
// nothing of the program's changed if nothing is there: natively a signal ends the wait only then, and one that `mask`
// lets through is not delivered where the call has an answer.
template <typename Call, typename Look>
int with_mask(union sysunion* m, uint64_t mask_at, int arg, Call call, Look look) {
  if (mask_at == 0) return call();
  uint64_t mask;
  if (user_copy(&mask, reinterpret_cast<const void*>(mask_at), sizeof mask) != 0) return EFAULT;
  thread* td = curthread();
  td->td_savedmask = td->td_sigmask;
  sig_setmask(td, mask);
  sig_recalc(td);
  m->raw.arg[arg] = 0;
  int error = call();
  if (error == ERESTARTSYS || error == ERESTARTNOINTR || error == ERESTARTNOHAND || error == EINTR) {
    sig_recalc(td);
    if ((td->td_ast & AST_SIGNAL) != 0) {
      int now = look();
      if (now != EINTR && (now != 0 || m->sm.sm_result > 0)) {
        sig_setmask(td, td->td_savedmask);
        return now;
      }
      td->td_flags |= TDF_SUSPENDMASK;  // the handler's frame restores the old mask
      return error == EINTR ? EINTR : ERESTARTNOHAND;
    }
  }
  sig_setmask(td, td->td_savedmask);
  return error;
}

// `look` for the calls that write nothing of use where nothing is there: `time` is their argument i for "at once".
inline int look_at_once(union sysunion* m, int i, uint64_t time) {
  m->raw.arg[i] = time;
  return sysport_trap_undisturbed(m);
}
// The time 0, as a timespec of either size.
inline uint64_t no_time() {
  static constexpr int64_t kZero[2] = {};
  return reinterpret_cast<uintptr_t>(kZero);
}

struct Timeout {
  uint64_t deadline = kNever;
  bool none = false;  // do not wait at all

  // False: not a time.
  bool set(int64_t sec, int64_t nsec) {
    if (!timespec_valid({sec, nsec})) return false;
    none = sec == 0 && nsec == 0;
    deadline = time_deadline({sec, nsec}, true, false);
    return true;
  }
  void set_ms(int64_t ms) {
    if (ms < 0) return;
    set(ms / 1000, ms % 1000 * 1'000'000);
  }
  __kernel_timespec rest() const {
    uint64_t now = clock_monotonic();
    uint64_t left = deadline > now ? deadline - now : 0;
    return timespec_of(left);
  }
  int rest_ms() const {
    __kernel_timespec ts = rest();
    return static_cast<int>(ts.tv_sec * 1000 + (ts.tv_nsec + 999'999) / 1'000'000);
  }
};

// In the kernel, for calls whose argument `i` is milliseconds; the others' time the kernel counts down
// where it stands.
inline int trap_ms(union sysunion* m, const Timeout& t, int i) {
  if (t.deadline == kNever) return sysport_trap_first(m);
  return sysport_trap_timed(m, false, [&t, i](union sysunion* u) {
    int left = t.rest_ms();
    u->raw.arg[i] = static_cast<uint64_t>(left);
    return left != 0;
  });
}

// The same for a time that the kernel only reads (argument 3).
inline int trap_timespec(union sysunion* m, const Timeout& t) {
  if (t.deadline == kNever) return sysport_trap_first(m);
  __kernel_timespec left;
  return sysport_trap_timed(m, false, [&](union sysunion* u) {
    left = t.rest();
    u->raw.arg[3] = reinterpret_cast<uintptr_t>(&left);
    return left.tv_sec != 0 || left.tv_nsec != 0;
  });
}

}  // namespace cr
