// Stacks of libcr's own for calls from code that may have next to nothing below its stack pointer.
//
// The gate runs on the program's stack and takes up to 1.3 KB there (3 KB in a debug build). Goroutines begin with 2 KB,
// and Go's code makes its traps itself, with perhaps 600 bytes left: below them is somebody else's memory. The analyser
// marks the sites of such code (Site::narrow). At one of them a plain trap takes 144 bytes as ever (120 on i386), and all
// else goes on upon this stack: on x86_64 with its trap frame from the beginning, 152 bytes below the program's stack
// pointer; on i386 once the frame is whole.
//
// It is an LWKT's while it has its tid, and free between two calls, as a kernel's stack is: handlers begin on the
// program's, and a shim's own calls go on below their caller's.
#pragma once

#include "../lwkt/thread.h"

namespace cr {

// An object with such sites is about to be rewritten: all LWKTs are given one, and those to come. False: no memory.
bool callstack_begin();
// A new LWKT with a tid. False: no memory.
bool callstack_assign(const thread* td);
uint64_t callstack_top(const thread* td);  // its upper end, a multiple of 64. 0: none
bool callstack_holds(const thread* td, uint64_t addr);
// Before the tid of a fork's child becomes the first thread's: it takes its stack with it.
void callstack_atfork_child(const thread* td);

}  // namespace cr
