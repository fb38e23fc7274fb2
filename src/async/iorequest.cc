// One LWKT's wait for a call that the engine carries out.
//
// The request lies on the caller's stack and belongs to the kernel, with the buffers it names, until
// io_done. So a caller that a signal woke cancels once and goes on waiting, and one that saw
// IO_DONE stays until IO_RELEASED: the waker's lwkt_wake may still be on its way, and must not hit
// the LWKT in its next sleep.

#include <errno.h>

#include "../lwkt/sched.h"
#include "../lwkt/waiter.h"
#include "engine.h"
#include "timer.h"

namespace cr {

namespace {

// For somebody who reads, after sched_block, what its waker writes before lwkt_wake.
bool done_already(const iorequest* io) {
  if (smp) __atomic_thread_fence(__ATOMIC_SEQ_CST);
  return load_acquire(&io->state) != IO_PENDING;
}

// Parks until io is done or a wake came that is not its own. td is BLOCKED.
void park(thread* td, const iorequest* io, bool interruptible) {
  if (done_already(io)) {
    // The wake has come already, or finds nobody asleep.
    if (!atomic_cas<uint32_t>(&td->td_state, TDS_BLOCKED, TDS_RUNNING)) sched_sleep();
    return;
  }
  sleep_maybe_interruptible(interruptible);
}

GlobalLock lock;
iorequest* mortal;  // that may be given up

void enlist(iorequest* io) {
  Guard g(lock);
  io->prev = &mortal;
  io->next = mortal;
  if (mortal != nullptr) mortal->prev = &io->next;
  mortal = io;
}

void delist(iorequest* io) {
  Guard g(lock);
  *io->prev = io->next;
  if (io->next != nullptr) io->next->prev = io->prev;
}

bool signalled(const thread* td) { return (load_acquire(&td->td_ast) & AST_SIGNAL) != 0; }

}  // namespace

void io_give_up() {
  Guard g(lock);
  for (iorequest* io = mortal; io != nullptr; io = io->next) lwkt_wake(io->td, 0);
}

void io_atfork_child() {
  lock = GlobalLock{};
  mortal = nullptr;
}

bool engine_completes() { return engine_open() && engine->submit != nullptr; }

int64_t io_call(iorequest* io, bool interruptible, uint64_t deadline) {
  if (!engine_completes()) return -EOPNOTSUPP;
  thread* td = curthread();
  io->td = td;
  io->state = IO_PENDING;
  io->issuer = nullptr;
  const bool mortal_request = interruptible;
  if (mortal_request) enlist(io);
  auto finished = [&] {
    sched_waited_outside(td);
    if (mortal_request) delist(io);
  };
  sched_block(td);
  bool timed = deadline != kNever;
  bool armed = timed && timer_arm(td, deadline);
  sched_waits_outside(td);  // before the look at the engine: who retires it waits for those that are in it
  if (timed != armed || engine_retired() || engine->submit(io) != 0) {
    // A signal or the timer may have woken it meanwhile: then it is on a queue and comes back by the switch.
    if (!atomic_cas<uint32_t>(&td->td_state, TDS_BLOCKED, TDS_RUNNING)) sched_sleep();
    if (armed) timer_cancel(td);
    finished();
    return -EOPNOTSUPP;
  }
  park(td, io, interruptible);
  while (load_acquire(&io->state) == IO_PENDING) {
    if ((interruptible && (signalled(td) || engine_retired())) || (timed && clock_monotonic() >= deadline)) {
      engine->cancel(io);
      interruptible = timed = false;
    }
    sched_block(td);
    park(td, io, interruptible);
  }
  finished();
  if (armed) timer_cancel(td);
  spin_until([io] { return load_acquire(&io->state) == IO_RELEASED; });
  return io->result;
}

void io_done(iorequest* io, int64_t result) {
  thread* td = io->td;
  io->result = result;
  __atomic_store_n(&io->state, static_cast<uint32_t>(IO_DONE), __ATOMIC_RELEASE);
  lwkt_wake(td, 0);
  __atomic_store_n(&io->state, static_cast<uint32_t>(IO_RELEASED), __ATOMIC_RELEASE);
}

}  // namespace cr
