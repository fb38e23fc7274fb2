// Where a thread that never ran starts, and the control words it starts with. The switch itself
// is in switch.h: it must be inlined.

#include "frame.h"

	.text
// The first switch to a thread made by lwkt_create lands here. On the stack: a word for %rbp,
// the function, its argument.
	.globl	cpu_thread_start
	.hidden	cpu_thread_start
	.type	cpu_thread_start, @function
	.p2align 4
cpu_thread_start:
	.cfi_startproc
	.cfi_undefined %rip
	endbr64
	popq	%rbp
	popq	%rbx
	popq	%r12
	addq	$8, %rsp		// the pad: aligned for the calls
	call	cr_switch_return
	movq	%r12, %rdi
	call	*%rbx
	call	lwkt_exit
	ud2
	.cfi_endproc
	.size	cpu_thread_start, . - cpu_thread_start

// uint64_t cpu_fpcontrol(void): MXCSR in the low half, the x87 control word above it, as the
// switch keeps them on a parked stack.
	.globl	cpu_fpcontrol
	.hidden	cpu_fpcontrol
	.type	cpu_fpcontrol, @function
	.p2align 4
cpu_fpcontrol:
	.cfi_startproc
	endbr64
	stmxcsr	-8(%rsp)
	fnstcw	-16(%rsp)
	movl	-8(%rsp), %eax
	movzwl	-16(%rsp), %ecx
	shlq	$32, %rcx
	orq	%rcx, %rax
	ret
	.cfi_endproc
	.size	cpu_fpcontrol, . - cpu_fpcontrol

	.section .note.GNU-stack, "", @progbits
