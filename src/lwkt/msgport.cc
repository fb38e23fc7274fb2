// Messages and ports: the part that is the same for every kind of port.
//
// The life of a message, with the flags that say where it is:
//
//    DONE --send--> (none) --put--> QUEUED --get--> (none) --reply--> REPLY|DONE[|QUEUED]
//             |                                                           ^
//             +-------- not EASYNC: finished inside the call -------------+
//
// A SYNC message (domsg) is never queued as a reply: its waiter is woken. DONE is the last
// touch of whoever replies to it; from then on the message, and a reply port on the
// originator's stack, may be gone. REPLY without DONE says "just being replied to".
//
// Cost of lwkt_domsg when the target finishes at once: two stores of ms_flags, one of ms_error
// and a call through a pointer. Nothing else may be put on that path: every system call of
// the program takes it.
//
// Whoever calls these functions runs an LWKT on a cpu: rforks that gave their cpu away do not
// handle messages (atomic.h's cheap operations depend on it).
#include <asm/errno.h>

#include "export.h"
#include "port_internal.h"
#include "thread.h"

namespace cr {

namespace {

// What a message must be before it is sent. Catches a message that is freed, queued or in
// flight (DragonFly 61d468766c).
inline uint32_t assert_sendable(const lwkt_msg* msg) {
  KASSERT(msg->ms_reply_port != nullptr);
  KASSERT((msg->ms_flags & (MSGF_DONE | MSGF_QUEUED)) == MSGF_DONE);
  return msg->ms_flags;
}

constexpr uint32_t kEndOfLastRound = MSGF_DONE | MSGF_REPLY | MSGF_ABORTED | MSGF_WAITING;

}  // namespace

int msgq_drop(lwkt_port* port, lwkt_msg* msg) {
  uint32_t flags = flags_load(msg);
  bool mine = (flags & (MSGF_QUEUED | MSGF_REPLY)) == MSGF_QUEUED &&
              load_acquire(&msg->ms_target_port) == port;
  if (!mine) return ENOENT;
  msgq_pull(port, msg);
  flags_change(msg, MSGF_DONE, 0);
  return 0;
}

}  // namespace cr

using namespace cr;

