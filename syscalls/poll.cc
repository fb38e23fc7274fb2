// Calls that wait for several descriptors: poll, select and the program's own epoll.
//
// poll and select park on the entries of all their descriptors (fdtable.h): counts first, then the
// kernel's poll with no time, then the links, which fail if an edge has come since the counts. A
// poll of one descriptor that was found empty before parks without asking, and takes its answer from
// the edge: a client that tries, polls and tries again has no trap more than one that blocks.
// select is turned into poll and back, as the kernel's two share one core.
//
// epoll_wait nests the program's epoll descriptor in the engine's: it is tried with no time, and an
// edge of the engine means that the inner one has something. An event loop that is the only
// thread, or has the process to itself, sleeps in the kernel's own call (sched_others, sched_alone).

#include <errno.h>
#include <poll.h>
#include <sys/select.h>
#include <sys/syscall.h>

#include "../arch/abi.h"
#include "../arch/rawcall.h"
#include "../arch/usercopy.h"
#include "../src/async/timer.h"
#include "../src/lwkt/slab.h"
#include "../src/signal/signal.h"
#include "blocking.h"
#include "maskedwait.h"
#include "sysent.h"

namespace cr {

namespace {

inline constexpr uint64_t kMostFds = 4096;  // more go to the kernel with the cpu on offer
// What an edge says exactly (EPOLL* and POLL* have the same values).
inline constexpr int kEdgeBits = POLLIN | POLLOUT | POLLPRI | POLLRDHUP;

// ---- a set of descriptors ----------------------------------------------------------------------

class PollSet {
 public:
  PollSet() = default;
  ~PollSet() {
    for (uint32_t i = 0; i < n_ && moved_; i++) {
      if (slots_[i].hidden) fd_hidden_release(fds_[i].fd);
    }
    if (memory_ != nullptr) slab_free(memory_, bytes_);
  }
  PollSet(const PollSet&) = delete;
  PollSet& operator=(const PollSet&) = delete;

  bool room_for(uint64_t n) {
    n_ = static_cast<uint32_t>(n);
    if (n <= kInline) return true;
    if (n > kMostFds) return false;
    bytes_ = n * (sizeof(pollfd) + sizeof(Slot));
    memory_ = slab_alloc(bytes_);
    if (memory_ == nullptr) return false;
    slots_ = static_cast<Slot*>(memory_);
    fds_ = reinterpret_cast<pollfd*>(slots_ + n);
    return true;
  }
  pollfd* fds() { return fds_; }
  uint32_t count() const { return n_; }
  bool slept() const { return slept_; }
  void set_count(uint32_t n) { n_ = n; }

  // Waits until one is ready or `deadline`. How many are ready (>= 0), -errno, -ERESTARTNOHAND, or
  // kOfferTrap before any time has gone.
  int wait(uint64_t deadline) {
    sched_note_io();
    for (uint32_t i = 0; i < n_; i++) slots_[i].hidden = false;
    bool expired = false;
    for (bool first = true;; first = false) {
      if (engine_retired()) return kOfferTrap;  // also if it has slept: it may do so as long again
      for (uint32_t i = 0; i < n_; i++) note(i);
      if (!first || !one_empty()) {
        int r = look();
        if (r != 0) return r;
        if (n_ == 1) emptied();
      }
      if (expired) return 0;
      if (first && (sched_alone() || !engine_open())) return kOfferTrap;
      int r = sleep(deadline, &expired);
      if (r > 0) return r;
      if (r == kOfferTrap && !first) continue;  // somebody closed one: the next poll says so
      if (r != 0) return r;
    }
  }

 private:
  struct Slot {
    fdwaiter w;
    uint32_t gen;
    uint32_t seen[2];
    bool hidden;
  };
  static constexpr uint32_t kInline = 4;

  void note(uint32_t i) {
    const fdentry* e = fd_entry(fds_[i].fd);
    if (e == nullptr) return;
    Slot& s = slots_[i];
    s.gen = load_acquire(&e->gen);
    s.seen[0] = load_acquire(&e->seq[0]);
    s.seen[1] = load_acquire(&e->seq[1]);
  }
  bool one_empty() const {
    if (n_ != 1 || (fds_[0].events & ~(POLLIN | POLLRDHUP)) != 0) return false;
    const fdentry* e = fd_entry(fds_[0].fd);
    return e != nullptr && e->empty == slots_[0].seen[0] && (e->watched & EPOLLIN) != 0 &&
           (e->flags & FDF_STICKY) == 0;
  }
  void emptied() {
    fdentry* e = fd_entry(fds_[0].fd);
    if (e == nullptr || (fds_[0].events & POLLIN) == 0) return;
    __atomic_store_n(&e->empty, slots_[0].seen[0], __ATOMIC_RELAXED);
  }

