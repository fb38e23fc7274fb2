// The monitor: one kernel thread, beside the cpus, that sees what no cpu can see for itself.
//
//   - a cpu whose holder sits in a trap while LWKTs, timers or IPIs wait for it: given to another
//     rfork;
//   - an LWKT that waits behind a running one while a cpu is idle: the idle cpu is woken;
//   - an LWKT that computes for a whole slice while others or IPIs wait: its rfork gets the IPI signal
//     and switches (src/signal/deliver.cc);
//   - LWKTs that switch by themselves while others wait: now and then one that wakes another lets it run
//     first (c_yield; syscalls/futex.cc). Without that a thread that takes a lock, yields, gives it back
//     and takes it again would be met with the lock in its hands each time, by all that wait, for ever;
//   - LWKTs that have used up their slices and wait behind others that don't: when these have had as much
//     time as is their share, counted in heads, one of the former has its turn (c_turn; sched.cc);
//   - a timer that is due while every cpu computes: the same;
//   - LWKTs that wait for events of the kernel while no cpu sleeps in the engine: an idle cpu is
//     woken to do it, a cpu in a trap given to another rfork, one that computes preempted once there
//     are events.
//
// It owns no cpu and touches no queue: it moves c_state, wakes and signals. How often it looks is
// asked for by those who see the need (monitor_poke): every kFast, backing off to kSlow unless it takes cpus from traps,
// where a cpu could be given something to do at once; every kSlow where only a slice may come to its end; and
// where neither was asked for it sleeps, so a program that needs no monitor has no ticks. A look
// costs 5 us here, most of it the kernel's, and for a wake-up of an LWKT now and then it was more
// than the rest when each one asked for kFast.
//
// Timers are the idle cpus' business. The monitor wakes kGrace after the first of them should
// have gone off (at once while a cpu sits in a trap), sees that it has, and sleeps until kGrace after
// the next. It publishes that time, so that only an earlier timer needs a poke. While it finds them served each
// time it comes later, up to kMostGrace: it is not needed then, and of 100,000 wake-ups a second its looks
// cost a tenth. For the same reason it stays awake longer when it is asked for again and again.

#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "../../arch/context.h"
#include "../../arch/rawcall.h"
#include "clock.h"
#include "ipiq.h"
#include "rank.h"
#include "rfork.h"

