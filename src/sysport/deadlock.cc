#include "deadlock.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>

#include "../../arch/context.h"
#include "../../arch/abi.h"
#include "../../arch/rawcall.h"
#include "../gate/spawn.h"
#include "../async/timer.h"
#include "../gate/start.h"
#include "../lwkt/clock.h"
#include "../lwkt/rfork.h"
#include "../signal/signal.h"
#include "deadlock_report.h"
#include "tid.h"
#include "worker.h"

namespace cr {

namespace {

inline constexpr long kSetPtracer = 0x59616d61;  // PR_SET_PTRACER

OnDeadlock policy;
bool reported;
bool memory_is_shared;
uint64_t stderr_dev, stderr_ino;

// What was seen when the process began to stand still. Written by the one cpu that is the last to
// go idle; two that think so write the same.
uint64_t seen_switches = ~0ull;
uint64_t seen_at;
bool seen_excluded;

bool same(const char* a, const char* b) {
  while (*a != '\0' && *a == *b) a++, b++;
  return *a == *b;
}

// ---- what excludes a deadlock ---------------------------------------------------------------

bool cpus_stand_still(uint64_t* switches) {
  uint64_t sum = 0;
  for (int i = 0; i < ncpus; i++) {
    uint32_t state = load_acquire(&cpus[i]->c_state);
    if (state != CPU_IDLE && state != CPU_OFF) return false;
    sum += __atomic_load_n(&cpus[i]->c_nswitch, __ATOMIC_RELAXED);
  }
  *switches = sum;
  return true;
}

bool in_futex(const thread* td) {
  return load_acquire(&td->td_state) == TDS_BLOCKED && td->td_wprev != nullptr && td->td_timer < 0;
}

bool handler_may_run(uint64_t blocked_by_all) {
  for (int sig = 1; sig <= kNsig; sig++) {
    uint64_t bit = sigbit(sig);
    if ((bit & (kSynchronous | kNptlSignals | blocked_by_all)) != 0) continue;
    if (__atomic_load_n(&sigactions[sig].handler, __ATOMIC_RELAXED) > 1) return true;
  }
  return false;
}

bool timer_is_armed() {
  for (int which = ITIMER_REAL; which <= ITIMER_PROF; which++) {
    itimerval it{};
    raw2(SYS_getitimer, which, reinterpret_cast<long>(&it));
    if (it.it_value.tv_sec != 0 || it.it_value.tv_usec != 0) return true;
  }
  return false;
}

bool all_wait_on_locks() {
  uint64_t blocked = ~0ull;
  uint32_t waiting = 0;
  bool other = false;
  tid_each([&](thread* td) {
    blocked &= td->td_sigmask;
    other = !in_futex(td);
    waiting++;
    return other;
  });
  // LWKTs without a tid are those of libcr's own API, and workers with a call in flight.
  return !other && waiting + worker_idle_count() == load_acquire(&nthreads) && !handler_may_run(blocked) &&
         !timer_is_armed();
}

// ---- the report -------------------------------------------------------------------------------

struct Text {
  char data[512];
  size_t len = 0;
  void put(const char* s) {
    while (*s != '\0' && len < sizeof data) data[len++] = *s++;
  }
  void number(uint64_t v, unsigned base = 10) {
    char digits[24];
    int n = 0;
    do {
      digits[n++] = "0123456789abcdef"[v % base];
      v /= base;
    } while (v != 0);
    while (n > 0 && len < sizeof data) data[len++] = digits[--n];
  }
  void write_out() {
    raw3(SYS_write, 2, reinterpret_cast<long>(data), static_cast<long>(len));
    len = 0;
  }
};

// Descriptor 2 may be something else by now: a file that somebody's data are in.
bool stderr_is_for_messages() {
  struct stat st;
  if (raw_failed(raw2(kSysFstat, 2, reinterpret_cast<long>(&st)))) return false;
  if (st.st_dev == stderr_dev && st.st_ino == stderr_ino) return true;
  long flags = raw2(SYS_fcntl, 2, 3 /* F_GETFL */);
  return !raw_failed(flags) && (flags & 02000 /* O_APPEND */) != 0;
}

DeadlockThread* entries(DeadlockReport* r) { return reinterpret_cast<DeadlockThread*>(r + 1); }

DeadlockThread& add(DeadlockReport* r, const thread* td) {
  DeadlockThread& t = entries(r)[r->listed++];
  t.tid = td->td_tid;
  t.first = (td->td_flags & TDF_MAIN) != 0 ? 1 : 0;
  t.waits_on = td->td_waddr;
  t.clear_tid = td->td_cleartid;
  if (t.first == 0) {
    for (int i = 0; i < 16; i++) t.name[i] = td->td_comm[i];
  }
  return t;
}

DeadlockReport* make_report(uint64_t* size) {
  *size = sizeof(DeadlockReport) + kDeadlockMost * sizeof(DeadlockThread);
  long p = raw_mmap(0, static_cast<long>(*size), PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (raw_failed(p)) return nullptr;
  auto* r = reinterpret_cast<DeadlockReport*>(p);
  r->version = kDeadlockVersion;
  r->pid = static_cast<int32_t>(raw0(SYS_getpid));
  r->total = sched_program_threads();
  r->aborts = policy == OnDeadlock::kAbort ? 1 : 0;
  return r;
}

// `cr backtrace PID ADDRESS`: it says everything.
bool by_helper(const DeadlockReport* r) {
  const char* cr = analyser_path;
  if (cr == nullptr) return false;
  Text pid, at;
  pid.number(static_cast<uint64_t>(r->pid));
  pid.put("");
  pid.data[pid.len] = '\0';
  at.put("0x");
  at.number(reinterpret_cast<uintptr_t>(r), 16);
  at.data[at.len] = '\0';
  const char* argv[] = {cr, "backtrace", pid.data, at.data, nullptr};
  const char* envp[] = {"PATH=/usr/bin:/bin", nullptr};
  // Where only ancestors may look into a process (Yama), it must be told that this child may. There
  // is no asking what was set before.
  raw6(SYS_prctl, kSetPtracer, -1, 0, 0, 0, 0);
  bool done = spawn_and_wait(cr, argv, envp) == 0;
  raw6(SYS_prctl, kSetPtracer, 0, 0, 0, 0, 0);
  return done;
}

void by_ourselves(const DeadlockReport* r) {
  Text t;
  t.put("libcr: deadlock: all ");
  t.number(r->total);
  t.put(" threads of process ");
  t.number(static_cast<uint64_t>(r->pid));
  t.put(" wait on locks, and nothing in it can wake any (no backtraces: no cr backtrace)\n");
  t.write_out();
  for (uint32_t i = 0; i < r->listed; i++) {
    const DeadlockThread& d = reinterpret_cast<const DeadlockThread*>(r + 1)[i];
    t.put("libcr:   thread ");
    t.number(static_cast<uint64_t>(d.tid));
    if (d.name[0] != '\0') {
      t.put(" \"");
      t.put(d.name);
      t.put("\"");
    }
    t.put(" waits on the word at 0x");
    t.number(d.waits_on, 16);
    t.put("\n");
    t.write_out();
  }
  if (r->total > r->listed) {
    t.put("libcr:   and ");
    t.number(r->total - r->listed);
    t.put(" more\n");
    t.write_out();
  }
}

void say(const DeadlockReport* r) {
  if (!stderr_is_for_messages()) return;
  if (!by_helper(r)) by_ourselves(r);
}

void abort_process() {
  ksigaction dfl{};
  raw4(SYS_rt_sigaction, SIGABRT, reinterpret_cast<long>(&dfl), 0, 8);
  uint64_t only = ~sigbit(SIGABRT);
  raw4(SYS_rt_sigprocmask, SIG_SETMASK, reinterpret_cast<long>(&only), 0, 8);
  raw3(SYS_tgkill, raw0(SYS_getpid), raw0(SYS_gettid), SIGABRT);
}

void finish(DeadlockReport* r, uint64_t size) {
  say(r);
  raw2(SYS_munmap, reinterpret_cast<long>(r), static_cast<long>(size));
  if (policy == OnDeadlock::kAbort) abort_process();
}

void report_all() {
  uint64_t size;
  DeadlockReport* r = make_report(&size);
  if (r == nullptr) return;
  tid_each([&](const thread* td) {
    DeadlockThread& t = add(r, td);
    auto* f = reinterpret_cast<const switchframe*>(td->td_sp);
    t.pc = f->pc;
    t.bp = f->bp;
    // As the compiler knows it there: what cpu_switch pushed is not in the unwind tables.
    t.sp = td->td_sp + sizeof(switchframe);
    return r->listed == kDeadlockMost;
  });
  finish(r, size);
}

bool looks_hopeless() {
  return policy != OnDeadlock::kIgnore && !load_acquire(&reported) &&
         !load_acquire(&memory_is_shared);
}

}  // namespace

bool deadlock_init(const char* text) {
  struct stat st {};
  raw2(kSysFstat, 2, reinterpret_cast<long>(&st));
  stderr_dev = st.st_dev;
  stderr_ino = st.st_ino;
  if (text == nullptr || same(text, "report")) return true;
  if (same(text, "abort")) {
    policy = OnDeadlock::kAbort;
  } else if (same(text, "ignore")) {
    policy = OnDeadlock::kIgnore;
  } else {
    return false;
  }
  return true;
}

uint64_t deadlock_idle_until() {
  uint64_t switches;
  if (!looks_hopeless() || load_acquire(&sched_external) != 0 || sched_global_count() != 0 ||
      !cpus_stand_still(&switches)) {
    return kNever;
  }
  uint64_t now = clock_monotonic();
  if (switches != seen_switches) {
    seen_switches = switches;
    seen_at = now;
    seen_excluded = false;
  }
  if (seen_excluded) return kNever;
  if (now < seen_at + kDeadlockPatience) return seen_at + kDeadlockPatience;
  // Two cpus may come here at once: one says it.
  if (!all_wait_on_locks()) {
    seen_excluded = true;
  } else if (!__atomic_exchange_n(&reported, true, __ATOMIC_SEQ_CST)) {
    report_all();
  }
  return kNever;
}

void deadlock_shared_memory() { store_release(&memory_is_shared, true); }

bool deadlock_alone_excluded() {
  return !looks_hopeless() || handler_may_run(curthread()->td_sigmask) || timer_is_armed();
}

// noinline: the frame that the backtrace begins with.
[[gnu::noinline]] void deadlock_alone_report(uint64_t addr) {
  if (deadlock_alone_excluded() || __atomic_exchange_n(&reported, true, __ATOMIC_SEQ_CST)) return;
  uint64_t size;
  DeadlockReport* r = make_report(&size);
  if (r == nullptr) return;
  DeadlockThread& t = add(r, curthread());
  t.waits_on = addr;
  capture_registers(&t);
  finish(r, size);
}

void deadlock_atfork_child() {
  reported = false;
  memory_is_shared = false;
  seen_switches = ~0ull;
}

}  // namespace cr