  // Which are ready now. The kernel's poll says EINTR even when it has no time to wait, and whatever
  // the signal was: one of libcr's own must not end the program's poll.
  int look() {
    for (;;) {
      long r = raw3(SYS_poll, reinterpret_cast<long>(fds_), n_, 0);
      if (r != -EINTR) return static_cast<int>(r);
      if (sysport_interrupted(curthread())) return -ERESTARTNOHAND;
      sched_yield_cpu();  // whom a flood of them is for may want it
    }
  }

  static uint32_t dirs_of(short events) {
    uint32_t dirs = 0;
    if ((events & ~(POLLOUT | POLLWRNORM | POLLWRBAND)) != 0) dirs |= FD_IN;
    if ((events & (POLLOUT | POLLWRNORM | POLLWRBAND)) != 0) dirs |= FD_OUT;
    return dirs == 0 ? FD_IN : dirs;  // errors and hang-ups count in any case
  }

  // 0: poll again; > 0: that many are ready (an edge has said it).
  int sleep(uint64_t deadline, bool* expired) {
    thread* td = curthread();
    for (uint32_t i = 0; i < n_; i++) {
      if (fds_[i].fd < 0) continue;
      fdentry* e = fd_entry(fds_[i].fd);
      if (e == nullptr || fd_watch(e, fds_[i].fd, slots_[i].gen, dirs_of(fds_[i].events)) != 0) {
        return kOfferTrap;
      }
    }
    uint32_t linked = 0;
    int error = 0;
    bool blocked = false;
    for (; linked < n_; linked++) {
      fdwaiter& w = slots_[linked].w;
      w = fdwaiter{};
      w.td = td;
      w.fd = fds_[linked].fd;
      w.state = W_WOKEN;  // of no list
      if (w.fd < 0) continue;
      w.dirs = dirs_of(fds_[linked].events);
      error = fd_link(fd_entry(w.fd), &w, slots_[linked].gen, slots_[linked].seen, !blocked);
      if (error != 0) break;
      blocked = true;
    }
    if (error == 0 && !blocked) sched_block(td);  // nothing but the time to wait for
    bool armed = error == 0 && deadline != kNever;
    if (armed && !timer_arm(td, deadline)) {
      armed = false;
      error = ENOMEM;
    }
    int64_t why = 0;
    if (error == 0) {
      slept_ = true;
      sched_waits_outside(td);
      why = sched_sleep_interruptible();
      sched_waited_outside(td);
    } else if (blocked && !atomic_cas<uint32_t>(&td->td_state, TDS_BLOCKED, TDS_RUNNING)) {
      sched_sleep();  // an edge of one that was linked already has woken it
    }
    if (armed) timer_cancel(td);
    bool edge = false;
    for (uint32_t i = 0; i < linked; i++) edge = unlink(i) || edge;
    if (error != 0) return error == EAGAIN ? 0 : kOfferTrap;
    if (edge && n_ == 1) return answer_of_edge();
    if (edge || why == 0) return 0;
    if (why == -ETIMEDOUT) {
      *expired = true;
      return 0;
    }
    return sig_interrupts(td) ? -ERESTARTNOHAND : 0;
  }

  // True if an edge had woken it.
  bool unlink(uint32_t i) {
    Slot& s = slots_[i];
    if (fds_[i].fd < 0) return false;
    bool edge = fd_unlink(fd_entry(fds_[i].fd), &s.w);
    if (__builtin_expect(s.w.moved != 0, 0)) {
      if (s.hidden) fd_hidden_release(fds_[i].fd);
      s.hidden = moved_ = true;
      fds_[i].fd = s.w.fd;
    }
    return edge;
  }

  int answer_of_edge() {
    pollfd& p = fds_[0];
    if ((p.events & ~kEdgeBits) != 0) return 0;
    auto said = static_cast<int>(slots_[0].w.events) & (p.events | POLLERR | POLLHUP);
    p.revents = static_cast<short>(said);
    return said != 0 ? 1 : 0;
  }

