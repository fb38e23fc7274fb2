// A broadcast: the request stands in globals under a lock; a generation number tells each rfork
// whether it has served it, and the lock is held until all have. Spare rforks and the monitor block
// all signals: a spare is woken to serve it, the monitor looks each time round. None may be left
// out, though they do nothing that credentials govern: they run, or make, those that do, and of two
// calls only the later would reach one that comes back.

#include "broadcast.h"

#include <errno.h>
#include <linux/futex.h>
#include <sys/syscall.h>

#include "../../arch/rawcall.h"
#include "../lwkt/clock.h"
#include "../lwkt/rfork.h"
#include "../lwkt/spinlock.h"

namespace cr {

namespace {

GlobalLock lock;
uint64_t generation;
uint32_t call_nr;
uint64_t call_args[6];

// The call for one rfork: taken by it, which then leaves the answer.
struct Errand {
  globaldata* to;  // null: none, or done
  uint32_t nr;
  const uint64_t* args;
  long result;
};
Errand errand;
GlobalLock errand_lock;

// An rfork that waits for a vfork's child takes no signal, and runs nothing.
inline constexpr uint64_t kStopPatience = 20'000'000;
bool stopping;

void serve_errand(globaldata* gd) {
  const uint64_t* a = errand.args;
  errand.result =
      raw6(errand.nr, static_cast<long>(a[0]), static_cast<long>(a[1]), static_cast<long>(a[2]),
           static_cast<long>(a[3]), static_cast<long>(a[4]), static_cast<long>(a[5]));
  store_release(&errand.to, nullptr);
}

// The n-th time: makes gd look, and lets it run. Again now and then, as it may have been on its
// way to sleep, or out of it.
void knock(globaldata* gd, uint32_t n) {
  if (n % 256 == 0) {
    if (load_acquire(&gd->gd_deaf) == 0) {
      rfork_interrupt(gd);
    } else {
      rfork_nudge(gd);
    }
  }
  raw0(SYS_sched_yield);
}

[[noreturn]] void stop(globaldata* gd) {
  store_release(&gd->gd_deaf, 1u);
  static uint32_t never;
  for (;;) {
    raw4(SYS_futex, reinterpret_cast<long>(&never), FUTEX_WAIT | FUTEX_PRIVATE_FLAG, 0, 0);
  }
}

}  // namespace

void broadcast_serve() {
  globaldata* gd = mygd();
  if (__builtin_expect(load_acquire(&stopping), 0)) stop(gd);
  if (__builtin_expect(load_acquire(&errand.to) == gd, 0)) serve_errand(gd);
  uint64_t g = load_acquire(&generation);
  if (gd->gd_xcalls == g) return;
  raw6(call_nr, static_cast<long>(call_args[0]), static_cast<long>(call_args[1]),
       static_cast<long>(call_args[2]), static_cast<long>(call_args[3]), 0, 0);
  store_release(&gd->gd_xcalls, g);
}

void broadcast_call(uint32_t nr, const uint64_t args[6]) {
  Guard guard(lock);
  call_nr = nr;
  for (int i = 0; i < 6; i++) call_args[i] = args[i];
  store_release(&generation, generation + 1);
  globaldata* self = mygd();
  self->gd_xcalls = generation;
  for (globaldata* gd = load_acquire(&rforks); gd != nullptr; gd = gd->gd_next) {
    if (gd == self || load_acquire(&gd->gd_ktid) < 0) continue;
    // Until it has, or could not be made after all.
    auto served = [gd] { return load_acquire(&gd->gd_xcalls) == generation || load_acquire(&gd->gd_ktid) < 0; };
    for (uint32_t n = 0; !served(); n++) knock(gd, n);
  }
}

long broadcast_to(int32_t ktid, uint32_t nr, const uint64_t args[6]) {
  globaldata* gd = load_acquire(&rforks);
  while (gd != nullptr && gd->gd_ktid != ktid) gd = gd->gd_next;
  if (gd == nullptr) return -ESRCH;
  Guard guard(errand_lock);
  errand.nr = nr;
  errand.args = args;
  __atomic_store_n(&errand.to, gd, __ATOMIC_SEQ_CST);
  for (uint32_t n = 0; load_acquire(&errand.to) == gd; n++) knock(gd, n);
  return errand.result;
}

void broadcast_stop() {
  globaldata* self = mygd();
  if (__atomic_exchange_n(&stopping, true, __ATOMIC_SEQ_CST)) stop(self);
  uint64_t patience = clock_monotonic() + kStopPatience;
  for (globaldata* gd = load_acquire(&rforks); gd != nullptr; gd = gd->gd_next) {
    if (gd == self || gd->gd_ktid == 0) continue;
    if (load_acquire(&gd->gd_deaf) == 0) rfork_interrupt(gd);
    while (load_acquire(&gd->gd_deaf) == 0 && clock_monotonic() < patience) raw0(SYS_sched_yield);
  }
}

}  // namespace cr
