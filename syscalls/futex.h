// What the rest of the runtime needs of the futex buckets.
#pragma once

#include <stdint.h>

namespace cr {

// FUTEX_WAKE on a private address, from below: a cleared tid, a robust mutex. How many it woke.
int futex_wake_all(uint64_t addr, int n);
// The owner of a robust PI mutex died: its first waiter owns it now, marked FUTEX_OWNER_DIED.
// False: the word can't be read.
bool futex_pi_owner_died(uint64_t addr, int32_t tid);
// LWKTs that have left `nthreads` but whose tid is not yet cleared. While there are any, the last
// one left must not wait in the kernel: its wake comes from here.
extern uint32_t futex_dying;
void futex_atfork_child();

}  // namespace cr
