// The trap frame and the offsets that assembly shares with C++, i386.
//
// One frame type for every door of the gate: `call *%gs:0x10` in libc, a rewritten int $0x80. It
// is built on the program's stack right below the program's stack pointer (i386 has no red zone), so
// that its end is in place already: the site's descriptor lies above the flags, and above that is
// the slot that the way out returns through.
#pragma once

// struct trapframe
#define TF_EBX 0
#define TF_ECX 4
#define TF_EDX 8
#define TF_ESI 12
#define TF_EDI 16
#define TF_EBP 20
#define TF_EAX 24
#define TF_NR 28
#define TF_EIP 32
#define TF_ESP 36
#define TF_UNWINDPC 40
#define TF_EXIT 44
#define TF_EFLAGS 48
#define TF_DESC 52
#define TF_SIZE 56

// struct sitedesc
#define SD_RETPC 0
#define SD_TRAPPC 4
#define SD_UNWINDPC 8
#define SD_VECTOR 12
#define SD_NARROW 13
#define SD_SIZE 16

// struct globaldata
#define GD_SELF 0
#define GD_CURTHREAD 4
#define GD_GATE 8
#define GD_PT_RETPC 12
#define GD_PT_PARENT 16
#define GD_PT_FRAME 20
#define GD_PT_STACK 24
#define GD_AST 28
#define GD_ARCH 32
#define GD_SYSGATE (GD_ARCH + 0)
#define GD_SYSDESC (GD_ARCH + 4)
#define GD_DOORS (GD_ARCH + 8)
#define GD_VSYSCALL (GD_ARCH + 12)
#define GD_SIGRETURN (GD_ARCH + 16)

// struct thread
#define TD_SLOT 0xac
#define TD_SP 0
#define TD_TLS 8
#define TD_TLS_SELECTOR 12
#define TD_AST 16
#define TD_FLAGS 20
#define TD_RUNNING 24

// struct thread's td_sysmsg
#define TD_MSG 0xe0
#define TD_MSG_RESULT 0x100
#define TD_MSG_NR 0x108
#define TD_MSG_FRAME 0x110
#define TD_MSG_ARGS 0x114

// Call numbers below this have a door (gate.S).
#define GATE_DOORS 512
#define DOOR_LONG 0
#define DOOR_PLAIN 1
#define DOOR_SLEEP 2
#define GATE_AST_SIGNAL 1

// thread flags that assembly tests
#define TDF_NOTLS 0x0001
#define GATE_INPORT 0x0100

// The per-cpu register (percpu.h). %gs is glibc's. The selector is the same on every rfork, the descriptor
// behind it each one's own.
#define PERCPU_READ(out, offset) asm volatile("mov %%fs:%c1, %0" : "=r"(out) : "i"(offset))

#ifdef __cplusplus
#include <stddef.h>
#include <stdint.h>

namespace cr {

struct sitedesc {
  uint32_t retpc;   // where the program goes on after the call; 0: the slot says it already
  uint32_t trappc;  // jump here with all registers restored to trap in place
  uint32_t unwindpc;  // the address after the trap as the program and its unwind tables know it
  uint8_t vector;   // SiteVector
  uint8_t narrow;   // Site::narrow: its calls have a stack of their own (src/sysport/callstack.h)
  uint8_t rule;     // SiteRule; 0 for a wrapper or libc's call through its thread block
  uint8_t pad[1];
};
static_assert(offsetof(sitedesc, trappc) == SD_TRAPPC && offsetof(sitedesc, unwindpc) == SD_UNWINDPC);
static_assert(offsetof(sitedesc, narrow) == SD_NARROW && SD_NARROW == SD_VECTOR + 1);
static_assert(offsetof(sitedesc, vector) == SD_VECTOR && sizeof(sitedesc) == SD_SIZE);

struct trapframe {
  uint32_t ebx, ecx, edx, esi, edi, ebp;  // the arguments, in order
  uint32_t result;                        // %eax. In: the number; out: the raw result
  uint32_t nr;                            // the number, kept for restarts
  uint32_t pc;        // where the program goes on
  uint32_t sp;
  uint32_t unwindpc;  // pc as unwinders see it: a displaced site goes on in its stub
  uint32_t exit;      // gate.S: sp - 4, where the last instruction finds pc
  uint32_t flags;
  const sitedesc* desc;
};
static_assert(sizeof(trapframe) == TF_SIZE);
static_assert(offsetof(trapframe, result) == TF_EAX && offsetof(trapframe, ebp) == TF_EBP);
static_assert(offsetof(trapframe, pc) == TF_EIP && offsetof(trapframe, sp) == TF_ESP);
static_assert(offsetof(trapframe, exit) == TF_EXIT && offsetof(trapframe, flags) == TF_EFLAGS);
static_assert(offsetof(trapframe, desc) == TF_DESC && offsetof(trapframe, unwindpc) == TF_UNWINDPC);

// Message slots have 8 bytes; a register's upper half is none.
inline void frame_args(const trapframe* tf, uint64_t* out) {
  out[0] = tf->ebx, out[1] = tf->ecx, out[2] = tf->edx;
  out[3] = tf->esi, out[4] = tf->edi, out[5] = tf->ebp;
}

// Before the way in by cr_call_reenter: the return address goes back where the call had put it.
inline void frame_undo_call(trapframe* tf) {
  tf->sp -= 4;
  *reinterpret_cast<uint32_t*>(tf->sp) = tf->pc;
}

// The TLS register of an LWKT that does not run: %gs (tls.h).
struct tlsreg {
  uint32_t base;
  uint32_t selector;  // 0: no descriptor of its own
};

inline constexpr bool kPercpuGs = false;  // %fs is

// What a per-cpu area needs besides: the gate is position-independent and has no register free.
struct percpu_arch {
  void (*sysgate)();        // where libc's call through its thread block goes
  const sitedesc* sysdesc;
  const void* doors;        // &cr_doors
  void (*vsyscall)();       // the kernel's fast entry, or an int $0x80
  void (*sigreturn)();      // the same for rt_sigreturn, which no entry can return from (sigreturn.S)
  uint32_t tlsbase;         // of the descriptor that LWKTs without one share
};
static_assert(offsetof(percpu_arch, sigreturn) == GD_SIGRETURN - GD_ARCH);
// Of an rfork's area, or of a vfork child's. False: there can be no more areas.
bool percpu_arch_make(percpu_arch* of, void* area);
bool percpu_arch_passthru(percpu_arch* of, void* area);
inline void percpu_arch_release(const percpu_arch&) {}       // the area is no more
inline void percpu_arch_atfork_child(const percpu_arch&) {}  // only this area is left

// What else of the registers is an LWKT's own: nothing.
struct userregs {};
inline userregs userregs_read() { return {}; }

inline constexpr uint8_t kElfClass = 1;     // ELFCLASS32
inline constexpr uint16_t kElfMachine = 3;  // EM_386
// Where the library for programs of the other class lies.
inline constexpr char kOtherLibrary[] = "lib/x86_64-linux-gnu";

inline constexpr uint32_t kRedZone = 0;

}  // namespace cr
#endif
