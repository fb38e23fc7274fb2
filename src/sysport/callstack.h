// Stacks of libcr's own for calls from code that may have next to nothing below its stack pointer.
//
// The gate runs on the program's stack and takes up to 1.3 KB there (3 KB in a debug build). Goroutines begin with 2 KB,
// and Go's code makes its traps itself, with perhaps 600 bytes left: below them is somebody else's memory. The analyser
// marks the sites of such code (Site::narrow). At one of them the gate keeps to 144 bytes for a plain trap, and goes
// on upon this stack for all else; a trap frame's place is there, too. It is an LWKT's while it has its tid, and free
// between two calls, as a kernel's stack is: handlers begin on the program's.
#pragma once

#include "../lwkt/thread.h"

namespace cr {

// An object with such sites is about to be rewritten: all LWKTs are given one, and those to come. False: no memory.
bool callstack_begin();
// A new LWKT with a tid. False: no memory.
bool callstack_assign(const thread* td);
uint64_t callstack_top(const thread* td);  // its upper end, a multiple of 64. 0: none
bool callstack_holds(const thread* td, uint64_t addr);

inline constexpr uint32_t kNoSlot = ~0u;  // td_slot of an LWKT that has none

}  // namespace cr
