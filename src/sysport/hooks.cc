// What the scheduler calls of the floors above it.
//
// All of it lies below the boundary, the smallest function too: the scheduler calls with its LWKT blocked or its message
// in use, and a signal that hits text of another place there would be taken for one that hit the program.

#include "hooks.h"

#include "../async/engine.h"
#include "../async/fdtable.h"
#include "../async/lookout.h"
#include "../async/timer.h"
#include "../gate/buslock.h"
#include "../lwkt/assert.h"
#include "../lwkt/sched.h"
#include "../signal/broadcast.h"
#include "../signal/signal.h"
#include "deadlock.h"
#include "schedclass.h"
#include "sysport.h"

extern "C" {
[[gnu::visibility("hidden")]] extern char __start_crtext[], __stop_crtext[];
}

namespace cr {

namespace {

[[maybe_unused]] bool all_below() {
  auto* each = reinterpret_cast<const uintptr_t*>(&sched_hooks);
  for (size_t i = 0; i < sizeof sched_hooks / sizeof *each; i++) {
    if (each[i] < reinterpret_cast<uintptr_t>(__start_crtext) || each[i] >= reinterpret_cast<uintptr_t>(__stop_crtext)) {
      return false;
    }
  }
  return true;
}

// The second LWKT is about to be made.
void threads_start() {
  schedclass_threads_start();
  sig_threads_start();
  engine_threads_start();
  fd_start();
  timer_slack_take();
  sysport_crowd(true);
  buslock_drop();
}

// The engine may be another one by the time of the call.
uint32_t harvest(cpu* c) { return engine_in_use() ? engine->harvest(c) : 0; }
bool sleep(cpu* c, uint32_t seen, uint64_t deadline) {
  // For the beats (src/async/beat.h). A cpu that idles has its holder to itself, as one that runs an LWKT has.
  if (__builtin_expect(timer_crowded(), 0)) engine_open();
  return engine_in_use() && engine->sleep(c, seen, deadline);
}
void deliver(cpu* c) { engine->deliver(c); }
bool kick(cpu* c) { return engine->kick(c); }
bool unattended() { return engine->unattended(); }
bool events() { return engine->events(); }

}  // namespace

void hooks_init() {
  sched_hooks = {threads_start, sig_route,    sig_begin_with_cpu, sig_go_on_with_cpu, sig_go_on_without_cpu, broadcast_serve,
                 timer_next,    timer_expire, timer_arm,          timer_cancel,       harvest,               sleep,
                 deliver,       kick,         unattended,         events,             lookout_keep,          lookout_stands,
                 lookout_sleep, lookout_rouse, deadlock_idle_until};
  KASSERT(all_below());
}

}  // namespace cr
