// The descriptor table: what libcr knows of each descriptor number, and who waits for it.
//
// One cache line for each number, reserved for kFds of them and touched as they are used. It is a
// cache: a wrong or missing entry costs a trap, with one exception, `empty` below, which is
// therefore forgotten wherever it could be wrong.
//
// The life of an entry: fd_born() where this process makes a descriptor by a call that says what it
// is (socket, accept), otherwise the first call that needs to know asks the kernel (fd_kind).
// fd_close_begin() and fd_close_end() stand around whatever closes the number: the generation
// changes, so that edges and callers of the old life are told from those of the new one.
//
// Tries and edges. Each entry counts its edges, for reading and for writing. A caller notes the
// count *before* it tries; if the try would have blocked it parks only if the count is still the
// same (under the entry's lock). It also leaves the count in `empty`: whoever reads next and finds
// the same count knows that nothing has come since and parks without trying, which saves an
// unthreaded-looking server one trap of three. On a TCP stream a short read says the same as EAGAIN
// (epoll(7)), but not once urgent data, a hang-up or an error was seen (FDF_STICKY), nor with
// MSG_PEEK. A buffer that becomes unmapped in the middle of a read also makes it short: the data
// behind it are seen with the next edge only.
//
// A read that filled the program's buffer says nothing. But a server whose messages are as long as
// its buffer would find nothing at every next try: where that was so some times in a row (`guess`)
// the reader parks in doubt, and its descriptor is changed from edges to levels for good (FDF_LEVEL):
// each look of epoll tells of it as long as there is something to read. That costs one trap for the
// change and less than 100 ns a message, where a try in vain costs 225. A descriptor that is told of again
// and again while nobody waits to read goes back to edges, and one whose writers wait stays with
// them. Now and then a try is made all the same: one that finds data ends the guess.
// (Before, readers in doubt were asked for together by one poll. Where peers answer fast it found the
// next message before its edge was fetched, so that the guess seemed wrong and the edge woke the reader in
// vain: of 1,000 connections 1.8 tries to receive for each message, now 1.05.)
//
// Receiving for a sleeper. What a parked reader is to receive stands in its fdwaiter, and who is
// told of data receives it there and then, under the entry's lock: the number can't become another
// file's, a reader whose data somebody else took is not woken, and the kernel's code for receiving is
// still in the processor's cache for the next one of a batch. A server of 1,000 connections needs 3 to 5 % less
// cpu for a message. With 16, 32 and 64 events a look in place of 256 that gain was gone.
//
// O_NONBLOCK belongs to the open file description. It is remembered only while no other descriptor
// here or elsewhere can stand for the same description (FDF_OWN: born here, never duplicated,
// passed or inherited by a child since); otherwise every caller that would park asks F_GETFL
// first. Time-outs (SO_RCVTIMEO, SO_SNDTIMEO) are asked once and again after this process has set
// them.
//
// close() of a descriptor somebody is parked on: Linux keeps the file for the sleeper. So the
// sleepers move to a duplicate of ours (FDF_HIDDEN), try there, and the last one closes it. Who was woken
// and has not tried again yet is moved likewise, so it stays linked until it runs; while it tries, which
// never takes long, it holds the entry (users), and a close waits for that.
#pragma once

#include <errno.h>
#include <stdint.h>
#include <sys/epoll.h>

#include "../../arch/limits.h"
#include "../lwkt/spinlock.h"
#include "../lwkt/thread.h"
#include "../lwkt/waiter.h"

