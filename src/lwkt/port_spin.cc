// The spin port: a queue that any LWKT may send to, get from and wait on, under the port's
// lock word. The port to use between LWKTs that don't know each other's identity: a pool of
// servers, a reply port on the stack. Cost: one lock round trip for each operation.
#include "export.h"
#include "port_queue.h"

namespace cr {

namespace {

struct PortWordLock {
  static void lock(lwkt_port* port) {
    if (!smp) {
      port->mp_lock = 1;
    } else if (__atomic_exchange_n(&port->mp_lock, 1u, __ATOMIC_ACQUIRE) != 0) {
      spin_contended(&port->mp_lock);
    }
  }
  static void unlock(lwkt_port* port) { store_release(&port->mp_lock, 0u); }
  static void sleep_lock(lwkt_port* port) { lock(port); }
  static void sleep_unlock(lwkt_port* port) { unlock(port); }
  static void** waitq(lwkt_port* port) { return &port->mp_u.data; }
};

}  // namespace

}  // namespace cr

extern "C" CR_API void lwkt_initport_spin(lwkt_port_t port) {
  cr::port_init(port);
  cr::QueuePort<cr::PortWordLock>::init_vectors(port);
}
