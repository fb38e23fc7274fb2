// Waiting for several descriptors: in the kernel, with the cpu on offer, under the mask that the call
// brings along.

#include <errno.h>

#include "../../syscalls/maskedwait.h"
#include "abi.h"
#include "sysent.h"

namespace cr {

int sys_poll(union sysunion* m) {
  Timeout t;
  t.set_ms(static_cast<int>(m->raw.arg[2]));
  return trap_ms(m, t, 2);
}

int sys_epoll_wait(union sysunion* m) {
  Timeout t;
  t.set_ms(static_cast<int>(m->raw.arg[3]));
  return trap_ms(m, t, 3);
}

int sys_epoll_pwait(union sysunion* m) {
  return with_mask(m, m->raw.arg[4], 4, [m] { return sys_epoll_wait(m); });
}

int sys_epoll_pwait2(union sysunion* m) {
  return with_mask(m, m->raw.arg[4], 4, [m] {
    Timeout t;
    __kernel_timespec ts;
    uint64_t at = m->raw.arg[3];
    if (at != 0) {
      if (user_timespec(m->sm.sm_nr, at, &ts) != 0) return EFAULT;
      if (!t.set(ts.tv_sec, ts.tv_nsec)) return EINVAL;
    }
    return trap_timespec(m, t);
  });
}

// The time of these the kernel counts down where it stands.
int sys_ppoll(union sysunion* m) {
  const uint64_t* a = m->raw.arg;
  if (a[3] != 0 && a[4] != 8) return EINVAL;
  return with_mask(m, a[3], 3, [m] { return sysport_trap_block(m); });
}
int sys_ppoll_time64(union sysunion* m) { return sys_ppoll(m); }

int sys_pselect6(union sysunion* m) {
  struct Packed {
    uint32_t mask_at, size;
  } p{};
  auto* at = reinterpret_cast<const void*>(static_cast<uintptr_t>(m->raw.arg[5]));
  if (at != nullptr && user_copy(&p, at, sizeof p) != 0) return EFAULT;
  if (p.mask_at != 0 && p.size != 8) return EINVAL;
  return with_mask(m, p.mask_at, 5, [m] { return sysport_trap_block(m); });
}
int sys_pselect6_time64(union sysunion* m) { return sys_pselect6(m); }

}  // namespace cr
