// One raw call on every rfork: set*id.
#pragma once

#include <stdint.h>

namespace cr {

// Makes the call on every other rfork and waits until all have. The caller has made it itself.
void broadcast_call(uint32_t nr, const uint64_t args[6]);
// In the IPI signal's handler, on every rfork: makes the call that is going round, once.
void broadcast_serve();

}  // namespace cr
