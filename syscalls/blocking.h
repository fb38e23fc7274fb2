// A call that may block on a descriptor: try without blocking, park until the kernel reports an
// edge, try again (DESIGN §4.4). The calls of socket.cc, stream.cc and poll.cc are written with it.
//
// Policy, in this order
//   1. One LWKT: a plain trap (the callers ask sched_others).
//   2. What was emptied by the last call and had no edge since parks without a try: one trap less
//      for each request of a server that answers and reads again.
//   3. Otherwise the call is tried with MSG_DONTWAIT or RWF_NOWAIT.
//      Where that was mostly in vain the caller parks in doubt (fdtable.h).
//   4. If nothing else could use the cpu, no timer and no parked LWKT either, the call sleeps in the
//      kernel, with the cpu on offer (sched_alone): that costs one trap where parking costs three.
//   5. Otherwise it parks on the descriptor's entry (fdtable.h).
#pragma once

#include <errno.h>

#include "../arch/rawcall.h"
#include "../src/async/engine.h"
#include "../src/async/fdtable.h"
#include "../src/sysport/sysport.h"

namespace cr {

// Answer of FdCall::wait beside 0 (try again) and -errno.
inline constexpr int kOfferTrap = -1000;  // it can't wait here: FdCall::offer

// What the kernel moves in one call at most (MAX_RW_COUNT).
inline constexpr uint64_t kMostAtOnce = 0x7fff'f000;

// A receive without an address.
struct FdRead {
  uintptr_t at;
  uint64_t len;
  int flags;
};

// One call's wait for the descriptor `fd`. The pattern:
//
//   FdCall c(fd, e, FD_IN);
//   for (;;) {
//     c.note();
//     if (!c.known_empty()) { r = try it; if (r != -EAGAIN) return r; c.emptied(); }
//     int w = c.wait();
//     if (w != 0) return w == kOfferTrap ? c.offer(m) : -w;
//   }
//
// `fd` may change in wait() (a close under the sleeper): always use c.fd.
class FdCall {
 public:
  FdCall(int number, fdentry* entry, uint32_t dir)
      : fd(number), e(entry), gen_(load_acquire(&entry->gen)), dir_(dir) {
    sched_note_io();
  }
  ~FdCall() {
    let_go();
    if (__builtin_expect(hidden_, 0)) fd_hidden_release(fd);
  }
  FdCall(const FdCall&) = delete;
  FdCall& operator=(const FdCall&) = delete;

  // For calls that have their own time-out and care for no mode: until `deadline`.
  void wait_until(uint64_t deadline) {
    asked_ = true;
    timed_ = deadline != kNever;
    deadline_ = deadline;
  }

  void note() { seen_ = load_acquire(&e->seq[dir_ - 1]); }
  bool known_empty() const {
    return e->empty == seen_ && !must_try_ && (e->watched & EPOLLIN) != 0 && (e->flags & FDF_STICKY) == 0;
  }
  // The last read filled its buffer, nothing has come since, and so far that meant nothing was left.
  bool likely_empty() const {
    return e->full == seen_ && !must_try_ && e->guess >= kSure && (e->watched & EPOLLIN) != 0 &&
           (e->flags & FDF_STICKY) == 0;
  }
  // What a read's try taught: it filled its buffer, or found nothing.
  void filled() {
    if (e->full == seen_) e->guess = 0;
    __atomic_store_n(&e->full, seen_, __ATOMIC_RELAXED);
  }
  void missed() {
    if (e->full == seen_ && e->guess < kSure) e->guess++;
    emptied();
  }
  // The try took all there was.
  void emptied() {
    tried_ = true;
    __atomic_store_n(&e->empty, seen_, __ATOMIC_RELAXED);
  }

  // The try would have blocked. 0: try again; -EAGAIN: the file is non-blocking or the time is up;
  // -ERESTARTSYS or -EINTR: a signal; kOfferTrap. `one`: an edge wakes only one of those. `doubt`: there was no try
  // (likely_empty). `read`: what the next try would receive; who sees the data come may do it, see received.
  int wait(bool one = false, bool doubt = false, const FdRead* read = nullptr);
  // After wait: that was done, and *r is the try's result.
  bool received(long* r) {
    if (!received_) return false;
    received_ = false;
    *r = result_;
    return true;
  }
  // After a wait that ended with 0 the number stays the file's, since a close waits, until the next wait, one of
  // the traps below, this, or the end. In between the caller must not wait for anything.
  void let_go() {
    if (__builtin_expect(held_, 0)) fd_let_go(e, gen_);
    held_ = false;
  }
  // The call as it is in m, on `fd`, as a trap with the cpu on offer.
  // Where the number is no longer the file's, a restart from the gate would take another file.
  int offer(union sysunion* m) { return __builtin_expect(hidden_, 0) ? offer_rest(m) : offer_once(m); }
  // The same once poll has said that it needn't sleep: a signal comes before it.
  int offer_ready(union sysunion* m) {
    slept_ = false;
    return offer(m);
  }
  // The same for the rest of a call that has had an effect already, which the gate can't restart.
  int offer_rest(union sysunion* m) {
    aim(m);
    return sysport_trap_block(m);
  }
  // The call, whose try would have blocked and which can only wait in the kernel, as a trap with the cpu
  // given away at once. EAGAIN: the file is non-blocking.
  int give_away(union sysunion* m);
  // The time-out is up: wait has said -EAGAIN, or will.
  bool expired() const { return expired_; }
  bool slept() const { return slept_; }
  // An error or a hang-up was seen: another try would fetch an error that is the next call's.
  bool broken() const { return (e->flags & FDF_STICKY) != 0; }

  int fd;
  fdentry* e;

