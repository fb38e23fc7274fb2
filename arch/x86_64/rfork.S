// int cpu_rfork(unsigned long flags %rdi, void* stack_top %rsi, void (*fn)(void* gd) %rdx,
//               void* gd %rcx)
//
// Makes a kernel thread that shares the address space, files, directory and signal handlers,
// on a stack of its own, with its per-cpu register set before anything else runs. All signals
// must be blocked by the caller: the new thread starts with the caller's mask. `fn` never
// returns. Result: the thread's kernel id, or -errno.
//
// The call looks like glibc's for a thread, since programs that filter their calls (seccomp) allow
// clone with its flags alone; %fs stays as it is, and the thread's id goes to a word on its stack. (Not
// where reading %fs takes a trap.)

#include "frame.h"

#define CLONE_SETTLS 0x80000
#define CLONE_PARENT_SETTID 0x100000
#define CLONE_CHILD_CLEARTID 0x200000

	.text
	.globl	cpu_rfork
	.hidden	cpu_rfork
	.type	cpu_rfork, @function
	.p2align 4
cpu_rfork:
	.cfi_startproc
	endbr64
	andq	$-16, %rsi
	subq	$32, %rsi
	movq	%rdx, 0(%rsi)		// fn and gd wait on the new stack
	movq	%rcx, 8(%rsi)
	leaq	16(%rsi), %rdx
	movq	%rdx, %r10
	cmpb	$0, cr_have_fsgsbase(%rip)
	je	4f
	rdfsbase %r8
	orl	$CLONE_SETTLS | CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID, %edi
4:
	movl	$56, %eax		// clone
	syscall
	testl	%eax, %eax
	jz	1f
	ret
1:	.cfi_undefined %rip
	popq	%rbx
	popq	%r12
#ifndef CR_KEEP_GS
	cmpb	$0, cr_have_fsgsbase(%rip)
	je	2f
	wrgsbase %r12
	jmp	3f
2:	movl	$0x1001, %edi		// ARCH_SET_GS
	movq	%r12, %rsi
	movl	$158, %eax
	syscall
#else
	movl	GD_SELECTOR(%r12), %eax
	movl	%eax, %es
#endif
3:	xorl	%ebp, %ebp
	movq	%r12, %rdi
	call	*%rbx
	ud2
	.cfi_endproc
	.size	cpu_rfork, . - cpu_rfork

	.section .note.GNU-stack, "", @progbits
