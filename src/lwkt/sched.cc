// The scheduler: run queues, the switch, sleeping and waking.
//
// Rules
//   - Each cpu has a ring that only its holder fills; the holder and thieves empty it, from the
//     same end, by compare-and-swap. So it is FIFO, needs no lock, and a thief needs nobody's
//     help: a cpu that computes without calls can still be robbed. (An IPI to the victim, the
//     DragonFly way, would wait for its next call.)
//   - What doesn't fit, and what an rfork without a cpu makes runnable, goes to the global
//     queue. A cpu looks there when its ring is empty and every 61st decision.
//   - A woken LWKT goes to the waker's ring: the data that the waker just wrote is in that
//     cpu's cache, and an idle cpu steals it if the waker goes on (rfork.cc, monitor.cc).
//   - An LWKT leaves the cpu only in switch_to(); td_running is set until its registers are
//     saved, and a cpu that picks it early waits for that.
//
// Costs here: enqueue + pick on one cpu ~3 ns, with several 8 ns (one bus lock), switch 5-20.

#include "sched.h"

#include <errno.h>

#include "../../arch/switch.h"
#include "../../arch/rawcall.h"
#include "assert.h"
#include "clock.h"
#include "ipiq.h"
#include "rfork.h"
#include "spinlock.h"
#include "token.h"

