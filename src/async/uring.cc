// The io_uring engine: rings for completion; readiness by epoll.
//
// Who owns a ring. A cpu does, not an rfork: the ring of a cpu is filled by whoever holds the cpu,
// and completions of all rings are reaped by whoever looks. A kernel thread that lost its cpu in a
// trap leaves nothing behind in its requests but work for the kernel, which is done on that
// thread wherever it sleeps (ring.h says why that excludes DEFER_TASKRUN) but for sleeps that nothing
// interrupts, as in vfork and fsync. Before one of these, once its cpu is given away, it waits for the reads and
// writes that it has under way (gd_requests; rfork.cc): readers stood still for as long as a child lived.
//
// Batches. submit only fills an entry; c_unsubmitted makes the scheduler enter the kernel
//   - when the cpu has nothing else to run: before it sleeps,
//   - at every 61st decision (sched_pick),
//   - before a trap that may block, or the trap would block the device, too,
//   - and in submit itself once kBatch entries wait. Few, because a disk works while the cpu prepares
//     more: of 64 LWKTs that read 4 KB each, on one cpu, 71,000 reads a second came through in
//     batches of 32, 80-83,000 with 8 or 4, 81,000 with 1, and 81-89,000 natively; cpu for a read 6.6,
//     6.0-6.2, 7.0 and 6.6-7.0 us.
//
// Sleeping. Each ring's descriptor is in the epoll instance, edge-triggered, so the one poller hears
// of completions as it hears of readiness and timers. Its events name a generation that no
// descriptor has; deliver then looks into every ring, which costs two loads for each.
//
// Readiness stays epoll's: arming a recv in the ring, and completing it, costs what EAGAIN, an
// edge-triggered event and a second try cost (1,860 ns against 1,800 in batches of 64), and the
// program's own view of partial transfers, time-outs and close() would have to be built anew. Nor do
// the receives that a look at epoll has found ready (fdtable.h) gain by the ring: an echo server by hand for 1,000
// connections that submits them in one batch takes 0.98 of the cpu of epoll's usual loop, and 0.96 where each is
// a trap; receives by the ring and sends by traps 1.03 to 1.05 (medians of four and three).
//
// Fork: the child forgets the rings, which hold the parent's requests; it opens its own when it first
// needs them. exec closes them (close-on-exec), and the kernel cancels what is in flight.

#include <errno.h>
#include <sys/epoll.h>

#include "../lwkt/rfork.h"
#include "../lwkt/sched.h"
#include "../lwkt/waiter.h"
#include "engine.h"
#include "epoll.h"
#include "ring.h"

