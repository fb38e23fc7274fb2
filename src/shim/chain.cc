// The chain: a list through mp_next that ends in sysport_last (sysport.h). Pushing and popping swap one
// pointer; a call that is on its way keeps the port it found.

#include <errno.h>
#include <libcr/shim.h>

#include "../lwkt/export.h"
#include "../lwkt/spinlock.h"
#include "../sysport/sysport.h"
#include "sysent.h"

using namespace cr;

namespace {
GlobalLock lock;
}

extern "C" {

CR_API int cr_shim_push(lwkt_port_t port) {
  if (port == &syscall_port) return EINVAL;
  Guard g(lock);
  for (lwkt_port_t p = sysport_head; p != nullptr; p = p->mp_next) {
    if (p == port) return EINVAL;
  }
  port->mp_next = sysport_head;
  store_release(&sysport_head, port);
  sysport_head_changed();
  return 0;
}

CR_API int cr_shim_pop(lwkt_port_t port) {
  Guard g(lock);
  if (port == &sysport_last) return ENOENT;
  for (lwkt_port_t* p = &sysport_head; *p != nullptr; p = &(*p)->mp_next) {
    if (*p != port) continue;
    store_release(p, port->mp_next);
    sysport_head_changed();
    return 0;
  }
  return ENOENT;
}

CR_API int cr_shim_forward(lwkt_port_t port, lwkt_msg_t msg) {
  lwkt_port_t next = port->mp_next;
  return next->mp_beginmsg(next, msg);
}

CR_API const char* cr_syscall_name(uint32_t nr) { return sysport_name(nr); }
CR_API uint32_t cr_syscall_count(void) { return kSysCount; }

}  // extern "C"
