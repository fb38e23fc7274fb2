// Scheduling calls that name a thread, and yield. An LWKT's class is its own (src/sysport/schedclass.h);
// threadsched.h says what else it has of its own. What a program sets is checked by the kernel, but for
// niceness: a try of that could not be undone.

#include <errno.h>
#include <linux/capability.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "../arch/context.h"
#include "../arch/rawcall.h"
#include "../arch/usercopy.h"
#include "../src/lwkt/rank.h"
#include "../src/lwkt/rfork.h"
#include "../src/lwkt/slab.h"
#include "../src/lwkt/spinlock.h"
#include "../src/signal/broadcast.h"
#include "../src/signal/signal.h"
#include "../src/sysport/schedclass.h"
#include "../src/sysport/sysport.h"
#include "../src/sysport/tid.h"
#include "cred.h"
#include "seccomp.h"
#include "futex_inherit.h"
#include "sysent.h"
#include "threadname.h"
#include "threadsched.h"

namespace cr {

namespace {

// The process's: what LWKTs without a record have. Read at first need, then changed with the kernel's.
struct ProcessSched {
  bool known;
  int32_t nice;
  uint64_t mask[kMaskWords];
  uint64_t all[kMaskWords];  // what the kernel threads have
};
ProcessSched process;
GlobalLock lock;  // over records and the above; siglock is taken inside

void know_process() {
  if (process.known) return;
  process.known = true;
  long pid = tid_process();
  process.nice = 20 - static_cast<int32_t>(raw2(SYS_getpriority, PRIO_PROCESS, pid));
  // The caller's, which is whole: another one may lack a processor for a moment (placement.h).
  raw3(SYS_sched_getaffinity, 0, sizeof process.mask, reinterpret_cast<long>(process.mask));
  for (uint32_t i = 0; i < kMaskWords; i++) process.all[i] = process.mask[i];
}

template <typename F>
void each_kernel_thread(F fn) {
  for (globaldata* gd = load_acquire(&rforks); gd != nullptr; gd = gd->gd_next) {
    if (gd->gd_ktid > 0) fn(gd->gd_ktid);
  }
}

threadsched* record_of(thread* td) {
  if (td->td_sched == nullptr) {
    auto* r = static_cast<threadsched*>(slab_alloc(sizeof(threadsched)));
    if (r == nullptr) return nullptr;
    __builtin_memset(r, 0, sizeof *r);
    td->td_sched = r;
  }
  return td->td_sched;
}

// What a call names.
enum class Who { kKernel, kLwkt, kNobody };

// kKernel: another process's, or ours while there is one LWKT. With kLwkt, under siglock.
Who find(int32_t tid, thread** td) {
  if (tid < 0) return Who::kKernel;  // EINVAL, it will say
  *td = tid == 0 ? curthread() : tid_find(tid);
  if (*td == nullptr) return tid < kTidBase ? Who::kKernel : Who::kNobody;
  return sched_others() || (*td)->td_sched != nullptr ? Who::kLwkt : Who::kKernel;
}

// For questions: where no LWKT was ever told anything, the kernel has the answer.
Who find_known(int32_t tid, thread** td) {
  Who who = find(tid, td);
  return who == Who::kLwkt && !process.known ? Who::kKernel : who;
}

// Whom the kernel is to be asked about in td's place, where all are alike: this kernel thread, since a program that
// filters its calls may allow a thread to ask about itself alone, or the first one.
uint64_t in_place_of(const thread* td) {
  auto first = tid_process();
  bool itself = td == curthread() && ((td->td_flags & TDF_MAIN) == 0 || mygd()->gd_ktid == first);
  return itself ? 0 : static_cast<uint64_t>(first);
}

// To the kernel, for the process's first kernel thread in the place of the only LWKT's id.
int forward(union sysunion* m, int i) {
  auto tid = static_cast<int32_t>(m->raw.arg[i]);
  if (tid >= kTidBase) {
    const thread* td = tid_find(tid);
    if (td == nullptr) return ESRCH;
    m->raw.arg[i] = in_place_of(td);
  }
  return sysport_trap(m);
}

// The same on every kernel thread: the process has one LWKT, and they may run it, or its threads to be.
int forward_to_all(union sysunion* m, int i) {
  auto tid = static_cast<int32_t>(m->raw.arg[i]);
  thread* td;
  if (tid < 0 || find(tid, &td) == Who::kNobody) return tid < 0 ? sysport_trap(m) : ESRCH;
  if (td == nullptr) return sysport_trap(m);
  Guard g(lock);
  process.known = false;
  int error = 0;
  each_kernel_thread([&](int32_t ktid) {
    m->raw.arg[i] = static_cast<uint64_t>(ktid);
    int e = sysport_trap(m);
    if (error == 0 && e != ESRCH) error = e;
  });
  return error;
}

// ---- niceness ---------------------------------------------------------------------------------

// know_process() has been called.
int32_t nice_of(const thread* td) {
  const threadsched* r = td->td_sched;
  return r != nullptr && r->has_nice ? r->nice : process.nice;
}

bool may_be_nice(int32_t nice) {
  rlimit limit{};
  raw2(SYS_getrlimit, RLIMIT_NICE, reinterpret_cast<long>(&limit));
  return static_cast<uint64_t>(20 - nice) <= limit.rlim_cur || cred_capable(CAP_SYS_NICE);
}

// If all LWKTs are equally nice now, the kernel threads are, too.
void agree_on_nice() {
  constexpr uint32_t kMost = 1000;  // it is a walk over all of them
  if (load_acquire(&nthreads) > kMost) return;
  bool first = true, agreed = true;
  int32_t all = 0;
  {
    Guard g(siglock);
    tid_each([&](const thread* td) {
      if (first) all = nice_of(td);
      first = false;
      agreed = nice_of(td) == all;
      return !agreed;
    });
  }
  if (!agreed || first || all == process.nice) return;
  process.nice = all;
  each_kernel_thread([&](int32_t ktid) { raw3(SYS_setpriority, PRIO_PROCESS, ktid, all); });
}

// ---- affinity ---------------------------------------------------------------------------------

void apply_masks() {
  constexpr uint32_t kMost = 1000;
  uint64_t all[kMaskWords] = {};
  if (load_acquire(&nthreads) <= kMost) {
    Guard g(siglock);
    tid_each([&](const thread* td) {
      const threadsched* r = td->td_sched;
      const uint64_t* mask = r != nullptr && r->has_mask ? r->mask : process.mask;
      for (uint32_t i = 0; i < kMaskWords; i++) all[i] |= mask[i];
      return false;
    });
  } else {
    for (uint32_t i = 0; i < kMaskWords; i++) all[i] = process.all[i] | process.mask[i];
  }
  bool same = true;
  for (uint32_t i = 0; i < kMaskWords; i++) {
    same = same && process.all[i] == all[i];
    process.all[i] = all[i];
  }
  if (same) return;
  each_kernel_thread([&](int32_t ktid) {
    raw3(SYS_sched_setaffinity, ktid, sizeof all, reinterpret_cast<long>(all));
  });
}

}  // namespace

int sys_sched_setaffinity(union sysunion* m) {
  const uint64_t* a = m->raw.arg;
  auto tid = static_cast<int32_t>(a[0]);
  thread* td = nullptr;
  Who who = find(tid, &td);
  if (who == Who::kNobody) return ESRCH;
  placement_stop();
  if (who == Who::kKernel) return td != nullptr ? forward_to_all(m, 0) : sysport_trap(m);
  Guard g(lock);
  know_process();
  uint64_t mask[kMaskWords] = {}, before[kMaskWords];
  // Tried out here, where it will be undone if others may use more.
  for (uint32_t i = 0; i < kMaskWords; i++) before[i] = process.all[i];
  long r = raw3(SYS_sched_setaffinity, 0, static_cast<long>(a[1]), static_cast<long>(a[2]));
  if (raw_failed(r)) return static_cast<int>(-r);
  raw3(SYS_sched_getaffinity, 0, sizeof mask, reinterpret_cast<long>(mask));
  raw3(SYS_sched_setaffinity, 0, sizeof before, reinterpret_cast<long>(before));
  {
    Guard s(siglock);
    if (find(tid, &td) == Who::kNobody) return ESRCH;
    threadsched* record = record_of(td);
    if (record == nullptr) return ENOMEM;
    record->has_mask = true;
    for (uint32_t i = 0; i < kMaskWords; i++) record->mask[i] = mask[i];
  }
  apply_masks();
  m->sm.sm_result = 0;
  return 0;
}

int sys_sched_getaffinity(union sysunion* m) {
  const uint64_t* a = m->raw.arg;
  auto tid = static_cast<int32_t>(a[0]);
  uint64_t mask[kMaskWords];
  {
    Guard g(lock);
    Guard s(siglock);
    thread* td = nullptr;
    Who who = find_known(tid, &td);
    if (who == Who::kNobody) return ESRCH;
    if (who == Who::kKernel) {
      if (td != nullptr) m->raw.arg[0] = 0;  // all have the same, but the caller's is whole (placement.h)
      return sysport_trap(m);
    }
    const threadsched* r = td->td_sched;
    const uint64_t* own = r != nullptr && r->has_mask ? r->mask : process.mask;
    for (uint32_t i = 0; i < kMaskWords; i++) mask[i] = own[i];
  }
  // The kernel says how long its masks are, and what is wrong with the caller's.
  m->raw.arg[0] = 0;
  int error = sysport_trap(m);
  if (error != 0) return error;
  auto n = static_cast<size_t>(m->sm.sm_result);
  if (n > sizeof mask) n = sizeof mask;
  return user_copy(reinterpret_cast<void*>(a[2]), mask, n) != 0 ? EFAULT : 0;
}

int sys_sched_yield(union sysunion* m) {
  m->sm.sm_result = 0;
  if (nthreads == 1) return sysport_trap(m);
  // Nobody here: other processes may want the cpu.
  if (!sched_yield_cpu()) return sysport_trap(m);
  return 0;
}

namespace {

int32_t first_tid(const union sysunion* m) { return static_cast<int32_t>(m->raw.arg[0]); }

// The class of this process's LWKT that argument 0 names. EAGAIN: it is the kernel's business.
int class_of(const union sysunion* m, int* policy, int* priority) {
  int32_t tid = first_tid(m);
  if (!schedclass_own() || tid < 0) return EAGAIN;
  int error = schedclass_get(tid, policy, priority);
  return error == ESRCH && tid < kTidBase ? EAGAIN : error;
}

int change_class(int32_t tid, int policy, int priority) {
  int base = rank_base;
  int error = schedclass_set(tid, policy, priority);
  if (sched_ranked != 0) inherit_class_changed(tid, rank_base != base);
  return error;
}

int set_class(union sysunion* m, int policy, uint64_t param_at) {
  sched_param p;
  if (param_at == 0) return EINVAL;
  if (user_copy(&p, reinterpret_cast<const void*>(param_at), sizeof p) != 0) return EFAULT;
  m->sm.sm_result = 0;
  return change_class(first_tid(m), policy, p.sched_priority);
}

struct SchedAttr {  // the kernel's struct sched_attr, its first version
  uint32_t size, policy;
  uint64_t flags;
  int32_t nice;
  uint32_t priority;
  uint64_t runtime, deadline, period;
};
inline constexpr uint64_t kResetOnFork = 1;  // in flags
inline constexpr int kPolicyReset = 0x40000000;  // SCHED_RESET_ON_FORK
inline constexpr uint32_t kSchedDeadline = 6;

}  // namespace

int sys_sched_setscheduler(union sysunion* m) {
  int policy, priority;
  int error = class_of(m, &policy, &priority);
  if (error != 0) return error == EAGAIN ? sysport_trap(m) : error;
  return set_class(m, static_cast<int>(m->raw.arg[1]), m->raw.arg[2]);
}

int sys_sched_setparam(union sysunion* m) {
  int policy, priority;
  int error = class_of(m, &policy, &priority);
  if (error != 0) return error == EAGAIN ? sysport_trap(m) : error;
  return set_class(m, policy, m->raw.arg[1]);
}

int sys_sched_getscheduler(union sysunion* m) {
  int policy, priority;
  int error = class_of(m, &policy, &priority);
  if (error != 0) return error == EAGAIN ? sysport_trap(m) : error;
  m->sm.sm_result = policy;
  return 0;
}

int sys_sched_getparam(union sysunion* m) {
  int policy;
  sched_param p{};
  int error = class_of(m, &policy, &p.sched_priority);
  if (error != 0) return error == EAGAIN ? sysport_trap(m) : error;
  m->sm.sm_result = 0;
  if (m->raw.arg[1] == 0) return EINVAL;
  return user_copy(reinterpret_cast<void*>(m->raw.arg[1]), &p, sizeof p) != 0 ? EFAULT : 0;
}

// The kernel thread has the caller's class, whoever asks about whom.
int sys_sched_rr_get_interval(union sysunion* m) {
  int policy, priority, mine, my_priority;
  int error = class_of(m, &policy, &priority);
  if (error != 0) return error == EAGAIN ? sysport_trap(m) : error;
  schedclass_get(0, &mine, &my_priority);
  if (policy != mine && rank_set_kernel(0, policy, priority) == 0) {
    mygd()->gd_class = rank_class(policy, priority);
  }
  m->raw.arg[0] = 0;
  error = sysport_trap(m);
  rank_settle(curthread());
  return error;
}

int sys_sched_setattr(union sysunion* m) {
  if (m->raw.arg[1] == 0 || static_cast<uint32_t>(m->raw.arg[2]) != 0) return EINVAL;
  int policy, priority;
  int error = class_of(m, &policy, &priority);
  if (error != 0) return error == EAGAIN ? sysport_trap(m) : error;
  SchedAttr a;
  if (user_copy(&a, reinterpret_cast<const void*>(m->raw.arg[1]), sizeof a) != 0) return EFAULT;
  if (a.policy >= kSchedDeadline || a.flags > kResetOnFork) return forward(m, 0);
  int32_t tid = first_tid(m);
  m->raw.arg[0] = 0;
  error = sysport_trap(m);  // checks the rest, and sets the nice value
  if (error != 0) return error;
  bool reset = (a.flags & kResetOnFork) != 0;
  return change_class(tid, static_cast<int>(a.policy) | (reset ? kPolicyReset : 0),
                      static_cast<int>(a.priority));
}

int sys_sched_getattr(union sysunion* m) {
  int policy, priority;
  int error = class_of(m, &policy, &priority);
  if (error != 0) return error == EAGAIN ? sysport_trap(m) : error;
  m->raw.arg[0] = 0;
  error = sysport_trap(m);
  if (error != 0) return error;
  auto* at = reinterpret_cast<SchedAttr*>(m->raw.arg[1]);
  auto plain = static_cast<uint32_t>(policy & ~kPolicyReset), real = static_cast<uint32_t>(priority);
  uint64_t flags = (policy & kPolicyReset) != 0 ? kResetOnFork : 0;
  bool bad = user_copy(&at->policy, &plain, sizeof plain) != 0 ||
             user_copy(&at->flags, &flags, sizeof flags) != 0 ||
             user_copy(&at->priority, &real, sizeof real) != 0;
  return bad ? EFAULT : 0;
}

int sys_getpriority(union sysunion* m) {
  const uint64_t* a = m->raw.arg;
  if (static_cast<int>(a[0]) != PRIO_PROCESS) return sysport_trap(m);
  Guard s(siglock);
  thread* td = nullptr;
  Who who = find_known(static_cast<int32_t>(a[1]), &td);
  if (who == Who::kNobody) return ESRCH;
  if (who == Who::kKernel) return forward(m, 1);
  m->sm.sm_result = 20 - nice_of(td);
  return 0;
}

int sys_setpriority(union sysunion* m) {
  const uint64_t* a = m->raw.arg;
  if (static_cast<int>(a[0]) != PRIO_PROCESS) return sysport_trap(m);
  auto tid = static_cast<int32_t>(a[1]);
  auto nice = static_cast<int32_t>(a[2]);
  nice = nice < -20 ? -20 : nice > 19 ? 19 : nice;
  {
    thread* td = nullptr;
    Who who = find(tid, &td);
    if (who == Who::kNobody) return ESRCH;
    if (who == Who::kKernel) return td != nullptr ? forward_to_all(m, 1) : sysport_trap(m);
  }
  Guard g(lock);
  know_process();
  {
    Guard s(siglock);
    thread* td = nullptr;
    if (find(tid, &td) == Who::kNobody) return ESRCH;
    if (nice < nice_of(td) && !may_be_nice(nice)) return EACCES;
    threadsched* r = record_of(td);
    if (r == nullptr) return ENOMEM;
    r->has_nice = true;
    r->nice = nice;
  }
  agree_on_nice();
  m->sm.sm_result = 0;
  return 0;
}

// ---- handing on ------------------------------------------------------------------------------

bool threadsched_inherit(thread* td, const thread* maker) {
  const threadsched* r = maker->td_sched;
  if (__builtin_expect(r == nullptr, 1)) return true;
  threadsched* copy = record_of(td);
  if (copy == nullptr) return false;
  *copy = *r;
  return true;
}

void threadsched_free(thread* td) {
  if (__builtin_expect(td->td_sched == nullptr, 1)) return;
  slab_free(td->td_sched, sizeof(threadsched));
  td->td_sched = nullptr;
}

namespace {
void apply_here(int32_t nice, const uint64_t* mask) {
  raw3(SYS_setpriority, PRIO_PROCESS, 0, nice);
  raw3(SYS_sched_setaffinity, 0, kMaskWords * sizeof(uint64_t), reinterpret_cast<long>(mask));
}
}  // namespace

void threadsched_lend(const thread* td) {
  if (__builtin_expect(td->td_boost != 0, 0)) rank_settle_own(td);
  const threadsched* r = td->td_sched;
  if (process.known) apply_here(nice_of(td), r != nullptr && r->has_mask ? r->mask : process.mask);
}

void threadsched_take() {
  if (__builtin_expect(sched_ranked != 0, 0)) rank_settle(curthread());
  if (process.known) apply_here(process.nice, process.all);
}

void threadsched_atfork_child(thread* td) {
  lock = GlobalLock{};
  threadsched_lend(td);
  td->td_sched = nullptr;  // the slab was given up; the kernel has it now
  td->td_slackdef = td->td_slack;
  process.known = false;
}

namespace {

// What the kernel keeps for each of its threads and does for each that has it. The first one is always there, and an
// LWKT is on any.
int on_first_kernel_thread(union sysunion* m) {
  auto first = tid_process();
  if (mygd()->gd_ktid == first) return sysport_trap(m);
  return sysport_result(m, broadcast_to(first, m->sm.sm_nr, m->raw.arg));
}

}  // namespace

int sys_prctl(union sysunion* m) {
  thread* td = curthread();
  uint64_t value = m->raw.arg[1];
  switch (static_cast<int>(m->raw.arg[0])) {
    case PR_SET_NAME: return threadname_set(m, value);
    case PR_GET_NAME: return threadname_get(m, value);
    case PR_SET_TIMERSLACK:
      td->td_slack = value != 0 ? value : td->td_slackdef;
      m->sm.sm_result = 0;
      // Alone it sleeps by plain traps; with others, by the timer queue, and the rforks have none.
      return sched_others() ? 0 : sysport_trap(m);
    case PR_GET_TIMERSLACK:
      m->sm.sm_result = static_cast<int64_t>(td->td_slack);
      return 0;
    case PR_SET_PDEATHSIG:
    case PR_GET_PDEATHSIG: return on_first_kernel_thread(m);
    case PR_GET_TID_ADDRESS:
      m->sm.sm_result = 0;
      return user_copy(reinterpret_cast<void*>(value), &td->td_cleartid, 8) != 0 ? EFAULT : 0;
    case PR_SET_SECCOMP: return seccomp_prctl(m);
    case PR_SET_KEEPCAPS:
    case PR_CAPBSET_DROP:
    case PR_SET_SECUREBITS:
    case PR_SET_NO_NEW_PRIVS:
    case PR_CAP_AMBIENT:
      return cred_prctl(m);
    default:
      return sysport_trap_first(m);
  }
}

int sys_arch_prctl(union sysunion* m) {
  constexpr uint64_t kSetGs = 0x1001, kSetFs = 0x1002, kGetGs = 0x1004;
  uint64_t code = m->raw.arg[0];
  if (kPercpuGs && (code == kSetGs || code == kGetGs)) return EPERM;
  int error = sysport_trap(m);
  if (error == 0 && code == kSetFs) curthread()->td_tls.base = m->raw.arg[1];
  return error;
}

int sys_membarrier(union sysunion* m) { return sysport_trap(m); }

}  // namespace cr
