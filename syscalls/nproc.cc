// Resource limits. All are the kernel's but RLIMIT_SIGPENDING (src/signal/sigqueue.h) and RLIMIT_NPROC, which bounds
// a user's tasks, and LWKTs are none. So the process's own LWKTs are counted against it, with the kernel's exceptions
// (the user root, CAP_SYS_RESOURCE, CAP_SYS_ADMIN). Tasks of the user's other processes are not: there is no
// asking for their number, and a thread refused that could be had is worse than one had too many.
//
// The limit is remembered, since pthread_create would pay a trap for it each time. prlimit(2) from
// another process is not noticed.

#include "nproc.h"

#include <errno.h>
#include <linux/capability.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "../arch/rawcall.h"
#include "../src/lwkt/sched.h"
#include "../src/signal/sigqueue.h"
#include "../src/sysport/sysport.h"
#include "../src/sysport/tid.h"
#include "cred.h"
#include "sysent.h"

namespace cr {

uint64_t nproc_limit;

bool nproc_allows_slow(uint64_t n) {
  rlimit64 limit{};
  if (raw_failed(raw4(SYS_prlimit64, 0, RLIMIT_NPROC, 0, reinterpret_cast<long>(&limit)))) return true;
  __atomic_store_n(&nproc_limit, limit.rlim_cur, __ATOMIC_RELAXED);
  return n < limit.rlim_cur || cred_uid() == 0 || cred_capable(CAP_SYS_RESOURCE) ||
         cred_capable(CAP_SYS_ADMIN);
}

namespace {
int changes_limit(union sysunion* m, uint64_t resource) {
  int error = sysport_trap(m);
  if (static_cast<uint32_t>(resource) == RLIMIT_NPROC) __atomic_store_n(&nproc_limit, uint64_t{0}, __ATOMIC_RELAXED);
  if (static_cast<uint32_t>(resource) == RLIMIT_SIGPENDING) sigqueue_limit_changes();
  return error;
}
}  // namespace

int sys_setrlimit(union sysunion* m) { return changes_limit(m, m->raw.arg[0]); }

int sys_prlimit64(union sysunion* m) {
  auto tid = static_cast<int32_t>(m->raw.arg[0]);
  if (tid >= kTidBase) {
    if (tid_find(tid) == nullptr) return ESRCH;
    m->raw.arg[0] = 0;
  }
  return m->raw.arg[2] == 0 ? sysport_trap(m) : changes_limit(m, m->raw.arg[1]);
}

}  // namespace cr
