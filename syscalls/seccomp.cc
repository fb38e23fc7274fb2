// Filters that a program puts on its own calls.
//
// A filter belongs to kernel threads, and an LWKT goes on upon any of them: each gets it. So a thread that restricts
// itself restricts all, which Linux does only when asked to (SECCOMP_FILTER_FLAG_TSYNC).
//
// A filter allows what the program calls, and may know nothing of what libcr would do in its place: from now on a
// call that may block is made as it is, by a trap that gives the cpu away (sysport_literal). What libcr calls on its
// own behalf and finds filtered out it does without (src/signal/kernel.cc).

#include "seccomp.h"

#include <errno.h>
#include <linux/seccomp.h>
#include <sys/syscall.h>

#include "../arch/rawcall.h"
#include "../src/async/engine.h"
#include "../src/gate/cache.h"
#include "../src/lwkt/placement.h"
#include "../src/lwkt/rfork.h"
#include "../src/signal/broadcast.h"
#include "../src/signal/signal.h"
#include "../src/sysport/sysport.h"
#include "sysent.h"

namespace cr {

namespace {

// With other kernel threads. Each LWKT may have to wait on one of its own from now on, and clone be forbidden.
void reserve_kernel_threads() {
  constexpr uint64_t kMost = 256, kMonitor = 1;
  uint64_t n = sched_program_threads() + static_cast<uint64_t>(ncpus) + kMonitor;
  rfork_reserve(static_cast<uint32_t>(n < kMost ? n : kMost));
}

int set_filter_for_all(union sysunion* m, uint64_t flags, uint64_t program) {
  uint64_t all = SECCOMP_FILTER_FLAG_TSYNC;
  // A thread's number could not be told from a listener's.
  if ((flags & SECCOMP_FILTER_FLAG_NEW_LISTENER) != 0) all |= SECCOMP_FILTER_FLAG_TSYNC_ESRCH;
  long r = raw3(SYS_seccomp, SECCOMP_SET_MODE_FILTER, static_cast<long>(flags | all), static_cast<long>(program));
  bool apart = r > 0 && (flags & SECCOMP_FILTER_FLAG_NEW_LISTENER) == 0;  // the number of a thread's that can't have it
  if (!apart) return sysport_result(m, r);
  // Kernel threads have filters of their own already: each takes it for itself.
  int error = sysport_trap(m);
  if (error == 0) broadcast_call(m->sm.sm_nr, m->raw.arg);
  return error;
}

uint32_t setting;  // one LWKT at a time: the engine comes back after a filter that the kernel refused

int set_filter(union sysunion* m, uint64_t flags, uint64_t program) {
  if (program == 0) return sysport_trap(m);  // a question: what flags does the kernel know?
  while (!bus_cas(&setting, 0u, 1u)) sched_yield_cpu();
  bool before = engine_retired();
  sig_expect_filters();
  placement_stop();
  sysport_literal(true);
  bool several = monitor_running();
  if (several) reserve_kernel_threads();
  engine_retire();
  int error = several ? set_filter_for_all(m, flags, program) : sysport_trap(m);
  if (error == 0) {
    cache_make_no_more();
  } else if (!before) {
    engine_unretire();
    sysport_literal(false);
  }
  store_release(&setting, 0u);
  return error;
}

// Nothing but read, write, exit and sigreturn: with other threads there is more to do for libcr.
int set_strict(union sysunion* m) { return monitor_running() ? EINVAL : sysport_trap(m); }

}  // namespace

int sys_seccomp(union sysunion* m) {
  const uint64_t* a = m->raw.arg;
  switch (static_cast<uint32_t>(a[0])) {
    case SECCOMP_SET_MODE_STRICT: return set_strict(m);
    case SECCOMP_SET_MODE_FILTER: return set_filter(m, static_cast<uint32_t>(a[1]), a[2]);
    default: return sysport_trap(m);
  }
}

void seccomp_atfork_child() { setting = 0; }

int seccomp_prctl(union sysunion* m) {
  const uint64_t* a = m->raw.arg;
  switch (a[1]) {
    case SECCOMP_MODE_STRICT: return set_strict(m);
    case SECCOMP_MODE_FILTER: return set_filter(m, 0, a[2]);
    default: return sysport_trap(m);
  }
}

}  // namespace cr
