// First contexts: what cpu_switch finds on the stack of a thread that never ran.
#pragma once

#include <stdint.h>

#include "../fpcontrol.h"
#include "frame.h"
#include "tls.h"

struct thread;

extern "C" {
void cpu_thread_start();
void gate_clone_start();
int cpu_rfork(unsigned long flags, void* stack_top, void (*fn)(void*), void* gd);
}

namespace cr {

// What the switch finds on a parked stack, lowest address first.
struct switchframe {
  uint64_t fpcontrol;
  uint32_t pc;
  uint32_t bp;
};

// For cr backtrace: where the caller is.
template <typename Registers>
[[gnu::always_inline]] inline void capture_registers(Registers* to) {
  uint32_t pc, sp, bp;
  asm volatile(
      "call 0f\n"
      "0:\tpopl %0\n\t"
      "movl %%esp, %1\n\t"
      "movl %%ebp, %2"
      : "=r"(pc), "=r"(sp), "=r"(bp)
      :
      : "memory");
  to->pc = pc, to->sp = sp, to->bp = bp;
}

// A context at `top` (16-byte aligned) that runs fn(arg) and then lwkt_exit.
inline uint64_t context_function(uint64_t top, void (*fn)(void*), void* arg) {
  struct Start {
    switchframe f;
    void (*fn)(void*);
    void* arg;
    uint32_t align[2];
  };
  auto* s = reinterpret_cast<Start*>(static_cast<uintptr_t>(top) - sizeof(Start));
  *s = Start{{0, reinterpret_cast<uintptr_t>(&cpu_thread_start), 0}, fn, arg, {}};
  fpcontrol_save(&s->f.fpcontrol);
  return reinterpret_cast<uintptr_t>(s);
}

// A context that leaves the gate through the trap frame `tf`, which stands on the new stack.
inline uint64_t context_trapframe(trapframe* tf) {
  auto* f = reinterpret_cast<switchframe*>(reinterpret_cast<uintptr_t>(tf) - sizeof(switchframe));
  *f = switchframe{0, reinterpret_cast<uintptr_t>(&gate_clone_start), 0};
  fpcontrol_save(&f->fpcontrol);
  return reinterpret_cast<uintptr_t>(f);
}

}  // namespace cr
