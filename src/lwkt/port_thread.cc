// The thread port: a queue with one reader, the LWKT that owns it.
//
// DragonFly gives the queue to the owner's cpu and carries every put and reply from another
// cpu there by an IPI that chases a migrating owner (MSGF_INTRANSIT). There cpus have no cheaper
// way. Here they do: an IPI to an rfork that is not at a safe point waits for one, up to a time
// slice, and a sleeping cpu costs a futex trap even if the owner would run elsewhere. So the
// queue is under the port's lock word (a plain store while there is one cpu), the put is done
// by its sender, and only the wake-up goes through the scheduler. MSGF_INTRANSIT is never set,
// and nothing has to chase a migrated owner: lwkt_wake knows where it is.
//
// The reply to a SYNC message takes no lock at all. Its waiter and its replier meet in
// ms_flags:
//
//    waiter:   sched_block, then WAITING by compare-and-swap, unless REPLY is there
//    replier:  not WAITING: REPLY|DONE in one compare-and-swap, nothing touched after it
//              WAITING: REPLY, then lwkt_wake(owner), then DONE
//
// A waiter that a signal woke and that finds REPLY without DONE spins until the replier has
// got through its lwkt_wake (waiter.h, rule 3). MSGPORTF_WAKING is the same for the queue.
#include "export.h"
#include "port_internal.h"
#include "waiter.h"

