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
//   - LWKTs with slices used up that run while others wait for a timer or an event, or are just back from a trap
//     to find that another rfork has their cpu: one of them gives way at once, unless it is its turn, and has the rest
//     of its slice first of them all later on (slices.h);
//   - a timer that is due while every cpu computes otherwise: the IPI signal once it is late. Where a cpu idles
//     that does not look at timers, since those that do have something else to do: it is woken;
//   - LWKTs that wait for events of the kernel while no cpu sleeps in the engine: an idle cpu is
//     woken to do it, a cpu in a trap given to another rfork, one that has computed for a while interrupted.
//
// Once somebody has computed while LWKTs waited for events it sleeps in the lookout (src/async/lookout.h), which
// events end.
//
// It owns no cpu and touches no queue: it moves c_state, wakes and signals. How often it looks is
// asked for by those who see the need (monitor_poke): every kFast, backing off to kSlow unless it takes cpus from
// traps, where a cpu could be given something to do at once; every kSlow where only a slice may come to its end; and
// where neither was asked for it sleeps, so a program that needs no monitor has no ticks. A look
// costs 5 us here, in other virtual machines 20, most of it the kernel's, and for a wake-up of an LWKT now and then it
// was more than the rest when each one asked for kFast. So it sleeps as soon as no cpu runs anything (all_rest). To be
// asked for costs as much as a look: where that happens within kAtOnce, again and again, it stays awake and looks less often.
//
// Timers are the idle cpus' business. The monitor wakes kGrace after the first of them should
// have gone off (at once while a cpu sits in a trap), sees that it has, and sleeps until kGrace after
// the next. Where somebody computes and no cpu is idle it wakes for it in time. It publishes that time, so that only an
// earlier timer needs a poke. While it finds them served each time it comes later, up to kMostGrace: it is not needed
// then, and of 100,000 wake-ups a second its looks cost a tenth. For the same reason it stays awake longer when it is
// asked for again and again.

#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "../../arch/context.h"
#include "../../arch/rawcall.h"
#include "clock.h"
#include "ipiq.h"
#include "large.h"
#include "rank.h"
#include "rfork.h"
#include "slices.h"

namespace cr {

uint32_t monitor_word;  // a futex: the MonitorWatch that it keeps

namespace {

inline constexpr uint64_t kFast = 100'000;       // ns
inline constexpr uint64_t kSlow = 5'000'000;     // ns
inline constexpr uint64_t kBehind = 2'000'000;   // ns between looks for those behind one that computes
inline constexpr uint64_t kTurn = 20'000'000;    // ns between those of LWKTs that switch often
inline constexpr uint64_t kGrace = 1'000'000;    // ns a timer may be late before the monitor looks
inline constexpr uint64_t kMostGrace = 4'000'000;
inline constexpr int kRoundsToBackOff = 20;
inline constexpr int kQuietFast = 40;  // looks with nothing to do before it looks less often,
inline constexpr int kQuietSlow = 2;   // and before it sleeps,
inline constexpr int kQuietMost = 16;  // or as many where it was asked for again soon after
inline constexpr uint64_t kSoon = 20'000'000;
inline constexpr uint64_t kAtOnce = 1'000'000;
inline constexpr size_t kStack = 32 * 1024;

bool started;
uint64_t wake_at;  // when it looks next, ns of CLOCK_MONOTONIC
uint64_t grace = kGrace;
uint64_t fast = kFast;  // between two looks of MONITOR_FAST
int rounds;             // since that was last changed
globaldata* self_gd;
uint32_t dozing;  // it sleeps in the lookout, or is about to
uint32_t hurry;   // it is to look at once

CR_LARGE CpuSeen seen[kMaxCpus];

bool ipi_waits(const cpu* c) { return (load_acquire(&c->c_ipipending) & IPI_KICKED) != 0; }

// Nobody idles who would see to timers and events, and somebody computes.
bool computes_before_events() {
  bool any = false;
  for (int i = 0; i < ncpus; i++) {
    uint32_t state = load_acquire(&cpus[i]->c_state);
    if (state == CPU_IDLE) return false;
    any = any || (state == CPU_RUN && (spent_gives_way(cpus[i]) || spent_is_next(cpus[i])));
  }
  return any;
}

// A cpu taken from a trap may go into the next one, and so on: a hundred LWKTs that begin to wait by traps should not
// take a long interval each.
void look_sooner() {
  fast = fast / 2 > kFast ? fast / 2 : kFast;
  rounds = 0;
}

void look_later() {
  fast = fast * 2 > kSlow ? kSlow : fast * 2;
  rounds = 0;
}

// Who waits, at one look.
struct Waiting {
  uint64_t deadline;  // of the first timer,
  bool due;           // which has passed,
  bool late;          // by kGrace and more
  bool global;        // somebody in the global queue,
  bool plain;         // who is not spent
  bool unattended;    // LWKTs wait for events, and no cpu sleeps for these
  bool told;          // some have come,
  bool events;        // and nobody has seen to them
  bool spent_runs;    // somewhere: plain ones are not interrupted for events

