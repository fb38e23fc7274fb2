// Where the kernel puts a kernel thread that is woken, in a guest of KVM.
//
// Linux wakes a thread on a processor that idles, if there is one. But a guest that is told of stolen time takes a
// processor that sleeps for one that was taken away, and looks for none: the thread may come to the waker's own, behind
// the waker, which goes on, while another processor idles. For threads that each wait for the kernel load balances that
// out. Of two rforks one wakes the other again and again: they stayed on one processor for as long as both had something
// to do. (sysbench's writes by 4 connections to MariaDB, on two processors with the client: 0.84 of native's transactions; 1.04
// with this. Not measured with more than two.)
//
// So whoever wakes the holder of an idle cpu takes its own processor from the holder's affinity mask before, and gives
// it back right after: the kernel chooses the processor in between. The holder, once awake, waits for that. It costs the
// waker 1 us beside the 5 of the wake-up. A mask that somebody outside sets within this microsecond is lost. Who sets masks by
// itself (placement_stop) knows where its threads should be, and a filter may forbid the calls. With more cpus than
// processors no processor need idle.
#pragma once

#include "thread.h"

namespace cr {

inline constexpr uint32_t kMaskWords = 16;  // of an affinity mask: 1,024 processors

struct AffinityMask {
  uint64_t words[kMaskWords];
};

// At start: nothing is to keep placement_begin from it.
void placement_allow();
// Before the second rfork is made.
void placement_begin();
// gd, the holder of an idle cpu that the caller has taken, is going to be woken by the caller, which holds a cpu itself.
// True: placement_give_back, with what was stored at `before`, must follow.
bool placement_avoid(const globaldata* gd, AffinityMask* before);
void placement_give_back(const globaldata* gd, const AffinityMask& before);
// Never again; and nobody's mask is other than it was when this returns.
void placement_stop();
void placement_atfork_child();

}  // namespace cr