namespace cr {

namespace {

inline constexpr uint32_t kEntries = 256;
inline constexpr uint32_t kBatch = 4;
inline constexpr uint64_t kForget = 0;  // user_data of a cancellation: nobody waits for it
inline constexpr uint32_t kRingEvent = 0xffffffff;  // a generation that no descriptor reaches

constinit Ring rings[kMaxCpus] = {};  // or each start would write into nine pages
uint32_t nopen;  // rings in use: where it is 0 nothing has to be looked at

void complete(uint64_t user_data, int32_t res) {
  if (user_data == kForget) return;
  auto* io = reinterpret_cast<iorequest*>(user_data);
  if (io->issuer != nullptr) rfork_request_done(io->issuer);
  io_done(io, res);
}

// Of the last `n` entries those for disks become the requests of `gd`, or nobody's again.
void issue(const Ring& r, uint32_t n, globaldata* gd) {
  for (uint32_t i = 0; i < n; i++) {
    auto* io = reinterpret_cast<iorequest*>(ring_pushed(r, i));
    if (io == nullptr || io->disk == 0) continue;
    if (gd != nullptr) {
      __atomic_add_fetch(&gd->gd_requests, 1, __ATOMIC_SEQ_CST);
    } else {
      rfork_request_done(io->issuer);
    }
    io->issuer = gd;
  }
}

// Hands the kernel what was pushed, in the name of the calling kernel thread. The lock is held over the trap, or
// another one could enter with these, too. Entries taken, or -errno.
long submit(Ring& r) {
  Guard g(r.sq_lock);
  issue(r, ring_unsubmitted(r), mygd());
  long taken = ring_enter(r);
  issue(r, ring_unsubmitted(r), nullptr);
  return taken;
}

template <typename Pred>
bool any_ring(Pred pred) {
  if (__atomic_load_n(&nopen, __ATOMIC_RELAXED) == 0) return false;
  for (int i = 0; i < ncpus; i++) {
    if (ring_is_open(rings[i]) && pred(rings[i])) return true;
  }
  return false;
}

uint32_t reap_all() {
  uint32_t n = 0;
  if (!engine_in_use()) return 0;
  any_ring([&n](Ring& r) {
    if (ring_ready(r) || ring_unfinished(r)) n += ring_reap(r, complete);
    return false;
  });
  return n;
}

void flush(cpu* c) {
  if (c->c_unsubmitted == 0) return;
  Ring& r = rings[c->c_id];
  submit(r);
  c->c_unsubmitted = ring_unsubmitted(r);
}

// The ring of cpu `id`, open; null: it can't be had.
Ring* ring_of(int id) {
  Ring& r = rings[id];
  if (__builtin_expect(ring_is_open(r), 1)) return &r;
  engine_lock();
  int error = ring_open(r, kEntries);
  if (error == 0) {
    engine_hide_fd(&r.fd);
    epoll_watch(r.fd, kRingEvent, EPOLLIN | EPOLLET, 0);
    atomic_add(&nopen, 1u);
  }
  engine_unlock();
  return error == 0 ? &r : nullptr;
}

int uring_open() {
  Ring& r = rings[mycpu()->c_id];
  int error = ring_open(r, kEntries);
  if (error != 0) return error;
  error = engine_epoll.open();
  if (error != 0) {
    ring_close(r);
    return error;
  }
  engine_hide_fd(&r.fd);
  epoll_watch(r.fd, kRingEvent, EPOLLIN | EPOLLET, 0);
  nopen = 1;
  return 0;
}

void uring_atfork_child() {
  engine_epoll.atfork_child();
  for (int i = 0; i < ncpus; i++) {
    ring_atfork_child(rings[i]);
    cpus[i]->c_unsubmitted = 0;
  }
  nopen = 0;
}

// Fills the next entry of r with fill(sqe), entering the kernel for room if there is none.
template <typename Fill>
bool push(Ring& r, Fill fill) {
  for (int tries = 0; tries < 2; tries++) {
    {
      Guard g(r.sq_lock);
      io_uring_sqe* sqe = ring_sqe(r);
      if (sqe != nullptr) {
        fill(sqe);
        ring_push(r);
        return true;
      }
    }
    if (submit(r) <= 0) return false;
  }
  return false;
}

int uring_submit(iorequest* io) {
  cpu* c = mycpu();
  Ring* r = ring_of(c->c_id);
  if (r == nullptr) return EAGAIN;
  io->ring = static_cast<uint16_t>(c->c_id);
  bool pushed = push(*r, [io](io_uring_sqe* sqe) {
    sqe->opcode = io->op;
    sqe->fd = io->fd;
    sqe->addr = io->addr;
    sqe->len = io->len;
    sqe->off = io->off;
    sqe->rw_flags = static_cast<__kernel_rwf_t>(io->op_flags);
    sqe->file_index = io->file_index;
    sqe->user_data = reinterpret_cast<uintptr_t>(io);
  });
  if (!pushed) return EAGAIN;
  if (++c->c_unsubmitted >= kBatch) flush(c);
  return 0;
}

void uring_cancel(iorequest* io) {
  Ring& r = rings[io->ring];
  push(r, [io](io_uring_sqe* sqe) {
    sqe->opcode = IORING_OP_ASYNC_CANCEL;
    sqe->fd = -1;
    sqe->addr = reinterpret_cast<uintptr_t>(io);
    sqe->user_data = kForget;
  });
  submit(r);  // the request itself may be among what is submitted here
}

uint32_t uring_harvest(cpu* c) {
  flush(c);
  // In this order: it takes the rings' events, too, which come once.
  uint32_t n = epoll_unattended() ? engine_epoll.harvest(c) : 0;
  return n + reap_all();
}

bool uring_sleep(cpu* c, uint32_t seen, uint64_t deadline) {
  flush(c);
  if (c->c_unsubmitted != 0) {  // the kernel has no memory for them now
    uint64_t soon = clock_monotonic() + 1'000'000;
    if (soon < deadline) deadline = soon;
  }
  // What is only unfinished does not keep it awake: its own ends the sleep at once, another thread's
  // becomes an event when it is done.
  if (any_ring(ring_ready)) return true;
  return engine_epoll.sleep(c, seen, deadline);
}

void uring_deliver(cpu* c) {
  engine_epoll.deliver(c);
  reap_all();
}

bool uring_events() {
  return any_ring([](const Ring& r) { return ring_ready(r) || ring_unfinished(r); }) ||
         engine_epoll.events();
}

}  // namespace

const Engine engine_uring = {.name = "uring",
                             .open = uring_open,
                             .atfork_child = uring_atfork_child,
                             .watch = epoll_watch,
                             .unwatch = epoll_unwatch,
                             .submit = uring_submit,
                             .cancel = uring_cancel,
                             .harvest = uring_harvest,
                             .sleep = uring_sleep,
                             .deliver = uring_deliver,
                             .kick = epoll_kick,
                             .unattended = epoll_unattended,
                             .events = uring_events};

}  // namespace cr
