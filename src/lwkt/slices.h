// Slices, as the monitor sees them: how long the LWKT that runs on a cpu has computed, whether it is to give way, and
// whose turn it is. The scheduler's side is in sched.cc (c_over, c_cut, c_turn, c_spentrun). But for spent_runs and
// spent_is_next it is the monitor's alone.
#pragma once

#include "atomic.h"
#include "thread.h"

namespace cr {

inline constexpr uint64_t kSlice = 10'000'000;  // ns an LWKT computes while others wait,
inline constexpr uint64_t kLeast = 3'000'000;   // ns one that is not spent does while events or late timers do

// What was seen of a cpu at the last look.
struct CpuSeen {
  uint32_t trapseq;
  uint64_t trapsince;  // when that trap was first seen
  bool spent;       // switch nswitch made a spent one run
  uint64_t nswitch;
  uint64_t since;   // when nswitch was first seen
  uint64_t turn;    // when nobody waited here, or one that wakes another was last told to yield
  uint64_t passed;  // until then the spent ones have had their share
  uint64_t had;     // ns of its slice that the spent one that was interrupted last had before; it runs first again
};

// A spent LWKT, one that has used up its slices, runs on c.
inline bool spent_runs(const cpu* c) { return load_acquire(&c->c_spentrun) == run_of(c); }
// It is taken off its queue, and not there yet.
inline bool spent_is_next(const cpu* c) { return load_acquire(&c->c_spentrun) == run_of(c) + 1; }
// The LWKT on c has only computed since it runs. A server that is busy looks for its events itself: interrupted for those
// of each other, four of memcached's threads on one cpu made 0.6 times the answers that they make in whole slices.
inline bool only_computes(const cpu* c) { return __atomic_load_n(&c->c_io, __ATOMIC_RELAXED) != run_of(c); }
// A spent one that is to give way to whoever waits for the kernel: nobody has passed it so often that it is its turn.
inline bool spent_gives_way(const cpu* c) {
  bool turn = __atomic_load_n(&c->c_spentturn, __ATOMIC_RELAXED) == run_of(c);
  return spent_runs(c) && !turn && only_computes(c);
}

void slice_note_switch(const cpu* c, CpuSeen& s, uint64_t now);
// What the LWKT that runs has had of its slice.
inline uint64_t slice_had(const CpuSeen& s, uint64_t now) { return now - s.since + (s.spent ? s.had : 0); }
// Its turn ends with its slice, also if nobody waits.
void slice_end_turn(cpu* c, const CpuSeen& s);
// It is about to be interrupted, and has used up its slice if that is `slice`.
void slice_end(cpu* c, CpuSeen& s, uint64_t now, uint64_t slice);
// The turn of spent ones, beside others that leave the cpu to each other.
void slice_give_turn(cpu* c, CpuSeen& s, uint64_t now);
// When that of the spent one that runs on c is over.
uint64_t slice_spent_end(const cpu* c, const CpuSeen& s);

}  // namespace cr
