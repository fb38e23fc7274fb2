// The monitor's bed in the engine: where it sleeps so that an event of the kernel's wakes it while LWKTs that compute have
// the cpus.
//
// Then nobody else looks for events, and an LWKT that waits for one would get its cpu at the end of a slice. A cpu that is
// about to run one of those that compute has a lookout kept (lookout_keep): the next event ends the monitor's sleep, and
// the monitor interrupts that cpu (src/lwkt/monitor.cc). It is an epoll instance upon the engine's, whose entry there is
// one-shot: events that come while other LWKTs run, or while the one that computes is on its way out, wake nobody.
// Keeping one looks at what is there already. Beside the engine's instance it has an eventfd, by which others end the
// sleep (lookout_rouse).
//
// It is opened with the engine, and stands upon it from the first keeping on: what is registered with the engine from
// then on costs 0.3 us more.
#pragma once

#include <stdint.h>

namespace cr {

// With the engine. Without descriptors to be had there is none.
void lookout_open();
// The next event is to be told, or one that waits. The holder of a cpu, or the monitor; never switches.
void lookout_keep();
// There is one to sleep in. Not once the engine is retired: the kernel may forbid what it takes (seccomp).
bool lookout_stands();
// The monitor sleeps until then (ns of CLOCK_MONOTONIC, kNever), an event, or a call of the next. True: an event.
bool lookout_sleep(uint64_t until);
// Anyone: ends the sleep, or the one that is about to begin.
void lookout_rouse();
void lookout_atfork_child();

}  // namespace cr
