// The serializer port: a queue whose every operation runs under a serializer that the caller
// already holds, so a driver that lives in its serializer pays for no second lock. Waiting
// lets go of the serializer and has it again on return; abort functions are called with it
// held. Senders must hold it, too, and so must whoever replies to a message whose reply port
// this is: that is what DragonFly asks for, and what makes it the wrong port for strangers.
#include <libcr/serialize.h>

#include "export.h"
#include "port_queue.h"

namespace cr {

namespace {

struct SerializerLock {
  static void lock(lwkt_port* port) { KASSERT(lwkt_serialize_held(port->mp_u.slz)); }
  static void unlock(lwkt_port* port) { KASSERT(lwkt_serialize_held(port->mp_u.slz)); }
  static void sleep_lock(lwkt_port* port) { lwkt_serialize_enter(port->mp_u.slz); }
  static void sleep_unlock(lwkt_port* port) { lwkt_serialize_exit(port->mp_u.slz); }
  static void** waitq(lwkt_port* port) { return &port->mp_u.slz->slz_portwaitq; }
};

}  // namespace

}  // namespace cr

extern "C" CR_API void lwkt_initport_serialize(lwkt_port_t port, struct lwkt_serialize* slz) {
  cr::port_init(port);
  port->mp_u.slz = slz;
  cr::QueuePort<cr::SerializerLock>::init_vectors(port);
}