namespace cr {

enum FdKind : uint8_t {
  FDK_UNKNOWN = 0,
  FDK_TCP,      // a short read empties it
  FDK_STREAM,   // any other stream socket
  FDK_DGRAM,    // UDP
  FDK_LOCAL,    // unix datagrams and sequenced packets: what a connected one's poll says of sends is true
  FDK_SOCKET,   // other sockets: a full one's poll does not say when a send would go through
  FDK_NOWAIT,   // pipes and other files whose reads and writes know RWF_NOWAIT
  FDK_POLL,     // files that poll knows and RWF_NOWAIT does not
  FDK_FILE,     // regular files, directories, devices: nothing to wait for, or not by poll
};

// flags, changed under the lock
inline constexpr uint32_t FDF_OWN = 0x01;
inline constexpr uint32_t FDF_MODE_KNOWN = 0x02;  // FDF_NONBLOCK is valid
inline constexpr uint32_t FDF_NONBLOCK = 0x04;
inline constexpr uint32_t FDF_OPTS_KNOWN = 0x08;  // time-outs and FDF_LOWAT are valid
inline constexpr uint32_t FDF_LOWAT = 0x10;       // SO_RCVLOWAT is not 1: the kernel must wait
inline constexpr uint32_t FDF_STICKY = 0x20;      // a hang-up, an error or urgent data was seen
inline constexpr uint32_t FDF_CLOSING = 0x40;     // between fd_close_begin and _end
inline constexpr uint32_t FDF_HIDDEN = 0x80;      // one of libcr's own
inline constexpr uint32_t FDF_UNWATCHABLE = 0x100;
// Of a file that is regular or a block device, if FDF_DISK is set; hints, they decide no result:
inline constexpr uint32_t FDF_DISK = 0x200;
inline constexpr uint32_t FDF_DIRECT = 0x400;     // O_DIRECT: no page cache to try
inline constexpr uint32_t FDF_SYNC = 0x800;       // O_SYNC or O_DSYNC: a write waits for the disk
inline constexpr uint32_t FDF_NO_NOWAIT = 0x1000; // the file system does not know RWF_NOWAIT
inline constexpr uint32_t FDF_TERMINAL = 0x2000;  // FDK_FILE: a read mostly sleeps, and only the kernel can wait
inline constexpr uint32_t FDF_COMM = 0x4000;      // names thread comm_tid (syscalls/threadname.cc)
inline constexpr uint32_t FDF_LEVEL = 0x8000;     // told of as long as there is something to read
inline constexpr uint32_t FDF_HUNGUP = 0x10000;   // a hang-up was seen

inline constexpr uint32_t FD_IN = 1, FD_OUT = 2;

// Somebody parked on a descriptor: on the sleeper's stack. The states and their rules are
// waiter.h's; the list is doubly linked because a poll of many descriptors unlinks itself.
struct fdwaiter {
  fdwaiter* next;
  fdwaiter** prev;   // null: not linked
  fdwaiter* woken;   // the next of those that were claimed together
  thread* td;
  int32_t fd;        // a close that moves the sleeper writes the new number
  uint32_t dirs;     // FD_IN, FD_OUT
  uint32_t state;    // WaiterState
  uint32_t events;   // EPOLL* of the edge that claimed it
  uint8_t one;       // of those that say so, an edge wakes only the first (accept)
  uint8_t doubt;     // there may be something to read: it must be told as long as there is
  uint8_t received;  // whoever saw the event has received, too:
  uint8_t moved;
  uint8_t tries;     // it will try again upon its number,
  uint8_t holds;     // and until then, once it runs, nobody closes that: fd_let_go
  // -- FD_IN, len not 0: what the call is to receive, if nothing but recvfrom is --
  uint32_t len;
  int32_t flags;     // MSG_
  uint32_t seen;     // received: the count of edges before it,
  uintptr_t at;
  long result;       // and bytes or -errno
};

struct alignas(kCacheLine) fdentry {
  SpinLock lock;
  uint32_t gen;
  uint32_t seq[2];      // edges so far: reading, writing
  uint32_t empty;       // seq[0] when reading found nothing more; valid if it is equal
  uint32_t flags;
  FdKind kind;
  union {
    uint8_t guess;      // sockets: tries in vain in a row, each after a read that filled its buffer
    uint8_t missed;     // disk files: reads in a row that the page cache had not
  };
  uint16_t watched;     // EPOLL* bits the engine was asked for
  uint32_t forks;       // FDF_OWN holds while this is fd_forks
  uint32_t epoch;       // FDF_OPTS_KNOWN holds while this is fd_epoch
  uint32_t full;        // seq[0] when a read filled its buffer; valid if it is equal
  uint32_t users;       // FDF_HIDDEN duplicates: calls that still use it; others: that try again right now
  uint8_t unread;       // FDF_LEVEL: how often in a row something was told and nobody waited
  fdwaiter* waiters;
  union {
    uint32_t rcvtimeo_ms; // 0: none
    int32_t comm_tid;     // FDF_COMM
  };
  uint32_t sndtimeo_ms;
};
static_assert(sizeof(fdentry) == kCacheLine);

extern fdentry* fds;          // null until the second LWKT exists
extern uint32_t fd_forks;     // processes made so far
extern uint32_t fd_epoch;
extern uint32_t fd_high;      // no entry above was ever used

// Null: no table, or a number beyond it: to be served as if nothing were known.
inline fdentry* fd_entry(int64_t fd) {
  if (__builtin_expect(static_cast<uint64_t>(fd) >= kFds || fds == nullptr, 0)) return nullptr;
  return &fds[fd];
}

void fd_start();         // before the second LWKT runs
void fd_atfork_child();

// A new descriptor that nobody else has. `like`: the listener that it was accepted from, or null.
void fd_born(int fd, FdKind kind, bool nonblock, const fdentry* like);
// What fd is; asks the kernel if it is not known. EBADF and the like show as FDK_FILE: the trap
// will say.
FdKind fd_find_kind(fdentry* e, int fd);
inline FdKind fd_kind(fdentry* e, int fd) {
  FdKind k = e->kind;
  return __builtin_expect(k != FDK_UNKNOWN, 1) ? k : fd_find_kind(e, fd);
}
FdKind fd_socket_kind(int domain, int type, int protocol);
// A socket's option that is a number (SO_); -1: no socket, or no such option.
int fd_option(int fd, int name);
// Asks for the time-outs and the rest of FDF_OPTS_KNOWN if they are not known.
void fd_ask_options(fdentry* e, int fd);
// The kernel said that fd is not what the entry says: a close that nobody saw.
void fd_forget(fdentry* e);

// fd's description has, or may have, another descriptor now.
void fd_shared(int fd);
// O_NONBLOCK, or a socket option that is remembered, was set through fd.
void fd_mode_set(int fd, bool nonblock);
void fd_options_set(int fd);

inline bool fd_own(const fdentry* e) {
  return (e->flags & FDF_OWN) != 0 && e->forks == __atomic_load_n(&fd_forks, __ATOMIC_RELAXED);
}
// Known to be blocking or not, without asking.
inline bool fd_known_nonblock(const fdentry* e) {
  constexpr uint32_t kBoth = FDF_MODE_KNOWN | FDF_NONBLOCK;
  return (e->flags & kBoth) == kBoth && fd_own(e);
}

// Around a call that closes fd. Begin's answer goes to end. ~0: there is nothing to do at the end.
uint32_t fd_close_begin(int fd);
void fd_close_end(int fd, uint32_t token);

// The engine's news: `events` (EPOLL*) for fd as it was when gen was its generation. Needs a cpu.
void fd_event(int fd, uint32_t gen, uint32_t events);

// Sees that the engine tells of `dirs` of fd. 0, EBADF (not the life that gen names), or the
// engine's errno: there is nothing to wait for that way.
int fd_watch(fdentry* e, int fd, uint32_t gen, uint32_t dirs);
inline uint32_t fd_events(uint32_t dirs) {
  return ((dirs & FD_IN) != 0 ? EPOLLIN | EPOLLRDHUP | EPOLLPRI : 0u) | ((dirs & FD_OUT) != 0 ? EPOLLOUT : 0u);
}
inline bool fd_watched(const fdentry* e, uint32_t gen, uint32_t dirs) {
  uint32_t need = fd_events(dirs);
  return (e->watched & need) == need && e->gen == gen;
}
// Links w (td, fd and dirs filled in) if no edge has come since the counts were `seen`, and calls
// sched_block the first time (`block`). 0, EAGAIN (an edge came) or EBADF (another life). Whoever
// has linked must unlink, after the sleep or instead of it. `held`: once linked it lets go of e.
int fd_link(fdentry* e, fdwaiter* w, uint32_t gen, const uint32_t seen[2], bool block, bool held = false);
// True if an edge had claimed w. If w->holds is set then, what follows must let go of e before it may wait.
bool fd_unlink(fdentry* e, fdwaiter* w);
void fd_let_go(fdentry* e, uint32_t gen);
// Wakes the first of those that wait with `one`.
void fd_wake_one(fdentry* e);
// All that are parked on any descriptor, to try again or to trap.
void fd_wake_everybody();
// The end of a use of a hidden duplicate (fdwaiter.moved).
void fd_hidden_release(int fd);

}  // namespace cr