namespace cr {

bool smp = false;
alignas(8) LiveCount sched_live = {1};
uint32_t sched_external;
uint32_t sched_nglobal;
uint64_t sched_timer_first = kNever;
cpu* sched_poller;
SchedHooks sched_hooks;

namespace {

inline constexpr uint32_t kGlobalEvery = 61;  // prime: no resonance with a program's period

// From the saved stack pointer up: the scheduler's frames, the call's, the program's own.
inline constexpr uint32_t kStackLines = 14;
// Where glibc keeps a thread's cancellation state (struct pthread of 2.34 to 2.41), which every
// cancellation point writes. Elsewhere the prefetch is of no use and does no harm.
inline constexpr uint32_t kTcbCancel = 0x300;

struct GlobalQueue {
  GlobalLock lock;
  thread* head = nullptr;
  thread* tail = nullptr;
};
GlobalQueue globalq;

ReapHook reap_hook;

void global_push(thread* td) {
  td->td_qnext = nullptr;
  Guard g(globalq.lock);
  if (globalq.tail != nullptr) {
    globalq.tail->td_qnext = td;
  } else {
    globalq.head = td;
  }
  globalq.tail = td;
  __atomic_store_n(&sched_nglobal, sched_nglobal + 1, __ATOMIC_RELAXED);
}

thread* global_pop() {
  if (__atomic_load_n(&sched_nglobal, __ATOMIC_RELAXED) == 0) return nullptr;
  Guard g(globalq.lock);
  thread* td = globalq.head;
  if (td == nullptr) return nullptr;
  globalq.head = td->td_qnext;
  if (globalq.head == nullptr) globalq.tail = nullptr;
  __atomic_store_n(&sched_nglobal, sched_nglobal - 1, __ATOMIC_RELAXED);
  td->td_qnext = nullptr;
  return td;
}

// Thousands of LWKTs that take turns find none of their memory in the cache: some 15 lines each, a
// fifth of a microsecond and more. While one runs, those of the next one are fetched, and the
// structure of the one after it. A thief that takes them makes it wasted, no more.
inline void prefetch_next(const cpu* c, uint32_t h, uint32_t t) {
  if (t - h < 3) return;  // two or three that take turns are in the cache
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

// Takes half of the victim's queue: the oldest runs here now, the rest is queued here.
thread* steal_from(cpu* victim, cpu* self) {
  for (;;) {
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
    if (!atomic_cas(&victim->c_head, h, h + n)) continue;
    store_release(&self->c_tail, mine + n - 1);
    self->c_nsteal += n;
    return first;
  }
}

// Another cpu has queued `next` and not yet saved its context.
[[gnu::noinline]] void await_context(thread* next) {
  while (load_acquire(&next->td_running) != 0) {
    for (int i = 0; i < kSpinLimit && load_acquire(&next->td_running) != 0; i++) cpu_pause();
    if (load_acquire(&next->td_running) != 0) raw0(24);  // sched_yield: its rfork was preempted
  }
}

// Switches to `next`, which the caller took off a queue (or an idle thread).
[[gnu::always_inline]] inline void switch_to(globaldata* gd, cpu* c, thread* td, thread* next) {
  if (__builtin_expect(load_acquire(&next->td_running) != 0, 0)) await_context(next);
  next->td_running = 1;
  next->td_state = TDS_RUNNING;
  next->td_gd = gd;
  c->c_nswitch++;
  cpu_switch(td, next);
}

}  // namespace

void sched_prefetch_stack(const thread* td) {
  auto* stack = reinterpret_cast<const char*>(td->td_sp);
  for (uint32_t i = 0; i < kStackLines; i++) cpu_prefetch(stack + i * kCacheLine);
  auto* tcb = reinterpret_cast<const char*>(td->td_tls.base);
  cpu_prefetch(tcb);
  cpu_prefetch(tcb + kTcbCancel);
}

void spin_contended(uint32_t* word) {
  for (;;) {
    for (int i = 0; i < kSpinLimit; i++) {
      if (__atomic_load_n(word, __ATOMIC_RELAXED) == 0 &&
          __atomic_exchange_n(word, 1u, __ATOMIC_ACQUIRE) == 0) {
        return;
      }
      cpu_pause();
    }
    raw0(24);  // sched_yield: the holder is a kernel thread that does not run
  }
}

void sched_set_reap_hook(ReapHook hook) { reap_hook = hook; }

uint32_t sched_global_count() { return __atomic_load_n(&sched_nglobal, __ATOMIC_RELAXED); }

void sched_enqueue(thread* td) {
  KASSERT(td->td_state == TDS_RUNNABLE);
  cpu* c = mygd()->gd_cpu;
  if (__builtin_expect(c != nullptr, 1)) {
    uint32_t t = c->c_tail;
    uint32_t n = t - load_acquire(&c->c_head);
    if (__builtin_expect(n < kRunqSize, 1)) {
      c->c_ring[t % kRunqSize] = td;
      store_release(&c->c_tail, t + 1);
      if (__builtin_expect(ncpus > 1, 0)) {
        rfork_work_queued(n + 1);
      } else {
        monitor_poke(MONITOR_SLOW);  // or one that computes for ever would keep td waiting for ever
      }
      return;
    }
  }
  global_push(td);
  rfork_work_queued(kRunqSize);
}

void sched_enqueue_global(thread* td) {
  global_push(td);
  rfork_work_queued(kRunqSize);
}

bool lwkt_wake(thread* td, int64_t why) {
  if (!atomic_cas<uint32_t>(&td->td_state, TDS_BLOCKED, TDS_RUNNABLE)) return false;
  td->td_wakeval = why;
  sched_enqueue(td);
  return true;
}

void sched_harvest() {
  cpu* c = mycpu();
  if (c->c_ndoubt != 0) sched_hooks.settle_doubts(c);
  if (c->c_unsubmitted != 0 || sched_hooks.engine_unattended()) sched_hooks.engine_harvest(c);
}

thread* sched_pick(cpu* c) {
  thread* next;
  if (__builtin_expect(load_acquire(&c->c_ipipending) != 0, 0)) process_ipiq();
  if (__builtin_expect(c->c_nswitch >= c->c_look, 0)) {
    c->c_look = c->c_nswitch + kGlobalEvery;
    sched_run_timers();  // LWKTs that hand over to each other for ever never let idle do it
    // Events on top of a long queue would flow over into the global one, where they would wait for
    // every 61st decision. Yields alone can keep a queue long: now and then in any case.
    if (c->c_tail - load_acquire(&c->c_head) < kGlobalEvery || c->c_nswitch / kGlobalEvery % 8 == 0) {
      sched_harvest();
    }
    next = global_pop();
    if (next != nullptr) return next;
  }
  next = ring_pop(c);
  if (next != nullptr) return next;
  return global_pop();
}

thread* sched_steal(cpu* self) {
  for (int i = 1; i < ncpus; i++) {
    cpu* victim = cpus[(self->c_id + i) % ncpus];
    if (victim == nullptr) continue;
    thread* td = steal_from(victim, self);
    if (td != nullptr) return td;
  }
  return nullptr;
}

bool sched_alone() { return !sched_wanted(mycpu()); }

bool sched_cpu_has_work(const cpu* c) {
  return load_acquire(&c->c_head) != load_acquire(&c->c_tail);
}

namespace {

[[gnu::noinline]] void end_leaving(globaldata* gd, thread* td) {
  gd->gd_leaving = nullptr;
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

void sched_switch_to(thread* next) {
  globaldata* gd = mygd();
  thread* td = gd->gd_curthread;
  if (next == td) {
    td->td_state = TDS_RUNNING;
    return;
  }
  switch_to(gd, gd->gd_cpu, td, next);
  switch_return();
}

void sched_switch() {
  globaldata* gd = mygd();
  thread* next = sched_pick(gd->gd_cpu);
  if (next == nullptr) {
    next = gd->gd_idle;
    if (next == gd->gd_curthread) return;
  }
  sched_switch_to(next);
}

int64_t sched_sleep() {
  thread* td = curthread();
  bool tokens = __builtin_expect(td->td_toks != nullptr, 0);
  if (tokens) token_switch_out(td);
  sched_switch();
  KASSERT(td->td_state == TDS_RUNNING);
  int64_t why = td->td_wakeval;
  if (tokens) token_resume(td);
  return why;
}

int64_t sched_sleep_interruptible() {
  thread* td = curthread();
  // The poster sets AST_SIGNAL, then looks at the state: one of the two sees the other.
  if (smp) __atomic_thread_fence(__ATOMIC_SEQ_CST);
  // gd_ast alone says only that some signal hit this rfork, a preemption among them: whose it is
  // comes out here. It may wake td itself.
  if (mygd()->gd_ast != 0) sched_hooks.ast();
  if ((load_acquire(&td->td_ast) & AST_SIGNAL) != 0) {
    if (atomic_cas<uint32_t>(&td->td_state, TDS_BLOCKED, TDS_RUNNING)) return -EINTR;
  }
  return sched_sleep();
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

// Whether the yield is one between LWKTs that share one cpu and have no other business: it needs
// neither the pick nor the queueing of the two calls in sched_yield_cpu. 45 instructions less, 3 ns.
// An IPI can come from a spare rfork at most; the look that is due every 61 switches sees it.
[[gnu::always_inline]] inline bool plain_exchange(const cpu* c) {
  return !smp && c->c_nswitch < c->c_look && monitor_awake() && c->c_head != c->c_tail;
}

}  // namespace

bool sched_yield_cpu() {
  globaldata* gd = mygd();
  cpu* c = gd->gd_cpu;
  thread* td = gd->gd_curthread;
  if (__builtin_expect(plain_exchange(c), 1)) {
    uint32_t h = c->c_head, t = c->c_tail;
    thread* first = c->c_ring[h % kRunqSize];
    c->c_head = h + 1;
    td->td_state = TDS_RUNNABLE;
    c->c_ring[t % kRunqSize] = td;  // there is room: one was just taken
    c->c_tail = t + 1;
    switch_to(gd, c, td, first);
    switch_return();
    return true;
  }
  thread* next = sched_pick(c);
  if (next == nullptr) {
    // One that waits by yielding makes no switch, so no look at the timers and at the kernel's events
    // is ever due here. What it waits for may need one: every turn of two LWKTs that wait for each
    // other, one in a read, one by yields, would last until the monitor's next look, 10 ms.
    sched_run_timers();
    sched_harvest();
    next = sched_pick(c);
  }
  if (next == nullptr) return false;
  td->td_state = TDS_RUNNABLE;
  sched_enqueue(td);
  sched_switch_to(next);
  return true;
}

void sched_exit() {
  globaldata* gd = mygd();
  thread* td = gd->gd_curthread;
  td->td_state = TDS_DEAD;
  gd->gd_leaving = td;
  sched_switch();
  CR_PANIC("a dead LWKT was scheduled");
}

void sched_queue_reset() {
  globalq = GlobalQueue{};
  sched_nglobal = 0;
}

}  // namespace cr
