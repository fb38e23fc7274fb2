/* Trap sites over which no jump fits: control enters at the trap itself and what follows it is a
 * branch, so only rule X (an int3) takes them. */
	.text

#ifdef __x86_64__
/* long x_syscall(long nr, long a1, ..., long a6) */
	.globl	x_syscall
	.type	x_syscall, @function
x_syscall:
	.cfi_startproc
	endbr64
	mov	%rdi, %rax
	mov	%rsi, %rdi
	mov	%rdx, %rsi
	mov	%rcx, %rdx
	mov	%r8, %r10
	mov	%r9, %r8
	mov	8(%rsp), %r9
	jmp	1f
	nop
1:	syscall
	jmp	2f
2:	ret
	.cfi_endproc
	.size	x_syscall, . - x_syscall

/* pid_t x_vfork(void): the return address is in a register while the child uses the stack. */
	.globl	x_vfork
	.type	x_vfork, @function
x_vfork:
	.cfi_startproc
	endbr64
	pop	%rsi
	.cfi_adjust_cfa_offset -8
	.cfi_register %rip, %rsi
	mov	$58, %eax
	jmp	1f
	nop
1:	syscall
	jmp	2f
2:	push	%rsi
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset %rip, 0
	ret
	.cfi_endproc
	.size	x_vfork, . - x_vfork

/* long x_vectors(void): 0 if what is in the registers outlives a call of sched_yield. */
	.globl	x_vectors
	.type	x_vectors, @function
x_vectors:
	.cfi_startproc
	endbr64
	mov	$0x1234567890, %rcx
	movq	%rcx, %xmm5
	movq	%rcx, %xmm15
	mov	$0x5555, %r8d
	mov	$24, %eax
	stc
	jmp	1f
	nop
1:	syscall
	jmp	2f
2:	setnc	%dil
	movq	%xmm5, %rdx
	movq	%xmm15, %rsi
	mov	$0x1234567890, %rcx
	xor	%rcx, %rdx
	xor	%rcx, %rsi
	xor	$0x5555, %r8
	movzbl	%dil, %edi
	or	%rdi, %rax
	or	%rdx, %rax
	or	%rsi, %rax
	or	%r8, %rax
	ret
	.cfi_endproc
	.size	x_vectors, . - x_vectors
#else
	.globl	x_syscall
	.type	x_syscall, @function
x_syscall:
	.cfi_startproc
	push	%ebx
	.cfi_adjust_cfa_offset 4
	.cfi_rel_offset %ebx, 0
	push	%esi
	.cfi_adjust_cfa_offset 4
	.cfi_rel_offset %esi, 0
	push	%edi
	.cfi_adjust_cfa_offset 4
	.cfi_rel_offset %edi, 0
	push	%ebp
	.cfi_adjust_cfa_offset 4
	.cfi_rel_offset %ebp, 0
	mov	20(%esp), %eax
	mov	24(%esp), %ebx
	mov	28(%esp), %ecx
	mov	32(%esp), %edx
	mov	36(%esp), %esi
	mov	40(%esp), %edi
	mov	44(%esp), %ebp
	jmp	1f
	nop
1:	int	$0x80
	jmp	2f
2:	pop	%ebp
	.cfi_adjust_cfa_offset -4
	.cfi_restore %ebp
	pop	%edi
	.cfi_adjust_cfa_offset -4
	.cfi_restore %edi
	pop	%esi
	.cfi_adjust_cfa_offset -4
	.cfi_restore %esi
	pop	%ebx
	.cfi_adjust_cfa_offset -4
	.cfi_restore %ebx
	ret
	.cfi_endproc
	.size	x_syscall, . - x_syscall

	.globl	x_vfork
	.type	x_vfork, @function
x_vfork:
	.cfi_startproc
	pop	%ecx
	.cfi_adjust_cfa_offset -4
	.cfi_register %eip, %ecx
	mov	$190, %eax
	jmp	1f
	nop
1:	int	$0x80
	jmp	2f
2:	push	%ecx
	.cfi_adjust_cfa_offset 4
	.cfi_rel_offset %eip, 0
	ret
	.cfi_endproc
	.size	x_vfork, . - x_vfork

	.globl	x_vectors
	.type	x_vectors, @function
x_vectors:
	.cfi_startproc
	mov	$0x12345678, %ecx
	movd	%ecx, %xmm5
	movd	%ecx, %xmm7
	mov	$0x5555, %edx
	mov	$158, %eax
	stc
	jmp	1f
	nop
1:	int	$0x80
	jmp	2f
2:	jnc	3f
	xor	$0x5555, %edx
	or	%edx, %eax
	xor	$0x12345678, %ecx
	or	%ecx, %eax
	movd	%xmm5, %ecx
	xor	$0x12345678, %ecx
	or	%ecx, %eax
	movd	%xmm7, %ecx
	xor	$0x12345678, %ecx
	or	%ecx, %eax
	ret
3:	or	$1, %eax
	ret
	.cfi_endproc
	.size	x_vectors, . - x_vectors
#endif

	.section .note.GNU-stack, "", @progbits
