// The trap frame and the offsets that assembly shares with C++.
//
// One frame type for every door of the gate: a rewritten site, an exported wrapper, the
// catch-all. It is built on the program's stack below the red zone (rsp - 128), holds the
// program's registers at the trap, and is what fork, clone, signals and unwinding look at.
#pragma once

// Below the stack pointer that cr_sigreturn_jump goes back to: the red zone, and the ip
#define SIGRETURN_ROOM 136

// struct trapframe
#define TF_RDI 0
#define TF_RSI 8
#define TF_RDX 16
#define TF_R10 24
#define TF_R8 32
#define TF_R9 40
#define TF_RAX 48
#define TF_NR 56
#define TF_RBX 64
#define TF_RBP 72
#define TF_R12 80
#define TF_R13 88
#define TF_R14 96
#define TF_R15 104
#define TF_RIP 112
#define TF_RFLAGS 120
#define TF_RSP 128
#define TF_DESC 136
#define TF_R11 144
#define TF_RCX 152
#define TF_UNWINDPC 160
#define TF_SIZE 176

// struct sitedesc
#define SD_RETPC 0
#define SD_TRAPPC 8
#define SD_UNWINDPC 16
#define SD_VECTOR 24
#define SD_NARROW 25
#define SD_SIZE 32

// struct globaldata
#define GD_SELF 0
#define GD_CURTHREAD 8
#define GD_GATE 16
#define GD_PT_RETPC 24
#define GD_PT_PARENT 32
#define GD_PT_FRAME 40
#define GD_PT_STACK 48
#define GD_AST 56

// struct thread
#define TD_SLOT 0xc4
#define TD_SP 0
#define TD_TLS 8
#define TD_AST 16
#define TD_FLAGS 20
#define TD_RUNNING 24

// struct thread's td_sysmsg
#define TD_MSG 0x108
#define TD_MSG_RESULT 0x140
#define TD_MSG_NR 0x148
#define TD_MSG_FRAME 0x150
#define TD_MSG_ARGS 0x158

// Call numbers below this have a door (gate.S).
#define GATE_DOORS 512
#define DOOR_LONG 0
#define DOOR_PLAIN 1
#define DOOR_SLEEP 2
#define GATE_AST_SIGNAL 1

// thread flags that assembly tests
#define TDF_NOTLS 0x0001
#define GATE_INPORT 0x0100

#include "percpu.h"
#ifdef CR_KEEP_GS
#define GD_SELECTOR 60
#define TD_GS 0x200
#endif

#ifdef __cplusplus
#include <stddef.h>
#include <stdint.h>

namespace cr {

struct sitedesc {
  uint64_t retpc;   // where the program goes on after the call
  uint64_t trappc;  // jump here with all registers restored to trap in place
  uint64_t unwindpc;  // the address after the trap as the program and its unwind tables know it
  uint8_t vector;   // SiteVector
  uint8_t narrow;   // Site::narrow: its calls have a stack of their own (src/sysport/callstack.h)
  uint8_t rule;     // SiteRule; 0 for a wrapper
  uint8_t pad[5];
};
static_assert(offsetof(sitedesc, trappc) == SD_TRAPPC && offsetof(sitedesc, unwindpc) == SD_UNWINDPC);
static_assert(offsetof(sitedesc, narrow) == SD_NARROW && SD_NARROW == SD_VECTOR + 1);
static_assert(offsetof(sitedesc, vector) == SD_VECTOR && sizeof(sitedesc) == SD_SIZE);

struct trapframe {
  uint64_t rdi, rsi, rdx, r10, r8, r9;  // the arguments, in order
  uint64_t result;                      // %rax. In: the number; out: the raw result
  uint64_t nr;                          // the number, kept for restarts
  uint64_t rbx, rbp, r12, r13, r14, r15;
  uint64_t pc;      // where the program goes on
  uint64_t flags;
  uint64_t sp;
  const sitedesc* desc;
  uint64_t r11, rcx;  // free for the runtime
  uint64_t unwindpc;  // pc as unwinders see it: a displaced site goes on in its stub
  uint64_t pad;
};
static_assert(sizeof(trapframe) == TF_SIZE);
static_assert(offsetof(trapframe, result) == TF_RAX && offsetof(trapframe, rbx) == TF_RBX);
static_assert(offsetof(trapframe, pc) == TF_RIP && offsetof(trapframe, sp) == TF_RSP);
static_assert(offsetof(trapframe, desc) == TF_DESC && offsetof(trapframe, unwindpc) == TF_UNWINDPC);

inline void frame_args(const trapframe* tf, uint64_t* out) {
  out[0] = tf->rdi, out[1] = tf->rsi, out[2] = tf->rdx;
  out[3] = tf->r10, out[4] = tf->r8, out[5] = tf->r9;
}

// Before the way in by cr_call_reenter.
inline void frame_undo_call(trapframe*) {}

// The TLS register of an LWKT that does not run.
struct tlsreg {
  uint64_t base;
};

#ifndef CR_KEEP_GS
inline constexpr bool kPercpuGs = true;  // %gs is not the program's

// What a per-cpu area needs besides, and what else of the registers is an LWKT's own: nothing.
struct percpu_arch {};
inline bool percpu_arch_make(percpu_arch*, void*) { return true; }
inline void percpu_arch_release(const percpu_arch&) {}
inline void percpu_arch_atfork_child(const percpu_arch&) {}

struct userregs {};
inline userregs userregs_read() { return {}; }
#else
inline constexpr bool kPercpuGs = false;

// What a per-cpu area needs besides (keepgs.cc).
struct percpu_arch {
  uint32_t selector;  // of %es
};
// Of the area of an rfork or of a vfork child. False: there can be no more areas.
bool percpu_arch_make(percpu_arch* of, void* area);
void percpu_arch_release(const percpu_arch& of);         // the area is no more
void percpu_arch_atfork_child(const percpu_arch& mine);  // only this area is left

// What else of the registers is an LWKT's own.
struct userregs {
  uint64_t gs;  // the base
};
inline userregs userregs_read() {
  userregs r;
  asm volatile("rdgsbase %0" : "=r"(r.gs));
  return r;
}
#endif
inline bool percpu_arch_passthru(percpu_arch* of, void* area) { return percpu_arch_make(of, area); }

inline constexpr uint8_t kElfClass = 2;      // ELFCLASS64
inline constexpr uint16_t kElfMachine = 62;  // EM_X86_64
// Where the library for programs of the other class lies.
inline constexpr char kOtherLibrary[] = "lib/i386-linux-gnu";

inline constexpr uint64_t kRedZone = 128;  // below the program's stack pointer, its own

}  // namespace cr
#endif
