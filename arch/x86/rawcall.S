// The runtime's own calls with up to six arguments (rawcall.h), and the entry for kernels whose vdso
// has none that is known.

#include "frame.h"

	.text
// long cr_raw6(long nr, long a, long b, long c, long d, long e, long f)
	.globl	cr_raw6
	.hidden	cr_raw6
	.type	cr_raw6, @function
	.p2align 4
cr_raw6:
	.cfi_startproc
	pushl	%ebx
	.cfi_adjust_cfa_offset 4
	.cfi_rel_offset %ebx, 0
	pushl	%esi
	.cfi_adjust_cfa_offset 4
	.cfi_rel_offset %esi, 0
	pushl	%edi
	.cfi_adjust_cfa_offset 4
	.cfi_rel_offset %edi, 0
	pushl	%ebp
	.cfi_adjust_cfa_offset 4
	.cfi_rel_offset %ebp, 0
	movl	20(%esp), %eax
	movl	24(%esp), %ebx
	movl	28(%esp), %ecx
	movl	32(%esp), %edx
	movl	36(%esp), %esi
	movl	40(%esp), %edi
	movl	44(%esp), %ebp
	call	*%fs:GD_VSYSCALL
	popl	%ebp
	.cfi_adjust_cfa_offset -4
	.cfi_restore %ebp
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
	.cfi_endproc
	.size	cr_raw6, . - cr_raw6

	.globl	cr_int80
	.hidden	cr_int80
	.type	cr_int80, @function
	.p2align 4
cr_int80:
	.cfi_startproc
	int	$0x80
	.globl	cr_int80_after
	.hidden	cr_int80_after
cr_int80_after:
	ret
	.cfi_endproc
	.size	cr_int80, . - cr_int80

	.p2align 4
	.globl	cr_pc_thunk_ax
	.hidden	cr_pc_thunk_ax
	.type	cr_pc_thunk_ax, @function
cr_pc_thunk_ax:
	.cfi_startproc
	movl	(%esp), %eax
	ret
	.cfi_endproc

	.globl	cr_pc_thunk_cx
	.hidden	cr_pc_thunk_cx
	.type	cr_pc_thunk_cx, @function
cr_pc_thunk_cx:
	.cfi_startproc
	movl	(%esp), %ecx
	ret
	.cfi_endproc

	.section .note.GNU-stack, "", @progbits
