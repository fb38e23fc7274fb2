// futex_wake, futex_wait and futex_requeue (Linux 6.7): the old operations with other arguments. A
// word that is this process's own is served as for futex, any other by the kernel. A kernel that
// lacks the calls has them here for own words all the same.

#include "futex2.h"

#include <errno.h>
#include <sys/syscall.h>
#include <time.h>

#include "../arch/usercopy.h"
#include "../src/lwkt/clock.h"
#include "../src/lwkt/sched.h"
#include "../src/mem/shared.h"
#include "../src/sysport/sysport.h"
#include "futex.h"
#include "futex_internal.h"
#include "sysent.h"

namespace cr {

namespace {

bool alone() { return load_acquire(&nthreads) == 1 && load_acquire(&futex_dying) == 0; }

bool is_ours(uint64_t addr, uint64_t flags) {
  return (flags & kFutex2Private) != 0 || !shared_contains(addr);
}

// Whether the kernel has to answer: it is its word, or it knows the error.
bool for_kernel(uint64_t addr, uint64_t flags, uint64_t mask) {
  return alone() || !futex2_flags_valid(flags) || (mask >> 32) != 0 || mask == 0 ||
         (addr & 3) != 0 || !is_ours(addr, flags);
}

}  // namespace

int futex2_deadline(uint64_t timeout, uint64_t clock, uint64_t* out) {
  *out = kNever;
  if (timeout == 0) return 0;
  auto id = static_cast<int>(clock);
  if (id != CLOCK_REALTIME && id != CLOCK_MONOTONIC) return EINVAL;
  return futex_deadline(SYS_futex_waitv, timeout, false, id == CLOCK_REALTIME, out);
}

int sys_futex_wake(union sysunion* m) {
  const uint64_t* a = m->raw.arg;
  if (for_kernel(a[0], static_cast<uint32_t>(a[3]), a[1])) return sysport_trap(m);
  auto n = static_cast<int>(a[2]);
  m->sm.sm_result = n == 0 ? 0 : futex_wake(a[0], n, static_cast<uint32_t>(a[1]));
  return 0;
}

int sys_futex_wait(union sysunion* m) {
  const uint64_t* a = m->raw.arg;
  uint64_t addr = a[0];
  if (for_kernel(addr, static_cast<uint32_t>(a[3]), a[2]) || (a[1] >> 32) != 0) {
    return sysport_trap_sleep(m);
  }
  uint64_t deadline;
  int error = futex2_deadline(a[4], a[5], &deadline);
  if (error != 0) return error;
  m->sm.sm_result = 0;
  Bucket* b = bucket_of(addr);
  b->lock.lock();
  error = futex_check(addr, static_cast<uint32_t>(a[1]));
  if (error != 0) {
    b->lock.unlock();
    return error;
  }
  error = futex_sleep(curthread(), b, addr, static_cast<uint32_t>(a[2]), deadline);
  return error == EINTR ? ERESTARTSYS : error;
}

int sys_futex_requeue(union sysunion* m) {
  const uint64_t* a = m->raw.arg;
  futex2_entry e[2];
  auto nwake = static_cast<int>(a[2]), nmove = static_cast<int>(a[3]);
  if (alone() || static_cast<uint32_t>(a[1]) != 0 || nwake < 0 || nmove < 0 ||
      user_copy(e, reinterpret_cast<const void*>(a[0]), sizeof e) != 0) {
    return sysport_trap(m);
  }
  bool both_ours = true;
  for (const futex2_entry& each : e) {
    if (!futex2_flags_valid(each.flags) || each.reserved != 0 || each.val > 0xffffffff ||
        (each.uaddr & 3) != 0) {
      return EINVAL;
    }
    both_ours = both_ours && is_ours(each.uaddr, each.flags);
  }
  if (!both_ours) return sysport_trap(m);
  auto expect = static_cast<uint32_t>(e[0].val);
  long result = 0;
  int error = futex_requeue(e[0].uaddr, e[1].uaddr, nwake, nmove, &expect, &result);
  m->sm.sm_result = result;
  return error;
}

}  // namespace cr
