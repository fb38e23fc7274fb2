// libcr/async.h compiles as C++, by itself and with everything that it generates.
#include <libcr/async.h>

union sysunion* send_one(union sysunion* m, lwkt_port_t port, char* buf) {
  cr_send_read(m, port, 0, buf, 1);
  union sysunion* done = nullptr;
  return cr_async_wait_any(port, -1, &done) == 0 ? done : nullptr;
}
