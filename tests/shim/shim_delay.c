// Delays: getpgid is answered later, by an LWKT of the shim's own, as ESRCH for the caller itself
// and 77 for anybody else.
#include <errno.h>
#include <libcr/shim.h>
#include <libcr/thread.h>
#include <sys/syscall.h>
#include <time.h>

static struct lwkt_port port, work;
static volatile int ready;

static long now_us(void) {
  struct timespec ts;
  clock_gettime(CLOCK_MONOTONIC, &ts);
  return ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

static void answer_late(void *unused) {
  (void)unused;
  lwkt_initport_thread(&work, lwkt_curthread());
  ready = 1;
  for (;;) {
    lwkt_msg_t msg = lwkt_waitport(&work, 0);
    for (long end = now_us() + 20000; now_us() < end;) lwkt_yield();
    union sysunion *m = (union sysunion *)msg;
    m->sm.sm_result = 77;
    lwkt_replymsg(msg, m->raw.arg[0] == 0 ? ESRCH : 0);
  }
}

static int begin(lwkt_port_t self, lwkt_msg_t msg) {
  if (((struct sysmsg *)msg)->sm_nr != SYS_getpgid) return cr_shim_forward(self, msg);
  return work.mp_beginmsg(&work, msg);  // queues it: EASYNC
}

int cr_shim_init(void) {
  thread_t td;
  int error = lwkt_create(answer_late, NULL, &td, 0, 0, "late");
  if (error != 0) return error;
  lwkt_detach(td);
  while (!ready) lwkt_yield();
  lwkt_initport_putonly(&port, begin);
  return cr_shim_push(&port);
}
