// Reading and writing the program's memory from below the boundary. A bad pointer gives
// -EFAULT, as from the kernel: the fault handler (src/signal/kernel.cc) sees a program counter
// between usercopy_start and usercopy_end and moves it to usercopy_fault. All are leaf
// functions that push nothing.
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
	endbr64
	.endm

	.globl	usercopy_start, usercopy_end, usercopy_fault
	.hidden	usercopy_start, usercopy_end, usercopy_fault
	.cfi_startproc
usercopy_start:
FUNC user_load32
	movl	(%rsi), %eax
	movl	%eax, (%rdi)
	xorl	%eax, %eax
	ret
FUNC user_fetch32_entry
	movl	(%rdi), %eax
	ret
FUNC user_fetch64_entry
	movl	$1, %ecx
	movq	(%rdi), %rax
	decl	%ecx
	ret
FUNC user_store64_entry
	movq	%rsi, (%rdi)
	xorl	%eax, %eax
	ret
FUNC user_store32
	movl	%esi, (%rdi)
	xorl	%eax, %eax
	ret
FUNC user_cas32
	movl	(%rsi), %eax
	lock cmpxchgl %edx, (%rdi)
	movl	%eax, (%rsi)
	sete	%al
	movzbl	%al, %eax
	ret
FUNC user_copy
	cmpq	$128, %rdx
	ja	3f
	subq	$8, %rdx
	jb	2f
1:	movq	(%rsi), %rax
	movq	%rax, (%rdi)
	addq	$8, %rsi
	addq	$8, %rdi
	subq	$8, %rdx
	jae	1b
2:	addq	$8, %rdx
3:	movq	%rdx, %rcx
	jrcxz	4f
	rep movsb
4:
	xorl	%eax, %eax
	ret
usercopy_end:
usercopy_fault:
	movq	$-14, %rax		// -EFAULT
	ret
	.cfi_endproc

	.section .note.GNU-stack, "", @progbits
