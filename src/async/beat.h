// What ends the poller's sleeps where deadlines crowd (timer.h): two timers of the kernel's in turn, each set while the
// other is still to come.
//
// A sleep with a time-out has the kernel program the processor's timer first, which in a virtual machine leaves it: 7 of
// the 20 us of cpu time that such a sleep takes here. What is set behind a timer that comes sooner the kernel
// programs on its way out of that one's interrupt, which it has to do in any case: 10 us a sleep.
//
// Every LWKT's deadline with its slack lies a beat and more behind the last time that the timers were looked at, unless
// it sleeps shortly or the program has made its slack small: then a time-out ends the sleep. So a beat comes in time for
// whoever is first, and, for as long as the crowd lasts, ends no sleep for nothing. One whose event a cpu has taken that only looked is followed by the other, and where both
// are lost so the monitor sees the late timers.
#pragma once

#include <stdint.h>

namespace cr {

inline constexpr uint64_t kBeatEvent = ~0ull - 1;  // its data in the engine's epoll instance; above it is only epoll.cc's

// By the poller, about to sleep: a beat ends that by `deadline`, ns of CLOCK_MONOTONIC, so that it needs no time-out.
bool beat_by(uint64_t deadline);
// One has come. Needs a cpu.
void beat_came();
void beat_atfork_child();

}  // namespace cr
