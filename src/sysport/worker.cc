#include "worker.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "../../arch/context.h"
#include "../../arch/rawcall.h"
#include "../lwkt/port_internal.h"
#include "../lwkt/rfork.h"
#include "../mem/arena.h"
#include "../signal/signal.h"
#include "sysport.h"

namespace cr {

namespace {

inline constexpr uint64_t kGuard = 4096;
inline constexpr uint64_t kStack = 16384 + kGuard;  // what a call may count on (DESIGN §4.9)
inline constexpr uint32_t kMostIdle = 256;          // kept for the next messages
inline constexpr uint32_t kMostReady = 64;

SpinLock lock;
lwkt_port queue;   // messages that no worker has begun
uint32_t nqueued;
thread* idle;      // by td_qnext, the last one first: its stack is in the cache
uint32_t nidle;
uint32_t nready;   // on their way to the queue
uint32_t nworkers;
thread* ended;     // structures without a stack

void worker_main(void*);
void abort(lwkt_port*, lwkt_msg* msg);

int drop(lwkt_port*, lwkt_msg*) { return ENOENT; }

void init_port(lwkt_port* port, thread* td) {
  lwkt_initport_panic(port);
  port->mp_abortmsg = abort;
  port->mp_dropmsg = drop;
  port->mp_u.td = td;
}

thread* thread_get() {
  lock.lock();
  thread* td = ended;
  if (td != nullptr) ended = td->td_qnext;
  lock.unlock();
  if (td != nullptr) return td;
  td = thread_alloc();
  if (td == nullptr) return nullptr;
  init_port(&td->td_msgport, td);
  td->td_sigmask = ~sigbit(SIGKILL);
  td->td_flags = TDF_NOTLS | TDF_OWNSTACK | TDF_WORKER;
  const char* name = "cr-async";
  for (int i = 0; name[i] != '\0'; i++) td->td_comm[i] = name[i];
  return td;
}

void thread_put(thread* td) {
  Guard g(lock);
  td->td_qnext = ended;
  ended = td;
}

thread* worker_make() {
  thread* td = thread_get();
  if (td == nullptr) return nullptr;
  td->td_stack = reinterpret_cast<void*>(arena_alloc_own(kStack, kGuard));
  if (td->td_stack == nullptr) {
    thread_put(td);
    return nullptr;
  }
  td->td_stacksize = kStack;
  td->td_sp = context_function(reinterpret_cast<uintptr_t>(td->td_stack) + kStack, worker_main,
                               nullptr);
  td->td_state = TDS_RUNNABLE;
  sched_worker_added();
  return td;
}

// With the lock.
lwkt_msg* take_queued() {
  lwkt_msg* msg = msgq_pop(&queue);
  if (msg != nullptr) nqueued--;
  return msg;
}

// Nobody will ever come for what is queued.
void refuse_queued() {
  for (;;) {
    lock.lock();
    lwkt_msg* msg = nworkers == 0 ? take_queued() : nullptr;
    lock.unlock();
    if (msg == nullptr) return;
    lwkt_replymsg(msg, EAGAIN);
  }
}

// With the lock, which it lets go of: sees that a worker is on its way for each message, or enough of
// them. (With one at a time the n-th of many messages would wait for n rounds of the run queue.)
void call_worker() {
  if (nready >= nqueued || nready >= kMostReady) {
    lock.unlock();
    return;
  }
  nready++;
  thread* td = idle;
  if (td != nullptr) {
    idle = td->td_qnext;
    nidle--;
    lock.unlock();
    lwkt_wake(td, 0);
    return;
  }
  nworkers++;
  lock.unlock();
  td = worker_make();
  if (td != nullptr) {
    sched_enqueue(td);
    return;
  }
  lock.lock();
  nready--;
  nworkers--;
  lock.unlock();
  refuse_queued();
}

// What the gate does on the way out, for an LWKT that never leaves by it.
void look_around(thread* td) {
  if (mygd()->gd_ast != 0) sched_hooks.ast();
  if ((load_acquire(&td->td_ast) & AST_RESCHED) == 0) return;
  __atomic_and_fetch(&td->td_ast, ~AST_RESCHED, __ATOMIC_SEQ_CST);
  if (sched_timer_due()) sched_run_timers();
  sched_harvest();
  sched_yield_cpu();
}

void carry_out(thread* td, lwkt_msg* msg) {
  auto* m = reinterpret_cast<union sysunion*>(msg);
  auto* own = reinterpret_cast<union sysunion*>(&td->td_sysmsg);
  int error = sysport_carry_out(m, own);
  lock.lock();
  td->td_arg = nullptr;
  lock.unlock();
  if (td->td_sigpend != 0) sig_interrupt_end(td);
  m->sm.sm_result = own->sm.sm_result;
  lwkt_replymsg(msg, error);
}

// With the lock, held again if it returns true: something may be queued. False: enough are idle.
bool park(thread* td) {
  if (nidle == kMostIdle) return false;
  sched_block(td);
  td->td_qnext = idle;
  idle = td;
  nidle++;
  lock.unlock();
  sched_sleep();
  lock.lock();
  nready--;
  return true;
}

void worker_main(void*) {
  thread* td = curthread();
  lock.lock();
  nready--;
  for (;;) {
    lwkt_msg* msg = take_queued();
    if (msg == nullptr) {
      if (park(td)) continue;
      break;
    }
    td->td_arg = msg;
    store_release(&msg->ms_target_port, &td->td_msgport);
    call_worker();
    carry_out(td, msg);
    look_around(td);
    lock.lock();
  }
  nworkers--;
  lock.unlock();
  sched_worker_gone();
  sched_exit();
}

void abort(lwkt_port*, lwkt_msg* msg) {
  lock.lock();
  uint32_t flags = flags_load(msg);
  lwkt_port* at = load_acquire(&msg->ms_target_port);
  if (at == &queue && (flags & (MSGF_QUEUED | MSGF_REPLY)) == MSGF_QUEUED) {
    msgq_pull(&queue, msg);
    nqueued--;
    lock.unlock();
    lwkt_replymsg(msg, EINTR);
    return;
  }
  // Under the lock although it may trap to signal an rfork: without it the worker could be at
  // another call by then. An abort is rare.
  if (at != &queue && at->mp_u.td->td_arg == msg) sig_interrupt(at->mp_u.td);
  lock.unlock();
}

}  // namespace

int worker_take(lwkt_msg* msg) {
  lock.lock();
  msgq_push_request(&queue, msg);
  nqueued++;
  call_worker();
  return EASYNC;
}

void worker_reap(thread* td) {
  auto stack = reinterpret_cast<uintptr_t>(td->td_stack);
  raw3(SYS_madvise, static_cast<long>(stack + kGuard), static_cast<long>(kStack - kGuard),
       MADV_DONTNEED);
  arena_free(stack, kStack);
  thread_put(td);
}

uint32_t worker_idle_count() { return load_acquire(&nidle); }

void worker_init() { init_port(&queue, nullptr); }

void worker_atfork_child() {
  lock = SpinLock{};
  idle = ended = nullptr;
  nqueued = nidle = nready = nworkers = 0;
  worker_init();
}

}  // namespace cr
