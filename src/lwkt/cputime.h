// The processor time of an LWKT.
//
// The kernel counts it for its own threads, so at a switch the kernel thread's clock tells what the LWKT
// that leaves has used since it came: exactly, whatever else the machine did meanwhile. Asking costs
// 150 ns and more, twice a hand-over between LWKTs. So it is asked at every switch only
//   - from the first time that the program asks for a thread's time (cputime_of), or
//   - where switches are rare: on a cpu whose LWKTs use 20 us and more between two of them. Each cpu
//     begins so, and comes back to it, the more seldom the more often it was wrong.
// What a cpu spends while it does not ask is nobody's: a thread's time is too small by that until a
// program has asked once. Nothing is added to the way of a switch that is not counted: sched_pick
// comes here where it looks at the timers and the global queue, and c_look makes that every time.
#pragma once

#include <stdint.h>

#include "thread.h"

namespace cr {

inline constexpr uint64_t kMarkUnknown = ~0ull;  // gd_cpumark: what runs was not noted

// The calling rfork is about to pick another LWKT. True: to be called at the next pick, too.
bool cputime_note(globaldata* gd, cpu* c);
// The calling rfork's LWKT leaves it without a pick.
void cputime_leave(globaldata* gd);
// True from the first question on.
bool cputime_wanted();
// gd, which need not be the calling rfork, gets c.
void cputime_hold(globaldata* gd, cpu* c);
// What td has used so far, ns. If it is not the caller: under siglock, so that it stays.
uint64_t cputime_of(const thread* td);
// In a fork's child.
void cputime_atfork_child(globaldata* gd, thread* td);

}  // namespace cr
