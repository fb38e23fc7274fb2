// The kernel's signal frames on i386, byte for byte: rt_sigreturn restores from one, unwinders
// and programs read them. Source: arch/x86/include/uapi/asm/sigcontext.h, asm/sigframe.h.
//
// A handler without SA_SIGINFO finds its sigcontext by value behind the signal's number, which is a
// frame of its own (struct old_sigframe); it stands below an ordinary one, and what the handler
// changed goes there when it returns.
#pragma once

#include <signal.h>
#include <stddef.h>
#include <stdint.h>

#include "frame.h"

namespace cr {

struct ksigcontext {
  uint32_t gs, fs, es, ds;
  uint32_t di, si, bp, sp, bx, dx, cx, ax;
  uint32_t trapno, err;
  uint32_t ip, cs, flags;
  uint32_t sp_at_signal, ss;
  uint32_t fpstate;
  uint32_t oldmask, cr2;
};
static_assert(sizeof(ksigcontext) == 88);

struct kstack {
  uint32_t sp;
  int32_t flags;
  uint32_t size;
};

inline kstack make_kstack(uint64_t sp, int32_t flags, uint64_t size) {
  return {static_cast<uint32_t>(sp), flags, static_cast<uint32_t>(size)};
}

struct kucontext {
  uint32_t flags;
  uint32_t link;
  kstack stack;
  ksigcontext mc;
  uint64_t sigmask;
};
static_assert(offsetof(kucontext, mc) == 20 && offsetof(kucontext, sigmask) == 108);
static_assert(sizeof(kucontext) == 116);

struct rt_sigframe {
  uint32_t pretcode;
  int32_t sig;
  uint32_t pinfo;
  uint32_t puc;
  siginfo_t info;
  kucontext uc;
};
static_assert(offsetof(rt_sigframe, uc) == 144);

struct old_sigframe {
  uint32_t pretcode;
  int32_t sig;
  ksigcontext mc;
  uint32_t fpstate_unused[156];
  uint32_t extramask;
  rt_sigframe* rt;  // ours, where the kernel has the code of the return
};

inline constexpr uint32_t UC_FP_XSTATE = 1;
inline constexpr uint32_t UC_SIGCONTEXT_SS = 0;  // x86_64 alone has these
inline constexpr uint32_t UC_STRICT_RESTORE_SS = 0;

inline constexpr size_t kFsave = 112;  // the old form of the FPU state, which comes first
inline constexpr size_t kFpSwOffset = kFsave + 464;
inline constexpr size_t kXsaveHeader = kFsave + 512;

// The handler's arguments on its stack, which begins at the result. The frame is filled already.
uint64_t sigframe_enter(rt_sigframe* f, int sig, uint64_t flags);

// And in the registers that it starts with (the kernel serves regparm handlers, too).
inline void sigframe_arguments(trapframe* out, rt_sigframe* f, int sig) {
  out->result = static_cast<uint32_t>(sig);
  out->edx = reinterpret_cast<uintptr_t>(&f->info);
  out->ecx = reinterpret_cast<uintptr_t>(&f->uc);
}
inline void sigframe_arguments(ksigcontext* mc, rt_sigframe* f, int sig) {
  mc->ax = static_cast<uint32_t>(sig);
  mc->dx = reinterpret_cast<uintptr_t>(&f->info);
  mc->cx = reinterpret_cast<uintptr_t>(&f->uc);
}

// A mark in a word of the context that the kernel ignores: sig_return has seen it once already.
inline constexpr uint32_t kSecondPassMark = 0x6c696263;
inline void sigframe_mark(kucontext* uc, bool second) {
  uc->mc.sp_at_signal = second ? kSecondPassMark : uc->mc.sp;
}
inline bool sigframe_marked(const kucontext* uc) {
  return uc->mc.sp_at_signal == kSecondPassMark;
}

// True if the context is in the kernel's entry on libcr's behalf; settled then (vsyscall.cc).
bool context_in_entry(kucontext* uc);

// Whether the context is in that entry for a call of libcr's.
bool context_in_own_entry(const kucontext* uc);

// Whether a trap that is restarted is told from one that is not begun (vsyscall.cc).
bool trap_tells();
// What context_in_entry knows: libcr's own instruction is a call of the entry.
inline bool context_restarts_trap(const kucontext*, uint64_t) { return false; }

// Handlers go back by the kernel here, where an int $0x80 is made as sysenter (sigreturn.S).
inline bool sigframe_can_jump(const kucontext*) { return false; }
inline bool context_in_return(const kucontext*) { return false; }

// One of the first two arguments of the trap before the context's pc.
inline uint64_t context_arg(const kucontext* uc, int i) { return i == 0 ? uc->mc.bx : uc->mc.cx; }
// What it has said.
inline void context_set_result(kucontext* uc, int64_t result) { uc->mc.ax = static_cast<uint32_t>(result); }

inline void fpu_xsave(uintptr_t at, uint32_t low, uint32_t high) {
  asm volatile("xsave (%0)" ::"r"(at), "a"(low), "d"(high) : "memory");
}
inline void fpu_xrstor(uintptr_t at, uint32_t low, uint32_t high) {
  asm volatile("xrstor (%0)" ::"r"(at), "a"(low), "d"(high) : "memory");
}

// The gate's last instruction was about to return through the slot.
inline void context_finish_exit(kucontext* uc) {
  uc->mc.ip = *reinterpret_cast<const uint32_t*>(uc->mc.sp);
  uc->mc.sp += 4;
}

extern "C" void cr_restore_old();     // ... without SA_SIGINFO

}  // namespace cr