namespace cr {

namespace {

void lock(lwkt_port* port) {
  if (!smp) {
    port->mp_lock = 1;
  } else if (__atomic_exchange_n(&port->mp_lock, 1u, __ATOMIC_ACQUIRE) != 0) {
    spin_contended(&port->mp_lock);
  }
}

void unlock(lwkt_port* port) { store_release(&port->mp_lock, 0u); }

// Locks for the owner, once no waker is on its way. While WAKING is set nobody else writes
// mp_flags: only the owner can set WAITING again, and it is here.
void owner_lock(lwkt_port* port) {
  lock(port);
  while ((load_acquire(&port->mp_flags) & MSGPORTF_WAKING) != 0) {
    unlock(port);
    spin_until([&] { return (load_acquire(&port->mp_flags) & MSGPORTF_WAKING) == 0; });
    lock(port);
  }
}

// Ends a put or a reply: lets go of the lock and wakes the owner if it `waits`.
void unlock_and_wake(lwkt_port* port, bool waits) {
  if (!waits) {
    unlock(port);
    return;
  }
  store_release(&port->mp_flags, (port->mp_flags & ~MSGPORTF_WAITING) | MSGPORTF_WAKING);
  unlock(port);
  lwkt_wake(port->mp_u.td, 0);
  store_release(&port->mp_flags, port->mp_flags & ~MSGPORTF_WAKING);
}

int thread_beginmsg(lwkt_port* port, lwkt_msg* msg) {
  lock(port);
  msgq_push_request(port, msg);
  unlock_and_wake(port, (load_acquire(&port->mp_flags) & MSGPORTF_WAITING) != 0);
  return EASYNC;
}

void return_sync(lwkt_port* port, lwkt_msg* msg) {
  uint32_t old = flags_load(msg);
  for (;;) {
    KASSERT((old & (MSGF_QUEUED | MSGF_DONE | MSGF_REPLY)) == 0);
    uint32_t now = (old & MSGF_WAITING) != 0 ? (old & ~MSGF_WAITING) | MSGF_REPLY
                                             : old | MSGF_REPLY | MSGF_DONE;
    if (atomic_cas(&msg->ms_flags, old, now)) break;
    old = flags_load(msg);
  }
  if ((old & MSGF_WAITING) == 0) return;  // the message may be gone
  lwkt_wake(port->mp_u.td, 0);
  flags_change(msg, MSGF_DONE, 0);
}

void thread_returnmsg(lwkt_port* port, lwkt_msg* msg) {
  if ((flags_load(msg) & MSGF_SYNC) != 0) {
    return_sync(port, msg);
    return;
  }
  lock(port);
  uint32_t old = msgq_push_reply(port, msg);
  bool waits = (old & MSGF_WAITING) != 0 || (load_acquire(&port->mp_flags) & MSGPORTF_WAITING) != 0;
  unlock_and_wake(port, waits);
}

lwkt_msg* thread_getport(lwkt_port* port) {
  KASSERT(port->mp_u.td == curthread());
  lock(port);
  lwkt_msg* msg = msgq_pop(port);
  unlock(port);
  return msg;
}

void await_done(lwkt_msg* msg) {
  spin_until([&] { return (flags_load(msg) & MSGF_DONE) != 0; });
}

// Sleeps until the reply is there. EINTR or ETIMEDOUT when that came first, else 0.
int wait_sync_once(lwkt_msg* msg, int flags) {
  thread* td = curthread();
  uint32_t old = flags_load(msg);
  if ((old & MSGF_REPLY) != 0) {
    await_done(msg);
    return 0;
  }
  sched_block(td);
  if (!atomic_cas(&msg->ms_flags, old, old | MSGF_WAITING)) {
    // The flags moved while sched_block was under way. Blocking can't be undone, because a
    // signal may have won us already: be our own waker and look again.
    lwkt_wake(td, 0);
    sched_sleep();
    return 0;
  }
  int ended = sleep_on_port(flags);
  old = flags_load(msg);
  while ((old & MSGF_REPLY) == 0 && !atomic_cas(&msg->ms_flags, old, old & ~MSGF_WAITING)) {
    old = flags_load(msg);
  }
  return ended;
}

// The same for a message that was sent, not done: its reply is queued under the lock.
int wait_queued_once(lwkt_port* port, lwkt_msg* msg, int flags) {
  owner_lock(port);
  if ((flags_load(msg) & MSGF_DONE) != 0) {
    unlock(port);
    return 0;
  }
  thread* td = curthread();
  flags_change(msg, MSGF_WAITING, 0);
  sched_block(td);
  unlock(port);
  int ended = sleep_on_port(flags);
  owner_lock(port);
  flags_change(msg, 0, MSGF_WAITING);
  unlock(port);
  return ended;
}

int thread_waitmsg(lwkt_msg* msg, int flags) {
  lwkt_port* port = msg->ms_reply_port;
  KASSERT(port->mp_u.td == curthread());
  bool sync = (flags_load(msg) & MSGF_SYNC) != 0;
  while ((flags_load(msg) & MSGF_DONE) == 0) {
    int ended = sync ? wait_sync_once(msg, flags) : wait_queued_once(port, msg, flags);
    if (ended == 0 || (flags_load(msg) & MSGF_DONE) != 0) continue;
    int answer = message_wait_ended(ended, msg, &flags);
    if (answer != 0) return answer;
  }
  if (!sync) {
    owner_lock(port);
    if ((flags_load(msg) & MSGF_QUEUED) != 0) msgq_pull(port, msg);
    unlock(port);
  }
  return msg->ms_error;
}

lwkt_msg* thread_waitport(lwkt_port* port, int flags) {
  thread* td = curthread();
  KASSERT(port->mp_u.td == td);
  int ended = 0;
  for (;;) {
    owner_lock(port);
    port->mp_flags &= ~MSGPORTF_WAITING;
    lwkt_msg* msg = msgq_pop(port);
    if (msg != nullptr || ended != 0) {
      unlock(port);
      return msg;
    }
    port->mp_flags |= MSGPORTF_WAITING;
    sched_block(td);
    unlock(port);
    ended = sleep_on_port(flags);
  }
}

int thread_dropmsg(lwkt_port* port, lwkt_msg* msg) {
  KASSERT(port->mp_u.td == curthread());
  lock(port);
  int error = msgq_drop(port, msg);
  unlock(port);
  return error;
}

}  // namespace

}  // namespace cr

extern "C" CR_API void lwkt_initport_thread(lwkt_port_t port, thread_t td) {
  cr::port_init(port);
  port->mp_u.td = td;
  port->mp_beginmsg = cr::thread_beginmsg;
  port->mp_abortmsg = nullptr;
  port->mp_returnmsg = cr::thread_returnmsg;
  port->mp_getport = cr::thread_getport;
  port->mp_waitmsg = cr::thread_waitmsg;
  port->mp_waitport = cr::thread_waitport;
  port->mp_dropmsg = cr::thread_dropmsg;
}
