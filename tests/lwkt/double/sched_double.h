// The scheduler's double: every LWKT is a kernel thread with a %gs area and a cpu of its own.
// So the code under test runs truly in parallel, on any number of cores, without the real
// scheduler. What it can't show: two LWKTs on one cpu, and the smp == false paths with
// switches.
#pragma once

#include "../../../src/lwkt/sched.h"

// Gives the calling kernel thread an area, a cpu with `cpuid` and an LWKT, or takes the cpu
// away again (the slab's slow path).
void double_adopt(int cpuid);
void double_drop_cpu(bool drop);
