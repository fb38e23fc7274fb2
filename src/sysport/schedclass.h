// The scheduling class of each LWKT: what sched_setscheduler and its kin say and answer. What it does
// is in src/lwkt/rank.h.
#pragma once

#include "../lwkt/thread.h"

namespace cr {

// True once there was a second LWKT: until then the kernel knows the only one's class.
bool schedclass_own();
// Before the second LWKT: the first one's class is the kernel's, and the base.
void schedclass_threads_start();
void schedclass_atfork_child();
void schedclass_inherit(thread* td, const thread* maker);
// Of the LWKT with that tid, 0: the caller. Policies are with SCHED_RESET_ON_FORK or without. The kernel
// checks a new class as for the calling kernel thread. 0, ESRCH or another errno.
int schedclass_set(int32_t tid, int policy, int priority);
int schedclass_get(int32_t tid, int* policy, int* priority);

}  // namespace cr
