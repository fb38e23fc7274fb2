// Time below the boundary: the vdso's clock_gettime, found once at start. 22 ns a call; it
// falls back to the trap where the vdso has none. Needs the per-cpu register.
#pragma once

#include <linux/time_types.h>
#include <stdint.h>
#include <time.h>

namespace cr {

inline constexpr uint64_t kNever = ~0ull;
inline constexpr uint64_t kSecond = 1000000000ull;

// For calls of the kernel that take a time of libc's size: on i386 that ends after 68 years.
inline timespec clock_timespec(uint64_t ns) {
  constexpr uint64_t kMost = sizeof(time_t) == 4 ? INT32_MAX : INT64_MAX;
  uint64_t s = ns / kSecond;
  return {static_cast<time_t>(s < kMost ? s : kMost), static_cast<long>(ns % kSecond)};
}

void* vdso_function(const void* vdso_ehdr, const char* name);  // null: it has none of that name
void clock_init(const void* vdso_ehdr);
int clock_read(int clockid, __kernel_timespec* ts);  // 0 or -errno
uint64_t clock_monotonic();                 // ns
uint64_t clock_realtime();                  // ns
// Sleeps for so long at most, less than a second: a signal ends it. It is a wait on a futex, which a program that
// filters its calls allows if it has threads.
void clock_nap(uint64_t ns);

}  // namespace cr
