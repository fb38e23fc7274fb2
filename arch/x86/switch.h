// The switch between two LWKTs.
//
//   in:      both threads; below the boundary, so nothing preempts
//   saves:   MXCSR and the x87 control word, %ebp; the compiler saves whatever other registers it
//            has live (all are clobbered). The TLS register is td_tls already (tls.h).
//   vectors: nothing. At a call they are the caller's to save (System V ABI), and the gate has
//            saved them where the program had them live over its trap.
//   window:  between loading %esp and storing curthread the stack is next's and curthread is
//            old. A signal there sees libcr's text and touches neither.
//   After %esp is next's, old->td_running = 0 tells other cpus that old's context is complete.
//
// It is inlined, and goes on by a jump, so that the processor's stack of return addresses stays
// in step (arch/x86_64/switch.h has the figures). The address to go on at comes from a call that
// returns, for the same reason: position-independent code has no other way to it.
#pragma once

#include "context.h"

namespace cr {

[[gnu::always_inline]] inline void cpu_switch(thread* old, thread* next) {
  asm volatile(
      "pushl %%ebp\n\t"
      "call cr_pc_thunk_ax\n"
      "8:\n\t"
      "leal 1f-8b(%%eax), %%eax\n\t"
      "pushl %%eax\n\t"
      "subl $8, %%esp\n\t"
      "stmxcsr (%%esp)\n\t"
      "fnstcw 4(%%esp)\n\t"
      "movl (%%esp), %%ecx\n\t"
      "movzwl 4(%%esp), %%edx\n\t"
      "movl %%esp, %c[sp](%%edi)\n\t"
      "movl %c[sp](%%esi), %%esp\n\t"
      "movl %%esi, %%fs:%c[cur]\n\t"
      "movl $0, %c[running](%%edi)\n\t"
      "cmpl (%%esp), %%ecx\n\t"
      "jne 5f\n\t"
      "cmpw 4(%%esp), %%dx\n\t"
      "jne 5f\n"
      "3:\n\t"
      "testl %[notls], %c[flags](%%esi)\n\t"
      "jnz 4f\n\t"
      // Always: an entry that another LWKT had before may be in the register with its old address.
      "movl %c[selector](%%esi), %%eax\n\t"
      "testl %%eax, %%eax\n\t"
      "jz 6f\n\t"
      "movl %%eax, %%gs\n"
      "4:\n\t"
      "addl $8, %%esp\n\t"
      "popl %%ecx\n\t"
      "jmp *%%ecx\n"
      "5:\n\t"
      "ldmxcsr (%%esp)\n\t"
      "fldcw 4(%%esp)\n\t"
      "jmp 3b\n"
      "6:\n\t"
      "pushl %c[tls](%%esi)\n\t"
      "call cr_tls_share\n\t"
      "addl $4, %%esp\n\t"
      "jmp 4b\n"
      "1:\n\t"
      "popl %%ebp"
      : "+D"(old), "+S"(next)
      : [sp] "i"(TD_SP), [tls] "i"(TD_TLS), [selector] "i"(TD_TLS_SELECTOR), [flags] "i"(TD_FLAGS),
        [running] "i"(TD_RUNNING), [notls] "i"(TDF_NOTLS), [cur] "i"(GD_CURTHREAD)
      : "eax", "ebx", "ecx", "edx", "memory", "cc");
}

}  // namespace cr
