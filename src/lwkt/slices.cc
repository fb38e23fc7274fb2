#include "slices.h"

#include "rfork.h"

namespace cr {

namespace {

inline constexpr uint32_t kMostSlices = 10;  // that spent ones wait for others

// LWKTs that were interrupted before they had used up a slice, by their addresses, which are only compared. One that
// computes, but never for long before a timer or an event, is spent in the end, too.
inline constexpr uint64_t kOfLate = 100'000'000;  // ns in which it has to have computed for kLeast
struct Interrupted {
  const thread* td;
  uint64_t first;
  uint64_t had;
};
Interrupted interrupted[64];

Interrupted& of_late(const thread* td) {
  constexpr size_t kMany = sizeof interrupted / sizeof *interrupted;
  return interrupted[reinterpret_cast<uintptr_t>(td) / sizeof(thread) % kMany];
}

bool plain_is_over(const thread* td, uint64_t now, uint64_t had, uint64_t slice) {
  Interrupted& i = of_late(td);
  if (i.td != td || now - i.first >= kOfLate) i = {td, now, 0};
  i.had += had;
  if (i.had + slice / 16 < slice) return false;
  i.td = nullptr;
  return true;
}

}  // namespace

void slice_note_switch(const cpu* c, CpuSeen& s, uint64_t now) {
  bool cut = c->c_cut == static_cast<uint32_t>(s.nswitch) + 1;
  if (s.spent && !cut) s.had = 0;  // it waits by itself
  s.nswitch = c->c_nswitch;
  s.spent = spent_runs(c);
  uint64_t begun = c->c_spentsince;
  s.since = s.spent && begun < now ? begun : now;
}

void slice_end_turn(cpu* c, const CpuSeen& s) { bus_cas(&c->c_spentturn, static_cast<uint32_t>(s.nswitch), kNoSwitch); }

void slice_end(cpu* c, CpuSeen& s, uint64_t now, uint64_t slice) {
  auto mark = static_cast<uint32_t>(s.nswitch) + 1;
  uint64_t ran = now - s.since, had = slice_had(s, now);
  const globaldata* gd = c->c_gd;
  s.since = now;
  bool over = s.spent ? had + slice / 16 >= slice
                      : gd != nullptr && plain_is_over(gd->gd_curthread, now, ran, slice);
  if (s.spent) {
    // What it had between others counts as if it had been its turn.
    uint64_t paid = s.passed + ran * (kMostSlices + 1);
    s.passed = paid < now ? paid : now;
    s.had = over ? 0 : had;
  }
  // It may have been interrupted before, in vain. Who is cut has the rest afterwards, or sleepers that keep step with the
  // slices would always take the time of the same ones.
  __atomic_store_n(&c->c_cut, s.spent && !over ? mark : mark - 1, __ATOMIC_RELAXED);
  __atomic_store_n(&c->c_over, over ? mark : mark - 1, __ATOMIC_RELAXED);
  if (over) slice_end_turn(c, s);
}

void slice_give_turn(cpu* c, CpuSeen& s, uint64_t now) {
  uint32_t spent = sched_spent_count();
  if (spent == 0) {
    s.passed = now;
    return;
  }
  if (spent_runs(c)) return;
  uint32_t others = load_acquire(&c->c_tail) - load_acquire(&c->c_head);
  uint32_t slices = others / spent;
  if (slices < 1) slices = 1;
  if (slices > kMostSlices) slices = kMostSlices;
  if (now - s.passed < slices * kSlice) return;
  s.passed = now;
  __atomic_store_n(&c->c_turn, 1u, __ATOMIC_RELAXED);
  // The holder may write its own over it: then its next regular look is in time, or the next turn.
  __atomic_store_n(&c->c_look, uint64_t{0}, __ATOMIC_SEQ_CST);
}

uint64_t slice_spent_end(const cpu* c, const CpuSeen& s) {
  return (s.nswitch == c->c_nswitch ? s.since : c->c_spentsince) + kSlice - s.had;
}

}  // namespace cr
