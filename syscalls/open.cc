// open and its kin. Most wait for a disk at the longest, and no signal ends those. But a pipe with a name waits for
// its other end and a serial line for its carrier, and a signal must end that, or its handler would wait as long. Where it
// is not known whether the trap was begun, or it can't be put off, the file is looked at: it says which of the two the
// call is.

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "../arch/rawcall.h"
#include "../arch/usercopy.h"
#include "../src/sysport/sysport.h"
#include "sysent.h"
#include "threadname.h"

namespace cr {

namespace {

// Of the devices those that are opened often and never wait: /dev/null and its like, terminals of no line.
bool never_waits(uint32_t major) {
  constexpr uint32_t kMem = 1, kTty = 5, kFirstPts = 136, kLastPts = 143;
  return major == kMem || major == kTty || (major >= kFirstPts && major <= kLastPts);
}

// What is not there is no such file.
bool may_wait(long dir, uint64_t path, uint64_t flags) {
  if ((flags & (O_NONBLOCK | O_PATH)) != 0) return false;
  struct statx st;
  long how = AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT | ((flags & O_NOFOLLOW) != 0 ? AT_SYMLINK_NOFOLLOW : 0);
  if (raw6(SYS_statx, dir, static_cast<long>(path), how, STATX_TYPE, reinterpret_cast<long>(&st), 0) != 0) return false;
  return S_ISFIFO(st.stx_mode) || (S_ISCHR(st.stx_mode) && !never_waits(st.stx_rdev_major));
}

int open_file(union sysunion* m, uint64_t dir, uint64_t path, uint64_t flags) {
  int error = sysport_trap_first(m);
  if (__builtin_expect(error != ERESTARTSYS, 1)) return error;
  return may_wait(static_cast<int>(dir), path, flags) ? error : sysport_trap_whole(m);
}

}  // namespace

int sys_open(union sysunion* m) {
  const uint64_t* a = m->raw.arg;
  int error;
  if (threadname_open(m, a[0], a[1], &error)) return error;
  return open_file(m, static_cast<uint64_t>(AT_FDCWD), a[0], a[1]);
}

int sys_openat(union sysunion* m) {
  const uint64_t* a = m->raw.arg;
  int error;
  if (threadname_open(m, a[1], a[2], &error)) return error;
  return open_file(m, a[0], a[1], a[2]);
}

int sys_openat2(union sysunion* m) {
  const uint64_t* a = m->raw.arg;
  open_how how{};
  user_copy(&how, reinterpret_cast<const void*>(a[2]), sizeof how.flags);  // unreadable: the kernel says so
  return open_file(m, a[0], a[1], how.flags);
}

int sys_creat(union sysunion* m) {
  return open_file(m, static_cast<uint64_t>(AT_FDCWD), m->raw.arg[0], O_WRONLY);
}

}  // namespace cr
