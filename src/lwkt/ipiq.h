// IPIs: run a function on another cpu.
//
// One ring for each (source, target) pair, one producer (the source cpu's holder) and one
// consumer (the target's), so neither side has a lock. The wake is coalesced: only the sender
// that turns the target's c_ipipending from "not kicked" to "kicked" calls ipiq_kick.
//
// The function runs on the target at its next safe point, on the stack of whatever LWKT is
// there, below the boundary: it must not block and not switch. It may send IPIs itself.
//
// Full rings. A send waits once a ring is half full, until it is a quarter full; meanwhile it
// serves the caller's own inbox, or two cpus that fill each other's rings would wait for ever.
// A send from inside an IPI function never waits: it may use the whole ring, and what does not
// fit is put on the sending cpu's deferred list, which goes out in order at its next safe
// points. (DragonFly waits there, too, and serves the rings whose senders wait. Three cpus
// that pass on what they get stood still with that as soon as the nesting was bounded; and
// unbounded it is the stack that ends.)
//
// Cost: 32 bytes written and two atomic operations for a send, plus a futex trap if the target
// sleeps. 12 KB of memory for each pair of cpus that ever met.
#pragma once

#include <stdint.h>

#include "thread.h"

namespace cr {

using ipifunc = void (*)(void* arg1, uint64_t arg2);

// c_ipipending
inline constexpr uint32_t IPI_QUEUED = 1;  // look at the next safe point
inline constexpr uint32_t IPI_KICKED = 2;  // and ipiq_kick has been called for it

// Runs fn(arg1, arg2) on `target`, at once if that is this cpu. The caller holds a cpu.
void lwkt_send_ipiq(cpu* target, ipifunc fn, void* arg1, uint64_t arg2);
// The same for what may wait: no kick until the ring is a quarter full.
void lwkt_send_ipiq_passive(cpu* target, ipifunc fn, void* arg1, uint64_t arg2);
// Runs what was queued for this cpu. The scheduler calls it when c_ipipending is not 0.
void process_ipiq();
// Forgets what other cpus had queued: in a fork child they don't exist.
void ipiq_atfork_child();

// The scheduler's: makes `target` reach a safe point soon (wakes it if it sleeps).
void ipiq_kick(cpu* target);

}  // namespace cr
