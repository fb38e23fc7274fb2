// The kernel's signal frame on x86_64, byte for byte: rt_sigreturn restores from it, unwinders
// and programs read it. Source: arch/x86/include/uapi/asm/sigcontext.h, ucontext.h.
#pragma once

#include <signal.h>
#include <stddef.h>
#include <stdint.h>

#include "frame.h"

namespace cr {

struct ksigcontext {
  uint64_t r8, r9, r10, r11, r12, r13, r14, r15;
  uint64_t di, si, bp, bx, dx, ax, cx, sp, ip, flags;
  uint16_t cs, gs, fs, ss;
  uint64_t err, trapno, oldmask, cr2;
  uint64_t fpstate;
  uint64_t reserved[8];
};

struct kstack {
  uint64_t sp;
  int32_t flags;
  int32_t pad;
  uint64_t size;
};

inline kstack make_kstack(uint64_t sp, int32_t flags, uint64_t size) { return {sp, flags, 0, size}; }

struct kucontext {
  uint64_t flags;
  uint64_t link;
  kstack stack;
  ksigcontext mc;
  uint64_t sigmask;
};
static_assert(offsetof(kucontext, mc) == 40 && sizeof(ksigcontext) == 256);
static_assert(offsetof(kucontext, sigmask) == 296);

struct rt_sigframe {
  uint64_t pretcode;
  kucontext uc;
  siginfo_t info;
};

inline constexpr uint64_t UC_FP_XSTATE = 1;
inline constexpr uint64_t UC_SIGCONTEXT_SS = 2;
inline constexpr uint64_t UC_STRICT_RESTORE_SS = 4;

inline constexpr size_t kFpSwOffset = 464;
inline constexpr size_t kXsaveHeader = 512;

// Where the handler finds its stack, given its frame, which is filled.
inline uint64_t sigframe_enter(rt_sigframe* f, int, uint64_t) { return reinterpret_cast<uintptr_t>(f); }

// The handler's arguments, in the registers that it starts with.
inline void sigframe_arguments(trapframe* out, rt_sigframe* f, int sig) {
  out->rdi = static_cast<uint64_t>(sig);
  out->rsi = reinterpret_cast<uintptr_t>(&f->info);
  out->rdx = reinterpret_cast<uintptr_t>(&f->uc);
  out->result = 0;
}
inline void sigframe_arguments(ksigcontext* mc, rt_sigframe* f, int sig) {
  mc->di = static_cast<uint64_t>(sig);
  mc->si = reinterpret_cast<uintptr_t>(&f->info);
  mc->dx = reinterpret_cast<uintptr_t>(&f->uc);
  mc->ax = 0;
}

// A mark in a word of the context that the kernel ignores: sig_return has seen it once already.
inline constexpr uint64_t kSecondPassMark = 0x6c69626372;
inline void sigframe_mark(kucontext* uc, bool second) {
  uc->mc.reserved[7] = second ? kSecondPassMark : 0;
}
inline bool sigframe_marked(const kucontext* uc) { return uc->mc.reserved[7] == kSecondPassMark; }

// True if the context is in an entry of the kernel's on libcr's behalf; settled then.
inline bool context_in_entry(kucontext*) { return false; }
inline bool context_in_own_entry(const kucontext*) { return false; }

// A trap leaves its return address in %rcx, where the kernel finds it again when it restarts one: the trap at `insn`
// is to be made again, and not for the first time. Where traps leave %rcx alone (FRED; context.h) that is not known.
extern "C" [[gnu::visibility("hidden")]] bool cr_trap_tells;
inline bool trap_tells() { return cr_trap_tells; }
inline bool context_restarts_trap(const kucontext* uc, uint64_t insn) {
  constexpr uint64_t kSize = 2;
  return uc->mc.ip == insn && (uc->mc.cx == insn + kSize || !cr_trap_tells);
}

// Whether cr_sigreturn_jump can go back to uc. Else only the kernel can: there is single stepping, or the
// context was changed into one that the jump does not reach.
bool sigframe_can_jump(const kucontext* uc);

// What the jump takes below the stack pointer that it goes back to.
inline constexpr uint64_t kJumpRoom = SIGRETURN_ROOM;

// True if a signal hit cr_sigreturn_jump before its last instruction: at the check again then. That one is made
// here, and uc is the program's.
extern "C" void cr_sigreturn_jump_check(), cr_sigreturn_jump_last();
inline bool context_in_return(kucontext* uc) {
  auto at = [](void (*label)()) { return reinterpret_cast<uintptr_t>(label); };
  ksigcontext& m = uc->mc;
  bool inside = m.ip >= at(cr_sigreturn_jump_check) && m.ip < at(cr_sigreturn_jump_last);
  if (inside) m.ip = at(cr_sigreturn_jump_check);
  if (m.ip == at(cr_sigreturn_jump_last)) m.ip = *reinterpret_cast<const uint64_t*>(m.sp - kJumpRoom);
  return inside;
}

// One of the first two arguments of the trap before the context's pc.
inline uint64_t context_arg(const kucontext* uc, int i) { return i == 0 ? uc->mc.di : uc->mc.si; }
// What it has said.
inline void context_set_result(kucontext* uc, int64_t result) { uc->mc.ax = static_cast<uint64_t>(result); }

inline void fpu_xsave(uintptr_t at, uint32_t low, uint32_t high) {
  asm volatile("xsave64 (%0)" ::"r"(at), "a"(low), "d"(high) : "memory");
}
inline void fpu_xrstor(uintptr_t at, uint32_t low, uint32_t high) {
  asm volatile("xrstor64 (%0)" ::"r"(at), "a"(low), "d"(high) : "memory");
}

// The gate's last instruction was about to go where %rcx says.
inline void context_finish_exit(kucontext* uc) { uc->mc.ip = uc->mc.cx; }

}  // namespace cr
