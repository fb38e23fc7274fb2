// The scheduler's inner interface (the public one is libcr/thread.h).
//
// All of it runs below the boundary: an LWKT that is here is not preempted and takes no signal
// until it is back at the gate.
#pragma once

#include <libcr/thread.h>

#include "atomic.h"
#include "thread.h"

namespace cr {

// ---- waiting and waking -----------------------------------------------------------------

// The caller will sleep: from now on lwkt_wake may pick it up, even before it has switched.
inline void sched_block(thread* td) { store_release(&td->td_state, TDS_BLOCKED); }

// Ends td's sleep with `why` (0 or -errno) in td_wakeval. Of several callers one wins and gets
// true; td runs once. Any cpu, or an rfork without one.
bool lwkt_wake(thread* td, int64_t why);
// Fetches into the cache what td, which is parked or queued, will touch when it goes on. It may have gone on or
// even ended by now on another cpu: its structure stays readable (slab.cc unmaps no small chunk), and the rest is only asked for.
void sched_prefetch_stack(const thread* td);
// Before that, for several: has the pages of their stacks and TCBs translated, all at once (cpu_prefetch).
void sched_prefetch_pages(const thread* const* td, uint32_t n);

// Sleeps until lwkt_wake: to be called after sched_block. Returns td_wakeval. May go on upon
// another rfork.
int64_t sched_sleep();

// The same for a sleep that a signal ends: -EINTR at once if one is pending already.
int64_t sched_sleep_interruptible();

// Either of them, and -ETIMEDOUT at `deadline` (ns of CLOCK_MONOTONIC, kNever: none) or as much
// later as the LWKT's slack allows; at once without memory for the timer.
int64_t sched_sleep_until(bool interruptible, uint64_t deadline);

// Puts a RUNNABLE td on a queue of this cpu (or the global one without a cpu).
void sched_enqueue(thread* td);

// Lets other LWKTs run if there are any. True if somebody ran.
bool sched_yield_cpu();
// The same, not asked for by the caller: one in SCHED_FIFO goes on before its equals, one that has
// used up its slice after all others.
bool sched_preempt_cpu();

// Something but the caller could use `c`, now or when a timer or an event comes.
extern uint32_t sched_external;   // LWKTs that only an event from the kernel can wake: somebody
                                  // must look for it (src/async/engine.h)
// The calling LWKT is one of them, or was until here.
[[gnu::always_inline]] inline void sched_waits_outside(thread* td) {
  td->td_external = 1;
  atomic_add(&sched_external, 1u);
}
[[gnu::always_inline]] inline void sched_waited_outside(thread* td) {
  atomic_add(&sched_external, ~0u);
  td->td_external = 0;
}
extern uint32_t sched_nglobal;      // LWKTs in the global queue
extern uint64_t sched_timer_first;  // when the first timer must go off, ~0: none (src/async/timer.h)
[[gnu::always_inline]] inline bool sched_wanted(const cpu* c) {
  return load_acquire(&c->c_head) != load_acquire(&c->c_tail) ||
         __atomic_load_n(&sched_nglobal, __ATOMIC_RELAXED) != 0 ||
         __atomic_load_n(&sched_external, __ATOMIC_RELAXED) != 0 ||
         load_deadline(&sched_timer_first) != ~0ull;
}

// Nothing but the caller could use this cpu now, nor could a timer or an event make somebody
// runnable here: the caller may as well sleep in the kernel. False negatives are possible.
bool sched_alone();
// LWKTs that wait for a cpu and have used up their slices: they compute.
uint32_t sched_spent_count();

// ---- life -------------------------------------------------------------------------------

thread* thread_alloc();           // zeroed but for list links; null: no memory
void thread_free(thread* td);     // td is not running and on no queue
[[noreturn]] void sched_exit();   // the caller's stack is dead after this

// Called, with the dead LWKT, on another stack once its own is no longer in use.
using ReapHook = void (*)(thread*);
void sched_set_reap_hook(ReapHook hook);

// ---- cpus and rforks ----------------------------------------------------------------------

// Adopts the calling kernel thread as rfork 0, holding cpu 0, its LWKT the main one.
void sched_init(int ncpus_wanted, thread* main_td);
void sched_atfork_child();        // the caller is the only kernel thread and the only LWKT
void sched_thread_added();        // before the second LWKT can run: more cpus may start
void sched_worker_added();
void sched_worker_gone();
bool sched_thread_gone();         // one of the program's ends; true: it was the program's last

extern cpu* cpus[];               // [0, ncpus)
extern int ncpus;
// Live LWKTs: the program's and libcr's workers (src/sysport/worker.h), but no idle threads. A worker
// makes itself known in both halves by one addition, so the end of one of the program's, which is
// one subtraction, tells for certain whether it was the program's last.
union LiveCount {
  uint64_t both;
  struct {
    uint32_t all;
    uint32_t workers;
  };
};
extern LiveCount sched_live;
inline constexpr uint32_t& nthreads = sched_live.all;
inline uint32_t sched_program_threads() { return sched_live.all - sched_live.workers; }
extern cpu* sched_poller;         // the idle cpu that sleeps in the kernel's event queue
extern uint64_t sched_timers_until;  // when the one that sees to timers wakes (rfork.cc), ns of CLOCK_MONOTONIC; kNever:
                                     // none does
inline constexpr int kMaxCpus = 256;

// What the floors above hang into the idle loop and the monitor. All must be set before the
// second LWKT exists.
struct SchedHooks {
  void (*threads_start)();         // the second LWKT is about to be made
  void (*ast)();                   // signals came in while no LWKT ran here
  void (*begin_with_cpu)();        // gives the calling rfork the mask that every rfork has, and has it look for signals
  void (*go_on_with_cpu)();        // the same, the mask only if that has changed
  void (*go_on_without_cpu)();     // gives it the mask of one that has no cpu
  void (*back_from_deaf)();        // an rfork that blocks all signals was woken
  uint64_t (*timer_next)();        // first deadline, ns of CLOCK_MONOTONIC; ~0: none
  bool (*timer_expire)(uint64_t);  // wakes everybody whose time has come
  bool (*timer_arm)(thread*, uint64_t);
  void (*timer_cancel)(thread*);
  // The engine; src/async/engine.h says what each does and who may call it.
  uint32_t (*engine_harvest)(cpu*);
  bool (*engine_sleep)(cpu*, uint32_t seen, uint64_t deadline);
  void (*engine_deliver)(cpu*);
  bool (*engine_kick)(cpu*);
  bool (*engine_unattended)();
  bool (*engine_events)();
  // src/async/lookout.h
  void (*lookout_keep)();
  bool (*lookout_stands)();
  bool (*lookout_sleep)(uint64_t until);
  void (*lookout_rouse)();
  uint64_t (*idle_until)();        // src/sysport/deadlock.h
};
extern SchedHooks sched_hooks;

// The calling LWKT reads, writes or polls what can make it wait: it serves somebody, and doesn't only compute. That keeps
// it from giving way to events (slices.h).
inline void sched_note_io() {
  cpu* c = mycpu();
  __atomic_store_n(&c->c_io, run_of(c), __ATOMIC_RELAXED);
}

// ---- a trap that may block (DESIGN §4.4 (5)) -------------------------------------------------

// True if other LWKTs may need this cpu while the caller sits in a trap.
inline bool sched_others() { return __builtin_expect(nthreads > 1, 0); }
// Brackets a trap that may block. After leave the caller holds a cpu again.
// Inlined, because after a trap every return is one that the processor did not predict.
void sched_trap_watched(const cpu* c);  // somebody may want the cpu: the monitor must look
void sched_trap_took(globaldata* gd, cpu* c);  // c was another rfork's, which is in a trap itself, or
                                               // others have waited for a slice
void sched_trap_lost();                        // and got it

[[gnu::always_inline]] inline void sched_trap_enter(globaldata* gd) {
  cpu* c = gd->gd_cpu;
  // Or the trap would keep them from the kernel, too.
  if (__builtin_expect(c->c_unsubmitted != 0, 0)) sched_hooks.engine_harvest(c);
  c->c_trapseq++;
  __atomic_store_n(&c->c_state, static_cast<uint32_t>(CPU_TRAP), __ATOMIC_RELEASE);
  if (__builtin_expect(sched_wanted(c), 0)) sched_trap_watched(c);
}

[[gnu::always_inline]] inline void sched_trap_leave() {
  globaldata* gd = mygd();
  cpu* c = gd->gd_cpu;
  if (__builtin_expect(bus_cas<uint32_t>(&c->c_state, CPU_TRAP, CPU_RUN), 1)) {
    if (__builtin_expect(c->c_gd != gd || c->c_yield != 0, 0)) sched_trap_took(gd, c);
    return;
  }
  sched_trap_lost();
}
// Gives the cpu away at once: the call is known to block (vfork, wait4 ...). Ends with leave.
void sched_trap_enter_handoff(globaldata* gd);

}  // namespace cr
