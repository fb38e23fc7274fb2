// What the kernel's interface looks like to an x86_64 program, where that differs from i386.
#pragma once

#include <errno.h>
#include <fcntl.h>
#include <linux/time_types.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../rawcall.h"
#include "../usercopy.h"

union sysunion;

namespace cr {

// Calls of the runtime's own, with the struct that libc's headers give here.
inline constexpr long kSysStat = SYS_stat, kSysLstat = SYS_lstat, kSysFstat = SYS_fstat;
inline constexpr long kSysGetuid = SYS_getuid, kSysGeteuid = SYS_geteuid;

inline constexpr size_t kSiginfoSize = 48;  // what rt_sigqueueinfo reads of 128

inline long raw_pread(long fd, void* buf, size_t n, uint64_t offset) {
  return raw4(SYS_pread64, fd, reinterpret_cast<long>(buf), static_cast<long>(n),
              static_cast<long>(offset));
}

// A file offset among a call's arguments, from the i-th on.
inline uint64_t offset_arg(const uint64_t* a, int i) { return a[i]; }
inline void offset_arg_set(uint64_t* a, int i, uint64_t offset) { a[i] = offset; }
// The half that preadv2 and pwritev2 take besides.
inline constexpr long offset_high(int64_t) { return 0; }
// Where fd stands. False: nowhere.
inline bool raw_tell(long fd, uint64_t* out) {
  long at = raw3(SYS_lseek, fd, 0, SEEK_CUR);
  *out = static_cast<uint64_t>(at);
  return !raw_failed(at);
}
// The offset in memory that a sendfile begins at. 0, or anything else where the address is bad.
inline int user_load_offset(uint32_t, uint64_t from, uint64_t* out) {
  return user_fetch64(out, reinterpret_cast<const uint64_t*>(from));
}

// fcntl's locks that wait, as those that do not; 0: no such command.
inline uint32_t lock_without_wait(uint32_t cmd) {
  return cmd == F_SETLKW ? F_SETLK : cmd == F_OFD_SETLKW ? F_OFD_SETLK : 0;
}

// The vdso's function with a __kernel_timespec, and the call behind it.
constexpr char kVdsoClockGettime[] = "__vdso_clock_gettime";
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

inline size_t user_timespec_size(uint32_t) { return sizeof(__kernel_timespec); }

// `quick` calls that i386 does not have or has under other names (src/sysport/sendable.h).
// A call that only i386 has more than one form of: the plain one.
inline constexpr uint32_t plain_call(uint32_t nr) { return nr; }
inline constexpr uint32_t kOnlyHereSleeping[] = {SYS_semtimedop};
inline constexpr uint32_t kOnlyHereNoSleep[] = {SYS_mmap};

// True if m was a multiplexed call and is the one meant now.
inline bool unfold_call(union sysunion*) { return false; }
// Serves one that stayed: there are none.
inline int serve_folded(union sysunion*) { return ENOSYS; }

}  // namespace cr
