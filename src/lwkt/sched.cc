// The scheduler: run queues, the switch, sleeping and waking.
//
// Rules
//   - Each cpu has a ring that only its holder fills; the holder and thieves empty it, from the
//     same end, by compare-and-swap. So it is FIFO, needs no lock, and a thief needs nobody's
//     help: a cpu that computes without calls can still be robbed. (An IPI to the victim, the
//     DragonFly way, would wait for its next call.)
//   - What doesn't fit, and what an rfork without a cpu makes runnable, goes to the global
//     queue. A cpu looks there when its ring is empty and every 61st decision.
//   - An LWKT that was preempted at the end of its slice waits in a list of its own there, the spent
//     ones', behind everybody else: who wakes up among LWKTs that compute runs before them and not after
//     them all. When the others leave them nothing the monitor gives one of them a turn (c_turn), so that
//     both kinds have a share of the cpu (monitor.cc). A yield lets them go first, every 61st switch.
//   - A woken LWKT goes to the waker's ring: the data that the waker just wrote is in that
//     cpu's cache, and an idle cpu steals it if the waker goes on (rfork.cc, monitor.cc).
//   - An LWKT leaves the cpu only in switch_to(); td_running is set until its registers are
//     saved, and a cpu that picks it early waits for that.
//
// Costs here: enqueue + pick on one cpu ~3 ns, with several 8 ns (one bus lock), switch 5-20.

#include "sched.h"

#include <errno.h>
#include <sched.h>
#include <sys/syscall.h>
#include <time.h>

#include "../../arch/switch.h"
#include "../../arch/rawcall.h"
#include "assert.h"
#include "clock.h"
#include "cputime.h"
#include "eager.h"
#include "ipiq.h"
#include "rank.h"
#include "rfork.h"
#include "slices.h"
#include "spinlock.h"
#include "token.h"

namespace cr {

bool smp = false;
alignas(8) LiveCount sched_live = {1};
uint32_t sched_external;
uint32_t sched_nglobal;
uint64_t sched_timer_first = kNever;
cpu* sched_poller;
uint64_t sched_timers_until = kNever;
SchedHooks sched_hooks;

namespace {

inline constexpr int kRanks = 100;  // 1 to 99
inline constexpr uint32_t kGlobalEvery = 61;  // prime: no resonance with a program's period

// From the saved stack pointer up: the scheduler's frames, the call's, the program's own.
inline constexpr uint32_t kStackLines = 14;
// Where glibc keeps a thread's cancellation state (struct pthread of 2.34 to 2.41), which every
// cancellation point writes. Elsewhere the prefetch is of no use and does no harm.
inline constexpr uint32_t kTcbCancel = 0x300;

struct ThreadList {
  thread* head = nullptr;
  thread* tail = nullptr;

