// The request stands in globals under a lock; a generation number tells each rfork whether it
// has served it. Spare rforks and the monitor block all signals, so they are made to serve it
// when they next run: they touch nothing that credentials govern before that.

#include "broadcast.h"

#include <sys/syscall.h>

#include "../../arch/x86_64/rawcall.h"
#include "../lwkt/rfork.h"
#include "../lwkt/spinlock.h"

namespace cr {

namespace {

GlobalLock lock;
uint64_t generation;
uint32_t call_nr;
uint64_t call_args[6];

}  // namespace

void broadcast_serve() {
  globaldata* gd = mygd();
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
    if (gd == self || gd->gd_ktid == 0 || load_acquire(&gd->gd_deaf) != 0) continue;
    rfork_send_signal(gd, kIpiSignal);
    while (load_acquire(&gd->gd_xcalls) != generation && load_acquire(&gd->gd_deaf) == 0) {
      raw0(SYS_sched_yield);
    }
  }
}

}  // namespace cr
