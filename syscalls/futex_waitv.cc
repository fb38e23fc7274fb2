// futex_waitv: waiting on several words. An LWKT hangs in one bucket at a time and the kernel does
// not see our wakers, so this looks at all of them in turns, with pauses that grow from 20 us to
// 2 ms. No glibc uses the call; programs that do (game runtimes) get a late wake at worst.

#include <errno.h>

#include "../arch/x86_64/usercopy.h"
#include "../src/async/timer.h"
#include "../src/lwkt/clock.h"
#include "../src/lwkt/sched.h"
#include "../src/sysport/sysport.h"
#include "futex_internal.h"
#include "sysent.h"

namespace cr {

int sys_futex_waitv(union sysunion* m) {
  struct Entry {
    uint64_t val, uaddr;
    uint32_t flags, reserved;
  };
  const uint64_t* a = m->raw.arg;
  auto n = static_cast<uint32_t>(a[1]);
  if (nthreads == 1) return sysport_trap_sleep(m);
  if (a[2] != 0 || n == 0 || n > 128) return EINVAL;
  auto* entries = reinterpret_cast<const Entry*>(a[0]);
  bool realtime = static_cast<int>(a[4]) == 0;  // CLOCK_REALTIME
  uint64_t deadline;
  int error = futex_deadline(reinterpret_cast<const void*>(a[3]), false, realtime, &deadline);
  if (error != 0) return error;
  thread* td = curthread();
  uint64_t pause = 20'000;
  for (bool first = true;; first = false) {
    for (uint32_t i = 0; i < n; i++) {
      Entry e;
      uint32_t seen;
      if (user_copy(&e, &entries[i], sizeof e) != 0) return EFAULT;
      if ((e.flags & 3) != 2 || e.reserved != 0) return EINVAL;  // FUTEX2_SIZE_U32
      if (user_load32(&seen, reinterpret_cast<const uint32_t*>(e.uaddr)) != 0) return EFAULT;
      if (seen == static_cast<uint32_t>(e.val)) continue;
      if (first) return EAGAIN;
      m->sm.sm_result = static_cast<long>(i);
      return 0;
    }
    uint64_t now = clock_monotonic();
    if (now >= deadline) return ETIMEDOUT;
    uint64_t until = now + pause < deadline ? now + pause : deadline;
    sched_block(td);
    if (!timer_arm(td, until)) {
      td->td_state = TDS_RUNNING;
      return ENOMEM;
    }
    int64_t why = sched_sleep_interruptible();
    timer_cancel(td);
    if (why == -EINTR) return EINTR;
    if (pause < 2'000'000) pause *= 2;
  }
}

}  // namespace cr
