// What other rforks are made to do: one raw call on each of them (set*id), one on the rfork whose
// kernel tid it needs (futex_shared.cc), and to stop for good (robust.cc).
#pragma once

#include <stdint.h>

namespace cr {

// Makes the call on every other rfork and waits until all have. The caller has made it itself.
void broadcast_call(uint32_t nr, const uint64_t args[6]);
// Makes the call on the rfork with kernel tid `ktid` and waits for it. The call must not sleep.
// The kernel's answer; -ESRCH if there is no such rfork.
long broadcast_to(int32_t ktid, uint32_t nr, const uint64_t args[6]);
// No other rfork runs an LWKT when it returns, or ever again. The process must end now.
void broadcast_stop();
// In the IPI signal's handler, and where a deaf rfork wakes: does what is asked of this rfork, once.
void broadcast_serve();

}  // namespace cr
