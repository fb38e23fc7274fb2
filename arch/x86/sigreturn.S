// Where signal handlers return to, and the way back into the interrupted context.
//
// cr_restore_rt stands in the frame as the handler's return address, cr_restore_old in one for a
// handler without SA_SIGINFO. Their unwind tables say "signal frame" and where every register lies in
// the sigcontext, so that C++ exceptions, forced unwinding (cancellation), gdb and libunwind walk
// through as through glibc's own.
//
// The way back is restartable: from cr_sigreturn_check to cr_sigreturn_insn nothing has been undone, and a
// signal that hits there rolls the program counter back to the check. An int $0x80 takes 5 us where
// sysenter takes 0.2; that goes on at a place of the kernel's own, but not after rt_sigreturn.

#include "frame.h"

#define FRAME_UC 144		// offsetof(rt_sigframe, uc); %esp is 4 above the frame
#define RT_MC (FRAME_UC + 20 - 4)
#define OLD_MC (8 - 4)

#define DW_CFA_def_cfa_expression 0x0f
#define DW_CFA_expression 0x10
#define FAR(off) 0x74, (((off) & 0x7f) | 0x80), ((off) >> 7)

	.text
	.macro CFI_SIGCONTEXT mc
	.cfi_signal_frame
	.cfi_escape DW_CFA_def_cfa_expression, 4, FAR(\mc + 28), 0x06
	.cfi_escape DW_CFA_expression, 0, 3, FAR(\mc + 44)
	.cfi_escape DW_CFA_expression, 1, 3, FAR(\mc + 40)
	.cfi_escape DW_CFA_expression, 2, 3, FAR(\mc + 36)
	.cfi_escape DW_CFA_expression, 3, 3, FAR(\mc + 32)
	.cfi_escape DW_CFA_expression, 5, 3, FAR(\mc + 24)
	.cfi_escape DW_CFA_expression, 6, 3, FAR(\mc + 20)
	.cfi_escape DW_CFA_expression, 7, 3, FAR(\mc + 16)
	.cfi_escape DW_CFA_expression, 8, 3, FAR(\mc + 56)
	.endm

	.globl	cr_restore_old
	.hidden	cr_restore_old
	.type	cr_restore_old, @function
	.p2align 4
	.cfi_startproc simple
	CFI_SIGCONTEXT OLD_MC
	nop				// unwinders look one byte before the return address
cr_restore_old:
	leal	-4(%esp), %eax		// the frame
	leal	-256(%esp), %esp
	pushl	%eax
	call	sig_old_return
	movl	%eax, %ebx
	jmp	cr_sigreturn_again
	.cfi_endproc
	.size	cr_restore_old, . - cr_restore_old

	.globl	cr_restore_rt
	.hidden	cr_restore_rt
	.type	cr_restore_rt, @function
	.p2align 4
	.cfi_startproc simple
	CFI_SIGCONTEXT RT_MC
	nop
cr_restore_rt:
	leal	FRAME_UC - 4(%esp), %ebx	// the ucontext
	leal	-1024(%esp), %esp	// below is dead, and room for another old_sigframe
cr_sigreturn_again:
	pushl	%ebx
	call	sig_return		// mask, alternate stack, displaced sites, more signals
	addl	$4, %esp
	.globl	cr_sigreturn_check, cr_sigreturn_insn, cr_sigreturn_again
	.hidden	cr_sigreturn_check, cr_sigreturn_insn, cr_sigreturn_again
cr_sigreturn_check:
	leal	-FRAME_UC - 1024(%ebx), %esp	// after a roll-back, too
	movl	%fs:GD_CURTHREAD, %ecx
	cmpl	$0, TD_AST(%ecx)
	jne	cr_sigreturn_again
	cmpl	$0, %fs:GD_AST
	jne	cr_sigreturn_again
	leal	-FRAME_UC + 4(%ebx), %esp
	movl	$173, %eax		// rt_sigreturn: the frame begins 4 bytes below %esp
	jmp	*%fs:GD_SIGRETURN
	.globl	cr_sigreturn_sysenter, cr_sigreturn_syscall
	.hidden	cr_sigreturn_sysenter, cr_sigreturn_syscall
cr_sigreturn_sysenter:
	movl	%esp, %ebp
	sysenter
cr_sigreturn_syscall:
	movl	%ecx, %ebp
	syscall
cr_sigreturn_insn:
	int	$0x80
	ud2
	.cfi_endproc
	.size	cr_restore_rt, . - cr_restore_rt

// void cr::signal_return_to(uint64_t sp): the way back from a frame somewhere else.
	.globl	_ZN2cr16signal_return_toEy
	.hidden	_ZN2cr16signal_return_toEy
	.type	_ZN2cr16signal_return_toEy, @function
_ZN2cr16signal_return_toEy:
	.cfi_startproc
	.cfi_undefined %eip
	movl	4(%esp), %ebx
	leal	FRAME_UC - 4(%ebx), %ebx
	jmp	cr_sigreturn_again
	.cfi_endproc

	.section .note.GNU-stack, "", @progbits
