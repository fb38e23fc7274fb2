// LWKTs that are taken off their cpu in the middle of the program's code.
//
// The context that they go back to stands on a stack of libcr's own, not below their stack pointer: the program may
// have next to nothing there. Goroutines have stacks of 2 KB and let signals come to the alternate stack alone, Erlang's
// compiled code has the process's heap below its stack pointer, and a handler may run on an alternate stack of 2 KB.
//
// Such a stack is an LWKT's from then until it is back in the program. What it still stands on when it goes back, by a
// sigreturn, is its rfork's then (gd_preemptleft): no other may write there before that trap is made, and the same
// rfork does so only when it has interrupted the program anew.
#pragma once

#include "signal.h"

namespace cr {

struct PreemptStack;

// Makes uc, the program's context that the caller will restore, one that runs the preemption; sig_return comes back.
// Without memory nothing is changed: td goes on until the next time.
void sig_push_preempt(thread* td, kucontext* uc);
// In sig_return: uc stands on a stack of libcr's own.
bool preempt_stands_at(thread* td, const kucontext* uc);
// Nothing but the trap that restores it is left to do there.
void preempt_leave(thread* td, const kucontext* uc);
// Around fork. The stacks of those that were interrupted just then are the child's to keep: it has no such LWKTs.
void preempt_lock();
void preempt_unlock();

}  // namespace cr