  void served() { events = plain = due = false; }  // one cpu is enough to begin with
  void timers_seen_to() { due = late = false; }
};

bool waits_for_spent(const cpu* c, const Waiting& w) { return w.plain || w.events || w.due || sched_cpu_has_work(c); }

// True if the cpu was given something to do.
bool look_at_trap(cpu* c, CpuSeen& s, uint64_t now, Waiting& w, bool work) {
  if (s.trapseq == c->c_trapseq) {
    bool wanted = (work || w.due || w.unattended) && now - s.trapsince >= kFast;
    if (!wanted || !bus_cas<uint32_t>(&c->c_state, CPU_TRAP, CPU_RUN)) return false;
    if (rfork_assign(c)) {
      look_sooner();
      w.served();
    }
    return true;
  }
  s.trapseq = c->c_trapseq;
  s.trapsince = now;
  // One short trap after the other: its LWKT has a slice like one that computes. No signal: the
  // trap may be a long one by now, and return less than it would have.
  bool over = false;
  if (s.nswitch != c->c_nswitch) {
    slice_note_switch(c, s, now);
  } else {
    over = (work || w.due) && slice_had(s, now) >= kSlice;
  }
  if (!over && !(spent_gives_way(c) && waits_for_spent(c, w))) return false;
  slice_end(c, s, now, kSlice);
  __atomic_store_n(&c->c_yield, 1u, __ATOMIC_RELAXED);
  w.served();
  return true;
}

bool look_at_running(cpu* c, CpuSeen& s, uint64_t now, Waiting& w, bool work) {
  if (s.nswitch != c->c_nswitch) {
    slice_note_switch(c, s, now);
    if (!work) {
      s.turn = now;
    } else if (now - s.turn >= kTurn) {
      s.turn = now;
      __atomic_store_n(&c->c_yield, 1u, __ATOMIC_RELAXED);
    }
  }
  bool whole = slice_had(s, now) >= kSlice;
  if (whole && s.spent) slice_end_turn(c, s);
  bool spent = spent_gives_way(c), plain = !s.spent && now - s.since >= kLeast && only_computes(c);
  bool over = whole && (work || w.unattended) && (work || w.events || sched_hooks.engine_events());
  if (!w.late && !over && !(spent && waits_for_spent(c, w)) && !(plain && w.events && !w.spent_runs)) {
    if ((spent || plain) && w.unattended && !w.told) sched_hooks.lookout_keep();
    return false;
  }
  slice_end(c, s, now, over || s.spent ? kSlice : kLeast);
  globaldata* gd = c->c_gd;
  if (gd == nullptr || load_acquire(&gd->gd_ktid) <= 0) return false;
  // Its kernel thread may have been interrupted before, and not be on a processor: then somebody else.
  if (load_acquire(&gd->gd_interrupt) != kInterruptSent) w.served();
  rfork_interrupt(gd);
  return true;
}

bool look_at(cpu* c, CpuSeen& s, uint64_t now, Waiting& w) {
  slice_give_turn(c, s, now);
  uint32_t state = load_acquire(&c->c_state);
  bool work = sched_cpu_has_work(c) || w.global || ipi_waits(c);
  if (state == CPU_TRAP) return look_at_trap(c, s, now, w, work);
  return state == CPU_RUN && look_at_running(c, s, now, w, work);
}

Waiting who_waits(uint64_t now, bool told) {
  uint32_t queued = sched_global_count();
  Waiting w{};
  w.deadline = sched_hooks.timer_next();
  w.due = w.deadline <= now;
  w.late = w.due && w.deadline + kGrace <= now;
  w.global = queued != 0;
  w.plain = queued > sched_spent_count();
  w.unattended = sched_hooks.engine_unattended();
  w.told = told;
  for (int i = 0; i < ncpus; i++) {
    w.spent_runs = w.spent_runs || (load_acquire(&cpus[i]->c_state) == CPU_RUN && spent_gives_way(cpus[i]));
  }
  // Another cpu may have seen to them already; and where there is no lookout nobody tells of any.
  bool asks = told ? ncpus > 1 : w.spent_runs && !sched_hooks.lookout_stands();
  w.events = w.unattended && (asks ? sched_hooks.engine_events() : told);
  return w;
}

// Somebody took a spent one off its queue, and is not there yet: this look came too soon to interrupt it.
void look_again(const Waiting& w) {
  constexpr uint64_t kMoment = 20'000;
  if (!w.plain && !w.events) return;
  for (int i = 0; i < ncpus; i++) {
    if (load_acquire(&cpus[i]->c_state) != CPU_RUN || !spent_is_next(cpus[i])) continue;
    clock_nap(kMoment);
    if (w.events) sched_hooks.lookout_keep();
    __atomic_store_n(&hurry, 1u, __ATOMIC_SEQ_CST);
    return;
  }
}

// No cpu runs anything, or is to: what there is to see begins with somebody who asks for it. In this order: one that
// sits in a trap has queued before.
bool all_rest() {
  for (int i = 0; i < ncpus; i++) {
    if (load_acquire(&cpus[i]->c_state) == CPU_RUN || ipi_waits(cpus[i])) return false;
  }
  return sched_global_count() == 0 && !sched_rings_have_work() && !sched_hooks.engine_unattended();
}

enum class Seen { kRest, kQuiet, kBusy };  // all_rest; nothing to do; somebody waits, or was helped

// `told`: events have come, which the lookout tells of once.
Seen look(bool told) {
  uint64_t now = clock_monotonic();
  uint64_t longer = told ? grace : grace * 2 < kMostGrace ? grace * 2 : kMostGrace;
  Waiting w = who_waits(now, told);
  __atomic_store_n(&grace, w.late || sched_spent_count() != 0 ? kGrace : longer, __ATOMIC_RELAXED);
  bool waiting = w.global || sched_rings_have_work();
  bool acted = false, ipis = false;
  for (int i = 0; i < ncpus; i++) ipis = ipis || ipi_waits(cpus[i]);
  if (waiting || w.unattended) rfork_spread();
  // Those who idle may not look at the timers (rfork.cc), and are seldom asked to without need.
  if (w.due && w.deadline + kFast <= now && rfork_wake_for_timers()) w.timers_seen_to();
  for (int i = 0; i < ncpus; i++) acted = look_at(cpus[i], seen[i], now, w) || acted;
  if (!acted) look_again(w);
  if (acted || waiting || ipis || w.unattended) return Seen::kBusy;
  return all_rest() ? Seen::kRest : Seen::kQuiet;
}

// When the first slice of a spent LWKT ends: where they take turns none should have more than the others.
uint64_t first_slice_end() {
  uint64_t first = kNever;
  if (sched_spent_count() == 0) return first;
  for (int i = 0; i < ncpus; i++) {
    if (load_acquire(&cpus[i]->c_state) != CPU_RUN || !spent_runs(cpus[i])) continue;
    uint64_t end = slice_spent_end(cpus[i], seen[i]);
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

// Cpus idle that do not look at the timers, and nobody does for them.
bool left_alone(uint64_t deadline) {
  if (__atomic_load_n(&sched_timers_until, __ATOMIC_RELAXED) <= deadline) return false;
  for (int i = 0; i < ncpus; i++) {
    if (load_acquire(&cpus[i]->c_state) == CPU_IDLE) return true;
  }
  return false;
}

// When a look is due: after `interval` or, where that is too long for the timer at `deadline`, once that is late or, if
// somebody computes, when it is due. Or at the end of a slice. In any case not at once, or a timer that nobody can serve
// yet would make it spin.
uint64_t next_look(uint64_t interval, uint64_t deadline) {
  uint64_t now = clock_monotonic();
  uint64_t until = interval == kNever ? kNever : now + interval;
  bool computes = computes_before_events();
  if (interval <= kGrace && !computes) return until;
  if (!cpu_in_trap() && deadline != kNever && !computes) deadline += left_alone(deadline) ? kFast : grace;
  uint64_t end = first_slice_end();
  if (end < deadline) deadline = end;
  if (deadline <= now) deadline = now + kFast;
  return deadline < until ? deadline : until;
}

// Ends its sleep, for whoever changed monitor_word, wake_at or hurry before. Without a lookout one that is only about to
// sleep may miss a change of the latter two, until its next look.
void rouse() {
  if (__atomic_load_n(&dozing, __ATOMIC_SEQ_CST) != 0) {
    sched_hooks.lookout_rouse();
  } else {
    raw3(SYS_futex, reinterpret_cast<long>(&monitor_word), FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 1);
  }
}

bool doze(uint32_t level, uint64_t until) {
  __atomic_store_n(&dozing, 1u, __ATOMIC_SEQ_CST);
  bool same = sched_hooks.lookout_stands() && __atomic_load_n(&monitor_word, __ATOMIC_SEQ_CST) == level &&
              __atomic_load_n(&wake_at, __ATOMIC_SEQ_CST) == until && __atomic_load_n(&hurry, __ATOMIC_SEQ_CST) == 0;
  bool events = same && sched_hooks.lookout_sleep(until);
  __atomic_store_n(&dozing, 0u, __ATOMIC_SEQ_CST);
  return events;
}

uint64_t interval_of(uint32_t level) {
  if (level == MONITOR_ASLEEP) return kNever;
  uint64_t interval = level == MONITOR_FAST ? fast : kSlow;
  if (interval <= kBehind || !computes_before_events()) return interval;
  bool plain = sched_global_count() > sched_spent_count() || sched_rings_have_work();
  return plain || sched_hooks.engine_unattended() ? kBehind : interval;
}

// Sleeps until the next look, until somebody asks for more than `level`, or until there are events that nobody else
// looks for: true then.
bool pause_for(uint32_t level) {
  uint64_t first = sched_hooks.timer_next();
  uint64_t until = next_look(interval_of(level), first);
  __atomic_store_n(&wake_at, until, __ATOMIC_SEQ_CST);
  // Whoever armed an earlier timer before that line may have seen the old wake_at.
  if (sched_hooks.timer_next() < first) return false;
  if (sched_hooks.lookout_stands()) return doze(level, until);
  if (__atomic_load_n(&hurry, __ATOMIC_SEQ_CST) != 0) return false;
  timespec ts = clock_timespec(until);
  raw6(SYS_futex, reinterpret_cast<long>(&monitor_word), FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG, level,
       until == kNever ? 0 : reinterpret_cast<long>(&ts), 0, FUTEX_BITSET_MATCH_ANY);
  return false;
}

// From `level` down to `to`, unless somebody asked for more meanwhile. Who wanted `level` between the last look
// and here saw that it was kept: so one more look. Who pokes has queued something by a plain store
// and reads monitor_word right after, perhaps before that store is seen here: the pause lets it come
// out, and spares every poke a fence. None is needed where all cpus rest still: to leave that state is a fence.
void calm_down(uint32_t level, uint32_t to) {
  bus_cas(&monitor_word, level, to);
  if (all_rest()) return;
  clock_nap(kFast);
  if (look(false) == Seen::kBusy) monitor_poke(static_cast<MonitorWatch>(level));
}

// How long the monitor goes on looking though there is nothing to do.
struct Patience {
  int slow = kQuietSlow;  // looks with nothing to do before it sleeps
  uint64_t asleep_since = 0;
  uint64_t nswitch = 0;   // of all cpus, at the last look

  void asked_for_again() {
    uint64_t slept = clock_monotonic() - asleep_since;
    slow = slept >= kSoon ? kQuietSlow : slow * 2 < kQuietMost ? slow * 2 : kQuietMost;
    if (slept < kAtOnce) {
      look_later();
      if (fast > kAtOnce) fast = kAtOnce;
    } else if (slept < kSoon) {
      look_sooner();
    } else {
      fast = kFast;
      rounds = 0;
    }
  }

  // All rest and, where that has turned out not to last, have since the last look.
  bool rest(Seen found) {
    uint64_t before = nswitch;
    nswitch = 0;
    for (int i = 0; i < ncpus; i++) nswitch += cpus[i]->c_nswitch;
    return found == Seen::kRest && (fast == kFast || nswitch == before);
  }
};

[[noreturn]] void monitor_main(void* arg) {
  auto* gd = static_cast<globaldata*>(arg);
  gd->gd_ktid = static_cast<int32_t>(raw0(SYS_gettid));
  uint32_t last = MONITOR_FAST;
  int quiet = 0;
  Patience patience;
  for (;;) {
    uint32_t level = __atomic_load_n(&monitor_word, __ATOMIC_SEQ_CST);
    if (level > last) {
      if (last == MONITOR_ASLEEP) {
        patience.asked_for_again();
      } else {
        fast = kFast;
        rounds = 0;
      }
      quiet = 0;
    }
    last = level;
    bool events = pause_for(level);
    __atomic_store_n(&hurry, 0u, __ATOMIC_SEQ_CST);
    sched_hooks.back_from_deaf();  // what is asked of every rfork: it makes others
    Seen found = look(events);
    bool rest = patience.rest(found);
    quiet = found == Seen::kBusy ? 0 : quiet + 1;
    // Those that it was woken for don't count.
    if (wake_at != 0 && clock_monotonic() >= wake_at && ++rounds >= kRoundsToBackOff) look_later();
    if (level == MONITOR_ASLEEP) {
      if (found == Seen::kBusy) monitor_poke(MONITOR_SLOW);
    } else if (rest || quiet >= (level == MONITOR_FAST ? kQuietFast : patience.slow)) {
      uint32_t to = rest ? MONITOR_ASLEEP : level - 1;
      calm_down(level, to);
      if (to == MONITOR_ASLEEP) patience.asleep_since = clock_monotonic();
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
  rouse();
}

void monitor_rank(int priority) {
  if (started && self_gd != nullptr && load_acquire(&self_gd->gd_ktid) > 0) {
    rank_set_kernel(self_gd->gd_ktid, SCHED_FIFO, priority);
    self_gd->gd_class = rank_class(SCHED_FIFO, priority);  // what it makes begins with that
  }
}

void monitor_nudge() { rouse(); }

void monitor_make_way() {
  if (!started || !computes_before_events() || __atomic_exchange_n(&hurry, 1u, __ATOMIC_SEQ_CST) != 0) return;
  rouse();
}

void monitor_leave_lookout() {
  if (!started) return;
  while (__atomic_load_n(&dozing, __ATOMIC_SEQ_CST) != 0) {
    sched_hooks.lookout_rouse();
    clock_nap(kFast);
  }
}

void monitor_poke_timer(bool exact) {
  uint64_t deadline = sched_hooks.timer_next();
  if (deadline == kNever || !started) return;
  __atomic_thread_fence(__ATOMIC_SEQ_CST);  // between arming the timer and wake_at: pause_for
  uint64_t known = __atomic_load_n(&wake_at, __ATOMIC_RELAXED);
  if (deadline + (exact ? 0 : __atomic_load_n(&grace, __ATOMIC_RELAXED)) >= known) return;
  // One poke is enough until it has looked.
  if (!bus_cas(&wake_at, known, uint64_t{0})) return;
  if (__atomic_load_n(&monitor_word, __ATOMIC_SEQ_CST) >= MONITOR_SLOW) {
    rouse();
  } else {
    monitor_poke(MONITOR_SLOW);
  }
}

void monitor_atfork_child() {
  // Without a monitor none of it was written, and the child has no page to copy.
  for (int i = 0; started && i < ncpus; i++) seen[i] = CpuSeen{};
  started = false;
  grace = kGrace;
  fast = kFast;
  rounds = 0;
  dozing = hurry = 0;
  monitor_word = MONITOR_ASLEEP;
  self_gd = nullptr;
}

}  // namespace cr