extern "C" {

CR_API void lwkt_initmsg(lwkt_msg_t msg, lwkt_port_t reply_port, uint32_t flags) {
  KASSERT((flags & ~(MSGF_DROPABLE | MSGF_PRIORITY | 0xffff0000u)) == 0);
  msg->ms_node.tqe_next = nullptr;
  msg->ms_node.tqe_prev = nullptr;
  msg->ms_target_port = nullptr;
  msg->ms_reply_port = reply_port;
  msg->ms_abortfn = nullptr;
  msg->ms_receiptfn = nullptr;
  msg->ms_flags = MSGF_DONE | flags;
  msg->ms_error = 0;
  msg->u.ms_result64 = 0;
}

CR_API void lwkt_initmsg_abortable(lwkt_msg_t msg, lwkt_port_t reply_port, uint32_t flags,
                                   void (*abortfn)(lwkt_msg_t)) {
  lwkt_initmsg(msg, reply_port, flags);
  msg->ms_abortfn = abortfn;
  msg->ms_flags |= MSGF_ABORTABLE;
}

CR_API void lwkt_setmsg_receipt(lwkt_msg_t msg, void (*fn)(lwkt_msg_t, lwkt_port_t)) {
  KASSERT((msg->ms_flags & (MSGF_DONE | MSGF_QUEUED)) == MSGF_DONE);
  msg->ms_receiptfn = fn;
  msg->ms_flags |= MSGF_RECEIPT;
}

CR_API void lwkt_sendmsg(lwkt_port_t port, lwkt_msg_t msg) {
  uint32_t flags = assert_sendable(msg);
  store_release(&msg->ms_flags, flags & ~(kEndOfLastRound | MSGF_SYNC));
  int error = port->mp_beginmsg(port, msg);
  // The target finished inside the call: the reply is queued here, as if it had come later.
  if (error != EASYNC) lwkt_replymsg(msg, error);
}

CR_API int lwkt_domsg(lwkt_port_t port, lwkt_msg_t msg, int flags) {
  uint32_t old = assert_sendable(msg);
  KASSERT((old & MSGF_DROPABLE) == 0);
  msg->ms_flags = (old & ~kEndOfLastRound) | MSGF_SYNC;
  int error = port->mp_beginmsg(port, msg);
  if (__builtin_expect(error == EASYNC, 0)) return lwkt_waitmsg(msg, flags);
  KASSERT((msg->ms_flags & (MSGF_QUEUED | MSGF_DONE | MSGF_REPLY)) == 0);
  msg->ms_error = error;
  msg->ms_flags |= MSGF_DONE | MSGF_REPLY;
  return error;
}

CR_API int lwkt_forwardmsg(lwkt_port_t port, lwkt_msg_t msg) {
  KASSERT((flags_load(msg) & (MSGF_QUEUED | MSGF_DONE | MSGF_REPLY)) == 0);
  int error = port->mp_beginmsg(port, msg);
  if (error != EASYNC) lwkt_replymsg(msg, error);
  return error;
}

CR_API void lwkt_replymsg(lwkt_msg_t msg, int error) {
  KASSERT((flags_load(msg) & (MSGF_QUEUED | MSGF_DONE | MSGF_REPLY)) == 0);
  KASSERT(error >= 0 && error != EASYNC);
  msg->ms_error = error;
  lwkt_port_t port = msg->ms_reply_port;
  port->mp_returnmsg(port, msg);
}

CR_API void lwkt_abortmsg(lwkt_msg_t msg) {
  uint32_t flags = flags_load(msg);
  if ((flags & (MSGF_DONE | MSGF_REPLY | MSGF_ABORTED)) != 0) return;
  lwkt_port_t target = load_acquire(&msg->ms_target_port);
  bool by_message = (flags & MSGF_ABORTABLE) != 0;
  if (!by_message && (target == nullptr || target->mp_abortmsg == nullptr)) return;
  // The reply may come while the abort is on its way: the abort function finds the message
  // done or no longer its own and does nothing. The message itself can't go away, because
  // its originator is the one who is here.
  flags_change(msg, MSGF_ABORTED, 0);
  if (by_message) {
    msg->ms_abortfn(msg);
  } else {
    target->mp_abortmsg(target, msg);
  }
}

CR_API int lwkt_dropmsg(lwkt_msg_t msg) {
  KASSERT((flags_load(msg) & MSGF_DROPABLE) != 0);
  if ((flags_load(msg) & MSGF_DONE) != 0) return ENOENT;
  lwkt_port_t port = load_acquire(&msg->ms_target_port);
  return port != nullptr ? port->mp_dropmsg(port, msg) : ENOENT;
}

CR_API lwkt_msg_t lwkt_getport(lwkt_port_t port) { return port->mp_getport(port); }

CR_API lwkt_msg_t lwkt_waitport(lwkt_port_t port, int flags) {
  return port->mp_waitport(port, flags);
}

CR_API int lwkt_waitmsg(lwkt_msg_t msg, int flags) {
  uint32_t now = flags_load(msg);
  KASSERT((now & MSGF_DROPABLE) == 0);
  constexpr uint32_t kSyncDone = MSGF_SYNC | MSGF_DONE;
  if ((now & kSyncDone) == kSyncDone) return msg->ms_error;  // never queued: no lock
  return msg->ms_reply_port->mp_waitmsg(msg, flags);
}

CR_API lwkt_msg_t lwkt_waitport_until(lwkt_port_t port, int flags, uint64_t deadline) {
  curthread()->td_deadline = deadline;
  return port->mp_waitport(port, flags | LWKT_PTIMED);
}

CR_API int lwkt_waitmsg_until(lwkt_msg_t msg, int flags, uint64_t deadline) {
  KASSERT((flags_load(msg) & MSGF_DROPABLE) == 0);
  constexpr uint32_t kSyncDone = MSGF_SYNC | MSGF_DONE;
  if ((flags_load(msg) & kSyncDone) == kSyncDone) return 0;
  curthread()->td_deadline = deadline;
  int answer = msg->ms_reply_port->mp_waitmsg(msg, flags | LWKT_PTIMED);
  return answer < 0 ? -answer : 0;
}

CR_API int lwkt_checkmsg(lwkt_msg_t msg) { return (flags_load(msg) & MSGF_DONE) != 0; }

}  // extern "C"
