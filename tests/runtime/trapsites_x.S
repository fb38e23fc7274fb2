/* Trap sites over which no jump fits: control enters at the trap itself and what follows it is a
 * branch, so only rule X (an int3) takes them. */
	.text

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

	.section .note.GNU-stack, "", @progbits
