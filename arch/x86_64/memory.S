// memcpy, memmove, memset, memcmp for code below the boundary: libc's use vector registers,
// which are the program's here. Hidden, so they bind inside the library alone. The compiler
// calls them for struct copies; the sizes are small or a whole signal frame.

	.text
	.macro FUNC name
	.globl	\name
	.hidden	\name
	.type	\name, @function
	.p2align 4
\name:
	.cfi_startproc
	endbr64
	.endm
	.macro END name
	.cfi_endproc
	.size	\name, . - \name
	.endm

FUNC memcpy
	movq	%rdi, %rax
	movq	%rdx, %rcx
	rep movsb
	ret
END memcpy

FUNC memmove
	movq	%rdi, %rax
	movq	%rdx, %rcx
	movq	%rdi, %r8
	subq	%rsi, %r8
	cmpq	%rdx, %r8
	jb	1f
	rep movsb
	ret
1:	leaq	-1(%rdi, %rdx), %rdi
	leaq	-1(%rsi, %rdx), %rsi
	std
	rep movsb
	cld
	ret
END memmove

FUNC memset
	movq	%rdi, %r8
	movzbl	%sil, %eax
	movabsq	$0x0101010101010101, %rcx
	imulq	%rcx, %rax
	cmpq	$1024, %rdx
	ja	3f			// the string instruction has a long start-up
	subq	$32, %rdx
	jb	2f
1:	movq	%rax, (%rdi)
	movq	%rax, 8(%rdi)
	movq	%rax, 16(%rdi)
	movq	%rax, 24(%rdi)
	addq	$32, %rdi
	subq	$32, %rdx
	jae	1b
2:	addq	$32, %rdx
3:	movq	%rdx, %rcx
	jrcxz	4f
	rep stosb
4:	movq	%r8, %rax
	ret
END memset

FUNC memcmp
	xorl	%eax, %eax
	xorl	%ecx, %ecx
1:	cmpq	%rdx, %rcx
	je	2f
	movzbl	(%rdi, %rcx), %eax
	movzbl	(%rsi, %rcx), %r8d
	incq	%rcx
	subl	%r8d, %eax
	je	1b
2:	ret
END memcmp

	.section .note.GNU-stack, "", @progbits
