// Where a thread that never ran starts. The switch itself is in switch.h: it must be inlined.

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

	.section .note.GNU-stack, "", @progbits
