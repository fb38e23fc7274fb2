// int cpu_rfork(unsigned long flags, void* stack_top, void (*fn)(void* gd), void* gd)
//
// Makes a kernel thread that shares the address space, files, directory and signal handlers,
// on a stack of its own, with its per-cpu register set before anything else runs (CLONE_SETTLS with
// the descriptor that %fs selects). All signals must be blocked by the caller: the new thread starts
// with the caller's mask. `fn` never returns. Result: the thread's kernel id, or -errno.
//
// By int $0x80: the vdso's entry would return on the new stack. The call looks like glibc's for a thread,
// since programs that filter their calls (seccomp) allow clone with its flags alone; the thread's id goes
// to a word on its stack.

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
	pushl	%ebx
	.cfi_adjust_cfa_offset 4
	.cfi_rel_offset %ebx, 0
	pushl	%esi
	.cfi_adjust_cfa_offset 4
	.cfi_rel_offset %esi, 0
	movl	12(%esp), %ebx
	orl	$CLONE_SETTLS | CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID, %ebx
	movl	16(%esp), %ecx
	andl	$-16, %ecx
	subl	$32, %ecx
	movl	20(%esp), %eax
	movl	%eax, 0(%ecx)		// fn and gd wait on the new stack,
	movl	24(%esp), %edx
	movl	%edx, 4(%ecx)
	movl	%fs, %eax		// and so does a struct user_desc
	shrl	$3, %eax
	movl	%eax, 8(%ecx)
	movl	%edx, 12(%ecx)
	movl	$0xfffff, 16(%ecx)
	movl	$0x51, 20(%ecx)		// 32 bits, in pages, usable
	leal	8(%ecx), %esi
	leal	24(%ecx), %edx
	pushl	%edi
	.cfi_adjust_cfa_offset 4
	.cfi_rel_offset %edi, 0
	movl	%edx, %edi
	movl	$120, %eax		// clone
	int	$0x80
	testl	%eax, %eax
	jz	1f
	popl	%edi
	.cfi_adjust_cfa_offset -4
	.cfi_restore %edi
	popl	%esi
	.cfi_adjust_cfa_offset -4
	.cfi_restore %esi
	popl	%ebx
	.cfi_adjust_cfa_offset -4
	.cfi_restore %ebx
	ret
1:	.cfi_undefined %eip
	movl	%fs, %eax
	movl	%eax, %fs		// the descriptor is this thread's by now
	popl	%ebx
	popl	%ecx
	xorl	%ebp, %ebp
	subl	$4, %esp
	andl	$-16, %esp
	subl	$12, %esp
	pushl	%ecx
	call	*%ebx
	ud2
	.cfi_endproc
	.size	cpu_rfork, . - cpu_rfork

	.section .note.GNU-stack, "", @progbits
