// Workers: LWKTs of libcr's own that carry out the calls a program sends to syscall_port as messages
// and does not wait for (libcr/async.h).
//
// A call that may sleep is queued, and some workers are on their way for as long as anything is. One
// that arrives calls another before it begins, and goes on with the next message when it is done
// with one: so calls that turn out not to sleep are carried out in a row by few workers, and of those
// that do sleep each has a worker to itself, which parks, traps or is handed off as the program's own
// LWKTs are (DESIGN §4.4). Every call that libcr knows can be sent this way without code of its own.
//
// Why nothing is tried in the sender's context first: the worker tries anyway, so a call that
// must wait would pay for two vain traps, to save one that needn't a switch (20 ns of a few hundred).
//
// Why no message goes to the engine's ring by itself, or waits there without an LWKT: 64 reads of pipes
// in flight, each with its write, cost 1.35 us by workers, 1.18 by hand on a ring of the kind that
// libcr has (src/async/ring.h), 2.3 by 64 native threads. A waiting call takes 4.6 KB, a page of it
// stack. To save that fifth and that page every ported call, with what it does about time-outs, modes
// and partial transfers, would have to be written a second time as a state machine.
//
// What a worker is: no thread of the program. It has no tid and no TLS, blocks all signals, so none
// of the process's is delivered to it, and does not keep the process alive (sched_live). A fork's child
// has none. Its stack has a guard.
//
// Abort: a message that no worker has begun is answered EINTR on the spot. Else the worker's call is
// interrupted as a signal for it would (sig_interrupt): it ends with EINTR, or with what it had
// done by then. The queue, who carries out what (td_arg) and every abort are under one lock; a worker
// gives its message up under it before it replies, so a late abort finds nobody. An LWKT structure of
// a worker is never freed, only used again, since an abort may still read its port.
#pragma once

#include "../lwkt/thread.h"

namespace cr {

// Takes over a message in flight, whose call may sleep; it will be replied to: EASYNC.
int worker_take(lwkt_msg* msg);
// A worker that ended has left its stack.
void worker_reap(thread* td);
uint32_t worker_idle_count();
void worker_init();
void worker_atfork_child();

}  // namespace cr
