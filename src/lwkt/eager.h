// Which LWKTs go on after they have woken another one.
//
// Most don't: they sleep, and the other one runs on the same cpu, in its cache, 70 ns later. To wake an idle cpu for
// it would cost 5 us and more, and be in vain. But behind one that goes on it would wait as long as that computes, or
// until the monitor looks. Nobody knows at the wake-up; but who has gone on before will again. So where a cpu idles, the
// time of some wake-ups is noted: those that need the monitor woken, and every 7th of the others. An LWKT that is still
// on its cpu kGoesOn later is given four credits, up to eight. With any of them its wake-up of one LWKT wakes an idle cpu
// at once, costs a credit, and is noted, too: who sleeps at once this time has lost it.
//
// That the idle cpu came in time to take the other LWKT earns nothing: to be woken takes the waker itself so long.
#pragma once

#include "rfork.h"
#include "thread.h"

namespace cr {

void eager_note_wake(cpu* c, thread* td);
void eager_note_leave(cpu* c, thread* td);

// The LWKT that now runs on c has a wake-up noted.
inline bool eager_noted(const cpu* c) { return c->c_wokerun == run_of(c); }

// td, which runs on c, has woken one LWKT while a cpu idles: whether that should be woken. If it was: td->td_eager--.
inline bool eager_woke(cpu* c, thread* td) {
  constexpr uint32_t kEvery = 7;
  bool note = td->td_eager != 0 || eager_noted(c) || c->c_tail % kEvery == 0 ||
              __atomic_load_n(&monitor_word, __ATOMIC_RELAXED) < MONITOR_FAST;
  if (note) eager_note_wake(c, td);
  return td->td_eager != 0;
}

// td leaves c.
inline void eager_leaves(cpu* c, thread* td) {
  if (__builtin_expect(eager_noted(c), 0)) eager_note_leave(c, td);
}

}  // namespace cr
