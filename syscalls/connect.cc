// connect. There is no MSG_DONTWAIT for it, and O_NONBLOCK is the open file's and not ours to set.
//
// Policy, in this order
//   1. What never sleeps is a plain trap: datagrams, and a socket known to be non-blocking.
//   2. A peer on this machine answers within the call, unless its backlog is full: a trap with the
//      cpu on offer. So does a unix socket, which has nothing to wait for by poll when it is full.
//      (Connection, echo and close over the loopback, 200 threads on one cpu: 28.6 us of cpu; by
//      the ring 31.7.)
//   3. TCP to elsewhere sleeps for a round trip. Where the engine completes calls it goes to the
//      ring, whose IORING_OP_CONNECT starts the connection as if the file were non-blocking, and
//      waits without a thread. Otherwise the cpu is given away at once. (1,000 threads that connect
//      and echo three times over 20 ms: by the ring 0.28-0.30 s, 31 us of cpu each and 3 kernel
//      threads; given away 0.30-0.33 s, 58-61 us and 1,002; on offer 2.4-2.6 s; natively 0.31-0.32
//      s, 50 us and 1,002.)
//
// What makes it exactly Linux's:
//   - SO_SNDTIMEO ends it with EINPROGRESS, a signal with EINTR or, without a time-out, a restart.
//     The connection goes on in the background. The next connect, a restart among them, waits for
//     it; the ring would say EALREADY, so that one is the kernel's, with the cpu given away.
//   - After an error the kernel leaves a socket that connects anew. The ring takes the error of a
//     connection that failed later and leaves the rest undone: a disconnect (AF_UNSPEC) does it.

#include <linux/io_uring.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "../arch/usercopy.h"
#include "../src/signal/signal.h"
#include "blocking.h"
#include "sysent.h"

namespace cr {

namespace {

// An address of the internet that is not the loopback. (One of this machine's own looks like that, too:
// the ring costs it the 3 us above.)
bool elsewhere(const union sysunion* m) {
  union {
    uint16_t family;
    sockaddr_in in;
    sockaddr_in6 in6;
  } address{};
  uint64_t size = static_cast<uint32_t>(m->raw.arg[2]);
  if (size < sizeof address.in || static_cast<int32_t>(size) < 0) return false;
  if (size > sizeof address) size = sizeof address;
  if (user_copy(&address, reinterpret_cast<const void*>(m->raw.arg[1]), size) != 0) return false;
  if (address.family == AF_INET) {
    auto first = static_cast<uint8_t>(address.in.sin_addr.s_addr);  // network order
    return first != 127 && first != 0;
  }
  if (address.family != AF_INET6) return false;
  const uint32_t* word = address.in6.sin6_addr.s6_addr32;
  return word[0] != 0 || word[1] != 0 || word[2] != 0;
}

// A connection that failed leaves TCP closed; one that was never begun, because it could not be, as
// it was.
void leave_as_kernel(int fd) {
  tcp_info info;
  uint32_t size = sizeof info.tcpi_state;
  long r = raw6(SYS_getsockopt, fd, IPPROTO_TCP, TCP_INFO, reinterpret_cast<long>(&info),
                reinterpret_cast<long>(&size), 0);
  if (raw_failed(r) || info.tcpi_state != TCP_CLOSE) return;
  sockaddr none{};
  none.sa_family = AF_UNSPEC;
  raw3(SYS_connect, fd, reinterpret_cast<long>(&none), sizeof none);
}

int by_ring(union sysunion* m, fdentry* e, int fd, uint32_t gen) {
  const uint64_t* a = m->raw.arg;
  fd_ask_options(e, fd);
  uint64_t deadline =
      e->sndtimeo_ms != 0 ? clock_monotonic() + e->sndtimeo_ms * 1'000'000ull : kNever;
  iorequest io{};
  io.op = IORING_OP_CONNECT;
  io.fd = fd;
  io.addr = a[1];
  io.off = static_cast<uint32_t>(a[2]);
  int64_t r = io_call(&io, true, deadline);
  switch (r) {
    case -EOPNOTSUPP:  // the ring's answer, or the socket's
    case -EALREADY: return sysport_trap_sleep(m);
    case -ECANCELED:
    case -EINTR:
      if (deadline != kNever && clock_monotonic() >= deadline) return EINPROGRESS;
      if (sig_interrupts(curthread())) return deadline == kNever ? ERESTARTSYS : EINTR;
      // The signal was another LWKT's: the kernel waits on. What is EALREADY to it has begun in
      // this call.
      if (int error = sysport_trap_sleep(m); error != EALREADY) return error;
      return EINPROGRESS;
    default:
      if (r < 0 && load_acquire(&e->gen) == gen) leave_as_kernel(fd);
      return sysport_result(m, r);
  }
}

}  // namespace

int sys_connect(union sysunion* m) {
  if (!sched_others()) return sysport_trap_first(m);
  auto fd = static_cast<int>(m->raw.arg[0]);
  fdentry* e = fd_entry(fd);
  FdKind kind = e == nullptr ? FDK_FILE : fd_kind(e, fd);
  if (kind == FDK_DGRAM || (e != nullptr && fd_known_nonblock(e))) return sysport_trap(m);
  if (kind != FDK_TCP || sched_alone() || !elsewhere(m)) return sysport_trap_first(m);
  uint32_t gen = load_acquire(&e->gen);
  bool nonblock;
  if (!fd_mode(e, fd, &nonblock)) return sysport_trap_first(m);
  if (nonblock) return sysport_trap(m);
  return engine_completes() ? by_ring(m, e, fd, gen) : sysport_trap_sleep(m);
}

}  // namespace cr
