// The clocks of the processor time of LWKTs, as libc names them (time.cc).
#pragma once

#include <stdint.h>

namespace cr {

// *tid: whose clock it is of this process's threads, which may have ended; 0: the caller's. False: any other clock.
bool thread_of_clock(int clock, int32_t* tid);

}  // namespace cr
