// Sockets. What each call does when it would block is blocking.h's; here is what makes it
// exactly Linux's:
//
//   - A blocking send on a stream goes on until all is taken. A signal, a time-out or an error after
//     a part of it gives the part.
//   - MSG_WAITALL on a stream likewise. What comes with control data may end early, at a border that only the
//     kernel sees, and a peek takes nothing: for those the beginning is waited for here and the rest in the
//     kernel. To datagrams it means nothing.
//   - A unix datagram waits for room in its sender's buffer and in its receiver's queue. Poll knows the queue of
//     the peer that the socket is connected to, and a try that fails has asked for the edge. Of another
//     one, named in the call, it knows nothing: such a send, once it was tried, sleeps in the kernel and
//     gives its cpu away at once.
//   - Of other sockets that are neither streams nor datagrams nobody knows what poll means: they trap.
//   - accept has no non-blocking form: poll, then accept; if another process takes the connection in
//     between, the accept sleeps in the kernel with the cpu on offer. An edge wakes one of many that
//     wait to accept, and that one wakes the next when it has got something.
//
// Descriptors that are passed (SCM_RIGHTS) are shared with another process from then on.

#include "socket.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "../arch/rawcall.h"
#include "../arch/usercopy.h"
#include "sysent.h"

namespace cr {

namespace {

inline constexpr int kDontWait = MSG_DONTWAIT;
// Receives that are the kernel's. To some sockets these flags mean nothing: they wait.
inline constexpr int kOthers = MSG_OOB | MSG_ERRQUEUE;
// Sends that are not repeated in parts.
inline constexpr int kSendWhole = MSG_OOB | MSG_FASTOPEN | MSG_ZEROCOPY;
// Receives whose count does not tell what is left.
inline constexpr int kTakesNone = MSG_PEEK | MSG_TRUNC;

// Not a socket any more: the entry was wrong. The call starts again with a fresh one.
bool stale(long r, fdentry* e) {
  if (r != -ENOTSOCK) return false;
  fd_forget(e);
  return true;
}

bool is_stream(const fdentry* e) { return e->kind == FDK_TCP || e->kind == FDK_STREAM; }

int done_with(union sysunion* m, uint64_t bytes) {
  m->sm.sm_result = static_cast<long>(bytes);
  return 0;
}

// The rest of a stream call that has moved `done` bytes and can't wait here.
int offer_rest(union sysunion* m, FdCall& c, uint64_t done) {
  if (done == 0) return c.offer(m);
  m->raw.arg[1] += done;
  m->raw.arg[2] -= done;
  if (c.offer_rest(m) == 0) done += static_cast<uint64_t>(m->sm.sm_result);
  return done_with(m, done);
}

bool listens(int fd) { return fd_option(fd, SO_ACCEPTCONN) > 0; }

// A receive that waits until all is there, or as much as there will be. The kernel waits for it once it
// has begun; poll does until then, but for a time that is counted from the call on.
int receive_rest_in_kernel(union sysunion* m, fdentry* e, int fd, uint64_t len) {
  fd_ask_options(e, fd);
  // A listening socket receives nothing, and poll would wait for a connection.
  if (listens(fd)) return sysport_trap_first(m);
  if (e->rcvtimeo_ms == 0) return blocking_by_poll(m, e, fd, FD_IN);
  int there = 0;
  bool enough = raw3(SYS_ioctl, fd, FIONREAD, reinterpret_cast<long>(&there)) == 0 &&
                static_cast<uint64_t>(there) >= len;
  return enough ? sysport_trap_first(m) : sysport_trap_sleep(m);
}

int receive_other(union sysunion* m, int flags) {
  return (flags & kDontWait) != 0 ? sysport_trap(m) : sysport_trap_first(m);
}

void mark_passed(const kmsghdr& msg) {
  uint64_t at = msg.control, end = msg.control + msg.controllen;
  if (at == 0 || end < at) return;
  cmsghdr h;
  while (end - at >= sizeof h && user_copy(&h, reinterpret_cast<const void*>(at), sizeof h) == 0 &&
         h.cmsg_len >= sizeof h && h.cmsg_len <= end - at) {
    if (h.cmsg_level == SOL_SOCKET && h.cmsg_type == SCM_RIGHTS) {
      for (uint64_t p = at + sizeof h; p + 4 <= at + h.cmsg_len; p += 4) {
        uint32_t fd;
        if (user_load32(&fd, reinterpret_cast<const uint32_t*>(p)) != 0) return;
        fd_shared(static_cast<int>(fd));
      }
    }
    uint64_t step = CMSG_ALIGN(h.cmsg_len);
    if (step > end - at) return;
    at += step;
  }
}

}  // namespace

int socket_receive(union sysunion* m, fdentry* e, int flags, uint64_t address, uint64_t address_len) {
  const uint64_t at = m->raw.arg[1], len = m->raw.arg[2];
  bool takes = (flags & kTakesNone) == 0;
  bool all = (flags & MSG_WAITALL) != 0 && is_stream(e);
  FdCall c(static_cast<int>(m->raw.arg[0]), e, FD_IN);
  for (uint64_t done = 0;;) {
    long r;
    bool doubt = false, tried = c.received(&r);
    if (!tried) {
      c.note();
      doubt = takes && c.likely_empty();
      tried = !doubt && !c.known_empty();
      if (tried) {
        r = raw6(SYS_recvfrom, c.fd, static_cast<long>(at + done), static_cast<long>(len - done),
                 flags | kDontWait, static_cast<long>(address), static_cast<long>(address_len));
      }
    }
    if (tried) {
      if (r > 0) {
        bool all_filled = static_cast<uint64_t>(r) == len - done;
        if (takes && all_filled) c.filled();
        if (takes && !all_filled && e->kind == FDK_TCP) c.emptied();
        done += static_cast<uint64_t>(r);
        if (!all || done >= len) return done_with(m, done);
        continue;
      }
      if (r != -EAGAIN) {
        if (done != 0) return done_with(m, done);
        return stale(r, e) ? sysport_trap_block(m) : sysport_result(m, r);
      }
      c.missed();
    }
    FdRead rest{static_cast<uintptr_t>(at + done), len - done, flags};
    int w = c.wait(false, doubt, address == 0 ? &rest : nullptr);
    if (w == 0) continue;
    if (w == kOfferTrap) return offer_rest(m, c, done);
    return done != 0 ? done_with(m, done) : -w;
  }
}

// The kernel tells a sender on a unix stream that slept the socket's error (the peer left data
// unread: ECONNRESET), and one that only comes now of the closed way: EPIPE, with a signal.
int error_of_sleeper(const FdCall& c) {
  if (c.e->kind != FDK_STREAM) return 0;
  int error = fd_option(c.fd, SO_ERROR);
  return error > 0 ? error : 0;
}

// After a wait of a sender who has sent `done` bytes: whether the connection broke meanwhile. Otherwise it tries again.
bool broke_off(union sysunion* m, const FdCall& c, uint64_t done, int* answer) {
  if (!c.broken()) return false;
  *answer = done != 0 ? done_with(m, done) : error_of_sleeper(c);
  return done != 0 || *answer != 0;
}

namespace {

// What the first try, of which `done` bytes were sent, left.
[[gnu::noinline]] int send_rest(union sysunion* m, fdentry* e, int flags, uint64_t address, uint64_t address_len,
                                uint64_t done) {
  const uint64_t at = m->raw.arg[1], len = m->raw.arg[2];
  FdCall c(static_cast<int>(m->raw.arg[0]), e, FD_OUT);
  for (;;) {
    c.note();
    long r = raw6(SYS_sendto, c.fd, static_cast<long>(at + done), static_cast<long>(len - done),
                  flags | kDontWait | (done != 0 ? MSG_NOSIGNAL : 0), static_cast<long>(address),
                  static_cast<long>(address_len));
    if (r > 0) {
      done += static_cast<uint64_t>(r);
      if (done >= len) return done_with(m, done);
      continue;
    }
    if (r != -EAGAIN) {
      if (done != 0) return done_with(m, done);
      return stale(r, e) ? sysport_trap_block(m) : sysport_result(m, r);
    }
    if (address != 0 && e->kind == FDK_LOCAL) return c.give_away(m);
    int w = c.wait();
    if (w == 0) {
      int answer;
      if (broke_off(m, c, done, &answer)) return answer;
      continue;
    }
    if (w == kOfferTrap) return offer_rest(m, c, done);
    return done != 0 ? done_with(m, done) : -w;
  }
}

}  // namespace

// A send that has to wait tries once more than it must, having noted the count of edges.
int socket_send(union sysunion* m, fdentry* e, int flags, uint64_t address, uint64_t address_len) {
  const uint64_t* a = m->raw.arg;
  long r = raw6(SYS_sendto, static_cast<long>(a[0]), static_cast<long>(a[1]), static_cast<long>(a[2]),
                flags | kDontWait, static_cast<long>(address), static_cast<long>(address_len));
  if (__builtin_expect(r >= 0 && static_cast<uint64_t>(r) >= a[2], 1)) return done_with(m, static_cast<uint64_t>(r));
  if (r < 0 && r != -EAGAIN) return stale(r, e) ? sysport_trap_block(m) : sysport_result(m, r);
  return send_rest(m, e, flags, address, address_len, r > 0 ? static_cast<uint64_t>(r) : 0);
}

int socket_receive_iov(union sysunion* m, fdentry* e, int fd, kmsghdr* msg) {
  FdCall c(fd, e, FD_IN);
  for (;;) {
    c.note();
    if (!c.known_empty()) {
      long r = raw3(SYS_recvmsg, c.fd, reinterpret_cast<long>(msg), kDontWait);
      if (r != -EAGAIN) return stale(r, e) ? sysport_trap_block(m) : sysport_result(m, r);
      c.emptied();
    }
    int w = c.wait();
    if (w != 0) return w == kOfferTrap ? c.offer(m) : -w;
  }
}

namespace {

// What recvmsg tells beside its result. `own` has received `done` bytes.
int told(union sysunion* m, const kmsghdr& own, uint64_t done) {
  auto* to = reinterpret_cast<kmsghdr*>(m->raw.arg[1]);
  bool whole = user_store32(&to->namelen, own.namelen) == 0 && user_store32(&to->flags, own.flags) == 0 &&
               user_copy(&to->controllen, &own.controllen, sizeof own.controllen) == 0;
  return whole ? done_with(m, done) : EFAULT;
}

// recvmsg with MSG_WAITALL on a stream.
int receive_all(union sysunion* m, fdentry* e, int fd, int flags) {
  kmsghdr own;
  IovCopy rest;
  if (user_copy(&own, reinterpret_cast<const void*>(m->raw.arg[1]), sizeof own) != 0 ||
      !rest.load(own.iov, own.iovlen) || rest.total() == 0) {
    return sysport_trap_first(m);
  }
  if (e->kind != FDK_TCP || own.controllen != 0 || (flags & MSG_PEEK) != 0) {
    return receive_rest_in_kernel(m, e, fd, rest.total());
  }
  FdCall c(fd, e, FD_IN);
  for (uint64_t done = 0;;) {
    own.iov = reinterpret_cast<uintptr_t>(rest.first());
    own.iovlen = rest.count();
    c.note();
    if (!c.known_empty()) {
      long r = raw3(SYS_recvmsg, c.fd, reinterpret_cast<long>(&own), flags | kDontWait);
      if (r >= 0) {
        done += static_cast<uint64_t>(r);
        if (r == 0 || static_cast<uint64_t>(r) >= rest.total()) return told(m, own, done);
        rest.advance(static_cast<uint64_t>(r));
        continue;
      }
      if (r != -EAGAIN) {
        if (done != 0) return told(m, own, done);
        return stale(r, e) ? sysport_trap_block(m) : sysport_result(m, r);
      }
      c.emptied();
    }
    int w = c.wait();
    if (w == 0) continue;
    if (w == kOfferTrap && done == 0) return c.offer(m);
    if (w == kOfferTrap) {
      uint64_t theirs = m->raw.arg[1];
      m->raw.arg[1] = reinterpret_cast<uintptr_t>(&own);
      if (c.offer_rest(m) == 0) done += static_cast<uint64_t>(m->sm.sm_result);
      m->raw.arg[1] = theirs;
    }
    return done != 0 ? told(m, own, done) : -w;
  }
}

}  // namespace

int socket_send_iov(union sysunion* m, fdentry* e, int fd, kmsghdr* msg, int flags) {
  FdCall c(fd, e, FD_OUT);
  IovCopy rest;
  bool stream = is_stream(e);
  if (stream && !rest.load(msg->iov, msg->iovlen)) return c.offer(m);
  kmsghdr now = *msg;
  for (uint64_t done = 0;;) {
    if (stream) {
      now.iov = reinterpret_cast<uintptr_t>(rest.first());
      now.iovlen = rest.count();
    }
    c.note();
    long r = raw3(SYS_sendmsg, c.fd, reinterpret_cast<long>(&now),
                  flags | kDontWait | (done != 0 ? MSG_NOSIGNAL : 0));
    if (r >= 0) {
      done += static_cast<uint64_t>(r);
      if (!stream || static_cast<uint64_t>(r) >= rest.total()) return done_with(m, done);
      rest.advance(static_cast<uint64_t>(r));
      now.control = now.controllen = 0;  // it went with the first byte
      continue;
    }
    if (r != -EAGAIN) {
      if (done != 0) return done_with(m, done);
      return stale(r, e) ? sysport_trap_block(m) : sysport_result(m, r);
    }
    if (msg->name != 0 && e->kind == FDK_LOCAL) return c.give_away(m);
    int w = c.wait();
    if (w == 0) {
      int answer;
      if (broke_off(m, c, done, &answer)) return answer;
      continue;
    }
    if (w != kOfferTrap) return done != 0 ? done_with(m, done) : -w;
    if (done == 0) return c.offer(m);
    // The kernel waits for the rest; the message is ours by now.
    m->sm.sm_nr = SYS_sendmsg;
    m->raw.arg[1] = reinterpret_cast<uintptr_t>(&now);
    m->raw.arg[2] = static_cast<uint64_t>(flags | MSG_NOSIGNAL);
    if (c.offer_rest(m) == 0) done += static_cast<uint64_t>(m->sm.sm_result);
    return done_with(m, done);
  }
}

int sys_recvfrom(union sysunion* m) {
  const uint64_t* a = m->raw.arg;
  auto flags = static_cast<int>(a[3]);
  if (!sched_others()) return sysport_trap_first(m);
  if ((flags & kOthers) != 0) return receive_other(m, flags);
  auto fd = static_cast<int>(a[0]);
  fdentry* e = fd_entry(fd);
  if (e == nullptr) return sysport_trap_first(m);
  if ((flags & MSG_DONTWAIT) != 0) return blocking_never(m, e);
  if (!fd_is_socket(fd_kind(e, fd))) return sysport_trap_first(m);
  if (fd_known_nonblock(e)) return blocking_never(m, e);
  if (fd_low_water(e, fd)) return blocking_low_water(m, e, fd, a[2]);
  if ((flags & MSG_WAITALL) != 0 && (e->kind == FDK_SOCKET || (is_stream(e) && (flags & MSG_PEEK) != 0))) {
    return receive_rest_in_kernel(m, e, fd, a[2]);
  }
  return socket_receive(m, e, flags, a[4], a[5]);
}

int sys_sendto(union sysunion* m) {
  const uint64_t* a = m->raw.arg;
  auto flags = static_cast<int>(a[3]);
  if (!sched_others()) return sysport_trap_first(m);
  if ((flags & MSG_DONTWAIT) != 0) return sysport_trap(m);
  auto fd = static_cast<int>(a[0]);
  fdentry* e = fd_entry(fd);
  FdKind k = e == nullptr ? FDK_FILE : fd_kind(e, fd);
  if (k < FDK_TCP || k > FDK_LOCAL || (flags & kSendWhole) != 0) return sysport_trap_first(m);
  if (fd_known_nonblock(e)) return sysport_trap(m);
  return socket_send(m, e, flags, a[4], a[5]);
}

int sys_recvmsg(union sysunion* m) {
  const uint64_t* a = m->raw.arg;
  auto flags = static_cast<int>(a[2]);
  if (!sched_others()) return sysport_trap_first(m);
  if ((flags & (kDontWait | kOthers)) != 0) return receive_other(m, flags);
  auto fd = static_cast<int>(a[0]);
  fdentry* e = fd_entry(fd);
  if (e == nullptr || !fd_is_socket(fd_kind(e, fd))) return sysport_trap_first(m);
  if (fd_known_nonblock(e)) return sysport_trap(m);
  if (fd_low_water(e, fd)) return sysport_trap_first(m);
  if ((flags & MSG_WAITALL) != 0 && (is_stream(e) || e->kind == FDK_SOCKET)) {
    return receive_all(m, e, fd, flags);
  }
  FdCall c(fd, e, FD_IN);
  for (;;) {
    c.note();
    if (!c.known_empty()) {
      long r = raw3(SYS_recvmsg, c.fd, static_cast<long>(a[1]), flags | kDontWait);
      if (r != -EAGAIN) return stale(r, e) ? sysport_trap_block(m) : sysport_result(m, r);
      c.emptied();
    }
    int w = c.wait();
    if (w != 0) return w == kOfferTrap ? c.offer(m) : -w;
  }
}

int sys_sendmsg(union sysunion* m) {
  const uint64_t* a = m->raw.arg;
  auto flags = static_cast<int>(a[2]);
  if (!sched_others()) return sysport_trap_first(m);
  auto fd = static_cast<int>(a[0]);
  fdentry* e = fd_entry(fd);
  kmsghdr msg;
  if (e == nullptr || user_copy(&msg, reinterpret_cast<const void*>(a[1]), sizeof msg) != 0) {
    return sysport_trap_first(m);
  }
  if (msg.controllen != 0) mark_passed(msg);
  if ((flags & MSG_DONTWAIT) != 0) return sysport_trap(m);
  FdKind k = fd_kind(e, fd);
  if (k < FDK_TCP || k > FDK_LOCAL || (flags & kSendWhole) != 0) return sysport_trap_first(m);
  if (fd_known_nonblock(e)) return sysport_trap(m);
  return socket_send_iov(m, e, fd, &msg, flags);
}

// Several messages: what comes without waiting, then the rest. With a time-out, which the kernel
// looks at after each message, it is the kernel's.
int sys_recvmmsg(union sysunion* m) {
  const uint64_t* a = m->raw.arg;
  auto flags = static_cast<int>(a[3]);
  if (!sched_others()) return sysport_trap_first(m);
  if ((flags & (kDontWait | kOthers)) != 0) return receive_other(m, flags);
  auto fd = static_cast<int>(a[0]);
  fdentry* e = fd_entry(fd);
  if (e == nullptr || !fd_is_socket(fd_kind(e, fd)) || (flags & MSG_WAITALL) != 0 || a[4] != 0) {
    return sysport_trap_first(m);
  }
  if (fd_known_nonblock(e)) return sysport_trap(m);
  constexpr uint64_t kEntry = sizeof(kmmsghdr);
  if (fd_low_water(e, fd)) return sysport_trap_first(m);
  bool for_one = (flags & MSG_WAITFORONE) != 0;
  auto want = static_cast<uint32_t>(a[2]);
  FdCall c(fd, e, FD_IN);
  for (uint32_t done = 0;;) {
    c.note();
    if (!c.known_empty()) {
      long r = raw6(SYS_recvmmsg, c.fd, static_cast<long>(a[1] + done * kEntry),
                    static_cast<long>(want - done), flags | kDontWait, 0, 0);
      if (r >= 0) {
        done += static_cast<uint32_t>(r);
        if (done >= want || for_one || r == 0) return done_with(m, done);
        continue;
      }
      if (r != -EAGAIN) {
        if (done != 0) return done_with(m, done);
        return stale(r, e) ? sysport_trap_block(m) : sysport_result(m, r);
      }
      c.emptied();
    }
    int w = c.wait();
    if (w == 0) continue;
    if (w == kOfferTrap && done == 0) return c.offer(m);
    if (w == kOfferTrap) {
      m->raw.arg[1] += done * kEntry;
      m->raw.arg[2] = want - done;
      if (c.offer_rest(m) == 0) done += static_cast<uint32_t>(m->sm.sm_result);
    }
    return done != 0 ? done_with(m, done) : -w;
  }
}

// Datagrams may be told apart by the kernel's count; of a stream's message a part may be sent.
int sys_sendmmsg(union sysunion* m) {
  const uint64_t* a = m->raw.arg;
  auto flags = static_cast<int>(a[3]);
  if (!sched_others()) return sysport_trap_first(m);
  auto fd = static_cast<int>(a[0]);
  fdentry* e = fd_entry(fd);
  if (e == nullptr) return sysport_trap_first(m);
  constexpr uint64_t kEntry = sizeof(kmmsghdr);
  auto want = static_cast<uint32_t>(a[2]);
  if (want > 1024) want = 1024;  // UIO_MAXIOV
  bool named = false;
  for (uint32_t i = 0; i < want; i++) {
    kmsghdr msg;
    if (user_copy(&msg, reinterpret_cast<const void*>(a[1] + i * kEntry), sizeof msg) != 0) break;
    if (msg.controllen != 0) mark_passed(msg);
    named = named || msg.name != 0;
  }
  if ((flags & MSG_DONTWAIT) != 0) return sysport_trap(m);
  FdKind kind = fd_kind(e, fd);
  if (kind != FDK_DGRAM && (kind != FDK_LOCAL || named)) return sysport_trap_first(m);
  if (fd_known_nonblock(e)) return sysport_trap(m);
  FdCall c(fd, e, FD_OUT);
  for (uint32_t done = 0;;) {
    c.note();
    long r = raw4(SYS_sendmmsg, c.fd, static_cast<long>(a[1] + done * kEntry),
                  static_cast<long>(want - done), flags | kDontWait);
    if (r >= 0) {
      done += static_cast<uint32_t>(r);
      if (done >= want || r == 0) return done_with(m, done);
      continue;
    }
    if (r != -EAGAIN) {
      if (done != 0) return done_with(m, done);
      return stale(r, e) ? sysport_trap_block(m) : sysport_result(m, r);
    }
    int w = c.wait();
    if (w == 0) continue;
    if (w == kOfferTrap) {
      m->raw.arg[1] += done * kEntry;
      m->raw.arg[2] = want - done;
      int error = done != 0 ? c.offer_rest(m) : c.offer(m);
      if (error != 0) return done != 0 ? done_with(m, done) : error;
      return done_with(m, done + static_cast<uint64_t>(m->sm.sm_result));
    }
    return done != 0 ? done_with(m, done) : -w;
  }
}

namespace {

int accepted(union sysunion* m, int error, const fdentry* listener, FdKind kind, int flags) {
  if (error == 0) {
    fd_born(static_cast<int>(m->sm.sm_result), kind, (flags & SOCK_NONBLOCK) != 0, listener);
  }
  return error;
}

int accept_with(union sysunion* m, int flags) {
  if (!sched_others() || (flags & ~(SOCK_NONBLOCK | SOCK_CLOEXEC)) != 0) return sysport_trap_first(m);
  auto fd = static_cast<int>(m->raw.arg[0]);
  fdentry* e = fd_entry(fd);
  FdKind kind = e == nullptr ? FDK_FILE : fd_kind(e, fd);
  if (!fd_is_socket(kind)) return sysport_trap_first(m);
  fd_ask_options(e, fd);  // what is accepted inherits them
  if (fd_known_nonblock(e)) return accepted(m, sysport_trap(m), e, kind, flags);
  FdCall c(fd, e, FD_IN);
  for (bool first = true;; first = false) {
    c.note();
    if (!c.known_empty()) {
      pollfd p{c.fd, POLLIN, 0};
      if (raw3(SYS_poll, reinterpret_cast<long>(&p), 1, 0) != 0) {
        int error = c.offer_ready(m);
        fd_wake_one(c.e);
        return accepted(m, error, c.e, kind, flags);
      }
      c.emptied();
    }
    int w = first && !listens(c.fd) ? kOfferTrap : c.wait(true);  // what accepts nothing: the kernel says so
    if (w == 0) continue;
    if (w == kOfferTrap) return accepted(m, c.offer(m), c.e, kind, flags);
    return -w;
  }
}

}  // namespace

int sys_accept(union sysunion* m) { return accept_with(m, 0); }
int sys_accept4(union sysunion* m) { return accept_with(m, static_cast<int>(m->raw.arg[3])); }

int sys_socket(union sysunion* m) {
  const uint64_t* a = m->raw.arg;
  int error = sysport_trap(m);
  if (error != 0) return error;
  auto type = static_cast<int>(a[1]);
  FdKind kind = fd_socket_kind(static_cast<int>(a[0]), type, static_cast<int>(a[2]));
  fd_born(static_cast<int>(m->sm.sm_result), kind, (type & SOCK_NONBLOCK) != 0, nullptr);
  return 0;
}

int sys_socketpair(union sysunion* m) {
  const uint64_t* a = m->raw.arg;
  int error = sysport_trap(m);
  if (error != 0) return error;
  auto type = static_cast<int>(a[1]);
  FdKind kind = fd_socket_kind(static_cast<int>(a[0]), type, static_cast<int>(a[2]));
  for (int i = 0; i < 2; i++) {
    uint32_t fd;
    if (user_load32(&fd, reinterpret_cast<const uint32_t*>(a[3]) + i) != 0) break;
    fd_born(static_cast<int>(fd), kind, (type & SOCK_NONBLOCK) != 0, nullptr);
  }
  return 0;
}

int sys_setsockopt(union sysunion* m) {
  int error = sysport_trap(m);
  if (error == 0 && static_cast<int>(m->raw.arg[1]) == SOL_SOCKET) {
    switch (static_cast<int>(m->raw.arg[2])) {
      case SO_RCVTIMEO_OLD:
      case SO_SNDTIMEO_OLD:
      case SO_RCVTIMEO_NEW:
      case SO_SNDTIMEO_NEW:
      case SO_RCVLOWAT:
        fd_options_set(static_cast<int>(m->raw.arg[0]));
    }
  }
  return error;
}

}  // namespace cr
