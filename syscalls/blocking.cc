#include "blocking.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "../arch/abi.h"
#include "../arch/rawcall.h"
#include "../arch/usercopy.h"
#include "../src/async/timer.h"
#include "../src/lwkt/slab.h"
#include "../src/signal/signal.h"

namespace cr {

namespace {
// Copied under the entry's lock, and before anybody else of the same harvest runs.
inline constexpr uint64_t kMostForOther = 16 * 1024;
}

bool fd_mode(fdentry* e, int fd, bool* nonblock) {
  bool own = fd_own(e);
  if (own && (e->flags & FDF_MODE_KNOWN) != 0) {
    *nonblock = (e->flags & FDF_NONBLOCK) != 0;
    return true;
  }
  long r = raw2(SYS_fcntl, fd, F_GETFL);
  if (raw_failed(r)) return false;
  *nonblock = (r & O_NONBLOCK) != 0;
  if (own) fd_mode_set(fd, *nonblock);
  return true;
}

// What the kernel looks up when a call begins to wait, once for each call.
int FdCall::ask() {
  if (fd_is_socket(e->kind)) fd_ask_options(e, fd);
  bool nonblock;
  if (!fd_mode(e, fd, &nonblock)) return kOfferTrap;
  if (nonblock) return -EAGAIN;
  uint32_t ms = dir_ == FD_IN ? e->rcvtimeo_ms : e->sndtimeo_ms;
  if (ms != 0) {
    timed_ = true;
    deadline_ = clock_monotonic() + ms * 1'000'000ull;
  }
  asked_ = true;
  return 0;
}

int FdCall::give_away(union sysunion* m) {
  let_go();
  if (!asked_ && ask() == -EAGAIN) return EAGAIN;
  m->raw.arg[0] = static_cast<uint64_t>(fd);
  return sysport_trap_sleep(m);
}

// No longer linked. True if an edge had woken it.
inline bool FdCall::leave(fdwaiter* w) {
  bool edge = fd_unlink(e, w);
  held_ = w->holds != 0;
  if (__builtin_expect(w->moved == 0, 1)) return edge;
  if (hidden_) fd_hidden_release(fd);
  hidden_ = true;
  fd = w->fd;
  e = fd_entry(fd);
  gen_ = load_acquire(&e->gen);
  return true;
}

inline int FdCall::sleep(bool one, bool doubt, const FdRead* read) {
  thread* td = curthread();
  fdwaiter w{};
  w.td = td;
  w.fd = fd;
  w.dirs = dir_;
  w.one = one ? 1 : 0;
  w.doubt = doubt ? 1 : 0;
  w.tries = 1;
  if (read != nullptr && read->len <= kMostForOther) {
    w.at = read->at;
    w.len = static_cast<uint32_t>(read->len);
    w.flags = read->flags;
  }
  uint32_t seen[2] = {seen_, seen_};
  int error = fd_link(e, &w, gen_, seen, true, held_);
  if (error != 0) return error == EAGAIN ? 0 : kOfferTrap;
  held_ = false;
  if (doubt) e->guess = e->guess < kSure + kRely ? e->guess + 1 : kSure - 1;
  if (timed_ && !timer_arm(td, deadline_)) {
    // An edge may have woken it already: then it is on a queue and has to come by the switch.
    if (!atomic_cas<uint32_t>(&td->td_state, TDS_BLOCKED, TDS_RUNNING)) sched_sleep();
    leave(&w);
    return kOfferTrap;
  }
  slept_ = true;
  sched_waits_outside(td);
  int64_t why = sched_sleep_interruptible();
  sched_waited_outside(td);
  if (timed_) timer_cancel(td);
  bool edge = leave(&w);
  if (w.received != 0) {
    received_ = true;
    result_ = w.result;
    seen_ = w.seen;
    return 0;
  }
  // What has come meanwhile counts before the time and before a signal, as in the kernel.
  if (edge || why == 0) return __builtin_expect(engine_retired(), 0) ? kOfferTrap : 0;
  if (why == -ETIMEDOUT) {
    expired_ = must_try_ = true;
    return 0;  // one last try
  }
  if (!sig_interrupts(td)) return 0;
  return timed_ ? -EINTR : -ERESTARTSYS;
}

int FdCall::wait(bool one, bool doubt, const FdRead* read) {
  int w = park(one, doubt, read);
  if (w != 0) let_go();
  return w;
}

inline int FdCall::park(bool one, bool doubt, const FdRead* read) {
  if (!asked_ && !plain()) {
    int r = ask();
    if (r == -EAGAIN && dir_ == FD_IN && !tried_) {
      must_try_ = true;
      return 0;
    }
    if (r != 0) return r;
  }
  if (expired_) return -EAGAIN;
  if (!timed_ && !sched_wanted(mycpu())) return kOfferTrap;
  // A reader that sleeps when a datagram socket is shut down gets 0; a try is told to wait for ever.
  bool datagrams = e->kind == FDK_DGRAM || e->kind == FDK_LOCAL;
  if (dir_ == FD_IN && datagrams && (e->flags & FDF_HUNGUP) != 0) return kOfferTrap;
  if (!engine_open() || (!fd_watched(e, gen_, dir_) && fd_watch(e, fd, gen_, dir_) != 0)) return kOfferTrap;
  return sleep(one, doubt, read);
}

namespace {
// While there is one LWKT nobody has asked what the descriptor is.
bool may_be_terminal(union sysunion* m) {
  if (!sched_others()) return true;
  const fdentry* e = fd_entry(static_cast<int>(m->raw.arg[0]));
  return e != nullptr && (e->flags & FDF_TERMINAL) != 0;
}

int trap_by_mask(union sysunion* m, bool at_once) {
  if (__builtin_expect((curthread()->td_sigmask & kTerminalSignals) != 0, 0) && may_be_terminal(m)) {
    return sysport_trap_terminal(m, at_once);
  }
  return at_once ? sysport_trap_first_sleep(m) : sysport_trap_first(m);
}

// A signal came as it slept, or just before a trap that can't be put off. What needs nobody's act is done all the same:
// a pipe or a socket that has something to read, or room. Else `error`.
int try_now(union sysunion* m, int error) {
  constexpr long kNoWait = 8, kHere = -1;  // RWF_NOWAIT; the file's own position
  const uint64_t* a = m->raw.arg;
  kiovec one{static_cast<uintptr_t>(a[1]), static_cast<size_t>(a[2] < kMostAtOnce ? a[2] : kMostAtOnce)};
  auto nr = static_cast<long>(m->sm.sm_nr), fd = static_cast<long>(a[0]);
  bool vector = nr == SYS_readv || nr == SYS_writev;
  if (!vector && nr != SYS_read && nr != SYS_write) return error;
  long r = raw6(nr == SYS_read || nr == SYS_readv ? SYS_preadv2 : SYS_pwritev2, fd,
                vector ? static_cast<long>(a[1]) : reinterpret_cast<long>(&one), vector ? static_cast<long>(a[2]) : 1, kHere,
                offset_high(kHere), kNoWait);
  if (r == -EAGAIN && (raw2(SYS_fcntl, fd, F_GETFL) & O_NONBLOCK) != 0) return EAGAIN;
  return r == -EAGAIN || r == -EOPNOTSUPP || r == -EINTR ? error : sysport_result(m, r);
}
}  // namespace

int blocking_trap(union sysunion* m, bool at_once) {
  int error = trap_by_mask(m, at_once);
  if (__builtin_expect(error != ERESTARTSYS, 1)) return error;
  struct stat st;
  bool disk = raw2(kSysFstat, static_cast<long>(m->raw.arg[0]), reinterpret_cast<long>(&st)) == 0 &&
              (S_ISREG(st.st_mode) || S_ISBLK(st.st_mode));
  if (!disk) return try_now(m, error);
  return at_once ? sysport_trap_whole_sleep(m) : sysport_trap_whole(m);
}

int blocking_by_poll(union sysunion* m, fdentry* e, int fd, uint32_t dir) {
  FdCall c(fd, e, dir);
  for (;;) {
    c.note();
    if (dir == FD_OUT || !c.known_empty()) {
      pollfd p{c.fd, static_cast<short>(dir == FD_IN ? POLLIN : POLLOUT), 0};
      if (raw3(SYS_poll, reinterpret_cast<long>(&p), 1, 0) != 0) return c.offer_ready(m);
      if (dir == FD_IN) c.emptied();
    }
    int w = c.wait();
    if (w == 0) continue;
    // Non-blocking: the call itself says EAGAIN, or takes what little there is.
    bool itself = w == kOfferTrap || (w == -EAGAIN && !c.expired());
    return itself ? c.offer(m) : -w;
  }
}

int blocking_low_water(union sysunion* m, fdentry* e, int fd, uint64_t len) {
  int mark = fd_option(fd, SO_RCVLOWAT);
  // With less room than that the kernel waits for less than poll does.
  if (mark > 0 && len < static_cast<uint64_t>(mark)) return sysport_trap_first(m);
  return blocking_by_poll(m, e, fd, FD_IN);
}

IovCopy::~IovCopy() {
  if (memory_ != own_) slab_free(memory_, loaded_ * sizeof(kiovec));
}

bool IovCopy::load(uint64_t at, uint64_t n) {
  if (n > kMost) return false;
  if (n > kInline) {
    auto* p = static_cast<kiovec*>(slab_alloc(n * sizeof(kiovec)));
    if (p == nullptr) return false;
    memory_ = at_ = p;
    loaded_ = n;
  }
  if (n != 0 && user_copy(at_, reinterpret_cast<const void*>(at), n * sizeof(kiovec)) != 0) {
    return false;
  }
  n_ = n;
  for (uint64_t i = 0; i < n; i++) {
    if (static_cast<ssize_t>(at_[i].len) < 0) return false;
    total_ += at_[i].len;
  }
  return static_cast<int64_t>(total_) >= 0;
}

void IovCopy::advance(uint64_t bytes) {
  total_ -= bytes;
  while (n_ != 0 && bytes >= at_->len) {
    bytes -= at_->len;
    at_++;
    n_--;
  }
  if (n_ != 0) {
    at_->base += bytes;
    at_->len -= bytes;
  }
}

}  // namespace cr
