// A program's times as ns, and back.
#pragma once

#include <linux/time_types.h>
#include <stdint.h>

#include "../src/lwkt/clock.h"

namespace cr {

// From here on a time is for ever; what comes of less can be added to a clock's.
inline constexpr int64_t kForeverSeconds = 1ll << 33;

inline bool timespec_valid(const __kernel_timespec& ts) {
  return ts.tv_sec >= 0 && ts.tv_nsec >= 0 && ts.tv_nsec < static_cast<int64_t>(kSecond);
}

// Of a valid one.
inline uint64_t timespec_ns(const __kernel_timespec& ts) {
  int64_t s = ts.tv_sec < kForeverSeconds ? ts.tv_sec : kForeverSeconds;
  return static_cast<uint64_t>(s) * kSecond + static_cast<uint64_t>(ts.tv_nsec);
}

inline __kernel_timespec timespec_of(uint64_t ns) {
  return {static_cast<int64_t>(ns / kSecond), static_cast<int64_t>(ns % kSecond)};
}

// A valid one, a program's, as ns of CLOCK_MONOTONIC; kNever if the kernel's clocks end before (time.cc).
uint64_t time_deadline(const __kernel_timespec& ts, bool relative, bool realtime);

}  // namespace cr
