// The switch between two LWKTs.
//
//   in:      both threads; below the boundary, so nothing preempts
//   saves:   MXCSR and the x87 control word, the TLS base, %rbp; the compiler saves whatever
//            other registers it has live (all are clobbered)
//   vectors: nothing. At a call they are the caller's to save (System V ABI), and the gate has
//            saved them where the program had them live over its trap.
//   window:  between loading %rsp and storing curthread the stack is next's and curthread is
//            old. A signal there sees libcr's text and touches neither.
//   After %rsp is next's, old->td_running = 0 tells other cpus that old's context is complete.
//
// It is inlined, and goes on by a jump, so that the processor's stack of return addresses stays
// in step: a call that is left by a jump makes every later return of the resumed LWKT
// mispredict (measured: 45 ns on a hand-over), and a call that is left by ret mispredicts
// whenever the two LWKTs came from different places.
#pragma once

#include "context.h"

namespace cr {

[[gnu::always_inline]] inline void cpu_switch(thread* old, thread* next) {
  asm volatile(
      "pushq %%rbp\n\t"
      "leaq 1f(%%rip), %%rax\n\t"
      "pushq %%rax\n\t"
      "subq $8, %%rsp\n\t"
      "stmxcsr (%%rsp)\n\t"
      "fnstcw 4(%%rsp)\n\t"
      "movl %c[flags](%%rdi), %%r10d\n\t"
      "testl %[notls], %%r10d\n\t"
      "jnz 2f\n\t"
      SWITCH_SAVE_REGS
      "cmpb $0, cr_have_fsgsbase(%%rip)\n\t"
      "je 2f\n\t"  // without the instruction td_tls follows arch_prctl
      "rdfsbase %%rdx\n\t"
      "movq %%rdx, %c[fsbase](%%rdi)\n"
      "2:\n\t"
      "movl (%%rsp), %%r8d\n\t"
      "movzwl 4(%%rsp), %%r9d\n\t"
      "movq %%rsp, %c[sp](%%rdi)\n\t"
      "movq %c[sp](%%rsi), %%rsp\n\t"
      PERCPU_SET_CURTHREAD
      "movl $0, %c[running](%%rdi)\n\t"
      "cmpl (%%rsp), %%r8d\n\t"
      "jne 5f\n\t"
      "cmpw 4(%%rsp), %%r9w\n\t"
      "jne 5f\n"
      "3:\n\t"
      "testl %[notls], %c[flags](%%rsi)\n\t"
      "jnz 4f\n\t"
      SWITCH_LOAD_REGS
      "movq %c[fsbase](%%rsi), %%rdi\n\t"
      "cmpb $0, cr_have_fsgsbase(%%rip)\n\t"
      "je 6f\n\t"
      // An LWKT without TLS leaves the register alone, so it may still be right, or anybody's.
      "testl %[notls], %%r10d\n\t"
      "jz 7f\n\t"
      "rdfsbase %%rdx\n"
      "7:\n\t"
      "cmpq %%rdx, %%rdi\n\t"
      "je 4f\n\t"
      "wrfsbase %%rdi\n"
      "4:\n\t"
      "addq $8, %%rsp\n\t"
      "popq %%rcx\n\t"
      "jmp *%%rcx\n"
      "5:\n\t"
      "ldmxcsr (%%rsp)\n\t"
      "fldcw 4(%%rsp)\n\t"
      "jmp 3b\n"
      "6:\n\t"
      "movq %%rdi, %%rsi\n\t"
      "movl $0x1002, %%edi\n\t"  // ARCH_SET_FS
      "movl $158, %%eax\n\t"     // arch_prctl
      "syscall\n\t"
      "jmp 4b\n"
      "1:\n\t"
      "popq %%rbp"
      : "+D"(old), "+S"(next)
      : [sp] "i"(TD_SP), [fsbase] "i"(TD_TLS), [flags] "i"(TD_FLAGS), [running] "i"(TD_RUNNING),
        [notls] "i"(TDF_NOTLS), [cur] "i"(GD_CURTHREAD)
      : "rax", "rbx", "rcx", "rdx", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "memory",
        "cc");
}

}  // namespace cr
