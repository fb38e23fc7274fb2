// What an LWKT was told of its own about how it is scheduled: affinity and niceness. (Its class:
// src/sysport/schedclass.h.)
//
// LWKTs have none of these of their own in the kernel; the kernel threads that run them all do. So
// they are the LWKT's own to see and to hand on: to threads it makes, and for real to processes
// it forks and programs it executes. What the kernel threads get is what all LWKTs agree on; of
// affinities, all cpus that any of them may use. An LWKT that pins itself to a cpu may therefore
// run on another one that a sibling may use.
//
// Most LWKTs have no record (td_sched is null): they are scheduled as the process.
#pragma once

#include <stdint.h>

#include "../src/lwkt/placement.h"
#include "../src/lwkt/thread.h"

namespace cr {

struct threadsched {
  bool has_mask, has_nice;
  int32_t nice;
  uint64_t mask[kMaskWords];
};

// td is made by `maker`: false if there is no memory.
bool threadsched_inherit(thread* td, const thread* maker);
void threadsched_free(thread* td);
// Around an exec or a vfork child: this kernel thread is scheduled as its LWKT says; and as the process
// again. In a fork's child, for good.
void threadsched_lend(const thread* td);
void threadsched_take();
void threadsched_atfork_child(thread* td);

}  // namespace cr
