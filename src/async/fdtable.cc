#include "fdtable.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>

#include "../../arch/abi.h"
#include "../../arch/rawcall.h"
#include "../lwkt/assert.h"
#include "../lwkt/reserve.h"
#include "../lwkt/sched.h"
#include "engine.h"

namespace cr {

fdentry* fds;
uint32_t fd_forks;
uint32_t fd_epoch;
uint32_t fd_high;

namespace {

// The entry as it is for a number that nothing is known of. Locked.
void reset(fdentry* e) {
  store_release(&e->gen, e->gen + 1);
  e->empty = e->full = e->seq[0] - 1;
  e->guess = e->unread = 0;
  e->flags = 0;
  e->kind = FDK_UNKNOWN;
  e->missed = 0;
  e->watched = 0;
  e->users = 0;
  e->rcvtimeo_ms = e->sndtimeo_ms = 0;
}

// A duplicate may keep the file alive.
void unwatch(const fdentry* e, int fd) {
  if (e->watched != 0 && !engine_retired()) engine->unwatch(fd);
}

void used(int fd) {
  auto n = static_cast<uint32_t>(fd);
  uint32_t high = __atomic_load_n(&fd_high, __ATOMIC_RELAXED);
  while (n > high && !__atomic_compare_exchange_n(&fd_high, &high, n, false, __ATOMIC_RELAXED,
                                                  __ATOMIC_RELAXED)) {
  }
}

uint32_t timeout_ms(int fd, int name) {
  timeval tv{};
  uint32_t size = sizeof tv;
  long r = raw6(SYS_getsockopt, fd, SOL_SOCKET, name, reinterpret_cast<long>(&tv),
                reinterpret_cast<long>(&size), 0);
  constexpr int64_t kLongest = 4'000'000;  // seconds: as good as none
  if (raw_failed(r) || tv.tv_sec > kLongest) return 0;
  return static_cast<uint32_t>(tv.tv_sec * 1000 + (tv.tv_usec + 999) / 1000);
}

uint32_t disk_flags(int fd) {
  long r = raw2(SYS_fcntl, fd, F_GETFL);
  if (raw_failed(r)) return 0;
  return FDF_DISK | ((r & O_DIRECT) != 0 ? FDF_DIRECT : 0) | ((r & O_DSYNC) != 0 ? FDF_SYNC : 0);
}

// A terminal is not to be waited for by poll: a read from the background must stop the process there and
// then, and VTIME ends a read that poll would wait for. A pseudo-terminal's master has neither.
FdKind ask_device(int fd, uint32_t* flags) {
  uint32_t number;
  if (!raw_failed(raw3(SYS_ioctl, fd, TIOCGPTN, reinterpret_cast<long>(&number)))) return FDK_POLL;
  struct winsize size;
  if (!raw_failed(raw3(SYS_ioctl, fd, TIOCGWINSZ, reinterpret_cast<long>(&size)))) *flags = FDF_TERMINAL;
  return FDK_FILE;
}

FdKind ask(int fd, uint32_t* flags) {
  struct stat st;
  if (raw_failed(raw2(kSysFstat, fd, reinterpret_cast<long>(&st)))) return FDK_FILE;
  if (S_ISREG(st.st_mode) || S_ISBLK(st.st_mode)) *flags = disk_flags(fd);
  if (S_ISSOCK(st.st_mode)) {
    return fd_socket_kind(fd_option(fd, SO_DOMAIN), fd_option(fd, SO_TYPE), fd_option(fd, SO_PROTOCOL));
  }
  if (S_ISCHR(st.st_mode)) return ask_device(fd, flags);
  if (S_ISREG(st.st_mode) || S_ISDIR(st.st_mode) || S_ISBLK(st.st_mode) || S_ISLNK(st.st_mode)) {
    return FDK_FILE;
  }
  return FDK_NOWAIT;
}

void link(fdentry* e, fdwaiter* w) {
  fdwaiter** p = &e->waiters;
  while (*p != nullptr) p = &(*p)->next;
  w->next = nullptr;
  w->prev = p;
  *p = w;
  w->state = W_QUEUED;
}

// The last that anybody but its sleeper does with a w that was claimed before.
void unlink(fdwaiter* w) {
  *w->prev = w->next;
  if (w->next != nullptr) w->next->prev = w->prev;
  store_release<fdwaiter**>(&w->prev, nullptr);
}

// Puts w on `claimed`, to be woken without the lock, and takes it off its list, unless it will try upon its
// number then.
void claim(fdwaiter* w, fdwaiter*** claimed) {
  if (w->tries == 0 || w->received != 0) unlink(w);
  store_release(&w->state, W_CLAIMED);
  w->woken = nullptr;
  **claimed = w;
  *claimed = &w->woken;
}

// The number is another file's soon: takes w off its list, and wakes it if it was not yet.
void drop(fdwaiter* w, fdwaiter*** claimed) {
  w->tries = 0;
  if (w->state == W_QUEUED) {
    claim(w, claimed);
  } else {
    unlink(w);
  }
}

void wake_claimed(fdwaiter* w) {
  while (w != nullptr) {
    fdwaiter* next = w->woken;
    lwkt_wake(w->td, 0);
    store_release(&w->state, W_WOKEN);
    w = next;
  }
}

// fd is about to be closed under its sleepers: they go on upon a duplicate. Locked.
void move_sleepers(fdentry* from, int fd) {
  long dup = engine_dup_high(fd);
  if (raw_failed(dup)) dup = raw3(SYS_fcntl, fd, F_DUPFD_CLOEXEC, 3);
  fdentry* to = raw_failed(dup) ? nullptr : fd_entry(dup);
  // First the duplicate, since those that were woken before may run by now.
  if (to != nullptr) {
    uint32_t n = 0;
    for (const fdwaiter* w = from->waiters; w != nullptr; w = w->next) n++;
    Guard g(to->lock);
    reset(to);
    to->kind = from->kind;
    to->flags = FDF_HIDDEN | (from->flags & (FDF_OPTS_KNOWN | FDF_LOWAT));
    to->epoch = from->epoch;
    to->rcvtimeo_ms = from->rcvtimeo_ms;
    to->sndtimeo_ms = from->sndtimeo_ms;
    to->users = n;
    used(static_cast<int>(dup));
  }
  fdwaiter* woken = nullptr;
  fdwaiter** tail = &woken;
  while (from->waiters != nullptr) {
    fdwaiter* w = from->waiters;
    if (to != nullptr) {
      w->fd = static_cast<int32_t>(dup);
      w->moved = 1;
    }
    drop(w, &tail);  // without a duplicate it finds its descriptor gone
  }
  wake_claimed(woken);
}

}  // namespace

int fd_option(int fd, int name) {
  int value = -1;
  uint32_t size = sizeof value;
  long r = raw6(SYS_getsockopt, fd, SOL_SOCKET, name, reinterpret_cast<long>(&value),
                reinterpret_cast<long>(&size), 0);
  return raw_failed(r) ? -1 : value;
}

FdKind fd_socket_kind(int domain, int type, int protocol) {
  type &= 0xf;
  bool inet = domain == AF_INET || domain == AF_INET6;
  if (type == SOCK_STREAM) {
    return inet && (protocol == 0 || protocol == IPPROTO_TCP) ? FDK_TCP : FDK_STREAM;
  }
  if (type == SOCK_DGRAM && inet) return FDK_DGRAM;
  if (domain == AF_UNIX && (type == SOCK_DGRAM || type == SOCK_SEQPACKET)) return FDK_LOCAL;
  return FDK_SOCKET;
}

FdKind fd_find_kind(fdentry* e, int fd) {
  uint32_t gen = load_acquire(&e->gen);
  uint32_t flags = 0;
  FdKind k = ask(fd, &flags);
  Guard g(e->lock);
  if (e->gen != gen || (e->flags & FDF_CLOSING) != 0) return k;
  if (e->kind == FDK_UNKNOWN) {
    e->kind = k;
    e->flags |= flags;
  }
  used(fd);
  return e->kind;
}

void fd_ask_options(fdentry* e, int fd) {
  uint32_t epoch = __atomic_load_n(&fd_epoch, __ATOMIC_SEQ_CST);
  if ((e->flags & FDF_OPTS_KNOWN) != 0 && e->epoch == epoch) return;
  uint32_t gen = load_acquire(&e->gen);
  uint32_t rcv = timeout_ms(fd, SO_RCVTIMEO), snd = timeout_ms(fd, SO_SNDTIMEO);
  bool lowat = fd_option(fd, SO_RCVLOWAT) > 1;
  Guard g(e->lock);
  if (e->gen != gen) return;
  e->rcvtimeo_ms = rcv;
  e->sndtimeo_ms = snd;
  e->epoch = epoch;
  e->flags = (e->flags & ~FDF_LOWAT) | FDF_OPTS_KNOWN | (lowat ? FDF_LOWAT : 0);
}

void fd_start() {
  if (fds != nullptr) return;
  long p = reserve(kFds * sizeof(fdentry));
  if (!raw_failed(p)) store_release(&fds, reinterpret_cast<fdentry*>(p));
}

void fd_atfork_child() {
  if (fds == nullptr) return;
  for (uint32_t fd = 0; fd <= fd_high; fd++) {
    // The parent's sleepers hold these duplicates; the child has none of them.
    if ((fds[fd].flags & FDF_HIDDEN) != 0) raw1(SYS_close, fd);
  }
  raw3(SYS_madvise, reinterpret_cast<long>(fds), static_cast<long>(kFds * sizeof(fdentry)),
       MADV_DONTNEED);
  fd_high = 0;
}

void fd_born(int fd, FdKind kind, bool nonblock, const fdentry* like) {
  fdentry* e = fd_entry(fd);
  if (e == nullptr) return;
  Guard g(e->lock);
  reset(e);
  e->kind = kind;
  e->flags = FDF_OWN | FDF_MODE_KNOWN | (nonblock ? FDF_NONBLOCK : 0);
  e->forks = __atomic_load_n(&fd_forks, __ATOMIC_RELAXED);
  e->epoch = __atomic_load_n(&fd_epoch, __ATOMIC_RELAXED);
  if (like == nullptr) {
    e->flags |= FDF_OPTS_KNOWN;
  } else if ((like->flags & FDF_OPTS_KNOWN) != 0 && like->epoch == e->epoch) {
    e->flags |= like->flags & (FDF_OPTS_KNOWN | FDF_LOWAT);
    e->rcvtimeo_ms = like->rcvtimeo_ms;
    e->sndtimeo_ms = like->sndtimeo_ms;
  }
  used(fd);
}

void fd_forget(fdentry* e) {
  Guard g(e->lock);
  // Whoever is parked has to find out, too.
  fdwaiter* woken = nullptr;
  fdwaiter** tail = &woken;
  while (e->waiters != nullptr) drop(e->waiters, &tail);
  if ((e->flags & (FDF_HIDDEN | FDF_CLOSING)) == 0) reset(e);
  wake_claimed(woken);
}

void fd_shared(int fd) {
  fdentry* e = fd_entry(fd);
  if (e == nullptr || (e->flags & FDF_OWN) == 0) return;
  Guard g(e->lock);
  e->flags &= ~(FDF_OWN | FDF_MODE_KNOWN);
}

void fd_mode_set(int fd, bool nonblock) {
  fdentry* e = fd_entry(fd);
  if (e == nullptr || !fd_own(e)) return;
  Guard g(e->lock);
  e->flags = (e->flags & ~FDF_NONBLOCK) | FDF_MODE_KNOWN | (nonblock ? FDF_NONBLOCK : 0);
}

void fd_options_set(int fd) {
  fdentry* e = fd_entry(fd);
  if (e == nullptr) return;
  if (!fd_own(e)) __atomic_add_fetch(&fd_epoch, 1, __ATOMIC_SEQ_CST);
  Guard g(e->lock);
  e->flags &= ~FDF_OPTS_KNOWN;
}

uint32_t fd_close_begin(int fd) {
  fdentry* e = fd_entry(fd);
  if (e == nullptr) return ~0u;
  if (e->kind == FDK_UNKNOWN && e->flags == 0 && e->watched == 0 &&
      load_acquire(&e->waiters) == nullptr) {
    return ~0u;
  }
  Guard g(e->lock);
  while (e->users != 0 && (e->flags & FDF_HIDDEN) == 0) {
    e->lock.unlock();
    spin_until([e] { return __atomic_load_n(&e->users, __ATOMIC_RELAXED) == 0; });
    e->lock.lock();
  }
  if (e->waiters != nullptr) move_sleepers(e, fd);
  unwatch(e, fd);
  reset(e);
  e->flags = FDF_CLOSING;
  return e->gen;
}

void fd_close_end(int fd, uint32_t token) {
  fdentry* e = fd_entry(fd);
  if (e == nullptr) return;
  Guard g(e->lock);
  // Another number's owner may have been born meanwhile.
  if (e->gen == token) reset(e);
}

void fd_hidden_release(int fd) {
  fdentry* e = fd_entry(fd);
  {
    Guard g(e->lock);
    if (--e->users != 0) return;
    unwatch(e, fd);
    reset(e);
    e->flags = FDF_CLOSING;
  }
  raw1(SYS_close, fd);
  Guard g(e->lock);
  if (e->flags == FDF_CLOSING) reset(e);
}

int fd_watch(fdentry* e, int fd, uint32_t gen, uint32_t dirs) {
  uint32_t need = fd_events(dirs);
  if (fd_watched(e, gen, dirs)) return 0;
  Guard g(e->lock);
  if (e->gen != gen || (e->flags & FDF_CLOSING) != 0) return EBADF;
  if ((e->flags & FDF_UNWATCHABLE) != 0) return EPERM;
  if ((e->watched & need) == need) return 0;
  used(fd);  // before the look: fd_wake_everybody waits for who has not seen that the engine is retired
  __atomic_thread_fence(__ATOMIC_SEQ_CST);
  if (engine_retired()) return EOPNOTSUPP;
  if (engine->watch == nullptr) return EOPNOTSUPP;
  uint32_t want = e->watched | need;
  int error = engine->watch(fd, gen, want | EPOLLET, e->watched);
  if (error == 0) {
    e->watched = static_cast<uint16_t>(want);
    e->flags &= ~FDF_LEVEL;  // whoever is parked in doubt: this has asked anew
  } else if (error == EPERM || error == ELOOP) {
    e->flags |= FDF_UNWATCHABLE;
  }
  return error;
}

namespace {

inline constexpr uint8_t kMostUnread = 3;

// Sees that the kernel tells of `fd` as long as there is something to read. Locked.
bool tell_level(fdentry* e, int fd) {
  if ((e->flags & FDF_LEVEL) != 0) return true;
  if ((e->watched & EPOLLOUT) != 0 || engine->watch(fd, e->gen, e->watched, e->watched) != 0) {
    e->guess = 0;
    return false;
  }
  e->flags |= FDF_LEVEL;
  e->unread = 0;
  return true;
}

// Back to edges. What there is to read is told of once more.
void tell_edges(fdentry* e, int fd) {
  if (engine_retired() || engine->watch(fd, e->gen, e->watched | EPOLLET, e->watched) != 0) return;
  e->flags &= ~FDF_LEVEL;
  e->guess = 0;
}

}  // namespace

int fd_link(fdentry* e, fdwaiter* w, uint32_t gen, const uint32_t seen[2], bool block, bool held) {
  Guard g(e->lock);
  if (e->gen != gen || (e->flags & FDF_CLOSING) != 0 || engine_retired()) return EBADF;
  if ((w->dirs & FD_IN) != 0 && e->seq[0] != seen[0]) return EAGAIN;
  if ((w->dirs & FD_OUT) != 0 && e->seq[1] != seen[1]) return EAGAIN;
  if (w->doubt != 0 && !tell_level(e, w->fd)) return EAGAIN;
  link(e, w);
  if (held) e->users--;
  if (block) sched_block(w->td);
  return 0;
}

bool fd_unlink(fdentry* e, fdwaiter* w) {
  if (load_acquire(&w->prev) != nullptr) {
    Guard g(e->lock);
    if (w->prev != nullptr) {
      unlink(w);
      if (w->tries != 0 && (e->flags & FDF_HIDDEN) == 0) {  // its own hold on a duplicate lasts longer
        e->users++;
        w->holds = 1;
      }
      if (w->state == W_QUEUED) return false;
    }
  }
  spin_until([&] { return load_acquire(&w->state) == W_WOKEN; });
  return true;
}

void fd_let_go(fdentry* e, uint32_t gen) {
  Guard g(e->lock);
  if (e->gen == gen) e->users--;
}

void fd_wake_one(fdentry* e) {
  fdwaiter* woken = nullptr;
  {
    Guard g(e->lock);
    fdwaiter** tail = &woken;
    for (fdwaiter* w = e->waiters; w != nullptr; w = w->next) {
      if (w->one == 0 || w->state != W_QUEUED) continue;
      claim(w, &tail);
      break;
    }
  }
  wake_claimed(woken);
}

void fd_wake_everybody() {
  __atomic_thread_fence(__ATOMIC_SEQ_CST);
  for (uint32_t fd = 0; fd <= load_acquire(&fd_high); fd++) {
    fdentry* e = fd_entry(static_cast<int>(fd));
    if (e == nullptr) continue;
    fdwaiter* woken = nullptr;
    {
      Guard g(e->lock);
      fdwaiter** tail = &woken;
      for (fdwaiter* w = e->waiters; w != nullptr;) {
        fdwaiter* next = w->next;
        if (w->state == W_QUEUED) claim(w, &tail);
        w = next;
      }
    }
    wake_claimed(woken);
  }
}

namespace {

// Receives for w. False: it has to go on waiting. Locked, so the number is still the file's.
bool receive_for(const fdentry* e, fdwaiter* w, int fd, uint32_t events) {
  if (engine_retired()) return true;
  long r = raw6(SYS_recvfrom, fd, static_cast<long>(w->at), w->len, w->flags | MSG_DONTWAIT, 0, 0);
  // A datagram socket that was shut down says EAGAIN, too, but its sleepers go on.
  if (r == -EAGAIN) return (events & (EPOLLHUP | EPOLLRDHUP)) != 0;
  w->result = r;
  w->seen = e->seq[0];
  w->received = 1;
  return true;
}

}  // namespace

void fd_event(int fd, uint32_t gen, uint32_t events) {
  fdentry* e = fd_entry(fd);
  fdwaiter* woken = nullptr;
  {
    Guard g(e->lock);
    if (e->gen != gen) return;
    uint32_t dirs = 0;
    constexpr uint32_t kBoth = EPOLLHUP | EPOLLERR;
    if ((events & (kBoth | EPOLLRDHUP | EPOLLPRI)) != 0) e->flags |= FDF_STICKY;
    if ((events & (EPOLLHUP | EPOLLRDHUP)) != 0) e->flags |= FDF_HUNGUP;
    if ((events & (kBoth | EPOLLIN | EPOLLRDHUP | EPOLLPRI)) != 0) {
      dirs |= FD_IN;
      store_release(&e->seq[0], e->seq[0] + 1);
    }
    if ((events & (kBoth | EPOLLOUT)) != 0) {
      dirs |= FD_OUT;
      store_release(&e->seq[1], e->seq[1] + 1);
    }
    fdwaiter** tail = &woken;
    bool one_woken = false, read_woken = false;
    for (fdwaiter* w = e->waiters; w != nullptr;) {
      fdwaiter* next = w->next;
      bool concerned = w->state == W_QUEUED && (w->dirs & dirs) != 0 && !(w->one != 0 && one_woken);
      if (concerned && (w->len == 0 || receive_for(e, w, fd, events))) {
        one_woken = one_woken || w->one != 0;
        read_woken = read_woken || (w->dirs & FD_IN) != 0;
        w->events = events;
        claim(w, &tail);
      }
      w = next;
    }
    if ((e->flags & FDF_LEVEL) != 0) {
      e->unread = read_woken ? 0 : e->unread + 1;
      if (e->unread > kMostUnread) tell_edges(e, fd);
    }
  }
  wake_claimed(woken);
}

}  // namespace cr
