// clone, clone3, exit and what NPTL tells the kernel of a thread: set_tid_address, robust
// lists, rseq, gettid.
//
// A clone with exactly the flags of a POSIX thread makes an LWKT on the stack and TLS block
// that NPTL allocated. Any other clone with CLONE_THREAD is refused (EINVAL: no kernel thread
// that libcr knows nothing of); without CLONE_THREAD it is a process (syscalls/process.cc).

#include <errno.h>
#include <linux/futex.h>
#include <linux/rseq.h>
#include <linux/sched.h>
#include <sys/syscall.h>

#include "../arch/context.h"
#include "../arch/abi.h"
#include "../arch/limits.h"
#include "../arch/rawcall.h"
#include "../arch/usercopy.h"
#include "../src/lwkt/assert.h"
#include "../src/lwkt/rfork.h"
#include "../src/mem/arena.h"
#include "../src/mem/shared.h"
#include "../src/signal/signal.h"
#include "../src/sysport/callstack.h"
#include "../src/sysport/schedclass.h"
#include "../src/sysport/sysport.h"
#include "../src/sysport/tid.h"
#include "../src/sysport/worker.h"
#include "futex.h"
#include "futex_inherit.h"
#include "nproc.h"
#include "process.h"
#include "robust.h"
#include "sysent.h"
#include "threadsched.h"

