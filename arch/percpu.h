// The per-cpu register: a segment register that says where the globaldata of the kernel thread is that runs here.
//
// Always read curthread through these, never keep it over a switch: the LWKT may go on upon
// another rfork.
#pragma once

#include <stdint.h>

#include "frame.h"

struct thread;

namespace cr {

using ::thread;
struct globaldata;

[[gnu::always_inline]] inline globaldata* mygd() {
  globaldata* gd;
  PERCPU_READ(gd, GD_SELF);
  return gd;
}

[[gnu::always_inline]] inline thread* curthread() {
  thread* td;
  PERCPU_READ(td, GD_CURTHREAD);
  return td;
}

[[gnu::always_inline]] inline void cpu_pause() { asm volatile("pause" ::: "memory"); }

// Not __builtin_prefetch: the compiler has no such instruction without vector registers. It does not wait for
// the line, but the processor does not get far beyond it before the page is translated, 0.1 to 0.2 us where
// the page tables are in no cache, either. Several in a row are translated at once: of many pages some are best
// touched together.
[[gnu::always_inline]] inline void cpu_prefetch(const void* p) {
  asm volatile("prefetcht0 %0" ::"m"(*static_cast<const char*>(p)));
}
inline constexpr uint32_t kPrefetchGroup = 8;

// Compiler fence: order against a signal handler on this rfork.
[[gnu::always_inline]] inline void cpu_ccfence() { asm volatile("" ::: "memory"); }

}  // namespace cr
