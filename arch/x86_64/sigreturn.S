// Where signal handlers return to, and the way back into the interrupted context.
//
// cr_restore_rt stands in the frame as the handler's return address. Its unwind table says
// "signal frame" and where every register lies in the ucontext that %rsp then points at, so
// that C++ exceptions, forced unwinding (cancellation), gdb and libunwind walk through it as
// through glibc's __restore_rt.
//
// The way back is restartable: from cr_sigreturn_check to cr_sigreturn_insn nothing has been
// undone, and a signal that hits there rolls the program counter back to the check.

#include "leave.h"

#define DW_CFA_def_cfa_expression 0x0f
#define DW_CFA_expression 0x10
#define GREG(n) (40 + 8 * (n))	// ucontext.mcontext register n from %rsp
#define UC_FPSTATE GREG(23)
#define AT(off) 0x77, (((off) & 0x7f) | 0x80), ((off) >> 7)
#define NEAR(off) 0x77, (off)

	.text
	.globl	cr_restore_rt
	.hidden	cr_restore_rt
	.type	cr_restore_rt, @function
	.p2align 4
	.cfi_startproc simple
	.cfi_signal_frame
	.cfi_escape DW_CFA_def_cfa_expression, 4, AT(GREG(15)), 0x06
	.cfi_escape DW_CFA_expression, 8, 2, NEAR(GREG(0))
	.cfi_escape DW_CFA_expression, 9, 2, NEAR(GREG(1))
	.cfi_escape DW_CFA_expression, 10, 2, NEAR(GREG(2))
	.cfi_escape DW_CFA_expression, 11, 3, AT(GREG(3))
	.cfi_escape DW_CFA_expression, 12, 3, AT(GREG(4))
	.cfi_escape DW_CFA_expression, 13, 3, AT(GREG(5))
	.cfi_escape DW_CFA_expression, 14, 3, AT(GREG(6))
	.cfi_escape DW_CFA_expression, 15, 3, AT(GREG(7))
	.cfi_escape DW_CFA_expression, 5, 3, AT(GREG(8))
	.cfi_escape DW_CFA_expression, 4, 3, AT(GREG(9))
	.cfi_escape DW_CFA_expression, 6, 3, AT(GREG(10))
	.cfi_escape DW_CFA_expression, 3, 3, AT(GREG(11))
	.cfi_escape DW_CFA_expression, 1, 3, AT(GREG(12))
	.cfi_escape DW_CFA_expression, 0, 3, AT(GREG(13))
	.cfi_escape DW_CFA_expression, 2, 3, AT(GREG(14))
	.cfi_escape DW_CFA_expression, 7, 3, AT(GREG(15))
	.cfi_escape DW_CFA_expression, 16, 3, AT(GREG(16))
	nop				// unwinders look one byte before the return address
cr_restore_rt:
	movq	%rsp, %rbx		// the ucontext
	leaq	-256(%rsp), %rsp	// below it is dead: the handler has returned
cr_sigreturn_again:
	movq	%rbx, %rdi
	call	sig_return		// mask, alternate stack, displaced sites, more signals
	testl	%eax, %eax
	jnz	cr_sigreturn_jump
	.globl	cr_sigreturn_check, cr_sigreturn_insn, cr_sigreturn_again
	.hidden	cr_sigreturn_check, cr_sigreturn_insn, cr_sigreturn_again
cr_sigreturn_check:
	IF_PENDING cr_sigreturn_again
	movq	%rbx, %rsp
	movl	$15, %eax		// rt_sigreturn
cr_sigreturn_insn:
	syscall
	ud2

// The kernel need not see it: a trap of 0.5 us less. %rsp is the ucontext until the last but one; the
// kernel-signal handler makes the last jump itself (context_in_return). No popfq: who single-steps over
// it finds the trap flag left behind by the kernel.
cr_sigreturn_jump:
	movq	%rbx, %rsp
	.globl	cr_sigreturn_jump_check, cr_sigreturn_jump_last
	.hidden	cr_sigreturn_jump_check, cr_sigreturn_jump_last
cr_sigreturn_jump_check:
	IF_PENDING 1f
	movq	UC_FPSTATE(%rsp), %rcx
	movl	$-1, %eax
	movl	$-1, %edx
	xrstor64 (%rcx)
	movq	GREG(15)(%rsp), %rcx	// the stack pointer
	movq	GREG(16)(%rsp), %rax
	movq	%rax, -SIGRETURN_ROOM(%rcx)
	movq	GREG(0)(%rsp), %r8
	movq	GREG(1)(%rsp), %r9
	movq	GREG(2)(%rsp), %r10
	movq	GREG(3)(%rsp), %r11
	movq	GREG(4)(%rsp), %r12
	movq	GREG(5)(%rsp), %r13
	movq	GREG(6)(%rsp), %r14
	movq	GREG(7)(%rsp), %r15
	movq	GREG(8)(%rsp), %rdi
	movq	GREG(9)(%rsp), %rsi
	movq	GREG(10)(%rsp), %rbp
	movq	GREG(11)(%rsp), %rbx
	movq	GREG(12)(%rsp), %rdx
	movq	GREG(17)(%rsp), %rax	// the flags
	RESTORE_FLAGS
	movq	GREG(13)(%rsp), %rax
	movq	GREG(14)(%rsp), %rcx
	movq	GREG(15)(%rsp), %rsp
cr_sigreturn_jump_last:
	jmp	*-SIGRETURN_ROOM(%rsp)
1:	movq	%rsp, %rbx
	leaq	-256(%rsp), %rsp
	fninit				// the program's x87 state may be there, and its exceptions
	movl	$0x1f80, (%rsp)
	ldmxcsr	(%rsp)
	jmp	cr_sigreturn_again
	.cfi_endproc
	.size	cr_restore_rt, . - cr_restore_rt

// void signal_return_to(uint64_t rsp %rdi): the way back from a frame somewhere else.
	.globl	_ZN2cr16signal_return_toEm
	.hidden	_ZN2cr16signal_return_toEm
	.type	_ZN2cr16signal_return_toEm, @function
_ZN2cr16signal_return_toEm:
	.cfi_startproc
	.cfi_undefined %rip
	movq	%rdi, %rbx
	jmp	cr_sigreturn_again
	.cfi_endproc

	.section .note.GNU-stack, "", @progbits
