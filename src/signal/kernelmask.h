// What the kernel blocks on behalf of all LWKTs, and keeps pending meanwhile. Of this folder alone.
#pragma once

#include "signal.h"

namespace cr {

// SIGTSTP and SIGCONT undo each other by the order in which they come, which two kernel threads would not keep:
// the first takes both. (Not SIGTTIN and SIGTTOU: blocking those has a meaning for terminals.)
inline constexpr uint64_t kFirstTakes = sigbit(SIGTSTP) | sigbit(SIGCONT);

// Bits: read without a lock, changed under siglock.
extern uint64_t kmask;       // blocked in the kernel on every rfork
extern uint64_t kmask_left;  // of those that a signalfd reads: nobody takes them here, so they are among them

// siglock is held. `all`: also rforks in traps are told at once.
void kmask_block(uint64_t set, bool all = false);
// What is pending of these comes here now, and not when some rfork takes it.
void kmask_unblock(uint64_t set);
void kmask_collect(uint64_t set);
// While `later` the kernel is not told: until sig_set_rfork_mask.
void kmask_tell_later(bool later);

// One signal of `set` that is pending in the kernel, for this kernel thread or the process: taken. 0: none.
int kmask_take(uint64_t set, siginfo_t* info);

// Of action.cc, siglock held: sig_plain depends on these.
void sig_unsettle(uint64_t set);

}  // namespace cr
