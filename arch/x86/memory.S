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
	pushl	%edi
	.cfi_adjust_cfa_offset 4
	.cfi_rel_offset %edi, 0
	pushl	%esi
	.cfi_adjust_cfa_offset 4
	.cfi_rel_offset %esi, 0
	movl	12(%esp), %edi
	movl	16(%esp), %esi
	movl	20(%esp), %ecx
	.endm
	.macro END name
	popl	%esi
	.cfi_adjust_cfa_offset -4
	.cfi_restore %esi
	popl	%edi
	.cfi_adjust_cfa_offset -4
	.cfi_restore %edi
	ret
	.cfi_endproc
	.size	\name, . - \name
	.endm

FUNC memcpy
	movl	%edi, %eax
	rep movsb
END memcpy

FUNC memmove
	movl	%edi, %eax
	movl	%edi, %edx
	subl	%esi, %edx
	cmpl	%ecx, %edx
	jb	1f
	rep movsb
	jmp	2f
1:	leal	-1(%edi, %ecx), %edi
	leal	-1(%esi, %ecx), %esi
	std
	rep movsb
	cld
2:
END memmove

FUNC memset
	movzbl	16(%esp), %eax
	imull	$0x01010101, %eax, %eax
	cmpl	$1024, %ecx
	ja	3f			// the string instruction has a long start-up
	subl	$16, %ecx
	jb	2f
1:	movl	%eax, (%edi)
	movl	%eax, 4(%edi)
	movl	%eax, 8(%edi)
	movl	%eax, 12(%edi)
	addl	$16, %edi
	subl	$16, %ecx
	jae	1b
2:	addl	$16, %ecx
3:	rep stosb
	movl	12(%esp), %eax
END memset

FUNC memcmp
	xorl	%eax, %eax
	jecxz	2f
1:	movzbl	(%edi), %eax
	movzbl	(%esi), %edx
	incl	%edi
	incl	%esi
	subl	%edx, %eax
	jne	2f
	decl	%ecx
	jne	1b
2:
END memcmp

	.section .note.GNU-stack, "", @progbits
