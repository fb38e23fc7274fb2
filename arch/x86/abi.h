// What the kernel's interface looks like to an i386 program, where that differs from x86_64. The
// runtime is compiled with _FILE_OFFSET_BITS=64, so that struct stat is the kernel's stat64.
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

// Calls of the runtime's own, with the struct that libc's headers give here. The old uid calls have
// 16 bits.
inline constexpr long kSysStat = SYS_stat64, kSysLstat = SYS_lstat64, kSysFstat = SYS_fstat64;
inline constexpr long kSysGetuid = SYS_getuid32, kSysGeteuid = SYS_geteuid32;

inline constexpr size_t kSiginfoSize = 128;  // what rt_sigqueueinfo reads

inline long raw_pread(long fd, void* buf, size_t n, uint64_t offset) {
  return raw6(SYS_pread64, fd, reinterpret_cast<long>(buf), static_cast<long>(n),
              static_cast<long>(offset), static_cast<long>(offset >> 32), 0);
}

// A file offset among a call's arguments: in two registers, from the i-th on.
inline uint64_t offset_arg(const uint64_t* a, int i) { return a[i] | a[i + 1] << 32; }
inline void offset_arg_set(uint64_t* a, int i, uint64_t offset) {
  a[i] = static_cast<uint32_t>(offset);
  a[i + 1] = offset >> 32;
}
inline constexpr long offset_high(int64_t offset) { return static_cast<long>(offset >> 32); }
// Where fd stands. False: nowhere.
inline bool raw_tell(long fd, uint64_t* out) {
  return !raw_failed(raw6(SYS__llseek, fd, 0, 0, reinterpret_cast<long>(out), SEEK_CUR, 0));
}
// The offset in memory that a sendfile begins at. 0, or anything else where the address is bad.
inline int user_load_offset(uint32_t nr, uint64_t from, uint64_t* out) {
  *out = 0;
  auto at = static_cast<uintptr_t>(from);
  return nr == SYS_sendfile ? user_load32(reinterpret_cast<uint32_t*>(out), reinterpret_cast<const uint32_t*>(at))
                            : user_fetch64(out, reinterpret_cast<const uint64_t*>(at));
}

// fcntl's locks that wait, as those that do not; 0: no such command. F_SETLKW is the one of 64 bits.
inline uint32_t lock_without_wait(uint32_t cmd) {
  constexpr uint32_t kOldSetlk = 6, kOldSetlkw = 7;
  if (cmd == kOldSetlkw) return kOldSetlk;
  return cmd == F_SETLKW ? F_SETLK : cmd == F_OFD_SETLKW ? F_OFD_SETLK : 0;
}

// The vdso's function with a __kernel_timespec, and the call behind it.
constexpr char kVdsoClockGettime[] = "__vdso_clock_gettime64";
inline constexpr long kSysClockGettime = SYS_clock_gettime64;

// clone's arguments.
inline constexpr int kCloneTls = 3, kCloneChildTid = 4;

// Where glibc's thread block has the tid, seen from the head of the robust list.
inline constexpr uint64_t kTidBeforeRobust = 12;

// The calls made for 64-bit time begin here; whatever has a time below has it in 32 bits.
inline constexpr uint32_t kFirstTime64 = SYS_clock_gettime64;

struct old_timespec32 {
  int32_t tv_sec, tv_nsec;
};

// A program's timespec, in the form that call `nr` has it. 0 or -EFAULT.
inline int user_timespec(uint32_t nr, uint64_t from, __kernel_timespec* out) {
  const void* p = reinterpret_cast<const void*>(static_cast<uintptr_t>(from));
  if (nr >= kFirstTime64) {
    int error = user_copy(out, p, sizeof *out);
    out->tv_nsec = static_cast<int32_t>(out->tv_nsec);  // the kernel ignores the padding
    return error;
  }
  old_timespec32 old;
  int error = user_copy(&old, p, sizeof old);
  *out = {old.tv_sec, old.tv_nsec};
  return error;
}
inline int user_timespec_store(uint32_t nr, uint64_t to, const __kernel_timespec& ts) {
  void* p = reinterpret_cast<void*>(static_cast<uintptr_t>(to));
  if (nr >= kFirstTime64) return user_copy(p, &ts, sizeof ts);
  old_timespec32 old{static_cast<int32_t>(ts.tv_sec), static_cast<int32_t>(ts.tv_nsec)};
  return user_copy(p, &old, sizeof old);
}

inline size_t user_timespec_size(uint32_t nr) {
  return nr >= kFirstTime64 ? sizeof(__kernel_timespec) : sizeof(old_timespec32);
}

// `quick` calls that x86_64 does not have or has under other names (src/sysport/sendable.h).
// A call in its older or narrower form.
inline constexpr uint32_t plain_call(uint32_t nr) {
  switch (nr) {
    case SYS_futex_time64: return SYS_futex;
    case SYS_pselect6_time64: return SYS_pselect6;
    case SYS_ppoll_time64: return SYS_ppoll;
    case SYS_fcntl64: return SYS_fcntl;
    default: return nr;
  }
}
inline constexpr uint32_t kOnlyHereSleeping[] = {SYS_semtimedop_time64, SYS_clock_nanosleep_time64};
inline constexpr uint32_t kOnlyHereNoSleep[] = {
    SYS_mmap2, SYS_sigaction, SYS_sigprocmask, SYS_sigpending, SYS_signal, SYS_sgetmask, SYS_ssetmask,
    SYS_setuid32, SYS_setgid32, SYS_setreuid32, SYS_setregid32, SYS_setresuid32, SYS_setresgid32,
    SYS_setgroups32, SYS_setfsuid32, SYS_setfsgid32, SYS_sched_rr_get_interval_time64,
    SYS_timer_settime64, SYS_timer_gettime64, SYS_clock_gettime64, SYS_clock_getres_time64,
};

// True if m was a multiplexed call (socketcall, ipc) and is the one meant now: unfold.cc.
bool unfold_call(union sysunion* m);
// Serves one that stayed.
int serve_folded(union sysunion* m);

}  // namespace cr
