// Kernel threads: what runs the cpus (rfork.cc), and the scheduler's other half that they see.
#pragma once

#include <signal.h>

#include "sched.h"

namespace cr {

// What libcr blocks for its own sake. SIGSYS may be a filter's answer (seccomp) to a trap of this very kernel
// thread, and where it is blocked the kernel ends the process.
inline constexpr uint64_t kBlockAll = ~(1ull << (SIGSYS - 1));

// The holder of a cpu queued the n-th runnable LWKT there, or the global queue got one: decide
// whether an idle cpu should come.
void rfork_work_queued(uint32_t n);
// Some cpu must look at the global queue, timers or signals now, even if all sit in traps.
void rfork_kick();
// td, which has left its stack, goes on upon cpu td_migrate.
void rfork_migrate(thread* td);
// Makes `c` run if it never has. Before that: rfork_several.
void rfork_start_cpu(cpu* c);
// There will be more than one LWKT, or more than one cpu: what that needs is made ready.
void rfork_several();
// Makes kernel threads until there are n, and waits until the new ones are ready: later the kernel may make none.
void rfork_reserve(uint32_t n);
// Wakes `c` if its holder sleeps.
void rfork_wake_cpu(cpu* c);

// ---- of sched.cc, for the idle loop --------------------------------------------------------
thread* sched_pick(cpu* c);
void sched_lookout();  // a spent LWKT goes on: the monitor is to tell of the next event, if nobody else looks for it
thread* sched_steal(cpu* self);
bool sched_cpu_has_work(const cpu* c);
bool sched_rings_have_work();
bool sched_rings_keep_work(const cpu* self);  // what sched_steal would take; it needs a microsecond to see that
uint32_t sched_global_count();
bool sched_timer_due();
void sched_run_timers();  // wakes sleepers whose time has come; needs a cpu
void sched_harvest();     // takes the kernel's events if nobody sleeps for them; needs a cpu
void sched_enqueue_global(thread* td);
void sched_switch_to(thread* next);
void sched_switch();
void sched_queue_reset();

// ---- the monitor (monitor.cc) ----------------------------------------------------------------
bool monitor_running();
void monitor_start();
enum MonitorWatch : uint32_t {
  MONITOR_ASLEEP = 0,  // late timers
  MONITOR_SLOW = 1,    // the ends of slices
  MONITOR_FAST = 2,    // cpus in traps, idle cpus
};
extern uint32_t monitor_word;  // MonitorWatch
inline bool monitor_awake() {
  return __atomic_load_n(&monitor_word, __ATOMIC_RELAXED) >= MONITOR_SLOW;
}
void monitor_ask(MonitorWatch level);
// It may be needed: cheap when it watches already.
inline void monitor_poke(MonitorWatch level) {
  if (__builtin_expect(__atomic_load_n(&monitor_word, __ATOMIC_RELAXED) < level, 0)) {
    monitor_ask(level);
  }
}
// The same for whoever has made the queue of its cpu `n` long: what an idle one has queued there alone it runs next
// (rfork.cc).
void monitor_ask_queued(uint32_t n, MonitorWatch level);
inline void monitor_poke_queued(uint32_t n, MonitorWatch level) {
  if (__builtin_expect(__atomic_load_n(&monitor_word, __ATOMIC_RELAXED) < level, 0)) {
    monitor_ask_queued(n, level);
  }
}
// An LWKT will run, or sit in a trap, while timers are pending: the first may be earlier than the
// monitor knows. Exact: nobody else will see to it.
void monitor_poke_timer(bool exact = false);
void monitor_rank(int priority);  // SCHED_FIFO for it, too: it must see who computes
void monitor_nudge();  // looks once, and is as vigilant as before
// Somebody was queued for all cpus: one that has used up its slices is to give way. Also without a cpu.
void monitor_make_way();
void monitor_leave_lookout();  // once the engine is retired: it does not sleep there when this returns
void monitor_atfork_child();

// ---- rforks ----------------------------------------------------------------------------------
extern globaldata* rforks;  // all of them, newest first; never shrinks
void rfork_publish(globaldata* gd);
// One idle cpu for the LWKTs that wait behind running ones, if there is an idle cpu.
void rfork_spread();
// An idle cpu, if there is one, to look at the timers, which none has done in time.
bool rfork_wake_for_timers();
extern "C" {
[[gnu::visibility("hidden")]] void gate_entry();
[[gnu::visibility("hidden")]] void cr_switch_return();
}
globaldata* rfork_create(cpu* c);
// Gives the free cpu `c` to a spare rfork, or a new one. False if there is none to be had.
bool rfork_assign(cpu* c);
// One of gd_requests has been finished.
void rfork_request_done(globaldata* gd);
// Sends gd's kernel thread the IPI signal, unless one is on its way already: they would queue, and all of a
// user's processes share one limit. gd_interrupt: 0: none is; kInterruptSent; else the kernel thread that is about to
// send one, for which nobody waits: it may not get to run, or stop for good.
void rfork_interrupt(globaldata* gd);
void rfork_interrupt_holder();  // one that holds a cpu, whichever, to see what is in the inbox
void rfork_look_at_mask(globaldata* gd);  // a spare one: its mask may be another by now
inline constexpr uint32_t kInterruptSent = ~0u;
// First of all in the signal's handler: what was stored before rfork_interrupt is seen after this.
inline void rfork_interrupted(globaldata* gd) { __atomic_store_n(&gd->gd_interrupt, 0u, __ATOMIC_SEQ_CST); }
// Around an exec by the calling rfork: a signal of libcr's own that were still pending would end
// the new image, which knows no handler for it.
void rfork_exec_begin();
void rfork_exec_failed();
// A spare rfork, or the monitor, sees whether the floors above want something of it
// (sched_hooks.back_from_deaf).
void rfork_nudge(globaldata* gd);

inline constexpr int kIpiSignal = 33;  // glibc keeps it from programs; its own use of it
                                       // (SIGSETXID) never reaches the kernel under libcr

}  // namespace cr
