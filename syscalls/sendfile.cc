// sendfile from a file to a stream socket, which sleeps whenever the socket is full: for a slow
// client once for each third of what the connection holds.
//
// There is no form of it that does not wait, but poll says when a third of the buffer is free. So
// what is to be sent goes in pieces of at most that, each after the socket was polled, and parked
// on if it is full. A piece that finds less room than that after all sleeps with the cpu on offer;
// so does whatever is no such pair, and a socket with SO_SNDTIMEO, whose time the kernel counts
// anew as it goes along. (100 connections that take 1 MB ten times over, one cpu: 0.41 s, natively
// 0.40-0.42, on offer as a whole 0.68.)
//
// As natively a call that a signal or a broken connection ends gives what has gone so far; one with
// wrong arguments, or at the end of its file, waits for nobody: before it waits it is made for no
// bytes, and the end looked up.

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "../arch/abi.h"
#include "../arch/rawcall.h"
#include "../arch/usercopy.h"
#include "../src/signal/signal.h"
#include "blocking.h"
#include "sysent.h"

namespace cr {

namespace {

inline constexpr uint64_t kSmall = 16 * 1024;  // what fits wherever poll sees room, or nearly

uint64_t third_of_buffer(int fd) {
  int size = 0;
  uint32_t length = sizeof size;
  raw6(SYS_getsockopt, fd, SOL_SOCKET, SO_SNDBUF, reinterpret_cast<long>(&size),
       reinterpret_cast<long>(&length), 0);
  uint64_t third = static_cast<uint64_t>(size) / 3;
  return third > kSmall ? third : kSmall;
}

// There is something to send, as far as one can tell. False: the call itself will say.
bool has_data(const union sysunion* m) {
  const uint64_t* a = m->raw.arg;
  auto in = static_cast<long>(a[1]);
  struct stat st;
  uint64_t position;
  if (a[2] == 0) {
    if (!raw_tell(in, &position)) return false;
  } else if (user_load_offset(m->sm.sm_nr, a[2], &position) != 0) {
    return false;
  }
  if (raw_failed(raw2(kSysFstat, in, reinterpret_cast<long>(&st)))) return false;
  if (S_ISREG(st.st_mode) && position >= static_cast<uint64_t>(st.st_size)) return false;
  return !raw_failed(raw4(m->sm.sm_nr, static_cast<long>(a[0]), in, static_cast<long>(a[2]), 0));
}

// The call for `count` bytes after `*done`. False: it ends here, with `*error` if nothing has gone.
// The kernel sends less than it was asked for at the end of the file, and for any signal: also for
// one that is not this LWKT's.
bool send_piece(union sysunion* m, FdCall& c, bool ready, uint64_t count, uint64_t* done, int* error) {
  m->raw.arg[3] = count;
  *error = *done != 0 ? c.offer_rest(m) : (ready ? c.offer_ready(m) : c.offer(m));
  if (*error != 0) return false;
  auto sent = static_cast<uint64_t>(m->sm.sm_result);
  *done += sent;
  return sent == count || (sent != 0 && !sig_interrupts(curthread()) && has_data(m));
}

int in_pieces(union sysunion* m, fdentry* e, int fd, uint64_t count) {
  FdCall c(fd, e, FD_OUT);
  int error = 0;
  uint64_t done = 0;
  for (bool more = true; more && done < count;) {
    uint64_t piece = count - done;
    c.note();
    pollfd p{c.fd, POLLOUT, 0};
    bool full = raw3(SYS_poll, reinterpret_cast<long>(&p), 1, 0) == 0;
    if (done != 0 && (p.revents & (POLLERR | POLLHUP)) != 0) break;  // the next call's business
    if (full && has_data(m)) {
      int w = c.wait();
      if (w == 0) continue;
      if (w != kOfferTrap && w != -EAGAIN) {
        error = -w;
        break;
      }
    } else if (!full && piece > kSmall) {
      uint64_t most = third_of_buffer(c.fd);
      piece = piece < most ? piece : most;
    }
    more = send_piece(m, c, !full, piece, &done, &error);
  }
  if (done == 0) return error;
  m->sm.sm_result = static_cast<long>(done);
  return 0;
}

}  // namespace

int sys_sendfile(union sysunion* m) {
  const uint64_t* a = m->raw.arg;
  auto out = static_cast<int>(a[0]), in = static_cast<int>(a[1]);
  if (!sched_others() || sched_alone() || a[3] == 0) return sysport_trap_first(m);
  fdentry *to = fd_entry(out), *from = fd_entry(in);
  if (to == nullptr || from == nullptr || fd_known_nonblock(to)) return sysport_trap_first(m);
  FdKind kind = fd_kind(to, out);
  if ((kind != FDK_TCP && kind != FDK_STREAM) || fd_kind(from, in) != FDK_FILE ||
      (from->flags & FDF_DISK) == 0) {
    return sysport_trap_first(m);
  }
  fd_ask_options(to, out);
  if (to->sndtimeo_ms != 0) return sysport_trap_first(m);
  return in_pieces(m, to, out, a[3]);
}

}  // namespace cr
