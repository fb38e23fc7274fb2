#include "eager.h"

namespace cr {

namespace {

inline constexpr uint8_t kEachTime = 4, kMost = 8;
inline constexpr uint64_t kGoesOn = 3 * 20'000;  // ticks of the TSC, roughly 20 us

bool earn(const cpu* c, thread* td, uint64_t now) {
  if (now - c->c_wokeat < kGoesOn) return false;
  td->td_eager = td->td_eager + kEachTime < kMost ? td->td_eager + kEachTime : kMost;
  return true;
}

}  // namespace

void eager_note_wake(cpu* c, thread* td) {
  uint64_t now = __builtin_ia32_rdtsc();
  if (eager_noted(c) && !earn(c, td, now)) return;
  c->c_wokeat = now;
  c->c_wokerun = run_of(c);
  __atomic_store_n(&c->c_look, uint64_t{0}, __ATOMIC_RELAXED);  // the next switch comes to eager_leaves
}

void eager_note_leave(cpu* c, thread* td) {
  earn(c, td, __builtin_ia32_rdtsc());
  c->c_wokerun = kNoSwitch;
}

}  // namespace cr