 private:
  void aim(union sysunion* m) {
    let_go();
    m->raw.arg[0] = static_cast<uint64_t>(fd);
  }
  int offer_once(union sysunion* m) {
    aim(m);
    return slept_ ? sysport_trap_block(m) : sysport_trap_first(m);
  }
  int ask();
  int park(bool one, bool doubt, const FdRead* read);
  bool leave(fdwaiter* w);
  // Known to be blocking and without a time-out: there is nothing to ask.
  bool plain() const {
    constexpr uint32_t kKnown = FDF_OWN | FDF_MODE_KNOWN | FDF_OPTS_KNOWN;
    return (e->flags & (kKnown | FDF_NONBLOCK)) == kKnown && fd_own(e) &&
           e->epoch == __atomic_load_n(&fd_epoch, __ATOMIC_SEQ_CST) &&
           (dir_ == FD_IN ? e->rcvtimeo_ms : e->sndtimeo_ms) == 0;
  }
  [[gnu::always_inline]] int sleep(bool one, bool doubt, const FdRead* read);
  static constexpr uint8_t kSure = 4;   // tries in vain before the next one is spared,
  static constexpr uint8_t kRely = 32;  // and how often until one is made again

  uint32_t gen_;
  uint32_t dir_;
  uint32_t seen_ = 0;
  bool hidden_ = false;
  bool held_ = false;
  bool received_ = false;
  bool tried_ = false;
  bool must_try_ = false;  // the kernel may know of data whose edge has not been fetched yet
  bool asked_ = false;    // the mode and the time-out
  bool timed_ = false;    // with a time-out an interruption is EINTR, never a restart
  bool expired_ = false;
  bool slept_ = false;
  uint64_t deadline_ = kNever;
  long result_ = 0;
};

// A socket whose SO_RCVLOWAT makes the kernel wait for more than poll waits for. Asks once.
inline bool fd_no_low_water(const fdentry* e) {
  return (e->flags & (FDF_OPTS_KNOWN | FDF_LOWAT)) == FDF_OPTS_KNOWN;
}
inline bool fd_low_water(fdentry* e, int fd) {
  if (__builtin_expect(fd_no_low_water(e), 1)) return false;
  fd_ask_options(e, fd);
  return (e->flags & FDF_LOWAT) != 0;
}

// Whether fd is non-blocking, asked if it is not known. False: no such descriptor.
bool fd_mode(fdentry* e, int fd, bool* nonblock);

inline bool fd_is_socket(FdKind k) { return k >= FDK_TCP && k <= FDK_SOCKET; }

// A read that never waits, by its flags or its file's. What it finds empty need not be polled.
inline int blocking_never(union sysunion* m, fdentry* e) {
  sched_note_io();
  uint32_t seen = load_acquire(&e->seq[0]);
  int error = sysport_trap(m);
  if (error == EAGAIN) __atomic_store_n(&e->empty, seen, __ATOMIC_RELAXED);
  return error;
}

// A read or write, or what else begins with a descriptor and has not slept so far, as a trap with the cpu on offer, or
// given away `at_once`. Where it is not known whether the trap was begun, or the call can't be put off (a shim's), a signal
// just before it interrupts it only if the kernel would: not on a disk, and not where a pipe or a socket is ready.
int blocking_trap(union sysunion* m, bool at_once = false);

// A call on a file known to be on a disk: the same, but no signal interrupts it. Inlined so that one
// return follows the trap (sched.h): a read and a write of 4 KB from and to the page cache, by one
// of two threads, cost 10 % more than natively by the generic way, 6 % by this one.
inline bool blocking_on_disk(const fdentry* e) {
  return e != nullptr && (e->flags & (FDF_DISK | FDF_DIRECT | FDF_SYNC)) == FDF_DISK;
}
[[gnu::always_inline]] inline int blocking_disk_trap(union sysunion* m) {
  const uint64_t* a = m->raw.arg;
  sched_trap_enter(mygd());
  long r = raw6(m->sm.sm_nr, static_cast<long>(a[0]), static_cast<long>(a[1]),
                static_cast<long>(a[2]), static_cast<long>(a[3]), static_cast<long>(a[4]),
                static_cast<long>(a[5]));
  sched_trap_leave();
  return sysport_result(m, r);
}

// A read-like or write-like call on a file that has no non-blocking form: polls, then traps.
int blocking_by_poll(union sysunion* m, fdentry* e, int fd, uint32_t dir);

// A read of `len` bytes from a socket with FDF_LOWAT. Waiting in the kernel for the mark, it would be
// cut short by any signal of libcr's own: poll waits for the mark, too.
int blocking_low_water(union sysunion* m, fdentry* e, int fd, uint64_t len);

// ---- iovecs ------------------------------------------------------------------------------------

struct kiovec {
  uintptr_t base;
  size_t len;
};

// A program's iovec array, copied so that it can be advanced.
class IovCopy {
 public:
  IovCopy() = default;
  ~IovCopy();
  IovCopy(const IovCopy&) = delete;
  IovCopy& operator=(const IovCopy&) = delete;

  // False: not readable, too many, or no memory. The trap will say what.
  bool load(uint64_t at, uint64_t n);
  void set(uint64_t base, uint64_t len) {
    own_[0] = {static_cast<uintptr_t>(base), static_cast<size_t>(len)};
    n_ = 1;
    total_ = len;
  }
  void advance(uint64_t bytes);
  uint64_t total() const { return total_; }
  kiovec* first() { return at_; }
  uint64_t count() const { return n_; }

 private:
  static constexpr uint64_t kInline = 8;
  static constexpr uint64_t kMost = 1024;  // UIO_MAXIOV
  kiovec own_[kInline];
  kiovec* memory_ = own_;
  kiovec* at_ = own_;
  uint64_t n_ = 0, loaded_ = 0, total_ = 0;
};

}  // namespace cr
