// The form of the newer futex calls (futex_waitv, futex_wait, futex_wake, futex_requeue).
#pragma once

#include <stdint.h>

namespace cr {

// struct futex_waitv and FUTEX2_* of <linux/futex.h>, which Debian 12's lacks in part.
struct futex2_entry {
  uint64_t val, uaddr;
  uint32_t flags, reserved;
};
inline constexpr uint32_t kFutex2Size32 = 2, kFutex2SizeMask = 3, kFutex2Private = 128;
inline constexpr uint32_t kWaitvMax = 128;

// Words of 32 bits alone; and no FUTEX2_NUMA: nodes mean nothing to buckets by address.
inline bool futex2_flags_valid(uint64_t flags) {
  return (flags & ~uint64_t{kFutex2SizeMask | kFutex2Private}) == 0 &&
         (flags & kFutex2SizeMask) == kFutex2Size32;
}

// A timeout and its clock: absolute, CLOCK_REALTIME or CLOCK_MONOTONIC. 0, EFAULT or EINVAL.
int futex2_deadline(uint64_t timeout, uint64_t clock, uint64_t* out);

}  // namespace cr