  pollfd own_fds_[kInline];
  Slot own_slots_[kInline];
  pollfd* fds_ = own_fds_;
  Slot* slots_ = own_slots_;
  void* memory_ = nullptr;
  uint64_t bytes_ = 0;
  uint32_t n_ = 0;
  bool moved_ = false;
  bool slept_ = false;
};

int result_of(union sysunion* m, int r) {
  if (r < 0) return -r;
  m->sm.sm_result = r;
  return 0;
}

// ---- poll ----------------------------------------------------------------------------------------

// `trap(m, t)` is the call in the kernel.
template <typename Trap>
int poll_until(union sysunion* m, const Timeout& t, Trap trap) {
  const uint64_t* a = m->raw.arg;
  auto* user = reinterpret_cast<pollfd*>(a[0]);
  auto n = static_cast<uint32_t>(a[1]);
  PollSet set;
  if (t.none || !sched_others() || !set.room_for(n) ||
      user_copy(set.fds(), user, n * sizeof(pollfd)) != 0) {
    return trap(m, t);
  }
  int r = set.wait(t.deadline);
  if (r == kOfferTrap) return trap(m, t);
  if (r < 0 && r != -ERESTARTNOHAND) return -r;
  for (uint32_t i = 0; i < n; i++) {
    auto revents = static_cast<uint16_t>(r <= 0 ? 0 : set.fds()[i].revents);
    if (user_copy(&user[i].revents, &revents, sizeof revents) != 0) return EFAULT;
  }
  return result_of(m, r);
}

// ---- select --------------------------------------------------------------------------------------

inline constexpr int kSelectIn = POLLIN | POLLRDNORM | POLLRDBAND;
inline constexpr int kSelectOut = POLLOUT | POLLWRNORM | POLLWRBAND;

struct FdBits {
  static constexpr uint32_t kBits = 8 * sizeof(unsigned long);
  unsigned long word[kMostFds / kBits];
  bool present = false;

