// The kernel's signal frames (of the architecture's own sigframe.h), and what both architectures do with them.
#pragma once
#if defined(__x86_64__)
#include "x86_64/sigframe.h"
#else
#include "x86/sigframe.h"
#endif

namespace cr {

// What the kernel writes among the register state's unused bytes, and behind its end.
inline constexpr uint32_t kFpMagic1 = 0x46505853;
inline constexpr uint32_t kFpMagic2 = 0x46505845;
inline constexpr size_t kXsaveLegacySize = 512, kXsaveHeaderSize = 64;  // of the extended state, then the rest
struct fpx_sw_bytes {
  uint32_t magic1;
  uint32_t extended_size;
  uint64_t xfeatures;
  uint32_t xstate_size;
  uint32_t padding[7];
};

// Where a frame goes: `sp` is the highest free address. `fp` is the address of the register state. The
// handler finds its stack as behind a call: aligned to 16 above the return address.
struct FramePlace {
  rt_sigframe* frame;
  uint64_t fp;
};
FramePlace sigframe_place(uint64_t sp);
uint64_t sigframe_size();  // upper bound of what a frame takes

// Fills the register state of a frame from the cpu. Not `wide`: of the vectors, what SSE has of them;
// nothing is live in the rest.
void sigframe_save_fpu(uint64_t fp, bool wide);
// Copies it from another frame's (0: none).
void sigframe_copy_fpu(uint64_t to, uint64_t from);
// Makes the state at `fp` the initial one (a handler starts with a clean FPU).
void sigframe_clear_fpu(uint64_t fp);

void sigframe_from_trapframe(kucontext* uc, const trapframe* tf);

// The cpu's extended state, fpu_size(parts) bytes at a multiple of 64. What was not saved must not be loaded:
// that would be its initial state.
inline constexpr uint64_t kFpuAll = ~0ull, kFpuSse = 3, kFpuPkru = 1 << 9;  // SSE: and x87. PKRU lies behind the vectors
void fpu_save(uintptr_t at, uint64_t parts);
void fpu_load(uintptr_t at, uint64_t parts);

void sigframe_init();  // finds the size of the extended state, and which parts it has
extern uint64_t xfeatures;
extern "C" uintptr_t cr_xsave_size;
inline uintptr_t fpu_size(uint64_t parts) {
  return parts == kFpuSse ? kXsaveLegacySize + kXsaveHeaderSize : cr_xsave_size;
}
extern "C" void cr_restore_rt();  // where handlers return to

}  // namespace cr
