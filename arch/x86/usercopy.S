// Reading and writing the program's memory from below the boundary. A bad pointer gives
// -EFAULT, as from the kernel: the fault handler (src/signal/kernel.cc) sees a program counter
// between usercopy_start and usercopy_end and moves it to usercopy_fault. All of that is leaf code
// with nothing on the stack; what needs %esi and %edi keeps them in registers that a call destroys.
//
//   int user_load32(uint32_t* out, const uint32_t* from)
//   user_fetch32_entry, user_fetch64_entry, user_store64_entry: usercopy.h's
//   int user_store32(uint32_t* to, uint32_t value)
//   int user_cas32(uint32_t* at, uint32_t* expect, uint32_t desired)   1: done, 0: *expect updated
//   int user_copy(void* to, const void* from, size_t n)

	.text
	.macro FUNC name
	.globl	\name
	.hidden	\name
	.type	\name, @function
	.p2align 4
\name:
	.endm

	.globl	usercopy_start, usercopy_end, usercopy_fault
	.hidden	usercopy_start, usercopy_end, usercopy_fault
	.cfi_startproc
usercopy_start:
FUNC user_load32
	movl	8(%esp), %ecx
	movl	(%ecx), %eax
	movl	4(%esp), %ecx
	movl	%eax, (%ecx)
	xorl	%eax, %eax
	ret
FUNC user_fetch32_entry
	movl	(%eax), %eax
	xorl	%edx, %edx
	ret
FUNC user_fetch64_entry
	movl	$1, %ecx
	movl	4(%eax), %edx
	movl	(%eax), %eax
	decl	%ecx
	ret
FUNC user_store64_entry
	movl	%edx, 4(%ecx)
	movl	%eax, (%ecx)
	xorl	%eax, %eax
	ret
FUNC user_store32
	movl	4(%esp), %ecx
	movl	8(%esp), %eax
	movl	%eax, (%ecx)
	xorl	%eax, %eax
	ret
FUNC user_cas32
	movl	8(%esp), %ecx
	movl	(%ecx), %eax
	movl	12(%esp), %edx
	movl	4(%esp), %ecx
	lock cmpxchgl %edx, (%ecx)
	movl	8(%esp), %ecx
	movl	%eax, (%ecx)
	sete	%al
	movzbl	%al, %eax
	ret
// A word at a time, then bytes: %eax from, %edx to, and the count in its place on the stack.
FUNC user_copy
	movl	8(%esp), %eax
	movl	4(%esp), %edx
	addl	%eax, 12(%esp)		// the end; no register is left for it
	addl	$4, %eax
	cmpl	12(%esp), %eax
	ja	2f
1:	movl	-4(%eax), %ecx
	movl	%ecx, (%edx)
	addl	$4, %eax
	addl	$4, %edx
	cmpl	12(%esp), %eax
	jbe	1b
2:	subl	$4, %eax
	cmpl	12(%esp), %eax
	je	4f
3:	movzbl	(%eax), %ecx
	movb	%cl, (%edx)
	incl	%eax
	incl	%edx
	cmpl	12(%esp), %eax
	jne	3b
4:	xorl	%eax, %eax
	ret
usercopy_end:
usercopy_fault:
	movl	$-14, %eax		// -EFAULT
	movl	$-1, %edx
	ret
	.cfi_endproc

	.section .note.GNU-stack, "", @progbits