namespace cr {

uint32_t monitor_word;  // a futex: the MonitorWatch that it keeps

namespace {

inline constexpr uint64_t kFast = 100'000;       // ns
inline constexpr uint64_t kSlow = 5'000'000;     // ns
inline constexpr uint64_t kSlice = 10'000'000;   // ns an LWKT computes while others wait
inline constexpr uint64_t kTurn = 20'000'000;    // ns between those of LWKTs that switch often
inline constexpr uint64_t kGrace = 1'000'000;    // ns a timer may be late before the monitor looks
inline constexpr uint64_t kMostGrace = 4'000'000;
inline constexpr uint32_t kMostSlices = 10;      // that those with slices used up wait for others
inline constexpr int kRoundsToBackOff = 20;
inline constexpr int kQuietFast = 40;  // looks with nothing to do before it looks less often,
inline constexpr int kQuietSlow = 2;   // and before it sleeps,
inline constexpr int kQuietMost = 16;  // or as many where it was asked for again soon after
inline constexpr uint64_t kSoon = 20'000'000;
inline constexpr size_t kStack = 32 * 1024;

bool started;
uint64_t wake_at;  // when it looks next, ns of CLOCK_MONOTONIC
uint64_t grace = kGrace;
uint64_t fast = kFast;  // between two looks of MONITOR_FAST
int rounds;             // since that was last changed
globaldata* self_gd;

struct CpuSeen {
  uint32_t trapseq;
  uint64_t nswitch;
  uint64_t since;  // when nswitch was first seen
  uint64_t turn;   // when nobody waited here, or one that wakes another was last told to yield
  uint32_t spentrun;
  uint64_t passed;  // since when LWKTs run here that go before the spent ones
  uint64_t had;     // what the next spent one has had of its slice when it was interrupted, ns
};
CpuSeen seen[kMaxCpus];

bool ipi_waits(const cpu* c) { return (load_acquire(&c->c_ipipending) & IPI_KICKED) != 0; }

bool spent_runs(const cpu* c) {
  return load_acquire(&c->c_spentrun) == static_cast<uint32_t>(c->c_nswitch);
}

// The LWKT that runs since s.since is about to be interrupted.
void end_slice(cpu* c, CpuSeen& s, uint64_t now) {
  uint32_t mark = static_cast<uint32_t>(s.nswitch) + 1;
  uint64_t had = now - s.since;
  s.since = now;
  if (had + kSlice / 16 >= kSlice) {
    __atomic_store_n(&c->c_over, mark, __ATOMIC_RELAXED);
  } else if (spent_runs(c)) {
    // For another's deadline. It has the rest afterwards, or sleepers that keep step with the slices would
    // always take the time of the same ones.
    s.had = had;
    __atomic_store_n(&c->c_cut, mark, __ATOMIC_RELAXED);
  }
}

void note_switch(const cpu* c, CpuSeen& s, uint64_t now) {
  s.nswitch = c->c_nswitch;
  s.since = now;
  if (!spent_runs(c)) return;
  s.since = c->c_spentsince - s.had;
  s.had = 0;
}

// The turn of those that have used up their slices, beside others that leave the cpu to each other.
void give_turn(cpu* c, CpuSeen& s, uint64_t now) {
  uint32_t spent = sched_spent_count();
  uint32_t last = __atomic_load_n(&c->c_spentrun, __ATOMIC_RELAXED);
  if (spent == 0 || spent_runs(c) || last != s.spentrun) {
    s.spentrun = last;
    s.passed = now;
    return;
  }
  uint32_t others = load_acquire(&c->c_tail) - load_acquire(&c->c_head);
  uint32_t slices = others / spent;
  if (slices < 1) slices = 1;
  if (slices > kMostSlices) slices = kMostSlices;
  if (now - s.passed < slices * kSlice) return;
  s.passed = now;
  __atomic_store_n(&c->c_turn, 1u, __ATOMIC_RELAXED);
  // The holder may write its own over it: then its next regular look is in time, or the next turn.
  __atomic_store_n(&c->c_look, uint64_t{0}, __ATOMIC_SEQ_CST);
}

// A cpu taken from a trap may go into the next one, and so on: a hundred LWKTs that begin to wait by traps should not
// take a long interval each.
void look_sooner() {
  fast = fast / 2 > kFast ? fast / 2 : kFast;
  rounds = 0;
}

// True if the cpu was given something to do.
bool look_at(cpu* c, CpuSeen& s, uint64_t now, bool queued_elsewhere, bool unattended) {
  give_turn(c, s, now);
  uint32_t state = load_acquire(&c->c_state);
  bool work = sched_cpu_has_work(c) || queued_elsewhere || ipi_waits(c);
  uint64_t deadline = sched_hooks.timer_next();
  bool due = deadline <= now;
  if (state == CPU_TRAP) {
    bool same_trap = s.trapseq == c->c_trapseq;
    s.trapseq = c->c_trapseq;
    if (same_trap) {
      if ((work || due || unattended) && bus_cas<uint32_t>(&c->c_state, CPU_TRAP, CPU_RUN)) {
        if (rfork_assign(c)) look_sooner();
        return true;
      }
      return false;
    }
    // One short trap after the other: its LWKT has a slice like one that computes. No signal: the
    // trap may be a long one by now, and return less than it would have.
    if (s.nswitch != c->c_nswitch) {
      note_switch(c, s, now);
    } else if ((work || due) && now - s.since >= kSlice) {
      end_slice(c, s, now);
      __atomic_store_n(&c->c_yield, 1u, __ATOMIC_RELAXED);
      return true;
    }
    return false;
  }
  if (state != CPU_RUN) return false;
  due = due && deadline + kGrace <= now;
  if (due) __atomic_store_n(&grace, kGrace, __ATOMIC_RELAXED);
  if (s.nswitch != c->c_nswitch) {
    note_switch(c, s, now);
    if (!work) {
      s.turn = now;
    } else if (now - s.turn >= kTurn) {
      s.turn = now;
      __atomic_store_n(&c->c_yield, 1u, __ATOMIC_RELAXED);
    }
    if (!due) return false;
  }
  if (due || ((work || unattended) && now - s.since >= kSlice &&
              (work || sched_hooks.engine_events()))) {
    end_slice(c, s, now);
    globaldata* gd = c->c_gd;
    if (gd != nullptr && gd->gd_ktid != 0) rfork_interrupt(gd);
    return true;
  }
  return false;
}

bool look() {
  uint64_t now = clock_monotonic();
  // Longer, unless look_at finds a late one.
  uint64_t longer = grace * 2 < kMostGrace ? grace * 2 : kMostGrace;
  __atomic_store_n(&grace, sched_spent_count() != 0 ? kGrace : longer, __ATOMIC_RELAXED);
  bool global = sched_global_count() != 0;
  bool waiting = global;
  bool acted = false, ipis = false;
  for (int i = 0; i < ncpus; i++) {
    waiting = waiting || sched_cpu_has_work(cpus[i]);
    ipis = ipis || ipi_waits(cpus[i]);
  }
  bool unattended = sched_hooks.engine_unattended();
  if (waiting || unattended) rfork_spread();
  for (int i = 0; i < ncpus; i++) {
    acted = look_at(cpus[i], seen[i], now, global, unattended) || acted;
  }
  return acted || waiting || ipis || unattended;
}

// When the first slice of a spent LWKT ends: where they take turns none should have more than the others.
uint64_t first_slice_end() {
  uint64_t first = kNever;
  if (sched_spent_count() == 0) return first;
  for (int i = 0; i < ncpus; i++) {
    if (load_acquire(&cpus[i]->c_state) != CPU_RUN || !spent_runs(cpus[i])) continue;
    bool known = seen[i].nswitch == cpus[i]->c_nswitch;
    uint64_t end = (known ? seen[i].since : cpus[i]->c_spentsince - seen[i].had) + kSlice;
    if (end < first) first = end;
  }
  return first;
}

bool cpu_in_trap() {
  for (int i = 0; i < ncpus; i++) {
    if (load_acquire(&cpus[i]->c_state) == CPU_TRAP) return true;
  }
  return false;
}

// When a look is due: after `interval` or, where that is too long for the timer at `deadline`, once that is late;
// never sooner than kFast, or a timer that nobody can serve yet would make it spin. Or at the end of a slice.
uint64_t next_look(uint64_t interval, uint64_t deadline) {
  uint64_t now = clock_monotonic();
  uint64_t until = interval == kNever ? kNever : now + interval;
  if (interval <= kGrace) return until;
  if (!cpu_in_trap() && deadline != kNever) deadline += grace;
  uint64_t end = first_slice_end();
  if (end < deadline) deadline = end;
  if (deadline < now + kFast) deadline = now + kFast;
  return deadline < until ? deadline : until;
}

// Sleeps until the next look or until somebody asks for more than `level`.
void pause_for(uint32_t level, uint64_t interval) {
  uint64_t first = sched_hooks.timer_next();
  uint64_t until = next_look(interval, first);
  __atomic_store_n(&wake_at, until, __ATOMIC_SEQ_CST);
  // Whoever armed an earlier timer before that line may have seen the old wake_at.
  if (sched_hooks.timer_next() < first) return;
  timespec ts = clock_timespec(until);
  raw6(SYS_futex, reinterpret_cast<long>(&monitor_word), FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG, level,
       until == kNever ? 0 : reinterpret_cast<long>(&ts), 0, FUTEX_BITSET_MATCH_ANY);
}

// One level down, unless somebody asked for more meanwhile. Who wanted `level` between the last look
// and here saw that it was kept: so one more look. Who pokes has queued something by a plain store
// and reads monitor_word right after, perhaps before that store is seen here: the pause lets it come
// out, and spares every poke a fence.
void calm_down(uint32_t level) {
  bus_cas(&monitor_word, level, level - 1);
  clock_nap(kFast);
  if (look()) monitor_poke(static_cast<MonitorWatch>(level));
}

[[noreturn]] void monitor_main(void* arg) {
  auto* gd = static_cast<globaldata*>(arg);
  gd->gd_ktid = static_cast<int32_t>(raw0(SYS_gettid));
  uint32_t last = MONITOR_FAST;
  int quiet = 0, quiet_slow = kQuietSlow;
  uint64_t asleep_since = 0;
  for (;;) {
    uint32_t level = __atomic_load_n(&monitor_word, __ATOMIC_SEQ_CST);
    if (level > last) {
      if (last == MONITOR_ASLEEP) {
        bool soon = clock_monotonic() - asleep_since < kSoon;
        quiet_slow = !soon ? kQuietSlow : quiet_slow * 2 < kQuietMost ? quiet_slow * 2 : kQuietMost;
      }
      fast = kFast;
      quiet = rounds = 0;
    }
    last = level;
    pause_for(level, level == MONITOR_FAST ? fast : level == MONITOR_SLOW ? kSlow : kNever);
    sched_hooks.back_from_deaf();  // what is asked of every rfork: it makes others
    if (look()) {
      quiet = 0;
      if (level == MONITOR_ASLEEP) monitor_poke(MONITOR_SLOW);
    } else {
      quiet++;
    }
    if (++rounds >= kRoundsToBackOff) {
      fast = fast * 2 > kSlow ? kSlow : fast * 2;
      rounds = 0;
    }
    if (level != MONITOR_ASLEEP && quiet >= (level == MONITOR_FAST ? kQuietFast : quiet_slow)) {
      calm_down(level);
      if (level == MONITOR_SLOW) asleep_since = clock_monotonic();
      quiet = 0;
    }
  }
}

}  // namespace

bool monitor_running() { return started; }

void monitor_start() {
  started = true;
  size_t size = kStack + 8192;
  long p = raw_mmap(0, static_cast<long>(size), PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (raw_failed(p)) return;
  self_gd = reinterpret_cast<globaldata*>(p + static_cast<long>(kStack));
  auto* idle = reinterpret_cast<thread*>(self_gd + 1);
  self_gd->gd_self = self_gd;
  self_gd->gd_gate = gate_entry;
  if (!percpu_arch_make(&self_gd->gd_arch, self_gd)) {
    raw2(SYS_munmap, p, static_cast<long>(size));
    return;
  }
  self_gd->gd_curthread = idle;
  self_gd->gd_idle = idle;
  self_gd->gd_deaf = 1;
  self_gd->gd_xcalls = mygd()->gd_xcalls;
  idle->td_flags = TDF_IDLE | TDF_NOTLS;
  monitor_word = MONITOR_FAST;
  wake_at = 0;
  rfork_publish(self_gd);
  uint64_t all = kBlockAll, old = 0;  // it takes no signal, ever, but the broadcast's
  raw4(SYS_rt_sigprocmask, SIG_SETMASK, reinterpret_cast<long>(&all), reinterpret_cast<long>(&old),
       8);
  long tid = cpu_rfork(
      CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM,
      reinterpret_cast<void*>(p + static_cast<long>(kStack)), monitor_main, self_gd);
  if (raw_failed(tid)) store_release(&self_gd->gd_ktid, -1);
  raw4(SYS_rt_sigprocmask, SIG_SETMASK, reinterpret_cast<long>(&old), 0, 8);
}

void monitor_ask(MonitorWatch level) {
  if (!started) return;
  uint32_t seen = __atomic_load_n(&monitor_word, __ATOMIC_RELAXED);
  do {
    if (seen >= level) return;
  } while (!__atomic_compare_exchange_n(&monitor_word, &seen, level, false, __ATOMIC_SEQ_CST,
                                        __ATOMIC_SEQ_CST));
  raw3(SYS_futex, reinterpret_cast<long>(&monitor_word), FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 1);
}

void monitor_rank(int priority) {
  if (started && self_gd != nullptr && load_acquire(&self_gd->gd_ktid) > 0) {
    rank_set_kernel(self_gd->gd_ktid, SCHED_FIFO, priority);
    self_gd->gd_class = rank_class(SCHED_FIFO, priority);  // what it makes begins with that
  }
}

void monitor_nudge() {
  raw3(SYS_futex, reinterpret_cast<long>(&monitor_word), FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 1);
}

void monitor_poke_timer() {
  uint64_t deadline = sched_hooks.timer_next();
  if (deadline == kNever || !started) return;
  __atomic_thread_fence(__ATOMIC_SEQ_CST);  // between arming the timer and wake_at: pause_for
  uint64_t known = __atomic_load_n(&wake_at, __ATOMIC_RELAXED);
  if (deadline + __atomic_load_n(&grace, __ATOMIC_RELAXED) >= known) return;
  // One poke is enough until it has looked.
  if (!bus_cas(&wake_at, known, uint64_t{0})) return;
  if (__atomic_load_n(&monitor_word, __ATOMIC_SEQ_CST) >= MONITOR_SLOW) {
    raw3(SYS_futex, reinterpret_cast<long>(&monitor_word), FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 1);
  } else {
    monitor_poke(MONITOR_SLOW);
  }
}

void monitor_atfork_child() {
  started = false;
  grace = kGrace;
  fast = kFast;
  rounds = 0;
  monitor_word = MONITOR_ASLEEP;
  self_gd = nullptr;
  for (auto& s : seen) s = CpuSeen{};
}

}  // namespace cr
