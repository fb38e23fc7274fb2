#include "../sigframe.h"

extern "C" {
[[gnu::visibility("hidden")]] bool cr_have_fsgsbase;
[[gnu::visibility("hidden")]] bool cr_trap_tells;
}

namespace cr {

namespace {
inline constexpr uint64_t kFlagsForIret = 0x50500;  // AC, RF, DF, TF: those that the jump does not restore
inline constexpr uint64_t kUserEnd = 1ull << 47;
inline constexpr uint64_t kSameStack = 64 * 1024;
inline constexpr size_t kMxcsrOffset = 24;
inline constexpr uint32_t kMxcsrReserved = 0xffff0000;
}  // namespace

uint64_t sigframe_size() { return sizeof(rt_sigframe) + cr_xsave_size + 64 + 64 + 32 + (kJumpRoom - kRedZone); }

FramePlace sigframe_place(uint64_t sp) {
  uint64_t fp = (sp - (kJumpRoom - kRedZone) - cr_xsave_size - sizeof(kFpMagic2)) & ~63ull;
  uint64_t frame = ((fp - sizeof(rt_sigframe)) & ~15ull) - 8;
  return {reinterpret_cast<rt_sigframe*>(frame), fp};
}

namespace {
void finish_fpu(uint64_t fp) {
  auto* sw = reinterpret_cast<fpx_sw_bytes*>(fp + kFpSwOffset);
  *sw = fpx_sw_bytes{kFpMagic1, static_cast<uint32_t>(cr_xsave_size + sizeof(kFpMagic2)), xfeatures,
                     static_cast<uint32_t>(cr_xsave_size), {}};
  *reinterpret_cast<uint32_t*>(fp + cr_xsave_size) = kFpMagic2;
}
}  // namespace

void sigframe_save_fpu(uint64_t fp, bool wide) {
  fpu_save(fp, wide ? kFpuAll : kFpuSse | kFpuPkru);
  finish_fpu(fp);
}

void sigframe_copy_fpu(uint64_t to, uint64_t from) {
  uint64_t n = cr_xsave_size;
  if (from != 0) {
    auto* sw = reinterpret_cast<const fpx_sw_bytes*>(from + kFpSwOffset);
    uint64_t have = sw->magic1 == kFpMagic1 ? sw->xstate_size : kXsaveHeader;
    if (have < n) n = have;
    __builtin_memcpy(reinterpret_cast<void*>(to), reinterpret_cast<const void*>(from), n);
    if (n < cr_xsave_size) {
      __builtin_memset(reinterpret_cast<void*>(to + n), 0, cr_xsave_size - n);
      if (n <= kXsaveHeader) *reinterpret_cast<uint64_t*>(to + kXsaveHeader) = 3;
    }
  } else {
    __builtin_memset(reinterpret_cast<void*>(to), 0, n);
    sigframe_clear_fpu(to);
  }
  finish_fpu(to);
}

void sigframe_clear_fpu(uint64_t fp) {
  if (fp == 0) return;
  *reinterpret_cast<uint64_t*>(fp + kXsaveHeader) = 0;         // xstate_bv: all initial
  *reinterpret_cast<uint16_t*>(fp) = 0x37f;                    // x87 control word
  *reinterpret_cast<uint32_t*>(fp + kMxcsrOffset) = 0x1f80;    // MXCSR is not covered by xstate_bv
}

bool sigframe_can_jump(const kucontext* uc) {
  const ksigcontext& m = uc->mc;
  if (m.cs != 0x33 || m.ss != 0x2b || (m.flags & kFlagsForIret) != 0 || m.ip >= kUserEnd) return false;
  // cr_sigreturn_jump writes below the red zone that it goes back to: there must be a stack, and
  // nothing that is still needed.
  auto from = reinterpret_cast<uintptr_t>(uc);
  uint64_t end = m.fpstate + cr_xsave_size + sizeof(kFpMagic2);
  if (m.fpstate % 64 != 0 || m.fpstate < from + sizeof *uc || m.sp - kJumpRoom < end || m.sp - from > kSameStack) {
    return false;
  }
  // What xrstor would fault on.
  auto* sw = reinterpret_cast<const fpx_sw_bytes*>(m.fpstate + kFpSwOffset);
  auto* header = reinterpret_cast<const uint64_t*>(m.fpstate + kXsaveHeader);
  auto mxcsr = *reinterpret_cast<const uint32_t*>(m.fpstate + kMxcsrOffset);
  if (sw->magic1 != kFpMagic1 || sw->xstate_size != cr_xsave_size || sw->xfeatures != xfeatures) return false;
  if ((header[0] & ~xfeatures) != 0 || (mxcsr & kMxcsrReserved) != 0) return false;
  for (size_t i = 1; i < kXsaveHeaderSize / sizeof *header; i++) {
    if (header[i] != 0) return false;
  }
  return true;
}

void sigframe_from_trapframe(kucontext* uc, const trapframe* tf) {
  ksigcontext& m = uc->mc;
  m.r8 = tf->r8, m.r9 = tf->r9, m.r10 = tf->r10, m.r11 = tf->flags;
  m.r12 = tf->r12, m.r13 = tf->r13, m.r14 = tf->r14, m.r15 = tf->r15;
  m.di = tf->rdi, m.si = tf->rsi, m.bp = tf->rbp, m.bx = tf->rbx;
  m.dx = tf->rdx, m.ax = tf->result, m.cx = tf->unwindpc, m.sp = tf->sp;
  m.ip = tf->unwindpc, m.flags = tf->flags;
  m.cs = 0x33, m.gs = 0, m.fs = 0, m.ss = 0x2b;
}

}  // namespace cr
