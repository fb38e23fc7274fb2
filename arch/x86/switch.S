// Where a thread that never ran starts. The switch itself is in switch.h: it must be inlined.

#include "frame.h"

	.text
// The first switch to a thread made by lwkt_create lands here. On the stack: a word for %ebp,
// the function, its argument.
	.globl	cpu_thread_start
	.hidden	cpu_thread_start
	.type	cpu_thread_start, @function
	.p2align 4
cpu_thread_start:
	.cfi_startproc
	.cfi_undefined %eip
	popl	%ebp
	popl	%ebx
	popl	%esi
	andl	$-16, %esp
	call	cr_switch_return
	subl	$12, %esp		// aligned at the call
	pushl	%esi
	call	*%ebx
	call	lwkt_exit
	ud2
	.cfi_endproc
	.size	cpu_thread_start, . - cpu_thread_start

	.section .note.GNU-stack, "", @progbits
