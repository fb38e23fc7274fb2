// Ports without a queue.
//
//   panic            every use is a bug, and is caught at once
//   replyonly_null   a reply marks the message done, nobody is told
//   replyonly        a reply is handed to a function
//   putonly          a request is handed to a function: shims and servers that answer in the
//                    caller's context
//
// A vector that a port does not have panics. None of them has a lock or a cost beyond the
// call.
#include "export.h"
#include "port_internal.h"

namespace cr {

namespace {

int panic_beginmsg(lwkt_port*, lwkt_msg*) { CR_PANIC("message sent to a port that takes none"); }
void panic_abortmsg(lwkt_port*, lwkt_msg*) { CR_PANIC("abort sent to a port that takes none"); }
void panic_returnmsg(lwkt_port*, lwkt_msg*) { CR_PANIC("reply to a port that takes none"); }
lwkt_msg* panic_getport(lwkt_port*) { CR_PANIC("get from a port without a queue"); }
int panic_waitmsg(lwkt_msg*, int) { CR_PANIC("wait for a reply on a port nobody can wait on"); }
lwkt_msg* panic_waitport(lwkt_port*, int) { CR_PANIC("wait on a port without a queue"); }
int panic_dropmsg(lwkt_port*, lwkt_msg*) { CR_PANIC("drop from a port without a queue"); }

uint32_t mark_done(lwkt_msg* msg) {
  uint32_t old = flags_change(msg, MSGF_DONE | MSGF_REPLY, 0);
  KASSERT((old & (MSGF_QUEUED | MSGF_DONE | MSGF_REPLY)) == 0);
  return old;
}

void null_returnmsg(lwkt_port*, lwkt_msg* msg) { mark_done(msg); }

// The function sits in mp_abortmsg: it has that type, nothing can be sent to a reply port and
// so nothing aborted there, and mp_u.data stays the user's.
void replyonly_returnmsg(lwkt_port* port, lwkt_msg* msg) {
  mark_done(msg);
  port->mp_abortmsg(port, msg);
}

// The reply is there or nobody will ever be woken for it.
int polled_waitmsg(lwkt_msg* msg, int) {
  CR_CHECK((flags_load(msg) & MSGF_DONE) != 0);
  return msg->ms_error;
}

}  // namespace

void port_init(lwkt_port* port) {
  port->mp_beginmsg = panic_beginmsg;
  port->mp_abortmsg = panic_abortmsg;
  port->mp_returnmsg = panic_returnmsg;
  port->mp_getport = panic_getport;
  port->mp_waitmsg = panic_waitmsg;
  port->mp_waitport = panic_waitport;
  port->mp_dropmsg = panic_dropmsg;
  msgq_init(&port->mp_msgq);
  msgq_init(&port->mp_msgq_prio);
  port->mp_flags = 0;
  port->mp_lock = 0;
  port->mp_u.data = nullptr;
  port->mp_next = nullptr;
}

}  // namespace cr

extern "C" {

CR_API void lwkt_initport_panic(lwkt_port_t port) { cr::port_init(port); }

CR_API void lwkt_initport_replyonly_null(lwkt_port_t port) {
  cr::port_init(port);
  port->mp_returnmsg = cr::null_returnmsg;
  port->mp_waitmsg = cr::polled_waitmsg;
}

CR_API void lwkt_initport_replyonly(lwkt_port_t port, void (*fn)(lwkt_port_t, lwkt_msg_t)) {
  cr::port_init(port);
  port->mp_returnmsg = cr::replyonly_returnmsg;
  port->mp_abortmsg = fn;
}

CR_API void lwkt_initport_putonly(lwkt_port_t port, int (*fn)(lwkt_port_t, lwkt_msg_t)) {
  cr::port_init(port);
  port->mp_beginmsg = fn;
  port->mp_abortmsg = nullptr;
}

}  // extern "C"
