// The monitor: one kernel thread, beside the cpus, that sees what no cpu can see for itself.
//
//   - a cpu whose holder sits in a trap while LWKTs or timers wait for it: given to another
//     rfork;
//   - an LWKT that waits behind a running one while a cpu is idle: the idle cpu is woken;
//   - an LWKT that computes for a whole slice while others wait: its rfork gets the IPI signal
//     and switches (src/signal/preempt.cc);
//   - a timer that is due while every cpu computes: the same;
//   - LWKTs that wait for events of the kernel while no cpu sleeps in the engine: an idle cpu is
//     woken to do it, a cpu in a trap given to another rfork, one that computes preempted once there
//     are events.
//
// It owns no cpu and touches no queue: it moves c_state, wakes and signals. It looks every
// kFast while something may need it, backs off to kSlow, and sleeps for good when nothing is
// queued anywhere: a program that needs no monitor has no ticks.

#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "../../arch/x86_64/context.h"
#include "../../arch/x86_64/rawcall.h"
#include "clock.h"
#include "rfork.h"

namespace cr {

uint32_t monitor_word;  // a futex

namespace {

inline constexpr uint64_t kFast = 50'000;        // ns
inline constexpr uint64_t kSlow = 5'000'000;     // ns
inline constexpr uint64_t kSlice = 10'000'000;   // ns an LWKT computes while others wait
inline constexpr int kRoundsToBackOff = 20;
inline constexpr int kRoundsToSleep = 40;
inline constexpr size_t kStack = 32 * 1024;

bool started;
globaldata* self_gd;

struct CpuSeen {
  uint32_t trapseq;
  uint64_t nswitch;
  uint64_t since;  // when nswitch was first seen
};
CpuSeen seen[kMaxCpus];

// True if the cpu was given something to do.
bool look_at(cpu* c, CpuSeen& s, uint64_t now, bool queued_elsewhere, bool unattended) {
  uint32_t state = load_acquire(&c->c_state);
  bool work = sched_cpu_has_work(c) || queued_elsewhere ||
              __atomic_load_n(&c->c_ndoubt, __ATOMIC_RELAXED) != 0;
  bool due = sched_hooks.timer_next() <= now;
  if (state == CPU_TRAP) {
    bool same_trap = s.trapseq == c->c_trapseq;
    s.trapseq = c->c_trapseq;
    if (!same_trap || !(work || due || unattended)) return false;
    uint32_t expect = CPU_TRAP;
    if (__atomic_compare_exchange_n(&c->c_state, &expect, static_cast<uint32_t>(CPU_RUN), false,
                                    __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {
      rfork_assign(c);
      return true;
    }
    return false;
  }
  if (state != CPU_RUN) return false;
  if (s.nswitch != c->c_nswitch) {
    s.nswitch = c->c_nswitch;
    s.since = now;
    if (!due) return false;
  }
  if (due || ((work || unattended) && now - s.since >= kSlice &&
              (work || sched_hooks.engine_events()))) {
    s.since = now;
    globaldata* gd = c->c_gd;
    if (gd != nullptr && gd->gd_ktid != 0) rfork_send_signal(gd, kIpiSignal);
    return true;
  }
  return false;
}

bool look() {
  uint64_t now = clock_monotonic();
  bool global = sched_global_count() != 0;
  bool waiting = global;
  bool acted = false;
  for (int i = 0; i < ncpus; i++) waiting = waiting || sched_cpu_has_work(cpus[i]);
  bool unattended = sched_hooks.engine_unattended();
  if (waiting || unattended) rfork_spread();
  for (int i = 0; i < ncpus; i++) {
    acted = look_at(cpus[i], seen[i], now, global, unattended) || acted;
  }
  return acted || waiting || unattended;
}

void pause_for(uint64_t ns) {
  timespec ts{static_cast<time_t>(ns / kSecond), static_cast<long>(ns % kSecond)};
  raw2(SYS_nanosleep, reinterpret_cast<long>(&ts), 0);
}

void sleep_for_good() {
  __atomic_store_n(&monitor_word, 0u, __ATOMIC_SEQ_CST);
  // A poke between the last look and here is lost to monitor_word; one more look catches it.
  if (look()) {
    __atomic_store_n(&monitor_word, 1u, __ATOMIC_SEQ_CST);
    return;
  }
  while (__atomic_load_n(&monitor_word, __ATOMIC_SEQ_CST) == 0) {
    // With timers pending and all cpus in traps or computing, wake for the first of them.
    uint64_t deadline = sched_hooks.timer_next();
    timespec ts{static_cast<time_t>(deadline / kSecond), static_cast<long>(deadline % kSecond)};
    long r = raw6(SYS_futex, reinterpret_cast<long>(&monitor_word),
                  FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG, 0,
                  deadline == kNever ? 0 : reinterpret_cast<long>(&ts), 0,
                  FUTEX_BITSET_MATCH_ANY);
    if (r == -110 /* ETIMEDOUT */) {
      __atomic_store_n(&monitor_word, 1u, __ATOMIC_SEQ_CST);
    }
  }
}

[[noreturn]] void monitor_main(void* arg) {
  auto* gd = static_cast<globaldata*>(arg);
  gd->gd_ktid = static_cast<int32_t>(raw0(SYS_gettid));
  uint64_t interval = kFast;
  int quiet = 0, rounds = 0;
  for (;;) {
    pause_for(interval);
    if (look()) {
      quiet = 0;
    } else {
      quiet++;
    }
    if (++rounds >= kRoundsToBackOff) {
      interval = interval * 2 > kSlow ? kSlow : interval * 2;
      rounds = 0;
    }
    if (quiet >= kRoundsToSleep) {
      sleep_for_good();
      quiet = rounds = 0;
      interval = kFast;
    }
  }
}

}  // namespace

bool monitor_running() { return started; }

void monitor_start() {
  started = true;
  size_t size = kStack + 8192;
  long p = raw6(SYS_mmap, 0, static_cast<long>(size), PROT_READ | PROT_WRITE,
                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (raw_failed(p)) return;
  self_gd = reinterpret_cast<globaldata*>(p + static_cast<long>(kStack));
  auto* idle = reinterpret_cast<thread*>(self_gd + 1);
  self_gd->gd_self = self_gd;
  self_gd->gd_gate = gate_entry;
  self_gd->gd_curthread = idle;
  self_gd->gd_idle = idle;
  self_gd->gd_deaf = 1;
  idle->td_flags = TDF_IDLE | TDF_NOTLS;
  monitor_word = 1;
  rfork_publish(self_gd);
  uint64_t all = ~0ull, old = 0;  // it takes no signal, ever, but the broadcast's
  raw4(SYS_rt_sigprocmask, SIG_SETMASK, reinterpret_cast<long>(&all), reinterpret_cast<long>(&old),
       8);
  cpu_rfork(CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM,
            reinterpret_cast<void*>(p + static_cast<long>(kStack)), monitor_main, self_gd);
  raw4(SYS_rt_sigprocmask, SIG_SETMASK, reinterpret_cast<long>(&old), 0, 8);
}

void monitor_wake() {
  if (!started) return;
  if (__atomic_exchange_n(&monitor_word, 1u, __ATOMIC_SEQ_CST) != 0) return;
  raw3(SYS_futex, reinterpret_cast<long>(&monitor_word), FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 1);
}

void monitor_atfork_child() {
  started = false;
  monitor_word = 0;
  self_gd = nullptr;
  for (auto& s : seen) s = CpuSeen{};
}

}  // namespace cr
