// What the port backends share: message flags, the two queues of a port, and the vectors that
// panic.
//
// ms_flags has two writers while a message is in flight: the port that holds it (QUEUED) and
// its originator (WAITING, ABORTED), under different locks or none. So after the message has
// left the sender every change is one atomic operation (flags_change), with acquire and
// release: what the old owner wrote is there when the new owner sees the flag. DragonFly
// learned that in 2013 (ddb06db22c). QUEUED is looked at under the lock of the port that the
// message is on, nowhere else. On one cpu these are plain instructions.
#pragma once

#include <libcr/msgport.h>

#include "assert.h"
#include "atomic.h"
#include "spinlock.h"

namespace cr {

// A waker of a thread port's owner is between "unlocked" and "woken" (see waiter.h, rule 3).
inline constexpr uint32_t MSGPORTF_WAKING = 0x0002;

inline uint32_t flags_load(const lwkt_msg* msg) { return load_acquire(&msg->ms_flags); }

// Returns the flags as they were.
inline uint32_t flags_change(lwkt_msg* msg, uint32_t set, uint32_t clear) {
  uint32_t old = flags_load(msg);
  while (!atomic_cas(&msg->ms_flags, old, (old & ~clear) | set)) old = flags_load(msg);
  return old;
}

// ---- the queues of a port: all under the port's lock ------------------------------------

inline void msgq_init(lwkt_msgqueue* q) {
  q->tqh_first = nullptr;
  q->tqh_last = &q->tqh_first;
}

inline lwkt_msgqueue* msgq_of(lwkt_port* port, uint32_t flags) {
  return (flags & MSGF_PRIORITY) != 0 ? &port->mp_msgq_prio : &port->mp_msgq;
}

// Puts a message, whose flags already say QUEUED, at the end of its queue.
inline void msgq_push(lwkt_port* port, lwkt_msg* msg, uint32_t flags) {
  lwkt_msgqueue* q = msgq_of(port, flags);
  msg->ms_node.tqe_next = nullptr;
  msg->ms_node.tqe_prev = q->tqh_last;
  *q->tqh_last = msg;
  q->tqh_last = &msg->ms_node.tqe_next;
}

// Takes a queued message off its queue.
inline void msgq_pull(lwkt_port* port, lwkt_msg* msg) {
  KASSERT((flags_load(msg) & MSGF_QUEUED) != 0);
  lwkt_msgqueue* q = msgq_of(port, flags_load(msg));
  if (msg->ms_node.tqe_next != nullptr) {
    msg->ms_node.tqe_next->ms_node.tqe_prev = msg->ms_node.tqe_prev;
  } else {
    q->tqh_last = msg->ms_node.tqe_prev;
  }
  *msg->ms_node.tqe_prev = msg->ms_node.tqe_next;
  flags_change(msg, 0, MSGF_QUEUED);
}

inline lwkt_msg* msgq_pop(lwkt_port* port) {
  lwkt_msg* msg = port->mp_msgq_prio.tqh_first;
  if (msg == nullptr) msg = port->mp_msgq.tqh_first;
  if (msg != nullptr) msgq_pull(port, msg);
  return msg;
}

// Queues a request. The receipt is given under the lock: once that is gone another LWKT may
// have taken the message, answered it and freed it.
inline void msgq_push_request(lwkt_port* port, lwkt_msg* msg) {
  store_release(&msg->ms_target_port, port);
  uint32_t old = flags_change(msg, MSGF_QUEUED, MSGF_RECEIPT);
  KASSERT((old & (MSGF_QUEUED | MSGF_DONE | MSGF_REPLY)) == 0);
  msgq_push(port, msg, old);
  if ((old & MSGF_RECEIPT) != 0) msg->ms_receiptfn(msg, port);
}

// Queues the reply of a message nobody waits for by domsg. Returns the flags as they were.
inline uint32_t msgq_push_reply(lwkt_port* port, lwkt_msg* msg) {
  uint32_t old = flags_change(msg, MSGF_REPLY | MSGF_DONE | MSGF_QUEUED, MSGF_WAITING);
  KASSERT((old & (MSGF_QUEUED | MSGF_DONE | MSGF_REPLY)) == 0);
  msgq_push(port, msg, old);
  return old;
}

// Un-sends a message that is still on `port`: 0 or ENOENT. One load decides, because another
// port may be queueing the message (forwarded, or replied) under its own lock meanwhile.
int msgq_drop(lwkt_port* port, lwkt_msg* msg);

// ---- initialisation ----------------------------------------------------------------------

// Empty queues, no flags, every vector panics: a backend sets those it has.
void port_init(lwkt_port* port);

}  // namespace cr
