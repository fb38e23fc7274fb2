// The timer queue: sleeping LWKTs ordered by deadline.
//
// One binary heap for the process under one lock. An idle cpu sleeps until the first deadline;
// where every cpu is busy the monitor sees to it. CLOCK_REALTIME deadlines are kept as
// monotonic ones, computed at the call (a clock that is set meanwhile moves a native sleeper;
// here it is noticed when the LWKT wakes and re-checks).
#pragma once

#include <stdint.h>

#include "../lwkt/clock.h"
#include "../lwkt/thread.h"

namespace cr {

// First deadline, ns of CLOCK_MONOTONIC; kNever if none. Any rfork.
uint64_t timer_next();

// Wakes td with -ETIMEDOUT at `deadline`. False: no memory for the heap.
bool timer_arm(thread* td, uint64_t deadline);
// Takes td out if it is still in.
void timer_cancel(thread* td);
// Wakes all whose time has come. Needs a cpu. True if somebody was woken.
bool timer_expire(uint64_t now);
void timer_atfork_child();

}  // namespace cr
