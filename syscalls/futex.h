// What the rest of the runtime needs of the futex buckets.
#pragma once

#include <stdint.h>
#include <time.h>

namespace cr {

// FUTEX_WAKE on a private address, from below: a cleared tid, a robust mutex.
void futex_wake_all(uint64_t addr, int n);
void futex_atfork_child();

// A program's timeout as ns of CLOCK_MONOTONIC (syscalls/time.cc).
uint64_t time_deadline(const timespec& ts, bool relative, bool realtime);

}  // namespace cr
