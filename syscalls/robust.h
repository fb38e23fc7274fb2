// Robust lists: what the kernel does for the locks of a thread that ends (robust.cc).
#pragma once

#include "../src/lwkt/thread.h"

namespace cr {

// The locks that td still holds are marked FUTEX_OWNER_DIED and a waiter is woken.
void robust_walk(const thread* td);
// The process ends with LWKTs that hold robust locks: they are stopped, then walked.
void robust_process_exit();
// Whether td says that it is about to take (or give back) the robust lock whose word is at addr.
bool robust_pending(const thread* td, uint64_t addr);
// The owner of a robust lock in shared memory is gone and nobody said so: says it. `seen` was read
// from the word.
void robust_mark_dead(uint64_t addr, uint32_t seen);

}  // namespace cr
