// Atomic operations on 64-bit words, which GCC calls libatomic's functions for on i386 (a word's
// alignment is 4): theirs may use vector or x87 registers, and lie outside the text that a signal knows
// as libcr's. cmpxchg8b takes the bus for a word over two lines, too.
//
//   uint64_t __atomic_load_8(const void* at, int order)            and so on: GCC's own interface

	.text
	.macro FUNC name
	.globl	\name
	.hidden	\name
	.type	\name, @function
	.p2align 4
\name:
	.cfi_startproc
	pushl	%ebx
	.cfi_adjust_cfa_offset 4
	.cfi_rel_offset %ebx, 0
	pushl	%esi
	.cfi_adjust_cfa_offset 4
	.cfi_rel_offset %esi, 0
	movl	12(%esp), %esi
	.endm
	.macro END name
	popl	%esi
	.cfi_adjust_cfa_offset -4
	.cfi_restore %esi
	popl	%ebx
	.cfi_adjust_cfa_offset -4
	.cfi_restore %ebx
	ret
	.cfi_endproc
	.size	\name, . - \name
	.endm

	// The value before in %edx:%eax; the new one is `op` of it and the argument.
	.macro MODIFY lo, hi
	movl	(%esi), %eax
	movl	4(%esi), %edx
1:	movl	%eax, %ebx
	movl	%edx, %ecx
	\lo	16(%esp), %ebx
	\hi	20(%esp), %ecx
	lock cmpxchg8b (%esi)
	jne	1b
	.endm

FUNC __atomic_load_8
	xorl	%eax, %eax
	xorl	%edx, %edx
	xorl	%ebx, %ebx
	xorl	%ecx, %ecx
	lock cmpxchg8b (%esi)
END __atomic_load_8

FUNC __atomic_store_8
	MODIFY movl, movl
END __atomic_store_8

FUNC __atomic_exchange_8
	MODIFY movl, movl
END __atomic_exchange_8

FUNC __atomic_fetch_add_8
	MODIFY addl, adcl
END __atomic_fetch_add_8

FUNC __atomic_fetch_sub_8
	MODIFY subl, sbbl
END __atomic_fetch_sub_8

FUNC __atomic_fetch_or_8
	MODIFY orl, orl
END __atomic_fetch_or_8

FUNC __atomic_fetch_and_8
	MODIFY andl, andl
END __atomic_fetch_and_8

// bool __atomic_compare_exchange_8(void* at, void* expected, uint64_t desired, int, int)
FUNC __atomic_compare_exchange_8
	movl	16(%esp), %ecx
	movl	(%ecx), %eax
	movl	4(%ecx), %edx
	movl	20(%esp), %ebx
	movl	24(%esp), %ecx
	lock cmpxchg8b (%esi)
	sete	%bl
	je	1f
	movl	16(%esp), %ecx
	movl	%eax, (%ecx)
	movl	%edx, 4(%ecx)
1:	movzbl	%bl, %eax
END __atomic_compare_exchange_8

	.section .note.GNU-stack, "", @progbits
