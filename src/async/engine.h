// The engine: how a call that would block waits in the kernel while its LWKT gives up the cpu.
//
// There are two ways to wait, and an engine may offer one or both:
//
//   readiness    watch(): the kernel tells once for every edge (data came, room came, hang-up)
//                that a descriptor is worth another try. The call is tried without blocking,
//                parks on the descriptor's entry (fdtable.h) and is tried again. Edges come in
//                through fd_event(), from harvest() or sleep().
//   completion   submit(): the kernel carries the call out by itself (regular files that are not
//                cached, fsync, openat ...) and io_done() wakes the caller with the result.
//
// Engines are tables of functions, chosen once at start (LIBCR_ENGINE, cr run --engine) and opened
// when the first LWKT must wait, so that a program without threads has none of it. `none` has
// null everywhere: a call that may block is then a trap with the cpu on offer (sysport.h). An
// engine may borrow another one's functions: readiness by epoll and completions by rings is a
// valid table.
//
// Who calls what
//   open          an LWKT that is about to wait for the first time, under the engine's lock.
//   atfork_child  the only kernel thread of a fork's child. It must forget the parent's kernel
//                 objects (close its copies of the descriptors) and touch nothing of theirs.
//   watch, unwatch, submit, cancel
//                 an LWKT, holding a cpu. watch and unwatch: the entry's lock is held over their
//                 trap, once in a descriptor's life each; they never switch.
//   harvest       the holder of `c`, at scheduling decisions and before it goes idle. Never waits.
//                 Returns how many LWKTs it made runnable.
//   sleep         the holder of `c`, whose state is IDLE. Waits for the kernel's events, for a
//                 kick, or until `deadline` (ns of CLOCK_MONOTONIC, kNever: none). It must not wait
//                 at all if c->c_wake is no longer `seen` *after* it has made itself visible to kick
//                 (below). It wakes no LWKT: an IDLE cpu has no queue; deliver does that.
//                 False: other cpus do the looking, sleep on c_wake.
//   deliver       the holder of `c` after a sleep that returned true, RUN again: wakes the LWKTs of
//                 the events that the sleep brought.
//   kick          anyone, also the monitor and rforks without a cpu: ends sleep of `c`, or the one
//                 it is about to enter. False: `c` does not sleep in the engine (the caller wakes
//                 its futex).
//   unattended    the monitor, at any time: LWKTs wait in the engine and no cpu sleeps in it.
//   events        the monitor: something could be harvested now.
//
// No wake-up is lost, because
//   1. A kicker changes c_wake first and then asks kick whether `c` sleeps here; a sleeper makes
//      itself visible to kick first and then compares c_wake with `seen`. Both are sequentially
//      consistent, so one sees the other.
//   2. An edge is counted (fd_event) under the entry's lock, and an LWKT parks under the same lock
//      only if the count is what it was *before* its last try. So an edge either prevents the
//      parking or finds the waiter.
//   3. While LWKTs wait in the engine somebody looks: an idle cpu sleeps in it; a cpu that runs
//      LWKTs harvests at every 61st decision and when its queue is empty; one that sits in a
//      trap or computes is seen by the monitor, which gives the cpu to another rfork, wakes an idle
//      one or preempts.
//
// Below the boundary: all of src/CMakeLists.txt's CR_BELOW rules hold.
#pragma once

#include <stdint.h>

#include "../lwkt/clock.h"
#include "../lwkt/thread.h"