  void push(thread* td) {
    td->td_qnext = nullptr;
    if (tail != nullptr) {
      tail->td_qnext = td;
    } else {
      head = td;
    }
    tail = td;
  }
  void push_first(thread* td) {
    td->td_qnext = head;
    head = td;
    if (tail == nullptr) tail = td;
  }
  void put(thread* td, bool first) { first ? push_first(td) : push(td); }
  thread* pop() {
    thread* td = head;
    if (td == nullptr) return nullptr;
    head = td->td_qnext;
    if (head == nullptr) tail = nullptr;
    td->td_qnext = nullptr;
    return td;
  }
  bool remove(thread* td) {
    thread* before = nullptr;
    for (thread* at = head; at != nullptr; before = at, at = at->td_qnext) {
      if (at != td) continue;
      (before != nullptr ? before->td_qnext : head) = td->td_qnext;
      if (tail == td) tail = before;
      td->td_qnext = nullptr;
      return true;
    }
    return false;
  }
};

struct GlobalQueue {
  GlobalLock lock;
  ThreadList plain;
  ThreadList spent;           // used up their slices
  ThreadList ranked[kRanks];  // by rank (rank.h); [0] is unused
  int highest = 0;            // no list above it has anything
  uint32_t nranked = 0;
  uint32_t nspent = 0;
};
GlobalQueue globalq;

// What a pick takes from the global queue, but for the ranked.
enum class From { kPlain, kPlainFirst, kSpentFirst };

ReapHook reap_hook;

void count_global(int n) {
  __atomic_store_n(&sched_nglobal, sched_nglobal + static_cast<uint32_t>(n), __ATOMIC_RELAXED);
}

void global_push(thread* td, bool first = false) {
  Guard g(globalq.lock);
  int rank = td->td_rank;
  if (__builtin_expect(rank != 0, 0)) {
    globalq.ranked[rank].put(td, first);
    if (rank > globalq.highest) globalq.highest = rank;
    globalq.nranked++;
  } else {
    globalq.plain.push(td);
  }
  count_global(1);
  // Before the look whether the monitor is awake: who has no cpu keeps none from resting (monitor.cc).
  if (mygd()->gd_cpu == nullptr) __atomic_thread_fence(__ATOMIC_SEQ_CST);
}

thread* spent_pop(cpu* c, bool turn) {
  thread* td = globalq.spent.pop();
  if (td == nullptr) return nullptr;
  globalq.nspent--;
  uint32_t run = run_of(c) + 1;
  c->c_spentsince = clock_monotonic();
  if (turn) __atomic_store_n(&c->c_spentturn, run, __ATOMIC_RELAXED);
  store_release(&c->c_spentrun, run);
  return td;
}

thread* global_pop(cpu* c, From from) {
  uint32_t n = __atomic_load_n(&sched_nglobal, __ATOMIC_RELAXED);
  if (n == 0) return nullptr;
  if (from == From::kPlain && n == sched_spent_count()) return nullptr;
  Guard g(globalq.lock);
  thread* td = from == From::kSpentFirst ? spent_pop(c, true) : nullptr;
  if (td == nullptr) td = globalq.plain.pop();
  if (td == nullptr && from == From::kPlainFirst) td = spent_pop(c, false);
  if (td != nullptr) count_global(-1);
  return td;
}

// When the global queue is due, though the cpu has others.
thread* global_turn(cpu* c) {
  From from = c->c_turn != 0 ? From::kSpentFirst : From::kPlain;
  c->c_turn = 0;
  return global_pop(c, from);
}

// The highest of those whose rank is at least `least`, above 0.
thread* ranked_pop(int least) {
  if (__atomic_load_n(&globalq.nranked, __ATOMIC_RELAXED) == 0) return nullptr;
  int highest = __atomic_load_n(&globalq.highest, __ATOMIC_RELAXED);
  if (highest >= least) rank_settle_to_take(highest);
  Guard g(globalq.lock);
  for (; globalq.highest > 0; globalq.highest--) {
    if (globalq.ranked[globalq.highest].head == nullptr) continue;
    if (globalq.highest < least) return nullptr;
    globalq.nranked--;
    count_global(-1);
    return globalq.ranked[globalq.highest].pop();
  }
  return nullptr;
}

[[gnu::noinline]] void prefetch_group(const cpu* c, uint32_t h, uint32_t n) {
  const thread* group[kPrefetchGroup];
  if (n > kPrefetchGroup) n = kPrefetchGroup;
  for (uint32_t i = 0; i < n; i++) group[i] = c->c_ring[(h + i) % kRunqSize];
  sched_prefetch_pages(group, n);
}

// Thousands of LWKTs that take turns find none of their memory in the cache: some 15 lines each, a
// fifth of a microsecond and more, and none of their pages in the TLB. While one runs, the lines of the next one are
// fetched, and the structure of the one after it; pages are translated for several together.
// A thief that takes them makes it wasted, no more.
inline void prefetch_next(const cpu* c, uint32_t h, uint32_t t) {
  if (t - h < 3) return;  // two or three that take turns are in the cache
  if (h % kPrefetchGroup == 0) prefetch_group(c, h + 1, t - h - 1);
  const thread* after = c->c_ring[(h + 2) % kRunqSize];
  cpu_prefetch(after);  // what a switch, a trap's message and a sleep touch, of ten lines
  cpu_prefetch(&after->td_sysmsg.raw.sm.sm_result);
  cpu_prefetch(&after->td_sysmsg.raw.arg[5]);
  cpu_prefetch(&after->td_toks);
  sched_prefetch_stack(c->c_ring[(h + 1) % kRunqSize]);
}

inline thread* ring_pop(cpu* c) {
  for (;;) {
    uint32_t h = load_acquire(&c->c_head);
    uint32_t t = __atomic_load_n(&c->c_tail, __ATOMIC_RELAXED);
    if (h == t) return nullptr;
    thread* td = c->c_ring[h % kRunqSize];
    if (!atomic_cas(&c->c_head, h, h + 1)) continue;
    prefetch_next(c, h, t);
    return td;
  }
}

// Whether somebody waits in the victim's ring all the time, for a moment. Two that hand over to each other leave it empty
// each time, and are faster on one cpu; two that yield don't (exchange_shared).
bool keeps_waiting(const cpu* victim) {
  constexpr uint64_t kMoment = 1'000;  // ns
  uint32_t n = load_acquire(&victim->c_tail) - load_acquire(&victim->c_head);
  if (n != 1) return n != 0;
  uint64_t until = clock_monotonic() + kMoment;
  do {
    if (!sched_cpu_has_work(victim)) return false;
    cpu_pause();
  } while (clock_monotonic() < until);
  return true;
}

// Takes half of the victim's queue: the oldest runs here now, the rest is queued here. Null: there is none any more, or
// somebody else was faster.
thread* try_steal(cpu* victim, cpu* self) {
  uint32_t h = load_acquire(&victim->c_head);
  uint32_t t = load_acquire(&victim->c_tail);
  uint32_t n = t - h;
  if (n == 0 || n > kRunqSize) return nullptr;
  n -= n / 2;
  uint32_t mine = self->c_tail;  // our own ring is empty: thieves only run then
  thread* first = victim->c_ring[h % kRunqSize];
  for (uint32_t i = 1; i < n; i++) {
    self->c_ring[(mine + i - 1) % kRunqSize] = victim->c_ring[(h + i) % kRunqSize];
  }
  if (!atomic_cas(&victim->c_head, h, h + n)) return nullptr;
  store_release(&self->c_tail, mine + n - 1);
  self->c_nsteal += n;
  return first;
}

// Queues td in the ring of the holder, who calls. How many wait there then; 0: it is full.
[[gnu::always_inline]] inline uint32_t ring_push(cpu* c, thread* td) {
  uint32_t t = c->c_tail;
  uint32_t n = t - load_acquire(&c->c_head);
  if (__builtin_expect(n >= kRunqSize, 0)) return 0;
  c->c_ring[t % kRunqSize] = td;
  store_release(&c->c_tail, t + 1);
  return n + 1;
}

// `next` was woken before the cpu that it ran on has saved its context. That cpu may be here, too,
// waiting for td to be saved, so td must not wait for long: it leaves by the idle thread, which nobody
// waits for, and which may.
[[gnu::noinline]] thread* await_context(globaldata* gd, thread* td, thread* next) {
  for (uint32_t turn = 0;; turn++) {
    for (int i = 0; i < kSpinLimit; i++) {
      if (load_acquire(&next->td_running) == 0) return next;
      cpu_pause();
    }
    if (td != gd->gd_idle) break;
    spin_yield(turn);  // its rfork was preempted
  }
  sched_enqueue_global(next);  // whoever is in a ring of the only cpu is complete: sched_yield_cpu doesn't look
  return gd->gd_idle;
}

// Switches to `next`, whose context is complete.
[[gnu::always_inline]] inline void switch_to_saved(globaldata* gd, cpu* c, thread* td, thread* next) {
  next->td_running = 1;
  next->td_state = TDS_RUNNING;
  next->td_gd = gd;
  c->c_nswitch++;
  cpu_switch(td, next);
}

// Switches to `next`, which the caller took off a queue (or an idle thread).
[[gnu::always_inline]] inline void switch_to(globaldata* gd, cpu* c, thread* td, thread* next) {
  if (__builtin_expect(load_acquire(&next->td_running) != 0, 0)) next = await_context(gd, td, next);
  switch_to_saved(gd, c, td, next);
}

}  // namespace

void sched_prefetch_pages(const thread* const* td, uint32_t n) {
  for (uint32_t i = 0; i < n; i++) cpu_prefetch(reinterpret_cast<const void*>(td[i]->td_sp));
  for (uint32_t i = 0; i < n; i++) {
    cpu_prefetch(reinterpret_cast<const char*>(td[i]->td_tls.base) + kTcbCancel);
  }
}

void sched_prefetch_stack(const thread* td) {
  auto* stack = reinterpret_cast<const char*>(td->td_sp);
#pragma GCC unroll 16
  for (uint32_t i = 0; i < kStackLines; i++) cpu_prefetch(stack + i * kCacheLine);
  auto* tcb = reinterpret_cast<const char*>(td->td_tls.base);
  cpu_prefetch(tcb);
  cpu_prefetch(tcb + kTcbCancel);
}

void spin_contended(uint32_t* word) {
  for (uint32_t turn = 0;; turn++) {
    for (int i = 0; i < kSpinLimit; i++) {
      if (__atomic_load_n(word, __ATOMIC_RELAXED) == 0 &&
          __atomic_exchange_n(word, 1u, __ATOMIC_ACQUIRE) == 0) {
        return;
      }
      cpu_pause();
    }
    spin_yield(turn);  // the holder is a kernel thread that does not run
  }
}

void spin_yield(uint32_t turn) {
  if (__builtin_expect(sched_ranked == 0, 1)) {
    raw0(SYS_sched_yield);
    return;
  }
  // A yield is no use to one of a lower class. Nor are short naps of many: seven that wake each 20 us leave a processor
  // no time for the one that they wait for.
  constexpr uint64_t kNap = 20'000;
  constexpr uint32_t kLongest = 6;
  clock_nap(kNap << (turn < kLongest ? turn : kLongest));
}

void sched_set_reap_hook(ReapHook hook) { reap_hook = hook; }

uint32_t sched_spent_count() { return __atomic_load_n(&globalq.nspent, __ATOMIC_RELAXED); }

uint32_t sched_global_count() { return __atomic_load_n(&sched_nglobal, __ATOMIC_RELAXED); }

namespace {

// The cpu that runs the lowest rank below td's, if it is another one's.
void interrupt_lower(const thread* td) {
  globaldata* victim = nullptr;
  int lowest = td->td_rank;
  for (int i = 0; i < ncpus; i++) {
    cpu* c = cpus[i];
    if (load_acquire(&c->c_state) != CPU_RUN) continue;
    globaldata* gd = c->c_gd;
    const thread* runs = gd != nullptr ? gd->gd_curthread : nullptr;
    if (runs == nullptr || (runs->td_flags & TDF_IDLE) != 0 || runs->td_rank >= lowest) continue;
    lowest = runs->td_rank;
    victim = gd;
  }
  if (victim != nullptr && victim->gd_ktid > 0) rfork_interrupt(victim);
}

[[gnu::noinline]] void enqueue_ranked(thread* td, bool first = false) {
  global_push(td, first);
  thread* self = curthread();
  bool idle = (self->td_flags & TDF_IDLE) != 0;
  if (!idle && self != td && mygd()->gd_cpu != nullptr && self->td_rank < td->td_rank) {
    // The caller gives way on its way out. No other cpu is woken: it might take td at once, and
    // find the lock taken under which the caller has woken it.
    __atomic_or_fetch(&self->td_ast, AST_RESCHED, __ATOMIC_SEQ_CST);
    monitor_poke(MONITOR_FAST);
    return;
  }
  if (!idle && self != td) interrupt_lower(td);
  rfork_work_queued(kRunqSize);
}

}  // namespace

void sched_enqueue_global(thread* td) {
  global_push(td);
  rfork_work_queued(kRunqSize);
}

namespace {

[[gnu::always_inline]] inline void enqueue(thread* td) {
  KASSERT(td->td_state == TDS_RUNNABLE);
  if (__builtin_expect(td->td_rank != 0, 0)) return enqueue_ranked(td);
  cpu* c = mygd()->gd_cpu;
  if (__builtin_expect(c == nullptr, 0)) return sched_enqueue_global(td);
  uint32_t n = ring_push(c, td);
  if (__builtin_expect(n == 0, 0)) return sched_enqueue_global(td);
  if (__builtin_expect(ncpus > 1, 0)) return rfork_work_queued(n);
  monitor_poke_queued(n, MONITOR_SLOW);  // or one that computes for ever would keep td waiting for ever
}

}  // namespace

void sched_enqueue(thread* td) { enqueue(td); }

namespace {

void enqueue_spent(thread* td, bool first) {
  {
    Guard g(globalq.lock);
    globalq.spent.put(td, first);
    __atomic_store_n(&globalq.nspent, globalq.nspent + 1, __ATOMIC_RELAXED);
    count_global(1);
  }
  if (ncpus > 1) {
    rfork_work_queued(kRunqSize);
  } else {
    monitor_poke(MONITOR_SLOW);
  }
}

}  // namespace

bool lwkt_wake(thread* td, int64_t why) {
  if (!atomic_cas<uint32_t>(&td->td_state, TDS_BLOCKED, TDS_RUNNABLE)) return false;
  td->td_wakeval = why;
  enqueue(td);
  return true;
}

void sched_harvest() {
  cpu* c = mycpu();
  if (c->c_unsubmitted != 0 || sched_hooks.engine_unattended()) sched_hooks.engine_harvest(c);
}

namespace {

inline constexpr uint64_t kRankedMost = 950'000'000;  // ns; as the kernel's sched_rt_runtime_us
inline constexpr uint64_t kFairTurn = 50'000'000;

bool plain_waits(const cpu* c) {
  return sched_cpu_has_work(c) ||
         __atomic_load_n(&sched_nglobal, __ATOMIC_RELAXED) != __atomic_load_n(&globalq.nranked, __ATOMIC_RELAXED);
}

// Whether those of no rank have waited so long that it is their turn.
bool plain_turn(cpu* c) {
  if (!plain_waits(c)) {
    c->c_ranked_since = 0;
    return false;
  }
  uint64_t now = clock_monotonic();
  if (now < c->c_fair_until) return true;
  if (c->c_ranked_since == 0) c->c_ranked_since = now;
  if (now - c->c_ranked_since < kRankedMost) return false;
  c->c_ranked_since = 0;
  c->c_fair_until = now + kFairTurn;
  return true;
}

// The last that a pick looks at. While a spent one runs the monitor sees to timers and events.
thread* pop_last(cpu* c, From from) {
  thread* next = global_pop(c, from);
  if (next == nullptr || !spent_is_next(c)) return next;
  sched_lookout();
  monitor_poke_timer(true);
  return next;
}

bool only_spent_wait(const cpu* c) {
  uint32_t spent = sched_spent_count();
  return spent != 0 && spent == sched_global_count() && !sched_cpu_has_work(c);
}

// What a pick takes once there are ranks. `least`: no lower rank; 0: anybody. `from`: kPlain or, if a spent one will do,
// kPlainFirst.
[[gnu::noinline]] thread* pick_ranked(cpu* c, int least, From from) {
  thread* next = nullptr;
  bool look = c->c_nswitch % kGlobalEvery == 0 || only_spent_wait(c);
  if (look) {
    sched_run_timers();
    sched_harvest();
  }
  bool plain_first = plain_turn(c);
  if (!plain_first) next = ranked_pop(least > 1 ? least : 1);
  if (next == nullptr && (plain_first || least == 0)) {
    if (look || c->c_turn != 0) next = global_turn(c);
    if (next == nullptr) next = ring_pop(c);
    if (next == nullptr) next = pop_last(c, from);
    if (next != nullptr && !plain_first) c->c_ranked_since = 0;
  }
  return next;
}

// What a pick does now and then.
[[gnu::noinline]] thread* look_around(cpu* c, From from, bool* done) {
  eager_leaves(c, curthread());
  bool due = c->c_nswitch >= c->c_period;
  bool each = (due || c->c_exact != 0 || cputime_wanted()) && cputime_note(mygd(), c);
  if (__builtin_expect(sched_ranked != 0, 0)) {
    c->c_look = 0;
    thread* ranked = pick_ranked(c, 0, from);
    rank_settle_next(ranked);
    *done = true;
    return ranked;
  }
  thread* next = nullptr;
  if (due || c->c_turn != 0) {
    c->c_period = c->c_nswitch + kGlobalEvery;
    sched_run_timers();  // LWKTs that hand over to each other for ever never let idle do it
    // Events on top of a long queue would flow over into the global one, where they would wait for
    // every 61st decision. Yields alone can keep a queue long: now and then in any case.
    if (c->c_tail - load_acquire(&c->c_head) < kGlobalEvery || c->c_nswitch / kGlobalEvery % 8 == 0) {
      sched_harvest();
    }
    next = global_turn(c);
  }
  __atomic_store_n(&c->c_look, each ? c->c_nswitch : c->c_period, __ATOMIC_SEQ_CST);
  if (__builtin_expect(!each && cputime_wanted(), 0)) c->c_look = 0;  // since cputime_note
  return next;
}

// Whoever has used up his slices runs when there is nobody else here, those among them who only wait for somebody to look.
[[gnu::noinline]] thread* pick_spent(cpu* c) {
  sched_run_timers();
  sched_harvest();
  thread* next = ring_pop(c);
  return next != nullptr ? next : pop_last(c, From::kPlainFirst);
}

// `from` as with pick_ranked.
thread* pick_from(cpu* c, From from) {
  thread* next;
  if (__builtin_expect(load_acquire(&c->c_ipipending) != 0, 0)) process_ipiq();
  if (__builtin_expect(c->c_nswitch >= c->c_look, 0)) {
    bool done = false;
    next = look_around(c, from, &done);
    if (done || next != nullptr) return next;
  }
  next = ring_pop(c);
  if (next != nullptr) return next;
  if (__builtin_expect(from == From::kPlainFirst && sched_spent_count() != 0, 0)) return pick_spent(c);
  return global_pop(c, From::kPlain);
}

}  // namespace

thread* sched_pick(cpu* c) { return pick_from(c, From::kPlainFirst); }

thread* sched_steal(cpu* self) {
  for (int i = 1; i < ncpus; i++) {
    cpu* victim = cpus[(self->c_id + i) % ncpus];
    if (victim == nullptr) continue;
    while (keeps_waiting(victim)) {
      thread* td = try_steal(victim, self);
      if (td != nullptr) return td;
    }
  }
  return nullptr;
}

bool sched_alone() { return !sched_wanted(mycpu()); }

bool sched_cpu_has_work(const cpu* c) {
  return load_acquire(&c->c_head) != load_acquire(&c->c_tail);
}

bool sched_rings_keep_work(const cpu* self) {
  for (int i = 0; i < ncpus; i++) {
    if (cpus[i] != nullptr && cpus[i] != self && keeps_waiting(cpus[i])) return true;
  }
  return false;
}

bool sched_rings_have_work() {
  for (int i = 0; i < ncpus; i++) {
    if (cpus[i] != nullptr && sched_cpu_has_work(cpus[i])) return true;
  }
  return false;
}

namespace {

[[gnu::noinline]] void end_leaving(globaldata* gd, thread* td) {
  gd->gd_leaving = nullptr;
  auto word = reinterpret_cast<uintptr_t>(td);
  if ((word & kUnsettled) != 0) rank_settle(gd->gd_curthread);
  td = reinterpret_cast<thread*>(word & ~kUnsettled);
  if (td == nullptr) return;
  if (td->td_state == TDS_DEAD) {
    reap_hook(td);
  } else {
    rfork_migrate(td);
  }
}

[[gnu::always_inline]] inline void switch_return() {
  globaldata* gd = mygd();
  thread* td = gd->gd_leaving;
  if (__builtin_expect(td != nullptr, 0)) end_leaving(gd, td);
}

}  // namespace

// Runs on the new LWKT's stack after every switch: ends what could not end on the old one.
extern "C" void cr_switch_return() { switch_return(); }

namespace {

[[gnu::always_inline]] inline void leave_for(globaldata* gd, thread* td, thread* next) {
  if (__builtin_expect(next == td, 0)) {
    td->td_state = TDS_RUNNING;
    switch_return();  // the class that it was to be left for may be too high for it
    return;
  }
  switch_to(gd, gd->gd_cpu, td, next);
  switch_return();
}

// sched_pick, whose usual way on one cpu is short.
[[gnu::always_inline]] inline thread* pick(cpu* c) {
  uint32_t h = c->c_head, t = c->c_tail;
  bool usual = !smp && h != t && load_acquire(&c->c_ipipending) == 0 && c->c_nswitch < c->c_look;
  if (__builtin_expect(!usual, 0)) return sched_pick(c);
  thread* next = c->c_ring[h % kRunqSize];
  c->c_head = h + 1;
  prefetch_next(c, h, t);
  return next;
}

[[gnu::always_inline]] inline void leave(globaldata* gd, thread* td) {
  thread* next = pick(gd->gd_cpu);
  if (next == nullptr) {
    next = gd->gd_idle;
    if (next == td) return;
  }
  leave_for(gd, td, next);
}

[[gnu::noinline]] int64_t sleep_with_tokens(thread* td) {
  token_switch_out(td);
  leave(mygd(), td);
  KASSERT(td->td_state == TDS_RUNNING);
  int64_t why = td->td_wakeval;
  token_resume(td);
  return why;
}

// One frame from here to the switch: that is what lies on the stack of an LWKT that waits.
[[gnu::always_inline]] inline int64_t sleep(globaldata* gd, thread* td) {
  if (__builtin_expect(td->td_toks != nullptr, 0)) return sleep_with_tokens(td);
  leave(gd, td);
  td = curthread();
  KASSERT(td->td_state == TDS_RUNNING);
  return td->td_wakeval;
}

}  // namespace

void sched_switch_to(thread* next) {
  globaldata* gd = mygd();
  leave_for(gd, gd->gd_curthread, next);
}

void sched_switch() {
  globaldata* gd = mygd();
  leave(gd, gd->gd_curthread);
}

int64_t sched_sleep() {
  globaldata* gd = mygd();
  return sleep(gd, gd->gd_curthread);
}

int64_t sched_sleep_interruptible() {
  globaldata* gd = mygd();
  thread* td = gd->gd_curthread;
  // The poster sets AST_SIGNAL, then looks at the state: one of the two sees the other.
  if (smp) __atomic_thread_fence(__ATOMIC_SEQ_CST);
  // gd_ast alone says only that some signal hit this rfork, a preemption among them: whose it is
  // comes out here. It may wake td itself.
  if (__builtin_expect(gd->gd_ast != 0, 0)) sched_hooks.ast();
  if (__builtin_expect((load_acquire(&td->td_ast) & AST_SIGNAL) != 0, 0)) {
    if (atomic_cas<uint32_t>(&td->td_state, TDS_BLOCKED, TDS_RUNNING)) return -EINTR;
  }
  return sleep(gd, td);
}

int64_t sched_sleep_until(bool interruptible, uint64_t deadline) {
  thread* td = curthread();
  bool timed = deadline != kNever;
  if (timed && !sched_hooks.timer_arm(td, deadline)) lwkt_wake(td, -ETIMEDOUT);
  int64_t why = interruptible ? sched_sleep_interruptible() : sched_sleep();
  if (timed) sched_hooks.timer_cancel(td);
  return why;
}

namespace {

// Whether the yield is one between LWKTs that share a cpu and have no other business: it needs
// neither the pick nor the queueing of the two calls in sched_yield_cpu. 45 instructions less, 3 ns.
// The look that is due every 61 switches sees an IPI.
[[gnu::always_inline]] inline bool plain_exchange(const cpu* c) {
  return c->c_nswitch < c->c_look && monitor_awake() && sched_cpu_has_work(c);
}

// What one that gives up its cpu has had of its slice: it goes to the ring, behind all spent ones, or
// before them to have the rest.
enum class Slice { kNew, kOver, kCut };

// Slices are for those without a rank.
void requeue(thread* td, Slice slice) {
  if (slice != Slice::kNew && td->td_rank == 0) {
    enqueue_spent(td, slice == Slice::kCut);
  } else {
    sched_enqueue(td);
  }
}

// One that is cut goes on before the other spent ones.
From beside(Slice slice) { return slice == Slice::kCut ? From::kPlain : From::kPlainFirst; }

// A yield once there are ranks: those below the caller's don't get its cpu. `forced`: it didn't ask, and
// in SCHED_FIFO keeps its place before its equals.
[[gnu::noinline]] bool yield_ranked(globaldata* gd, bool forced, Slice slice) {
  cpu* c = gd->gd_cpu;
  thread* td = gd->gd_curthread;
  int mine = td->td_rank;
  bool stays = forced && mine != 0 && (td->td_policy & ~TDP_RESET) == SCHED_FIFO;
  sched_run_timers();
  int least = stays ? mine + 1 : mine;
  From from = beside(slice);
  thread* next = pick_ranked(c, least, from);
  if (next == nullptr) {
    sched_harvest();
    next = pick_ranked(c, least, from);
  }
  if (next == nullptr) {
    rank_settle(td);  // its class may be another one
    return false;
  }
  // Its class first: an idle cpu that the queueing wakes runs td at once, before this one has switched.
  rank_settle_next(next);
  // Who changes its rank sees it running, or it is queued by the new one.
  __atomic_store_n(&td->td_state, TDS_RUNNABLE, __ATOMIC_SEQ_CST);
  if (stays) {
    enqueue_ranked(td, true);
  } else {
    requeue(td, slice);
  }
  sched_switch_to(next);
  return true;
}

// The yield in all its cases. Not part of sched_yield_cpu, so that the plain one keeps no registers for it.
[[gnu::noinline]] bool yield_slowly(globaldata* gd, Slice slice) {
  if (__builtin_expect(sched_ranked != 0, 0)) return yield_ranked(gd, false, slice);
  cpu* c = gd->gd_cpu;
  // Of those that wait by yielding each may wait for one that computes.
  if (slice == Slice::kNew && c->c_nswitch >= c->c_period) c->c_turn = 1;
  thread* next = pick_from(c, beside(slice));
  if (next == nullptr) {
    // One that waits by yielding makes no switch, so no look at the timers and at the kernel's events
    // is ever due here. What it waits for may need one: every turn of two LWKTs that wait for each
    // other, one in a read, one by yields, would last until the monitor's next look, 10 ms.
    sched_run_timers();
    sched_harvest();
    next = pick_from(c, beside(slice));
  }
  if (next == nullptr) return false;
  thread* td = gd->gd_curthread;
  td->td_state = TDS_RUNNABLE;
  requeue(td, slice);
  sched_switch_to(next);
  return true;
}

}  // namespace

void sched_lookout() {
  if (sched_hooks.engine_unattended()) sched_hooks.lookout_keep();
}

bool sched_preempt_cpu() {
  globaldata* gd = mygd();
  const cpu* c = gd->gd_cpu;
  uint32_t mark = run_of(c) + 1;
  // A spent one stays one, whoever the interrupt was for. It has the rest of its slice first only if the monitor knows
  // how much that is.
  bool spent = spent_runs(c), cut = c->c_cut == mark;
  Slice slice = c->c_over == mark || (spent && !cut) ? Slice::kOver : cut ? Slice::kCut : Slice::kNew;
  bool gone = __builtin_expect(sched_ranked != 0, 0) ? yield_ranked(gd, true, slice)
              : slice != Slice::kNew                 ? yield_slowly(gd, slice)
                                                     : sched_yield_cpu();
  if (!gone && spent) sched_lookout();  // what it was interrupted for was nobody's, or another's already
  return gone;
}

namespace {

// Where thieves may look on: they are not to see the ring empty, or two that yield to each other would never part.
[[gnu::noinline]] bool exchange_shared(globaldata* gd, cpu* c) {
  thread* td = gd->gd_curthread;
  td->td_state = TDS_RUNNABLE;
  if (ring_push(c, td) == 0) {
    td->td_state = TDS_RUNNING;
    return yield_slowly(gd, Slice::kNew);
  }
  thread* next = ring_pop(c);
  leave_for(gd, td, next != nullptr ? next : gd->gd_idle);
  return next != td;
}

}  // namespace

bool sched_yield_cpu() {
  globaldata* gd = mygd();
  cpu* c = gd->gd_cpu;
  thread* td = gd->gd_curthread;
  if (__builtin_expect(plain_exchange(c), 1)) {
    if (smp) return exchange_shared(gd, c);
    uint32_t h = c->c_head, t = c->c_tail;
    thread* first = c->c_ring[h % kRunqSize];
    c->c_head = h + 1;
    td->td_state = TDS_RUNNABLE;
    c->c_ring[t % kRunqSize] = td;  // there is room: one was just taken
    c->c_tail = t + 1;
    KASSERT(first->td_running == 0);  // its context was saved on this cpu, or before it was queued
    switch_to_saved(gd, c, td, first);
    switch_return();
    return true;
  }
  return yield_slowly(gd, Slice::kNew);
}

void sched_exit() {
  globaldata* gd = mygd();
  thread* td = gd->gd_curthread;
  td->td_state = TDS_DEAD;
  gd->gd_leaving = td;
  sched_switch();
  CR_PANIC("a dead LWKT was scheduled");
}

void sched_resort() {
  ThreadList all;
  {
    Guard g(globalq.lock);
    for (int rank = globalq.highest; rank > 0; rank--) {
      while (thread* td = globalq.ranked[rank].pop()) all.push(td);
    }
    while (thread* td = globalq.plain.pop()) all.push(td);
    while (thread* td = globalq.spent.pop()) all.push(td);
    count_global(-static_cast<int>(sched_nglobal));
    globalq.highest = 0;
    globalq.nranked = 0;
    globalq.nspent = 0;
  }
  while (thread* td = all.pop()) sched_enqueue(td);
  for (int i = 0; i < ncpus; i++) {
    uint32_t n = load_acquire(&cpus[i]->c_tail) - load_acquire(&cpus[i]->c_head);
    for (; n > 0 && n <= kRunqSize; n--) {
      thread* td = ring_pop(cpus[i]);
      if (td == nullptr) break;
      sched_enqueue(td);
    }
  }
}

namespace {

bool take_from_global(thread* td) {
  Guard g(globalq.lock);
  bool ranked = false, spent = false;
  for (int rank = globalq.highest; rank > 0 && !ranked; rank--) ranked = globalq.ranked[rank].remove(td);
  if (!ranked) spent = globalq.spent.remove(td);
  if (!ranked && !spent && !globalq.plain.remove(td)) return false;
  if (ranked) globalq.nranked--;
  if (spent) globalq.nspent--;
  count_global(-1);
  return true;
}

// Those before it go to the caller's.
bool take_from_ring(cpu* c, const thread* td) {
  uint32_t h = load_acquire(&c->c_head), n = load_acquire(&c->c_tail) - h;
  bool there = false;
  for (uint32_t i = 0; i < n && n <= kRunqSize; i++) there = there || c->c_ring[(h + i) % kRunqSize] == td;
  for (; there && n > 0; n--) {
    thread* first = ring_pop(c);
    if (first == nullptr) break;
    if (first == td) return true;
    sched_enqueue(first);
  }
  return false;
}

bool take_queued(thread* td) {
  if (take_from_global(td)) return true;
  for (int i = 0; i < ncpus; i++) {
    if (take_from_ring(cpus[i], td)) return true;
  }
  return false;
}

}  // namespace

void sched_rank_changed(thread* td) {
  if (td == curthread()) {
    __atomic_or_fetch(&td->td_ast, AST_RESCHED, __ATOMIC_SEQ_CST);
    return;
  }
  // It may be on its way into a queue, which it was given by its old rank.
  constexpr int kTries = 10 * kSpinLimit;
  for (int i = 1; i <= kTries; i++) {
    uint32_t state = __atomic_load_n(&td->td_state, __ATOMIC_SEQ_CST);
    if (state == TDS_BLOCKED || state == TDS_DEAD) return;
    if (state == TDS_RUNNING) return rank_settle_other(td->td_gd);
    if (take_queued(td)) return sched_enqueue(td);
    spin_round(i);
  }
}

void sched_queue_reset() {
  globalq = GlobalQueue{};
  sched_nglobal = 0;
}

}  // namespace cr
