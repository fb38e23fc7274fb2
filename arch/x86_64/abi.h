// What the kernel's interface looks like to an x86_64 program, where that differs from i386.
#pragma once

#include <errno.h>
#include <linux/time_types.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>

#include "rawcall.h"
#include "usercopy.h"

union sysunion;

namespace cr {

// Calls of the runtime's own, with the struct that libc's headers give here.
inline constexpr long kSysStat = SYS_stat, kSysLstat = SYS_lstat, kSysFstat = SYS_fstat;
inline constexpr long kSysGetuid = SYS_getuid, kSysGeteuid = SYS_geteuid;

inline long raw_pread(long fd, void* buf, size_t n, uint64_t offset) {
  return raw4(SYS_pread64, fd, reinterpret_cast<long>(buf), static_cast<long>(n),
              static_cast<long>(offset));
}

// The vdso's function with a __kernel_timespec, and the call behind it.
inline constexpr char kVdsoClockGettime[] = "__vdso_clock_gettime";
inline constexpr long kSysClockGettime = SYS_clock_gettime;

// clone's arguments.
inline constexpr int kCloneTls = 4, kCloneChildTid = 3;

// Where glibc's thread block has the tid, seen from the head of the robust list.
inline constexpr uint64_t kTidBeforeRobust = 16;

// A program's timespec, in the form that call `nr` has it. 0 or -EFAULT.
inline int user_timespec(uint32_t, uint64_t from, __kernel_timespec* out) {
  return user_copy(out, reinterpret_cast<const void*>(from), sizeof *out);
}
inline int user_timespec_store(uint32_t, uint64_t to, const __kernel_timespec& ts) {
  return user_copy(reinterpret_cast<void*>(to), &ts, sizeof ts);
}

// `quick` calls that i386 does not have or has under other names (src/sysport/sendable.h).
inline constexpr uint32_t kSysFutexTime64 = SYS_futex;
inline constexpr uint32_t kOnlyHereSleeping[] = {SYS_semtimedop};
inline constexpr uint32_t kOnlyHereNoSleep[] = {SYS_mmap};

// True if m was a multiplexed call and is the one meant now.
inline bool unfold_call(union sysunion*) { return false; }
// Serves one that stayed: there are none.
inline int serve_folded(union sysunion*) { return ENOSYS; }

}  // namespace cr