namespace cr {

enum IoState : uint32_t {
  IO_PENDING = 0,
  IO_DONE = 1,      // the result stands
  IO_RELEASED = 2,  // and the waker has let go of the request
};

// A call given to the kernel. On the caller's stack; the engine's from submit to io_done.
struct iorequest {
  uint8_t op;        // IORING_OP_* (linux/io_uring.h): its names are the widest set there is
  uint8_t disk;      // a read or write on a disk: done soon, but in the issuer's context
  uint16_t ring;     // the engine's: where it was submitted
  int32_t fd;
  uint64_t addr;     // as in struct io_uring_sqe
  uint32_t len;
  uint32_t op_flags; // rw_flags, fsync_flags, open_flags, statx_flags ...
  uint64_t off;      // offset, addr2
  uint32_t file_index;
  // -- the engine's --
  thread* td;
  globaldata* issuer;  // disk: whose gd_requests it is among
  int64_t result;    // >= 0 or -errno
  uint32_t state;    // IoState
  iorequest* next;   // of those that may be given up (iorequest.cc)
  iorequest** prev;
};

struct Engine {
  const char* name;
  int (*open)();  // 0, or an errno: this kernel or container does not allow it
  void (*atfork_child)();
  // -- readiness; null: none --
  int (*watch)(int fd, uint32_t gen, uint32_t events, uint32_t had);  // EPOLL* bits, EPOLLET too. 0 or errno
  void (*unwatch)(int fd);
  // -- completion; null: none --
  int (*submit)(iorequest* io);     // 0; EAGAIN: full, trap instead; EOPNOTSUPP: not this op
  void (*cancel)(iorequest* io);    // io_done still comes, with -ECANCELED or the true result
  // -- the scheduler's side --
  uint32_t (*harvest)(cpu* c);
  bool (*sleep)(cpu* c, uint32_t seen, uint64_t deadline);
  void (*deliver)(cpu* c);
  bool (*kick)(cpu* c);
  bool (*unattended)();
  bool (*events)();
};

extern const Engine engine_none, engine_epoll, engine_uring;

// The one in use; &engine_none until somebody has to wait.
extern const Engine* engine;

// Opens the chosen engine if it is not open yet. False: calls that may block are offered traps.
bool engine_open();
// No LWKT waits in the engine from now on, in this process and those it forks: those that do are woken, to trap
// instead, and what is read from disks is waited for. It may take a while, for which the caller yields.
void engine_retire();
void engine_unretire();
bool engine_retired();
// A retired one is used until nobody waits in it.
bool engine_in_use();
// Before the first kernel thread beside the program's: has the kernel make its table of descriptors as
// large as ours need it (6 us). Later it would wait there until no other thread can be looking into the
// old one: 14 ms in which the cpu stands still.
void engine_threads_start();
// Nobody opens an engine or a part of one between these: a fork's child must not inherit one half made,
// whose descriptors and memory are the parent's.
void engine_lock();
void engine_unlock();
void engine_atfork_child();
// `wish`: auto, uring, epoll, none; null is auto. False: no such word.
bool engine_choose(const char* wish);
// Whether the engine carries calls out. Opens it if need be.
bool engine_completes();
// Carries `io` out and parks the LWKT meanwhile. The kernel's result; -EOPNOTSUPP: not this engine, or
// full: trap instead. With `interruptible` a signal for the LWKT has the kernel give up what can
// be given up: -ECANCELED or -EINTR then, or the true result; without it signals wait, as they do
// for a file on a disk. At `deadline` the kernel has to give up likewise.
int64_t io_call(iorequest* io, bool interruptible, uint64_t deadline = kNever);
// Has those given up that can be.
void io_give_up();
void io_atfork_child();
// From harvest or deliver: `result` for io. Needs a cpu.
void io_done(iorequest* io, int64_t result);

// While an LWKT is parked on what only the engine can tell, it counts in sched_external (sched.h):
// that makes the monitor see to it that somebody looks.

// Our own descriptors stand above what programs count on (1000, or where the limit ends), close-on-exec,
// and what closes them passes them by. Moves *fd there. The number may change again (a program
// dup2s over it): always read it through the pointer.
void engine_hide_fd(int* fd);
// A duplicate up there; with a limit below that in the last numbers that the limit has. -errno: none.
long engine_dup_high(int fd);
void engine_move_fd(int fd);  // the program is about to dup2 onto it

}  // namespace cr
