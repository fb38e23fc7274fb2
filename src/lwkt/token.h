// What the scheduler does for LWKTs that hold tokens (libcr/token.h).
//
// td_toks lists the LWKT's references, newest first. Either all of them are held (or all but
// the newest, inside lwkt_gettoken) or none is: tokens are dropped and retaken together.
//
//   a voluntary switch away (block, yield)    token_switch_out
//   before the LWKT is resumed                token_switch_in; false: not now, pick another
//   or, by the LWKT itself when it is back    token_resume
//   a preemption                              neither; calling token_switch_in is harmless
//   exit                                      td_toks must be null
#pragma once

#include <libcr/token.h>

#include "thread.h"

namespace cr {

// Drops every token that td holds.
void token_switch_out(thread* td);
// Takes back all of td's tokens, or none (false). Never blocks and never spins. Any cpu that
// is about to run td.
bool token_switch_in(thread* td);
// The same until it succeeds, letting others run in between (by sched_yield_cpu, which must
// not call this in turn). td is the caller.
void token_resume(thread* td);

}  // namespace cr