namespace cr {

namespace {

struct CloneRequest {
  uint64_t flags;
  uint64_t stack;  // the initial stack pointer
  uint64_t tls;
  uint64_t parent_tid;
  uint64_t child_tid;
};

inline constexpr uint64_t kThreadFlags =
    CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD;
inline constexpr uint64_t kThreadOptional = CLONE_SYSVSEM | CLONE_SETTLS | CLONE_PARENT_SETTID |
                                            CLONE_CHILD_CLEARTID | CLONE_CHILD_SETTID |
                                            CLONE_DETACHED;
inline constexpr uint32_t kRseqSig = 0x53053053;

int thread_clone(union sysunion* m, const CloneRequest& r) {
  if ((r.flags & ~(kThreadFlags | kThreadOptional)) != 0) return EINVAL;
  if (r.stack == 0) return EINVAL;
  if (!nproc_allows(sched_program_threads())) return EAGAIN;
  tlsreg tls = tls_read();
  if ((r.flags & CLONE_SETTLS) != 0) {
    int error = tls_from_clone(r.tls, &tls);
    if (error != 0) return error;
  }
  thread* self = curthread();
  thread* td = thread_alloc();
  if (td == nullptr) {
    tls_release(tls);
    return EAGAIN;
  }
  td->td_sigmask = self->td_sigmask;  // before its tid is known, or signals would be left to it
  bool has_tid = threadsched_inherit(td, self) && tid_assign(td);
  if (!has_tid || !callstack_assign(td)) {
    if (has_tid) sig_thread_gone(td);  // it may have been found
    tls_release(tls);
    threadsched_free(td);
    thread_free(td);
    return EAGAIN;
  }
  if ((r.flags & CLONE_PARENT_SETTID) != 0) {
    user_store32(reinterpret_cast<uint32_t*>(r.parent_tid), static_cast<uint32_t>(td->td_tid));
  }
  // The child's trap frame on its own stack: the caller's registers, 0 as the result.
  uint64_t at = (r.stack - kRedZone - sizeof(trapframe)) & ~15ull;
  auto* tf = reinterpret_cast<trapframe*>(at);
  *tf = *sysport_frame(m);
  tf->result = 0;
  tf->sp = r.stack;
  td->td_flags = TDF_NPTL;
  td->td_tls = tls;
  td->td_user = userregs_read();
  td->td_sp = context_trapframe(tf);
  td->td_slack = td->td_slackdef = self->td_slack;
  if (schedclass_own()) schedclass_inherit(td, self);
  for (int i = 0; i < 16; i++) td->td_comm[i] = self->td_comm[i];
  if ((r.flags & CLONE_CHILD_CLEARTID) != 0) td->td_cleartid = r.child_tid;
  if ((r.flags & CLONE_CHILD_SETTID) != 0) {
    user_store32(reinterpret_cast<uint32_t*>(r.child_tid), static_cast<uint32_t>(td->td_tid));
  }
  arena_stack_in_use(r.stack);
  bool first = !schedclass_own();
  sched_thread_added();
  if (first) schedclass_inherit(td, self);
  m->sm.sm_result = td->td_tid;
  td->td_state = TDS_RUNNABLE;
  sched_enqueue(td);
  return 0;
}

// What the rest of the process sees of td's end.
void retire(thread* td) {
  robust_walk(td);
  uint64_t clear = td->td_cleartid;
  sig_thread_gone(td);
  inherit_thread_gone(td);
  if (clear != 0) {
    user_store32(reinterpret_cast<uint32_t*>(clear), 0);
    // A joiner of a thread whose stack the program put into shared memory waits in the kernel.
    if (futex_wake_all(clear, 1) == 0 && shared_contains(clear)) {
      raw3(SYS_futex, static_cast<long>(clear), FUTEX_WAKE, 1);
    }
  }
  atomic_add(&futex_dying, ~0u);
}

// On another stack, once the dead LWKT's own is no longer in use: from the moment its tid is
// cleared a joiner may unmap or reuse it.
void reap(thread* td) {
  if ((td->td_flags & TDF_WORKER) != 0) {
    worker_reap(td);
    return;
  }
  if ((td->td_flags & TDF_NPTL) == 0 && (td->td_flags & TDF_MAIN) == 0) {
    lwkt_reap(td);
    return;
  }
  if ((td->td_flags & TDF_RETIRED) == 0) retire(td);
  tls_release(td->td_tls);
  threadsched_free(td);
  if ((td->td_flags & TDF_MAIN) == 0) thread_free(td);
}

}  // namespace

void clone_init() { sched_set_reap_hook(reap); }

int sys_clone(union sysunion* m) {
  const uint64_t* a = m->raw.arg;
  CloneRequest r{a[0], a[1], a[kCloneTls], a[2], a[kCloneChildTid]};
  if ((r.flags & CLONE_THREAD) != 0) {
    r.flags &= ~static_cast<uint64_t>(CSIGNAL);
    return thread_clone(m, r);
  }
  return process_clone(m, r.flags, nullptr);
}

namespace {

// What lies beyond the structure that is known here must be zero.
int copy_clone_args(const uint64_t a[2], clone_args* args) {
  constexpr uint64_t kMostSize = 4096;
  uint64_t size = a[1];
  if (size > kMostSize) return E2BIG;
  if (size < CLONE_ARGS_SIZE_VER0) return EINVAL;
  auto* from = reinterpret_cast<const char*>(a[0]);
  uint64_t known = size < sizeof *args ? size : sizeof *args;
  for (uint64_t i = known; i < size; i++) {
    char more;
    if (user_copy(&more, from + i, 1) != 0) return EFAULT;
    if (more != 0) return E2BIG;
  }
  if (user_copy(args, from, known) != 0) return EFAULT;
  bool beyond = args->stack > kUserEnd || args->stack_size > kUserEnd - args->stack;
  return (args->stack == 0) == (args->stack_size == 0) && !beyond ? 0 : EINVAL;
}

}  // namespace

int sys_clone3(union sysunion* m) {
  clone_args args{};
  int error = copy_clone_args(m->raw.arg, &args);
  if (error != 0) return error;
  if ((args.flags & CLONE_THREAD) == 0) return process_clone(m, args.flags, &args);
  bool asks_for_tid = args.set_tid != 0 || args.set_tid_size != 0;
  if (args.exit_signal != 0 || asks_for_tid || (args.flags & CLONE_DETACHED) != 0) return EINVAL;
  return thread_clone(m, {args.flags, args.stack + args.stack_size, args.tls, args.parent_tid,
                          args.child_tid});
}

int sys_exit(union sysunion* m) {
  atomic_add(&futex_dying, 1u);  // until reap: whoever is left may be about to join
  if (sched_thread_gone()) {
    // The last one: its status is the process's. A sandbox may allow no call but the one that was made.
    robust_walk(curthread());
    tid_give_back();
    process_report_at_exit();
    raw1(monitor_running() ? SYS_exit_group : SYS_exit, static_cast<long>(m->raw.arg[0]));
  }
  thread* td = curthread();
  if (__builtin_expect(load_bits(&sig_fd_reads) != 0, 0)) {
    td->td_sigmask = ~0ull;
    sig_leave(sig_fd_reads);
  }
  // On one cpu no joiner runs before this stack is left for good, and it can be the next: no switch to the idle thread.
  bool ours = (td->td_flags & (TDF_NPTL | TDF_MAIN)) != 0;
  if (!smp && ours && !shared_contains(td->td_cleartid)) {
    td->td_sigmask = ~0ull;  // what comes for the process is for those who stay
    retire(td);
    td->td_flags |= TDF_RETIRED;
  }
  sched_exit();
}

int sys_exit_group(union sysunion* m) {
  process_report_at_exit();
  robust_process_exit();
  return sysport_trap(m);
}

// A trap is 0.1 us, and pthread_kill of glibc makes one for each signal.
int sys_getpid(union sysunion* m) {
  m->sm.sm_result = tid_process();
  return 0;
}

int sys_gettid(union sysunion* m) {
  m->sm.sm_result = curthread()->td_tid;
  return 0;
}

int sys_set_tid_address(union sysunion* m) {
  thread* td = curthread();
  td->td_cleartid = m->raw.arg[0];
  m->sm.sm_result = td->td_tid;
  return 0;
}

int sys_set_robust_list(union sysunion* m) {
  if (m->raw.arg[1] != sizeof(robust_list_head)) return EINVAL;
  thread* td = curthread();
  td->td_robust = m->raw.arg[0];
  m->sm.sm_result = 0;
  // A fork's child registers its list anew: the kernel looks at it if the process is killed.
  return mygd()->gd_ktid == td->td_tid ? sysport_trap(m) : 0;
}

int sys_get_robust_list(union sysunion* m) {
  auto pid = static_cast<int32_t>(m->raw.arg[0]);
  thread* td = pid == 0 ? curthread() : tid_find(pid);
  if (td == nullptr) return sysport_trap(m);
  auto head = static_cast<uintptr_t>(td->td_robust);
  size_t size = sizeof(robust_list_head);
  if (user_copy(reinterpret_cast<void*>(m->raw.arg[1]), &head, sizeof head) != 0 ||
      user_copy(reinterpret_cast<void*>(m->raw.arg[2]), &size, sizeof size) != 0) {
    return EFAULT;
  }
  m->sm.sm_result = 0;
  return 0;
}

// glibc ends the program if a thread's registration fails while the first one's worked, and
// nothing may use it: an LWKT moves between kernel threads. So: success, no registration, and
// an area that says "not registered", upon which sched_getcpu asks the vdso.
int sys_rseq(union sysunion* m) {
  const uint64_t* a = m->raw.arg;
  if (static_cast<uint32_t>(a[3]) != kRseqSig) return EINVAL;
  if (static_cast<int>(a[2]) == 0) {
    auto* area = reinterpret_cast<struct rseq*>(a[0]);
    auto none = static_cast<uint32_t>(RSEQ_CPU_ID_UNINITIALIZED);
    if (user_store32(&area->cpu_id, none) != 0) return EFAULT;
  }
  m->sm.sm_result = 0;
  return 0;
}

}  // namespace cr
