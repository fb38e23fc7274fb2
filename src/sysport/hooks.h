#pragma once

namespace cr {

// Before the scheduler starts: tells it whom above it to call (SchedHooks in src/lwkt/sched.h).
void hooks_init();

}  // namespace cr
