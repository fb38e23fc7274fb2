#include "../sigframe.h"

extern "C" {
// cr_restore_old's: the registers that the handler may have changed go to the frame that is
// returned from.
[[gnu::visibility("hidden")]] cr::kucontext* sig_old_return(cr::old_sigframe* f) {
  f->rt->uc.mc = f->mc;
  f->rt->uc.sigmask = f->mc.oldmask | static_cast<uint64_t>(f->extramask) << 32;
  return &f->rt->uc;
}
}

namespace cr {

uint64_t sigframe_size() {
  return sizeof(rt_sigframe) + sizeof(old_sigframe) + kFsave + cr_xsave_size + 64 + 64 + 32;
}

// The extended state is aligned, the old form stands right before it.
FramePlace sigframe_place(uint64_t sp) {
  uint32_t fx = (static_cast<uint32_t>(sp) - cr_xsave_size - sizeof(kFpMagic2)) & ~63u;
  uint32_t fp = fx - kFsave;
  uint32_t frame = ((fp - sizeof(rt_sigframe) + 4) & ~15u) - 4;
  return {reinterpret_cast<rt_sigframe*>(frame), fp};
}

namespace {
uint8_t* at(uint64_t fp, size_t offset = 0) {
  return reinterpret_cast<uint8_t*>(static_cast<uintptr_t>(fp) + offset);
}

void finish_fpu(uint64_t fp) {
  *reinterpret_cast<fpx_sw_bytes*>(at(fp, kFpSwOffset)) =
      fpx_sw_bytes{kFpMagic1, static_cast<uint32_t>(kFsave + cr_xsave_size + sizeof(kFpMagic2)),
                   xfeatures, cr_xsave_size, {}};
  *reinterpret_cast<uint32_t*>(at(fp, kFsave + cr_xsave_size)) = kFpMagic2;
  // The status again, and "there is more behind".
  auto* tail = reinterpret_cast<uint16_t*>(at(fp, 108));
  tail[0] = *reinterpret_cast<uint16_t*>(at(fp, 4));
  tail[1] = 0;
}
}  // namespace

void sigframe_save_fpu(uint64_t fp, bool wide) {
  __builtin_memset(at(fp), 0, kXsaveHeader);
  fpu_save(reinterpret_cast<uintptr_t>(at(fp, kFsave)), wide ? kFpuAll : kFpuSse | kFpuPkru);
  asm volatile("fnsave (%0); frstor (%0)" ::"r"(at(fp)) : "memory");
  finish_fpu(fp);
}

void sigframe_copy_fpu(uint64_t to, uint64_t from) {
  uint32_t n = cr_xsave_size;
  if (from != 0) {
    auto* sw = reinterpret_cast<const fpx_sw_bytes*>(at(from, kFpSwOffset));
    uint32_t have = sw->magic1 == kFpMagic1 ? sw->xstate_size : 512;
    if (have < n) n = have;
    __builtin_memcpy(at(to), at(from), kFsave + n);
    if (n < cr_xsave_size) {
      __builtin_memset(at(to, kFsave + n), 0, cr_xsave_size - n);
      if (n <= 512) *reinterpret_cast<uint64_t*>(at(to, kXsaveHeader)) = 3;
    }
  } else {
    __builtin_memset(at(to), 0, kFsave + n);
    sigframe_clear_fpu(to);
  }
  finish_fpu(to);
}

// The kernel takes the x87 state from the old form, whatever the header of the other says.
void sigframe_clear_fpu(uint64_t fp) {
  if (fp == 0) return;
  __builtin_memset(at(fp), 0, kFsave);
  auto* env = reinterpret_cast<uint32_t*>(at(fp));
  env[0] = 0xffff037f;  // control, status and tag word
  env[1] = 0xffff0000;
  env[2] = 0xffffffff;
  *reinterpret_cast<uint64_t*>(at(fp, kXsaveHeader)) = 0;        // xstate_bv: all initial
  *reinterpret_cast<uint16_t*>(at(fp, kFsave)) = 0x37f;          // x87 control word
  *reinterpret_cast<uint32_t*>(at(fp, kFsave + 24)) = 0x1f80;    // MXCSR is not covered by xstate_bv
}

void sigframe_from_trapframe(kucontext* uc, const trapframe* tf) {
  ksigcontext& m = uc->mc;
  asm volatile("movl %%gs, %0" : "=r"(m.gs));
  asm volatile("movl %%fs, %0" : "=r"(m.fs));
  asm volatile("movl %%es, %0" : "=r"(m.es));
  asm volatile("movl %%ds, %0" : "=r"(m.ds));
  asm volatile("movl %%cs, %0" : "=r"(m.cs));
  asm volatile("movl %%ss, %0" : "=r"(m.ss));
  m.di = tf->edi, m.si = tf->esi, m.bp = tf->ebp, m.bx = tf->ebx;
  m.dx = tf->edx, m.cx = tf->ecx, m.ax = tf->result;
  m.sp = m.sp_at_signal = tf->sp;
  m.ip = tf->unwindpc, m.flags = tf->flags;
  m.trapno = m.err = m.cr2 = 0;
}

uint64_t sigframe_enter(rt_sigframe* f, int sig, uint64_t flags) {
  f->sig = sig;
  f->pinfo = reinterpret_cast<uintptr_t>(&f->info);
  f->puc = reinterpret_cast<uintptr_t>(&f->uc);
  if ((flags & SA_SIGINFO) != 0) return reinterpret_cast<uintptr_t>(f);
  auto old = reinterpret_cast<old_sigframe*>(
      ((reinterpret_cast<uintptr_t>(f) - sizeof(old_sigframe) + 4) & ~15u) - 4);
  old->pretcode = reinterpret_cast<uintptr_t>(&cr_restore_old);
  old->sig = sig;
  old->mc = f->uc.mc;
  old->mc.oldmask = static_cast<uint32_t>(f->uc.sigmask);
  old->extramask = static_cast<uint32_t>(f->uc.sigmask >> 32);
  old->rt = f;
  return reinterpret_cast<uintptr_t>(old);
}

}  // namespace cr
