// A queue port that any number of LWKTs may wait on: what the spin and the serializer port
// have in common. They differ in the lock, which is the template's parameter:
//
//   lock, unlock              around a few instructions
//   sleep_unlock, sleep_lock  around a sleep; sleep_lock may block
//   waitq                     the head word of the list of waiters
//
// A waiter's record (waiter.h) has the message or the port as its key, so a reply wakes the
// LWKT that waits for this message and no other, and a request wakes one receiver. Finding it
// is a scan over those who wait on this port: a reply port that ten thousand LWKTs share is
// the wrong tool (each has a thread port of its own).
//
// A SYNC reply is marked REPLY under the lock and DONE after everything else: the originator
// looks at DONE without the lock, and may then return from the function whose stack holds the
// message and the port.
#pragma once

#include "port_internal.h"
#include "waiter.h"

namespace cr {

template <typename Lock>
struct QueuePort {
  static int beginmsg(lwkt_port* port, lwkt_msg* msg) {
    Lock::lock(port);
    msgq_push_request(port, msg);
    waiter* w = waitq_claim(Lock::waitq(port), port);
    Lock::unlock(port);
    waiter_wake(w);
    return EASYNC;
  }

  static void returnmsg(lwkt_port* port, lwkt_msg* msg) {
    bool sync = (flags_load(msg) & MSGF_SYNC) != 0;
    Lock::lock(port);
    uint32_t old =
        sync ? flags_change(msg, MSGF_REPLY, MSGF_WAITING) : msgq_push_reply(port, msg);
    KASSERT((old & (MSGF_QUEUED | MSGF_DONE | MSGF_REPLY)) == 0);
    waiter* w = nullptr;
    if ((old & MSGF_WAITING) != 0) {
      w = waitq_claim(Lock::waitq(port), msg);
    } else if (!sync) {
      w = waitq_claim(Lock::waitq(port), port);
    }
    Lock::unlock(port);
    waiter_wake(w);
    if (sync) flags_change(msg, MSGF_DONE, 0);
  }

  static lwkt_msg* getport(lwkt_port* port) {
    Lock::lock(port);
    lwkt_msg* msg = msgq_pop(port);
    Lock::unlock(port);
    return msg;
  }

  static lwkt_msg* waitport(lwkt_port* port, int flags) {
    int ended = 0;
    for (;;) {
      Lock::lock(port);
      // A waiter that was claimed and interrupted looks here before it gives up: the request
      // that it was woken for would otherwise stay until the next one.
      lwkt_msg* msg = msgq_pop(port);
      if (msg != nullptr || ended != 0) {
        Lock::unlock(port);
        return msg;
      }
      ended = sleep_locked(port, port, flags);
      Lock::unlock(port);
    }
  }

  static int waitmsg(lwkt_msg* msg, int flags) {
    lwkt_port* port = msg->ms_reply_port;
    Lock::lock(port);
    uint32_t now = flags_load(msg);
    while ((now & MSGF_REPLY) == 0) {
      flags_change(msg, MSGF_WAITING, 0);
      int ended = sleep_locked(port, msg, flags);
      flags_change(msg, 0, MSGF_WAITING);
      if (ended != 0 && (flags_load(msg) & MSGF_REPLY) == 0) {
        Lock::unlock(port);
        int answer = message_wait_ended(ended, msg, &flags);
        if (answer != 0) return answer;
        Lock::lock(port);
      }
      now = flags_load(msg);
    }
    if ((now & MSGF_QUEUED) != 0) msgq_pull(port, msg);
    Lock::unlock(port);
    spin_until([&] { return (flags_load(msg) & MSGF_DONE) != 0; });
    return msg->ms_error;
  }

  static int dropmsg(lwkt_port* port, lwkt_msg* msg) {
    Lock::lock(port);
    int error = msgq_drop(port, msg);
    Lock::unlock(port);
    return error;
  }

  // Sleeps until somebody claims the caller for `key` (0), a signal or the deadline comes (EINTR,
  // ETIMEDOUT). The lock is held on the way in and out, not between.
  static int sleep_locked(lwkt_port* port, const void* key, int flags) {
    thread* td = curthread();
    waiter w{.td = td, .key = key, .next = nullptr, .state = W_QUEUED};
    waitq_add(Lock::waitq(port), &w);
    sched_block(td);
    Lock::sleep_unlock(port);
    int ended = sleep_on_port(flags);
    Lock::sleep_lock(port);
    if (load_acquire(&w.state) == W_QUEUED) {
      waitq_remove(Lock::waitq(port), &w);
    } else {
      waiter_await_woken(w);
    }
    return ended;
  }

  // Sets every vector. The caller has run port_init and set the lock's own field.
  static void init_vectors(lwkt_port* port) {
    port->mp_beginmsg = beginmsg;
    port->mp_abortmsg = nullptr;
    port->mp_returnmsg = returnmsg;
    port->mp_getport = getport;
    port->mp_waitmsg = waitmsg;
    port->mp_waitport = waitport;
    port->mp_dropmsg = dropmsg;
  }
};

}  // namespace cr
