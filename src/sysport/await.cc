// The public waits for calls sent as messages (libcr/async.h): lwkt_waitport and lwkt_waitmsg with a
// time-out, that a signal ends and after which the program's handlers have run.

#include <errno.h>
#include <libcr/async.h>
#include <sys/syscall.h>

#include "../../arch/call.h"
#include "../lwkt/clock.h"
#include "../lwkt/export.h"
#include "../lwkt/rfork.h"
#include "../signal/signal.h"

namespace cr {

namespace {

uint64_t deadline_after(int64_t timeout_ns) {
  if (timeout_ns < 0) return kNever;
  uint64_t now = clock_monotonic();
  auto span = static_cast<uint64_t>(timeout_ns);
  return span > kNever - now ? kNever : now + span;
}

// What came meanwhile is served at the next way out of the gate: make one.
void way_out() {
  thread* td = curthread();
  if (__builtin_expect((td->td_ast | mygd()->gd_ast) == 0, 1)) return;
  if ((td->td_flags & TDF_NOTLS) == 0 && td->td_critcount == 0) gate_call(SYS_gettid);
}

// Another LWKT may have taken the signal, or this one blocks it.
bool signalled() {
  thread* td = curthread();
  sig_recalc(td);
  return (td->td_ast & AST_SIGNAL) != 0;
}

// A look without a wait must let calls end that can: one that polls would keep the cpu from them.
void let_others() {
  sched_harvest();
  lwkt_yield();
}

int wait_until(lwkt_msg_t msg, uint64_t deadline) {
  for (;;) {
    int error = lwkt_waitmsg_until(msg, LWKT_PCATCH, deadline);
    if (error != EINTR || signalled()) return error;
  }
}

int wait_for(lwkt_msg_t msg, bool look, uint64_t deadline) {
  if (look && !lwkt_checkmsg(msg)) {
    let_others();
    if (!lwkt_checkmsg(msg)) return ETIMEDOUT;
  }
  return wait_until(msg, deadline);
}

lwkt_msg_t wait_port(lwkt_port_t port, uint64_t deadline, int* error) {
  for (;;) {
    lwkt_msg_t msg = deadline == kNever ? lwkt_waitport(port, LWKT_PCATCH)
                                        : lwkt_waitport_until(port, LWKT_PCATCH, deadline);
    *error = 0;
    if (msg != nullptr) return msg;
    *error = EINTR;
    if (signalled()) return nullptr;
    *error = ETIMEDOUT;
    if (clock_monotonic() >= deadline) return nullptr;
  }
}

}  // namespace

}  // namespace cr

using namespace cr;

extern "C" {

CR_API void cr_async_send(union sysunion* m) {
  lwkt_sendmsg(&syscall_port, &m->sm.sm_lmsg);
  way_out();
}

CR_API void cr_async_abort(union sysunion* m) { lwkt_abortmsg(&m->sm.sm_lmsg); }

CR_API int cr_async_wait_any(lwkt_port_t port, int64_t timeout_ns, union sysunion** done) {
  int error = 0;
  lwkt_msg_t msg = lwkt_getport(port);
  if (msg == nullptr && timeout_ns == 0) {
    let_others();
    msg = lwkt_getport(port);
    if (msg == nullptr) error = ETIMEDOUT;
  } else if (msg == nullptr) {
    msg = wait_port(port, deadline_after(timeout_ns), &error);
  }
  *done = reinterpret_cast<union sysunion*>(msg);
  way_out();
  return error;
}

CR_API int cr_async_wait(union sysunion* m, int64_t timeout_ns) {
  int error = wait_for(&m->sm.sm_lmsg, timeout_ns == 0, deadline_after(timeout_ns));
  way_out();
  return error;
}

CR_API int cr_async_wait_all(union sysunion* const* msgs, size_t n, int64_t timeout_ns) {
  uint64_t deadline = deadline_after(timeout_ns);
  int error = 0;
  for (size_t i = 0; i < n && error == 0; i++) {
    error = wait_for(&msgs[i]->sm.sm_lmsg, timeout_ns == 0, deadline);
  }
  way_out();
  return error;
}

}  // extern "C"
