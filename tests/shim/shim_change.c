// Changes: getppid's result times FACTOR plus ADD, and no read of more than 10 bytes.
#include <libcr/shim.h>
#include <sys/syscall.h>

static struct lwkt_port port;

static int begin(lwkt_port_t self, lwkt_msg_t msg) {
  union sysunion *m = (union sysunion *)msg;
  uint32_t nr = m->sm.sm_nr;  // an answered message is no longer ours to read
  if (nr == SYS_read && m->raw.arg[2] > 10) m->raw.arg[2] = 10;
  int error = cr_shim_forward(self, msg);
  if (error == 0 && nr == SYS_getppid) m->sm.sm_result = m->sm.sm_result * FACTOR + ADD;
  return error;
}

int cr_shim_init(void) {
  lwkt_initport_putonly(&port, begin);
  return cr_shim_push(&port);
}
