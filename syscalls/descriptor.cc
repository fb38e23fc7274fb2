// Calls that make, duplicate and close descriptors, or change what the descriptor table remembers
// (src/async/fdtable.h). libcr's own descriptors are not there for the program: closing one is EBADF,
// close_range goes around it, and a dup2 onto its number moves it away first.

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

#include "../arch/rawcall.h"
#include "../arch/usercopy.h"
#include "../src/async/engine.h"
#include "../src/async/fdtable.h"
#include "../src/sysport/sysport.h"
#include "blocking.h"
#include "kernelwait.h"
#include "sysent.h"

namespace cr {

namespace {

bool hidden(int fd) {
  const fdentry* e = fd_entry(fd);
  return e != nullptr && (e->flags & FDF_HIDDEN) != 0;
}

int duplicated(union sysunion* m, int error) {
  if (error == 0) {
    fd_shared(static_cast<int>(m->raw.arg[0]));
  }
  return error;
}

// A close may wait: for what a socket lingers over, a terminal has to print, a server on the network is to take. No
// signal makes it again, or another file might be closed.
int closing_trap(union sysunion* m) { return sched_others() ? blocking_disk_trap(m) : sysport_trap(m); }

int dup_onto(union sysunion* m) {
  auto from = static_cast<int>(m->raw.arg[0]), to = static_cast<int>(m->raw.arg[1]);
  if (fds == nullptr || from == to) return sysport_trap(m);
  if (hidden(from)) return EBADF;
  if (hidden(to)) engine_move_fd(to);
  uint32_t token = fd_close_begin(to);
  int error = closing_trap(m);
  if (token != ~0u) fd_close_end(to, token);
  return duplicated(m, error);
}

}  // namespace

int sys_close(union sysunion* m) {
  auto fd = static_cast<int>(m->raw.arg[0]);
  if (hidden(fd)) return EBADF;
  uint32_t token = fd_close_begin(fd);
  int error = closing_trap(m);
  if (token != ~0u) fd_close_end(fd, token);
  return error;
}

int sys_close_range(union sysunion* m) {
  const uint64_t* a = m->raw.arg;
  auto first = static_cast<uint32_t>(a[0]), last = static_cast<uint32_t>(a[1]);
  auto flags = static_cast<uint32_t>(a[2]);
  if (fds == nullptr || (flags & CLOSE_RANGE_CLOEXEC) != 0 || first > last) return sysport_trap(m);
  // One stretch between two of ours at a time.
  uint32_t high = fd_high < last ? fd_high : last;
  uint32_t from = first;
  for (uint32_t fd = first; fd <= high; fd++) {
    if (!hidden(static_cast<int>(fd))) {
      // What still sleeps there keeps its file; what is closed for good is closed below.
      uint32_t token = fd_close_begin(static_cast<int>(fd));
      if (token == ~0u) continue;
      raw1(SYS_close, fd);
      fd_close_end(static_cast<int>(fd), token);
      continue;
    }
    if (fd > from) raw3(SYS_close_range, from, fd - 1, flags);
    from = fd + 1;
  }
  if (from > last) {
    m->sm.sm_result = 0;
    return 0;
  }
  return sysport_result(m, raw3(SYS_close_range, from, last, flags));
}

int sys_dup(union sysunion* m) { return duplicated(m, sysport_trap(m)); }
int sys_dup2(union sysunion* m) { return dup_onto(m); }
int sys_dup3(union sysunion* m) { return dup_onto(m); }

int sys_fcntl(union sysunion* m) {
  const uint64_t* a = m->raw.arg;
  auto fd = static_cast<int>(a[0]);
  int error;
  switch (static_cast<int>(a[1])) {
    case F_DUPFD:
    case F_DUPFD_CLOEXEC: return duplicated(m, sysport_trap(m));
    case F_SETFL:
      error = sysport_trap(m);
      if (error == 0) fd_mode_set(fd, (a[2] & O_NONBLOCK) != 0);
      return error;
    case F_GETFL:
    case F_GETFD:
    case F_SETFD: return sysport_trap(m);
    default: return kernelwait_fcntl(m);
  }
}

namespace {
inline constexpr uint32_t kTerminalRequests = 'T';  // FIONBIO is one of them by its number
inline constexpr uint32_t kSocketRequests = SIOCGIFNAME >> 8;

// What asks, or changes what nobody may be waiting for: isatty must not say no because of a signal. (Not what changes a
// terminal from the background: the kernel sends SIGTTOU each time it is tried, and the signal has to end that.)
bool waits_for_nobody(uint32_t request) {
  constexpr uint32_t kTcgets2 = 0x802c542a;  // TCGETS2, whose struct libc's headers don't have
  switch (request) {
    case TCGETS:
    case kTcgets2:
    case TCGETA:
    case TIOCGWINSZ:
    case TIOCSWINSZ:
    case TIOCGPGRP:
    case TIOCGSID:
    case TIOCSCTTY:
    case TIOCNOTTY:
    case TIOCEXCL:
    case TIOCNXCL:
    case TIOCPKT:
    case TIOCGETD:
    case TIOCGPTN:
    case TIOCGPTPEER:
    case TIOCSPTLCK:
    case TIOCGPTLCK:
    case TIOCINQ:  // FIONREAD
    case TIOCOUTQ:
    case FIOCLEX:
    case FIONCLEX: return true;
    default: return request >> 8 == kSocketRequests;
  }
}
}

int sys_ioctl(union sysunion* m) {
  const uint64_t* a = m->raw.arg;
  auto request = static_cast<uint32_t>(a[1]);
  if (request != FIONBIO) {
    if (waits_for_nobody(request)) return sysport_trap_whole(m);
    return request >> 8 == kTerminalRequests ? sysport_trap_terminal(m, false) : sysport_trap_first(m);
  }
  int error = sysport_trap(m);
  uint32_t on = 0;
  if (error == 0 && user_load32(&on, reinterpret_cast<const uint32_t*>(a[2])) == 0) {
    fd_mode_set(static_cast<int>(a[0]), on != 0);
  }
  return error;
}

}  // namespace cr
