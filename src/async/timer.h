// The timer queue: sleeping LWKTs ordered by deadline.
//
// One heap for the process under one lock. An idle cpu sleeps until the first timer must go off;
// where every cpu is busy the monitor sees to it. CLOCK_REALTIME deadlines are kept as
// monotonic ones, computed at the call (a clock that is set meanwhile moves a native sleeper;
// here it is noticed when the LWKT wakes and re-checks).
//
// Timer slack, as the kernel has it: a timer may go off from its deadline on and must by its
// deadline plus the LWKT's slack (td_slack: 50 us unless the program asked for another with
// PR_SET_TIMERSLACK). The heap is ordered by the latter, and whoever runs the timers takes its first
// ones for as long as their deadlines have passed: so one wake-up of an idle cpu serves all that
// fall into one slack.
// The rforks' own slack in the kernel is nothing: their sleeps end when they are to.
//
// When deadlines crowd (more than 40,000 a second) the slack counts eight times. A wake-up of an
// idle cpu costs 10 to 20 us here (the kernel's timer, a sleep, an interrupt in a virtual machine)
// and the LWKT's own part of a wake 0.25 us: at 100,000 deadlines a second 50 us hold five, and the
// wake-ups would cost ten times what they serve. Natively that rate costs 77 % of a cpu and the
// 99th percentile comes 400 to 600 us late on one machine, a millisecond and more on another; with six
// times the slack it is 350 us late here, with eight 480, with ten 560, for 1.32, 1.17 and 1.10 us of cpu a wake.
// A slack that the program made small stays small, and so does that of sleeps of less than 20 to 30 ms: eight threads
// that each sleep 50 us again and again are a crowd, too, and would sleep eight times as long.
#pragma once

#include <stdint.h>

#include "../lwkt/clock.h"
#include "../lwkt/thread.h"

namespace cr {

inline constexpr uint64_t kCrowdedSlack = 8;  // times the slack, where deadlines crowd;
inline constexpr uint64_t kBeat = kCrowdedSlack * 50'000;  // ns that the usual slack comes to then (beat.h)
bool timer_crowded();

// When the first timer must go off, ns of CLOCK_MONOTONIC; kNever if none. Any rfork.
uint64_t timer_next();

// Wakes td with -ETIMEDOUT at `deadline` or as much later as its slack allows; one that lies centuries ahead, kNever
// among them, arms nothing. False: no memory for the heap.
bool timer_arm(thread* td, uint64_t deadline);
// Takes td out if it is still in.
void timer_cancel(thread* td);
// Wakes all whose time has come. Needs a cpu. True if somebody was woken.
bool timer_expire(uint64_t now);
void timer_lock();    // around fork
void timer_unlock();
void timer_atfork_child();

// The slack that the kernel holds for the calling kernel thread, and sets it. An rfork has the
// least there is; its LWKT's own is lent to the kernel for what outlives libcr: fork, vfork, exec.
uint64_t timer_slack_inherited();
void timer_slack_lend(const thread* td);
void timer_slack_take();

}  // namespace cr
