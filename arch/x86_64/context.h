// First contexts: what cpu_switch finds on the stack of a thread that never ran.
#pragma once

#include <stdint.h>

#include "../fpcontrol.h"
#include "frame.h"

struct thread;

extern "C" {
void cpu_thread_start();
void gate_clone_start();
int cpu_rfork(unsigned long flags, void* stack_top, void (*fn)(void*), void* gd);
[[gnu::visibility("hidden")]] extern bool cr_have_fsgsbase;
[[gnu::visibility("hidden")]] extern bool cr_trap_tells;
}

namespace cr {

// What the kernel and the user say at start.
struct ArchStart {
  unsigned long hwcap2;
  const void* vdso;
  unsigned long sysinfo;  // i386's entry in the vdso
  bool no_fsgsbase;       // use arch_prctl in any case
  bool no_trap_rcx;       // do as if traps left %rcx alone
};

// Whether a trap leaves its return address in %rcx.
inline bool trap_sets_rcx() {
  constexpr long kGetpid = 39;
  uint64_t off = 0;
  long nr = kGetpid;
  asm volatile(
      "syscall\n"
      "0:\tleaq 0b(%%rip), %%r11\n\t"
      "subq %%r11, %%rcx"
      : "+a"(nr), "+c"(off)
      :
      : "r11", "memory", "cc");
  return off == 0;
}

#ifdef CR_KEEP_GS
const char* percpu_init();  // keepgs.cc
#else
inline const char* percpu_init() { return nullptr; }
#endif

// Null, or what is missing.
inline const char* arch_init(const ArchStart& s) {
  constexpr unsigned long kHwcap2Fsgsbase = 1ul << 1;
  cr_have_fsgsbase = (s.hwcap2 & kHwcap2Fsgsbase) != 0 && !s.no_fsgsbase;
  cr_trap_tells = !s.no_trap_rcx && trap_sets_rcx();
  return percpu_init();
}
// Where this very function's caller is, for cr backtrace.
template <typename Registers>
[[gnu::always_inline]] inline void capture_registers(Registers* to) {
  Registers& t = *to;
  asm volatile(
      "leaq 0f(%%rip), %%rax\n"
      "0:\tmovq %%rax, %0\n\t"
      "movq %%rsp, %1\n\t"
      "movq %%rbp, %2\n\t"
      "movq %%rbx, %3\n\t"
      "movq %%r12, %4\n\t"
      "movq %%r13, %5\n\t"
      "movq %%r14, %6\n\t"
      "movq %%r15, %7"
      : "=m"(t.pc), "=m"(t.sp), "=m"(t.bp), "=m"(t.bx), "=m"(t.r12), "=m"(t.r13), "=m"(t.r14),
        "=m"(t.r15)
      :
      : "rax", "memory");
}

inline void arch_open_gate() {}  // the sites are all there is

// What the switch finds on a parked stack, lowest address first.
struct switchframe {
  uint64_t fpcontrol;
  uint64_t pc;
  uint64_t bp;
};

// A context at `top` (16-byte aligned) that runs fn(arg) and then lwkt_exit.
inline uint64_t context_function(uint64_t top, void (*fn)(void*), void* arg) {
  struct Start {
    switchframe f;
    void (*fn)(void*);
    void* arg;
    uint64_t align;
  };
  auto* s = reinterpret_cast<Start*>(top - sizeof(Start));
  *s = Start{{0, reinterpret_cast<uint64_t>(&cpu_thread_start), 0}, fn, arg, 0};
  fpcontrol_save(&s->f.fpcontrol);
  return reinterpret_cast<uint64_t>(s);
}

// A context that leaves the gate through the trap frame `tf`, which stands on the new stack.
inline uint64_t context_trapframe(trapframe* tf) {
  auto* f = reinterpret_cast<switchframe*>(reinterpret_cast<uint64_t>(tf) - sizeof(switchframe));
  *f = switchframe{0, reinterpret_cast<uint64_t>(&gate_clone_start), 0};
  fpcontrol_save(&f->fpcontrol);
  return reinterpret_cast<uint64_t>(f);
}

// The TLS register of the calling LWKT.
inline tlsreg tls_read() {
  if (cr_have_fsgsbase) {
    uint64_t v;
    asm volatile("rdfsbase %0" : "=r"(v));
    return {v};
  }
  uint64_t v = 0;
  long ret;
  asm volatile("syscall" : "=a"(ret) : "a"(158L), "D"(0x1003L), "S"(&v) : "rcx", "r11", "memory");
  return {v};
}

// What clone's argument means. 0 or an errno.
inline int tls_from_clone(uint64_t argument, tlsreg* out) {
  out->base = argument;
  return 0;
}

inline void tls_release(const tlsreg&) {}        // its LWKT is gone
inline void tls_atfork_child(const tlsreg&) {}   // only this LWKT is left

// Makes `gd` the calling kernel thread's per-cpu area.
#ifdef CR_KEEP_GS
inline void percpu_write(const void* gd) {
  uint32_t selector = *reinterpret_cast<const uint32_t*>(static_cast<const char*>(gd) + GD_SELECTOR);
  asm volatile("movl %0, %%es" ::"r"(selector) : "memory");
}
#else
inline void percpu_write(const void* gd) {
  if (cr_have_fsgsbase) {
    asm volatile("wrgsbase %0" ::"r"(gd) : "memory");
    return;
  }
  long ret;
  asm volatile("syscall" : "=a"(ret) : "a"(158L), "D"(0x1001L), "S"(gd) : "rcx", "r11", "memory");
}
#endif

}  // namespace cr
