// Memory for the runtime's own objects: threads, rings, token references, timers ...
//
// It never calls malloc, never blocks, and may run inside the program's malloc, in a signal
// handler's gate, or on an rfork that holds no cpu. Sizes are passed to slab_free, so there is
// no header in front of a chunk.
//
// Cost: some ten instructions from the cpu's magazine; a lock and a trap only when 2 MB are
// used up. Waste: at most 6.25% by the size classes above 256 bytes (16 to a doubling; below
// that a multiple of 16), and the end of each 64 KB zone, under 3% up to 2 KB.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace cr {

// Not zeroed. 16-byte aligned; 64-byte aligned if `size` is a multiple of 64 (page aligned
// above 8192). Null: no memory. Any rfork whose %gs is set up.
void* slab_alloc(size_t size);
// `size` is what was asked for. Null is allowed. Any rfork, also another one than allocated.
void slab_free(void* p, size_t size);
// Around fork: what the cpus share is whole in the child.
void slab_lock();
void slab_unlock();
// In a fork child, before anything else allocates: only the caller's cpu is left. What other
// cpus had cached is given up (it may be half changed), never handed out twice.
void slab_atfork_child();

}  // namespace cr
