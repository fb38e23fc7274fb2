// read, write and their vectors, by what the descriptor is: a socket goes the way of socket.cc, a
// pipe and what else knows RWF_NOWAIT is tried and parked on, other pollable files (the masters of
// pseudo-terminals among them) are polled, and the rest (regular files, terminals) traps with the cpu on
// offer.
//
// O_NONBLOCK is never set behind the program's back: the description may be another process's, too.

#include <fcntl.h>
#include <poll.h>
#include <sys/syscall.h>

#include "../arch/abi.h"
#include "../arch/rawcall.h"
#include "blocking.h"
#include "socket.h"
#include "sysent.h"
#include "threadname.h"

namespace cr {

namespace {

inline constexpr int kNoWait = 8;       // RWF_NOWAIT
inline constexpr long kHere = -1;       // the file's own position
inline constexpr uint64_t kMostVectors = 1024;

int done_with(union sysunion* m, uint64_t bytes) {
  m->sm.sm_result = static_cast<long>(bytes);
  return 0;
}

// The file does not know RWF_NOWAIT.
void only_poll(fdentry* e) {
  Guard g(e->lock);
  if (e->kind == FDK_NOWAIT) e->kind = FDK_POLL;
}

int nowait_read(union sysunion* m, fdentry* e, int fd, const kiovec* iov, uint64_t n) {
  FdCall c(fd, e, FD_IN);
  for (;;) {
    c.note();
    if (!c.known_empty()) {
      long r = raw6(SYS_preadv2, c.fd, reinterpret_cast<long>(iov), static_cast<long>(n), kHere,
                    offset_high(kHere), kNoWait);
      if (r == -EOPNOTSUPP) {
        only_poll(c.e);
        c.let_go();
        return blocking_by_poll(m, c.e, c.fd, FD_IN);
      }
      if (r != -EAGAIN) return sysport_result(m, r);
      c.emptied();
    }
    int w = c.wait();
    if (w != 0) return w == kOfferTrap ? c.offer(m) : -w;
  }
}

// A blocking write goes on until all is written. `iov` is a copy.
int nowait_write(union sysunion* m, fdentry* e, int fd, IovCopy& rest) {
  FdCall c(fd, e, FD_OUT);
  for (uint64_t done = 0;;) {
    c.note();
    long r = raw6(SYS_pwritev2, c.fd, reinterpret_cast<long>(rest.first()),
                  static_cast<long>(rest.count()), kHere, offset_high(kHere), kNoWait);
    if (r >= 0) {
      done += static_cast<uint64_t>(r);
      if (static_cast<uint64_t>(r) >= rest.total()) return done_with(m, done);
      rest.advance(static_cast<uint64_t>(r));
      continue;
    }
    if (r == -EOPNOTSUPP && done == 0) {
      only_poll(c.e);
      c.let_go();
      return blocking_by_poll(m, c.e, c.fd, FD_OUT);
    }
    if (r != -EAGAIN) return done != 0 ? done_with(m, done) : sysport_result(m, r);
    int w = c.wait();
    if (w == 0) continue;
    if (w != kOfferTrap) return done != 0 ? done_with(m, done) : -w;
    if (done == 0) return c.offer(m);
    m->sm.sm_nr = SYS_writev;
    m->raw.arg[1] = reinterpret_cast<uintptr_t>(rest.first());
    m->raw.arg[2] = rest.count();
    if (c.offer_rest(m) == 0) done += static_cast<uint64_t>(m->sm.sm_result);
    return done_with(m, done);
  }
}

// A length of nothing is answered at once, and the kernel may refuse one that it would not do in one go, by where it
// ends. (Of vectors this is the count.)
bool waits(const union sysunion* m) { return m->raw.arg[2] - 1 < kMostAtOnce; }

// The descriptor's entry if the call can be served here.
fdentry* served(union sysunion* m, FdKind* kind) {
  if (!sched_others() || !waits(m)) return nullptr;
  auto fd = static_cast<int>(m->raw.arg[0]);
  fdentry* e = fd_entry(fd);
  if (e == nullptr) return nullptr;
  *kind = fd_kind(e, fd);
  return *kind == FDK_FILE ? nullptr : e;
}

// A read that is not tried and parked. One from a terminal that has nothing to read will sleep, for as
// long as it takes somebody to type: its cpu is given away at once.
int read_file(union sysunion* m) {
  const fdentry* e = fd_entry(static_cast<int>(m->raw.arg[0]));
  bool sleeps = false;
  if (e != nullptr && (e->flags & FDF_TERMINAL) != 0 && sched_others()) {
    pollfd p{static_cast<int>(m->raw.arg[0]), POLLIN, 0};
    sleeps = raw3(SYS_poll, reinterpret_cast<long>(&p), 1, 0) == 0 &&
             (raw2(SYS_fcntl, p.fd, F_GETFL) & O_NONBLOCK) == 0;
  }
  return blocking_trap(m, sleeps);
}

}  // namespace

namespace {

// The calls on sockets, known as such, are told from the others first, and by functions of few registers.
bool is_known_socket(const union sysunion* m, const fdentry* e, FdKind last) {
  return e != nullptr && e->kind >= FDK_TCP && e->kind <= last && waits(m) && sched_others();
}

[[gnu::noinline]] int read_from(union sysunion* m) {
  const uint64_t* a = m->raw.arg;
  FdKind kind;
  fdentry* e = served(m, &kind);
  if (e == nullptr) return read_file(m);
  auto fd = static_cast<int>(a[0]);
  if (fd_known_nonblock(e)) return blocking_never(m, e);
  if (fd_is_socket(kind) && fd_low_water(e, fd)) return blocking_low_water(m, e, fd, a[2]);
  if (fd_is_socket(kind)) return socket_receive(m, e, 0, 0, 0);
  if (kind == FDK_POLL) return blocking_by_poll(m, e, fd, FD_IN);
  kiovec iov{static_cast<uintptr_t>(a[1]), static_cast<size_t>(a[2])};
  return nowait_read(m, e, fd, &iov, 1);
}

[[gnu::noinline]] int write_to(union sysunion* m) {
  const uint64_t* a = m->raw.arg;
  FdKind kind;
  fdentry* e = served(m, &kind);
  if (e == nullptr || kind == FDK_SOCKET) {
    const fdentry* file = fd_entry(static_cast<int>(a[0]));
    bool comm = file != nullptr && (file->flags & FDF_COMM) != 0;
    return __builtin_expect(comm, 0) ? threadname_write(m, file) : blocking_trap(m);
  }
  auto fd = static_cast<int>(a[0]);
  if (fd_known_nonblock(e)) return sysport_trap(m);
  if (fd_is_socket(kind)) return socket_send(m, e, 0, 0, 0);
  if (kind == FDK_POLL) return blocking_by_poll(m, e, fd, FD_OUT);
  IovCopy iov;
  iov.set(a[1], a[2]);
  return nowait_write(m, e, fd, iov);
}

}  // namespace

int sys_read(union sysunion* m) {
  fdentry* e = fd_entry(static_cast<int>(m->raw.arg[0]));
  if (blocking_on_disk(e)) return blocking_disk_trap(m);
  if (is_known_socket(m, e, FDK_SOCKET) && !fd_known_nonblock(e) && fd_no_low_water(e)) {
    return socket_receive(m, e, 0, 0, 0);
  }
  return read_from(m);
}

int sys_write(union sysunion* m) {
  fdentry* e = fd_entry(static_cast<int>(m->raw.arg[0]));
  if (blocking_on_disk(e)) return blocking_disk_trap(m);
  if (is_known_socket(m, e, FDK_LOCAL) && !fd_known_nonblock(e)) return socket_send(m, e, 0, 0, 0);
  return write_to(m);
}

int sys_readv(union sysunion* m) {
  const uint64_t* a = m->raw.arg;
  if (blocking_on_disk(fd_entry(static_cast<int>(a[0])))) return blocking_disk_trap(m);
  FdKind kind;
  fdentry* e = served(m, &kind);
  if (e == nullptr) return read_file(m);
  IovCopy iov;  // its sum decides: a read of nothing never waits
  if (a[2] > kMostVectors || !iov.load(a[1], a[2]) || iov.total() == 0) return blocking_trap(m);
  auto fd = static_cast<int>(a[0]);
  if (fd_known_nonblock(e)) return sysport_trap(m);
  if (kind == FDK_POLL) return blocking_by_poll(m, e, fd, FD_IN);
  if (!fd_is_socket(kind)) return nowait_read(m, e, fd, iov.first(), iov.count());
  if (fd_low_water(e, fd)) return sysport_trap_first(m);
  kmsghdr msg{};
  msg.iov = reinterpret_cast<uintptr_t>(iov.first());
  msg.iovlen = iov.count();
  return socket_receive_iov(m, e, fd, &msg);
}

int sys_writev(union sysunion* m) {
  const uint64_t* a = m->raw.arg;
  if (blocking_on_disk(fd_entry(static_cast<int>(a[0])))) return blocking_disk_trap(m);
  FdKind kind;
  fdentry* e = served(m, &kind);
  IovCopy iov;
  if (e == nullptr || kind == FDK_SOCKET || a[2] > kMostVectors || !iov.load(a[1], a[2]) ||
      iov.total() == 0) {
    return blocking_trap(m);
  }
  auto fd = static_cast<int>(a[0]);
  if (fd_known_nonblock(e)) return sysport_trap(m);
  if (kind == FDK_POLL) return blocking_by_poll(m, e, fd, FD_OUT);
  if (!fd_is_socket(kind)) return nowait_write(m, e, fd, iov);
  kmsghdr msg{};
  msg.iov = reinterpret_cast<uintptr_t>(iov.first());
  msg.iovlen = iov.count();
  return socket_send_iov(m, e, fd, &msg, 0);
}

}  // namespace cr