  bool load(uint64_t at, uint32_t words) {
    present = at != 0;
    return !present || user_copy(word, reinterpret_cast<const void*>(at), words * sizeof *word) == 0;
  }
  void cut(uint32_t n) {
    if (present && n % kBits != 0) word[n / kBits] &= (1ul << (n % kBits)) - 1;
  }
  bool has(uint32_t fd) const { return present && (word[fd / kBits] >> (fd % kBits) & 1) != 0; }
  int keep(uint32_t fd, bool ready) {
    if (!has(fd)) return 0;
    if (ready) return 1;
    word[fd / kBits] &= ~(1ul << (fd % kBits));
    return 0;
  }
  bool store(uint64_t at, uint32_t words) const {
    return !present || user_copy(reinterpret_cast<void*>(at), word, words * sizeof *word) == 0;
  }
  uint64_t place() const { return present ? reinterpret_cast<uintptr_t>(word) : 0; }
};

// For what is left of its time. `micro`: a timeval.
int select_in_kernel(union sysunion* m, const Timeout& t, bool micro) {
  if (t.deadline != kNever) {
    __kernel_timespec left = t.rest();
    if (micro) left.tv_nsec = (left.tv_nsec + 999) / 1000;
    user_timespec_store(m->sm.sm_nr, m->raw.arg[4], left);
  }
  return sysport_trap_first(m);
}

[[gnu::noinline]] int select_until(union sysunion* m, const Timeout& t, bool micro) {
  const uint64_t* a = m->raw.arg;
  auto n = static_cast<uint32_t>(a[0]);
  if (t.none || n > kMostFds) return sysport_trap_first(m);
  uint32_t words = (n + FdBits::kBits - 1) / FdBits::kBits;
  FdBits in, out, ex;
  if (!in.load(a[1], words) || !out.load(a[2], words) || !ex.load(a[3], words)) return EFAULT;
  in.cut(n);
  out.cut(n);
  ex.cut(n);
  uint32_t wanted = 0;
  for (uint32_t fd = 0; fd < n; fd++) wanted += in.has(fd) || out.has(fd) || ex.has(fd) ? 1 : 0;
  PollSet set;
  if (!set.room_for(wanted)) return sysport_trap_first(m);
  uint32_t k = 0;
  for (uint32_t fd = 0; fd < n; fd++) {
    int events = (in.has(fd) ? kSelectIn : 0) | (out.has(fd) ? kSelectOut : 0) |
                 (ex.has(fd) ? POLLPRI : 0);
    if (events == 0) continue;
    set.fds()[k++] = {static_cast<int>(fd), static_cast<short>(events), 0};
  }
  int r = set.wait(t.deadline);
  if (r == kOfferTrap) return sysport_trap_first(m);
  if (r < 0) return -r;
  int total = 0;
  k = 0;
  for (uint32_t fd = 0; fd < n; fd++) {
    if (!in.has(fd) && !out.has(fd) && !ex.has(fd)) continue;
    int got = r == 0 ? 0 : set.fds()[k++].revents;
    if ((got & POLLNVAL) != 0) return EBADF;
    total += in.keep(fd, (got & (kSelectIn | POLLHUP | POLLERR)) != 0);
    total += out.keep(fd, (got & (kSelectOut | POLLERR)) != 0);
    total += ex.keep(fd, (got & POLLPRI) != 0);
  }
  // Hung up, and nobody waits to read: poll says so for ever, select goes on waiting.
  if (total == 0 && r > 0) {
    int error = select_in_kernel(m, t, micro);
    return error == ERESTARTNOINTR && set.slept() ? ERESTARTNOHAND : error;
  }
  if (!in.store(a[1], words) || !out.store(a[2], words) || !ex.store(a[3], words)) return EFAULT;
  return result_of(m, total);
}

// The sets are the program's only if something is there.
[[gnu::noinline]] int select_at_once(union sysunion* m) {
  uint64_t* a = m->raw.arg;
  auto n = static_cast<uint32_t>(a[0]);
  if (n > kMostFds) return EINTR;
  uint32_t words = (n + FdBits::kBits - 1) / FdBits::kBits;
  FdBits sets[3];
  uint64_t user[3];
  for (int i = 0; i < 3; i++) {
    user[i] = a[1 + i];
    if (!sets[i].load(user[i], words)) return EFAULT;
    a[1 + i] = sets[i].place();
  }
  int error = look_at_once(m, 4, no_time());
  if (error != 0 || m->sm.sm_result == 0) return error;
  for (int i = 0; i < 3; i++) {
    if (!sets[i].store(user[i], words)) return EFAULT;
  }
  return 0;
}

// ---- epoll ---------------------------------------------------------------------------------------

template <typename Trap>
int epoll_until(union sysunion* m, const Timeout& t, Trap trap) {
  const uint64_t* a = m->raw.arg;
  constexpr uint32_t kMost = INT32_MAX / sizeof(epoll_event);
  bool takes = static_cast<uint32_t>(a[2]) - 1 < kMost;
  if (t.none || !sched_others() || !takes || engine_retired()) return trap(m, t);
  auto fd = static_cast<int>(a[0]);
  fdentry* e = fd_entry(fd);
  FdKind kind = e == nullptr ? FDK_FILE : fd_kind(e, fd);
  if (kind != FDK_NOWAIT && kind != FDK_POLL) return trap(m, t);
  FdCall c(fd, e, FD_IN);
  c.wait_until(t.deadline);
  for (;;) {
    c.note();
    if (!c.known_empty()) {
      long r = raw4(SYS_epoll_wait, c.fd, static_cast<long>(a[1]), static_cast<long>(a[2]), 0);
      if (r != 0) return sysport_result(m, r);
      c.emptied();
    }
    int w = c.wait();
    if (w == 0) continue;
    if (w == kOfferTrap && t.deadline == kNever) return c.offer(m);
    if (w == kOfferTrap) {
      m->raw.arg[0] = static_cast<uint64_t>(c.fd);
      int error = trap(m, t);
      return error == ERESTARTNOINTR && c.slept() ? ERESTARTSYS : error;
    }
    if (w != -EAGAIN) return EINTR;
    m->sm.sm_result = 0;
    return 0;
  }
}

// Whether the program's mask has the size that epoll_pwait's have.
bool epoll_mask_fits(const union sysunion* m) { return m->raw.arg[4] == 0 || m->raw.arg[5] == 8; }

// Without a time to wait the kernel does not look for signals, whatever the mask lets through.
int epoll_at_once(union sysunion* m, uint64_t time) {
  uint64_t mask, at = m->raw.arg[4];
  if (at != 0 && user_copy(&mask, reinterpret_cast<const void*>(at), sizeof mask) != 0) return EFAULT;
  m->raw.arg[4] = 0;
  m->raw.arg[3] = time;
  return sysport_trap(m);
}

// Reads the time at `at` (0: none), which call `nr` has there, runs call(timeout) and stores what is left
// of it. `micro`: a timeval.
template <typename Call>
int with_timespec(uint32_t nr, uint64_t at, bool micro, Call call) {
  Timeout t;
  __kernel_timespec ts;
  if (at == 0) return call(t);
  if (user_timespec(nr, at, &ts) != 0) return EFAULT;
  if (micro) {
    // Microseconds of any number count; a sum beyond all numbers is below 0, as the kernel's.
    __builtin_add_overflow(ts.tv_sec, ts.tv_nsec / 1'000'000, &ts.tv_sec);
    ts.tv_nsec = ts.tv_nsec % 1'000'000 * 1000;
  }
  if (!t.set(ts.tv_sec, ts.tv_nsec)) return EINVAL;
  int error = call(t);
  if (t.deadline != kNever) ts = t.rest();  // of centuries hardly less is left
  if (micro) ts.tv_nsec /= 1000;
  user_timespec_store(nr, at, ts);  // a read-only time is no error
  return error;
}

}  // namespace

int sys_poll(union sysunion* m) {
  Timeout t;
  t.set_ms(static_cast<int>(m->raw.arg[2]));
  return poll_until(m, t, [](union sysunion* u, const Timeout& time) { return trap_ms(u, time, 2); });
}

int sys_ppoll(union sysunion* m) {
  const uint64_t* a = m->raw.arg;
  if (a[3] != 0 && a[4] != 8) return EINVAL;
  return with_mask(m, a[3], 3, [m] {
    if (!sched_others()) return sysport_trap_first(m);
    return with_timespec(m->sm.sm_nr, m->raw.arg[2], false, [m](const Timeout& t) {
      return poll_until(m, t, [](union sysunion* u, const Timeout&) { return sysport_trap_first(u); });
    });
  }, [m] { return look_at_once(m, 2, no_time()); });
}

int sys_select(union sysunion* m) {
  if (!sched_others() || static_cast<int>(m->raw.arg[0]) < 0) return sysport_trap_first(m);
  return with_timespec(m->sm.sm_nr, m->raw.arg[4], true, [m](const Timeout& t) { return select_until(m, t, true); });
}

int sys_pselect6(union sysunion* m) {
  struct Packed {
    uintptr_t mask_at;
    size_t size;
  } p{};
  uint64_t at = m->raw.arg[5];
  if (at != 0 && user_copy(&p, reinterpret_cast<const void*>(at), sizeof p) != 0) return EFAULT;
  if (p.mask_at != 0 && p.size != 8) return EINVAL;
  return with_mask(m, p.mask_at, 5, [m] {
    if (!sched_others() || static_cast<int>(m->raw.arg[0]) < 0) return sysport_trap_first(m);
    return with_timespec(m->sm.sm_nr, m->raw.arg[4], false, [m](const Timeout& t) { return select_until(m, t, false); });
  }, [m] { return select_at_once(m); });
}

int sys_epoll_wait(union sysunion* m) {
  Timeout t;
  t.set_ms(static_cast<int>(m->raw.arg[3]));
  return epoll_until(m, t, [](union sysunion* u, const Timeout& time) { return trap_ms(u, time, 3); });
}

int sys_epoll_pwait(union sysunion* m) {
  if (!epoll_mask_fits(m)) return EINVAL;
  if (m->raw.arg[4] != 0 && static_cast<int>(m->raw.arg[3]) == 0) return epoll_at_once(m, 0);
  return with_mask(m, m->raw.arg[4], 4, [m] { return sys_epoll_wait(m); }, [m] { return look_at_once(m, 3, 0); });
}

int sys_epoll_pwait2(union sysunion* m) {
  if (!epoll_mask_fits(m)) return EINVAL;
  Timeout t;
  __kernel_timespec ts;
  uint64_t at = m->raw.arg[3];
  if (at != 0) {
    if (user_timespec(m->sm.sm_nr, at, &ts) != 0) return EFAULT;
    if (!t.set(ts.tv_sec, ts.tv_nsec)) return EINVAL;
  }
  if (m->raw.arg[4] != 0 && t.none) return epoll_at_once(m, no_time());
  return with_mask(m, m->raw.arg[4], 4, [m, &t] { return epoll_until(m, t, trap_timespec); },
                   [m] { return look_at_once(m, 3, no_time()); });
}

}  // namespace cr
