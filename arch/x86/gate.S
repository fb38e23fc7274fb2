// The gate: how a system call leaves the program and comes back, i386.
//
// gate_sysinfo   where libc's `call *%gs:0x10` goes: the return address is on the stack.
// gate_entry     where a rewritten int $0x80's stub goes, with the site's descriptor pushed.
//   in:      %eax the call's number, the arguments in %ebx %ecx %edx %esi %edi %ebp. No register is
//            free; below the program's stack pointer everything is.
//   frame:   a struct trapframe, whose top is what was pushed: [frame .. flags, desc] [slot]. The
//            slot is the word right below the program's stack pointer.
//   out:     at the descriptor's retpc, or where the slot says, with the result in %eax; every other
//            register and the flags as they were.
//
// The way out is restartable: from gate_exit_check to gate_exit_last (gate_fast_check to
// gate_fast_last) the frame is whole and %esp is its base, so a signal that hits there sets AST_SIGNAL
// and rolls the program counter back to the check. At the last instruction, a return through the slot,
// everything is the program's and the signal is delivered as if it had been done
// (src/signal/kernel.cc knows the labels).
//
// A trap of ours is a call of the vdso's entry. What a signal does to one that is about to be
// made is in vsyscall.cc.

#include "../flags.h"
#include "frame.h"

#define SLOT TF_SIZE

#define DW_CFA_def_cfa_expression 0x0f
#define DW_CFA_expression 0x10
// A register saved at %esp + off, off < 64 (DW_OP_breg4, sleb128).
#define CFI_SAVED(reg, off) .cfi_escape DW_CFA_expression, reg, 2, 0x74, off

	.text

	.macro CFI_TRAPFRAME pushed=0
	// CFA = the program's %esp; the return address is the program's next instruction. \pushed: bytes below the frame.
	.cfi_escape DW_CFA_def_cfa_expression, 3, 0x74, TF_ESP + \pushed, 0x06
	CFI_SAVED(8, TF_UNWINDPC + \pushed)
	CFI_SAVED(3, TF_EBX + \pushed)
	CFI_SAVED(6, TF_ESI + \pushed)
	CFI_SAVED(7, TF_EDI + \pushed)
	CFI_SAVED(5, TF_EBP + \pushed)
	.endm

	// The thread's message, from the registers at the trap. Out: %ecx the thread. Clobbers %eax,
	// which is the number; %ecx and %edx are in the frame already.
	.macro FILL_MESSAGE
	movl	%fs:GD_CURTHREAD, %ecx
	movl	%eax, TD_MSG_NR(%ecx)
	movl	%ebx, TD_MSG_ARGS(%ecx)
	movl	TF_ECX(%esp), %eax
	movl	%eax, TD_MSG_ARGS + 8(%ecx)
	movl	TF_EDX(%esp), %eax
	movl	%eax, TD_MSG_ARGS + 16(%ecx)
	movl	%esi, TD_MSG_ARGS + 24(%ecx)
	movl	%edi, TD_MSG_ARGS + 32(%ecx)
	movl	%ebp, TD_MSG_ARGS + 40(%ecx)
	xorl	%eax, %eax
	movl	%eax, TD_MSG_ARGS + 4(%ecx)
	movl	%eax, TD_MSG_ARGS + 12(%ecx)
	movl	%eax, TD_MSG_ARGS + 20(%ecx)
	movl	%eax, TD_MSG_ARGS + 28(%ecx)
	movl	%eax, TD_MSG_ARGS + 36(%ecx)
	movl	%eax, TD_MSG_ARGS + 44(%ecx)
	.endm

	// Goes to \to if a signal or a reschedule is pending. Takes %ecx.
	.macro IF_PENDING to
	movl	%fs:GD_CURTHREAD, %ecx
	cmpl	$0, TD_AST(%ecx)
	jne	\to
	cmpl	$0, %fs:GD_AST
	jne	\to
	.endm

	.globl	gate_sysinfo
	.hidden	gate_sysinfo
	.type	gate_sysinfo, @function
	.p2align 4
gate_sysinfo:
	.cfi_startproc
	jmp	*%fs:GD_SYSGATE
	.cfi_endproc
	.size	gate_sysinfo, . - gate_sysinfo

	.globl	gate_sysinfo_entry
	.hidden	gate_sysinfo_entry
	.type	gate_sysinfo_entry, @function
	.globl	gate_entry
	.hidden	gate_entry
	.type	gate_entry, @function
	.p2align 6
gate_entry:
	.cfi_startproc simple
	.cfi_undefined %eip
	pushl	(%esp)			// the descriptor's first place becomes the slot
	jmp	gate_common
	.p2align 5
gate_sysinfo_entry:
	.cfi_def_cfa %esp, 4
	.cfi_offset %eip, -4
	pushl	%fs:GD_SYSDESC
	.cfi_adjust_cfa_offset 4
gate_common:
	pushfl
	leal	-TF_EFLAGS(%esp), %esp
	.cfi_adjust_cfa_offset TF_EFLAGS + 4
	movl	%ecx, TF_ECX(%esp)
	movl	%edx, TF_EDX(%esp)
	cmpl	$GATE_DOORS, %eax
	jae	gate_long
	movl	%fs:GD_DOORS, %edx
	movl	(%edx), %edx
	movl	(%edx, %eax, 4), %edx
	cmpl	$DOOR_SLEEP, %edx
	jbe	gate_trap
	testb	$4, TF_EFLAGS + 1(%esp)	// DF: C++ needs it clear
	jnz	gate_long
	movl	TF_DESC(%esp), %ecx
	cmpw	$0, SD_VECTOR(%ecx)	// and SD_NARROW
	jne	gate_long
	movl	%eax, TF_NR(%esp)
	FILL_MESSAGE
	leal	TD_MSG(%ecx), %ecx
	pushl	%ecx
	.cfi_adjust_cfa_offset 4
	call	*%edx
	addl	$4, %esp
	.cfi_adjust_cfa_offset -4
	movl	%fs:GD_CURTHREAD, %ecx
	movl	TF_NR(%esp), %edx	// the function may change its message
	movl	%edx, TD_MSG_NR(%ecx)
	testl	%eax, %eax
	jne	gate_quick_error
	movl	TD_MSG_RESULT(%ecx), %eax
gate_fast_result:
	movl	%eax, TF_EAX(%esp)
	.globl	gate_fast_check, gate_fast_last
	.hidden	gate_fast_check, gate_fast_last
gate_fast_check:
	IF_PENDING gate_fast_ast
	movl	TF_DESC(%esp), %ecx
	movl	SD_RETPC(%ecx), %ecx
	jecxz	1f
	movl	%ecx, SLOT(%esp)
1:	movl	TF_EFLAGS(%esp), %eax
	RESTORE_FLAGS
	movl	TF_EAX(%esp), %eax
	movl	TF_EDX(%esp), %edx
	movl	TF_ECX(%esp), %ecx
	leal	SLOT(%esp), %esp
gate_fast_last:
	ret

gate_trap:
	cmpl	$DOOR_PLAIN, %edx
	jb	gate_long
	jne	gate_sleep
	movl	%eax, TF_NR(%esp)
	FILL_MESSAGE
	movl	TF_NR(%esp), %eax
	movl	TF_ECX(%esp), %ecx
	movl	TF_EDX(%esp), %edx
	call	*%fs:GD_VSYSCALL
	movl	%fs:GD_CURTHREAD, %ecx
	movl	%eax, TD_MSG_RESULT(%ecx)
	jmp	gate_fast_result
gate_sleep:
	movl	%eax, TF_NR(%esp)
	FILL_MESSAGE
	movl	TF_NR(%esp), %eax
	.globl	gate_sleep_window, gate_sleep_insn
	.hidden	gate_sleep_window, gate_sleep_insn
gate_sleep_window:
	cmpl	$0, TD_AST(%ecx)
	jne	gate_sleep_unbegun
	cmpl	$0, %fs:GD_AST
	jne	gate_sleep_unbegun
	movl	TF_ECX(%esp), %ecx
	movl	TF_EDX(%esp), %edx
gate_sleep_insn:
	call	*%fs:GD_VSYSCALL
	.globl	gate_sleep_after
	.hidden	gate_sleep_after
gate_sleep_after:
	movl	%fs:GD_CURTHREAD, %ecx
	movl	%eax, TD_MSG_RESULT(%ecx)
	cmpl	$-4, %eax
	jne	gate_fast_result
gate_sleep_interrupt:			// EINTR or a restart: whose signal was it?
	cld
	call	gate_complete_frame
	call	gate_choose_stack
	.cfi_remember_state
	pushl	%esp
	CFI_TRAPFRAME 4
	call	gate_sleep_interrupted
	addl	$4, %esp
	CFI_TRAPFRAME
	testb	%al, %al
	jnz	gate_exit_check
	movl	TF_DESC(%esp), %edx
	jmp	gate_long_2
	.cfi_restore_state
	.globl	gate_sleep_unbegun, gate_sleep_begun
	.hidden	gate_sleep_unbegun, gate_sleep_begun
gate_sleep_unbegun:
	movl	$-513, %eax		// ERESTARTNOINTR
	jmp	1f
gate_sleep_begun:
	movl	$-512, %eax		// ERESTARTSYS
1:	movl	%fs:GD_CURTHREAD, %ecx
	movl	%eax, TD_MSG_RESULT(%ecx)
	jmp	gate_sleep_interrupt

// A positive errno, or one that asks for a restart once the signal was delivered.
gate_quick_error:
	leal	-512(%eax), %edx
	cmpl	$4, %edx
	ja	1f
	lock orl $GATE_AST_SIGNAL, TD_AST(%ecx)
1:	negl	%eax
	jmp	gate_fast_result

// Something is pending after a fast call: go out the long way.
gate_fast_ast:
	cld
	movl	%fs:GD_CURTHREAD, %ecx
	movl	TD_MSG_NR(%ecx), %eax
	movl	%eax, TF_NR(%esp)
	movl	TF_EAX(%esp), %eax
	call	gate_complete_frame
	call	gate_choose_stack
	jmp	gate_exit_check

// The rest of a frame at 4(%esp) whose %ecx, %edx, flags, descriptor and number are there, the
// callee-saved registers still the program's, %eax the result. Clobbers %eax, %ecx, %edx.
	.p2align 4
gate_complete_frame:
	movl	%eax, TF_EAX + 4(%esp)
	movl	%ebx, TF_EBX + 4(%esp)
	movl	%esi, TF_ESI + 4(%esp)
	movl	%edi, TF_EDI + 4(%esp)
	movl	%ebp, TF_EBP + 4(%esp)
	leal	SLOT + 8(%esp), %eax
	movl	%eax, TF_ESP + 4(%esp)
	movl	TF_DESC + 4(%esp), %edx
	movl	SD_RETPC(%edx), %eax
	movl	SD_UNWINDPC(%edx), %ecx
	testl	%eax, %eax
	jnz	1f
	movl	SLOT + 4(%esp), %eax
	movl	%eax, %ecx
1:	movl	%eax, TF_EIP + 4(%esp)
	movl	%ecx, TF_UNWINDPC + 4(%esp)
	ret

// Goes on upon the thread's call stack (src/sysport/callstack.h), if it has one and the site is narrow; not in a shim,
// which is there already. In: a whole frame at 4(%esp), %edx its descriptor. Clobbers %eax and %ecx.
	.p2align 4
gate_choose_stack:
	cmpb	$0, SD_NARROW(%edx)
	je	2f
	call	cr_pc_thunk_ax
1:	movl	cr_callstacks - 1b(%eax), %eax
	testl	%eax, %eax
	jz	2f
	movl	%fs:GD_CURTHREAD, %ecx
	testl	$GATE_INPORT, TD_FLAGS(%ecx)
	jnz	2f
	movl	TD_SLOT(%ecx), %ecx
	cmpl	$-1, %ecx
	je	2f
	movl	(%eax, %ecx, 8), %eax
	testl	%eax, %eax
	jz	2f
	popl	%edx
	movl	%esp, %esi
	leal	-TF_SIZE(%eax), %edi
	movl	%edi, %esp
	movl	$TF_SIZE / 4, %ecx
	rep movsl
	pushl	%edx
	movl	TF_EDI + 4(%esp), %edi
	movl	TF_ESI + 4(%esp), %esi
	movl	TF_DESC + 4(%esp), %edx
2:	ret

gate_long:
	movl	%eax, TF_NR(%esp)
	call	gate_complete_frame
	cld
	call	gate_choose_stack
	CFI_TRAPFRAME
gate_long_2:
	cmpb	$0, SD_VECTOR(%edx)
	jne	gate_long_vector
	pushl	%esp
	CFI_TRAPFRAME 4
	call	gate_syscall
	addl	$4, %esp
	CFI_TRAPFRAME
	// fall through

	.globl	gate_exit_check
	.hidden	gate_exit_check
gate_exit_check:
	IF_PENDING gate_exit_ast
gate_exit_restore:
	movl	TF_ESP(%esp), %ecx
	leal	-4(%ecx), %ecx
	movl	%ecx, TF_EXIT(%esp)
	movl	TF_EIP(%esp), %eax
	movl	%eax, (%ecx)
	movl	TF_EFLAGS(%esp), %eax
	RESTORE_FLAGS
	movl	TF_EAX(%esp), %eax
	movl	TF_EDX(%esp), %edx
	movl	TF_ECX(%esp), %ecx
	movl	TF_EXIT(%esp), %esp
	.globl	gate_exit_last
	.hidden	gate_exit_last
gate_exit_last:
	ret

// Something is pending: a signal, a reschedule, a full restore. gate_ast may leave by
// another way (a signal frame) and not return.
gate_exit_ast:
	pushl	%esp
	call	gate_ast
	addl	$4, %esp
	testl	%eax, %eax
	jz	gate_exit_check
	cmpl	$2, %eax
	je	gate_exit_restore
	// fall through: restore everything (a clone's child)

	.globl	gate_exit_full
	.hidden	gate_exit_full
gate_exit_full:
	movl	TF_EBX(%esp), %ebx
	movl	TF_ESI(%esp), %esi
	movl	TF_EDI(%esp), %edi
	movl	TF_EBP(%esp), %ebp
	jmp	gate_exit_check

// void gate_leave(trapframe*): leaves through a frame that stands anywhere on the stack.
	.globl	gate_leave
	.hidden	gate_leave
gate_leave:
	movl	4(%esp), %esp
	jmp	gate_exit_full

// Vectors are live over this trap: keep them on the program's stack.
gate_long_vector:
	movl	%esp, %ebx		// callee-saved; the program's is in the frame
	cmpb	$2, SD_VECTOR(%edx)
	je	gate_long_xsave
	subl	$128, %esp
	movups	%xmm0, (%esp)
	movups	%xmm1, 16(%esp)
	movups	%xmm2, 32(%esp)
	movups	%xmm3, 48(%esp)
	movups	%xmm4, 64(%esp)
	movups	%xmm5, 80(%esp)
	movups	%xmm6, 96(%esp)
	movups	%xmm7, 112(%esp)
	pushl	%ebx
	call	gate_syscall
	addl	$4, %esp
	movups	(%esp), %xmm0
	movups	16(%esp), %xmm1
	movups	32(%esp), %xmm2
	movups	48(%esp), %xmm3
	movups	64(%esp), %xmm4
	movups	80(%esp), %xmm5
	movups	96(%esp), %xmm6
	movups	112(%esp), %xmm7
	movl	%ebx, %esp
	movl	TF_EBX(%esp), %ebx
	jmp	gate_exit_check
gate_long_xsave:
	call	cr_pc_thunk_ax
1:	subl	cr_xsave_size - 1b(%eax), %esp
	andl	$-64, %esp
	// The header's 64 bytes must be zero before the first save into this memory.
	xorl	%eax, %eax
	movl	$64, %ecx
	leal	512(%esp), %edi
	rep stosb
	movl	$-1, %eax
	movl	$-1, %edx
	xsave	(%esp)
	movl	%esp, %edi
	pushl	%ebx
	call	gate_syscall
	movl	%edi, %esp
	movl	$-1, %eax
	movl	$-1, %edx
	xrstor	(%esp)
	movl	%ebx, %esp
	movl	TF_EDI(%esp), %edi
	movl	TF_EBX(%esp), %ebx
	jmp	gate_exit_check
	.cfi_endproc
	.size	gate_entry, . - gate_entry

// The first switch to a thread that clone made lands here: %esp is its trap frame, but for the
// word for %ebp.
	.globl	gate_clone_start
	.hidden	gate_clone_start
	.type	gate_clone_start, @function
	.p2align 4
gate_clone_start:
	.cfi_startproc simple
	CFI_TRAPFRAME
	addl	$4, %esp
	call	cr_switch_return
	jmp	gate_exit_full
	.cfi_endproc
	.size	gate_clone_start, . - gate_clone_start

// A vfork child's way: it runs on its parent's memory (and often its stack) and is no LWKT of
// ours. Its calls trap in place: at the site, or by the kernel's entry. Nothing is written above
// its stack pointer, and every register stays. An exec goes through C++ so that the preload goes
// on in the new image, and rt_sigaction, since libcr's handlers are not the program's.
	.globl	gate_passthru
	.hidden	gate_passthru
	.type	gate_passthru, @function
	.p2align 4
gate_passthru:				// the site's descriptor is on the stack
	.cfi_startproc
	.cfi_undefined %eip
	pushfl
	cmpl	$11, %eax		// execve
	je	1f
	cmpl	$358, %eax		// execveat
	je	1f
	cmpl	$174, %eax		// rt_sigaction
	je	1f
	pushl	%eax
	movl	8(%esp), %eax
	movl	SD_TRAPPC(%eax), %eax
	movl	%eax, 8(%esp)
	popl	%eax
	popfl
	ret
1:	popfl
	pushl	(%esp)
2:	pushfl				// as gate_entry, and past the doors, which are for LWKTs
	leal	-TF_EFLAGS(%esp), %esp
	movl	%ecx, TF_ECX(%esp)
	movl	%edx, TF_EDX(%esp)
	jmp	gate_long
	.cfi_endproc
	.size	gate_passthru, . - gate_passthru

	.globl	gate_passthru_sysinfo
	.hidden	gate_passthru_sysinfo
	.type	gate_passthru_sysinfo, @function
	.p2align 4
gate_passthru_sysinfo:			// the return address is
	.cfi_startproc
	cmpl	$11, %eax
	je	3f
	cmpl	$358, %eax
	je	3f
	cmpl	$174, %eax
	je	3f
	jmp	*%fs:GD_VSYSCALL
3:	pushl	%fs:GD_SYSDESC
	jmp	2b
	.cfi_endproc
	.size	gate_passthru_sysinfo, . - gate_passthru_sysinfo

// void gate_vfork(trapframe* copy, globaldata* passthru)
//   Does the call in `copy` (a frame outside the stack: the child may overwrite everything
//   below the program's %esp) with the program's registers and the pass-through area in %fs,
//   so that the child starts there. The child goes to the program at once; the parent, when
//   the kernel lets it go on, takes its own area back and leaves by the gate.
//   By int $0x80: a call's return address would be the child's to overwrite.
	.globl	gate_vfork
	.hidden	gate_vfork
	.type	gate_vfork, @function
	.p2align 4
gate_vfork:
	.cfi_startproc simple
	.cfi_undefined %eip
	movl	4(%esp), %esi
	pushl	8(%esp)
	call	cr_percpu_write
	movl	TF_EBX(%esi), %ebx
	movl	TF_ECX(%esi), %ecx
	movl	TF_EDX(%esi), %edx
	movl	TF_EDI(%esi), %edi
	movl	TF_EBP(%esi), %ebp
	movl	TF_NR(%esi), %eax
	movl	TF_ESP(%esi), %esp
	movl	TF_ESI(%esi), %esi
	int	$0x80
	xchgl	%eax, %ecx		// the flags stay
	jecxz	2f
	// The parent. ecx: the child's pid or an error.
	movl	%fs:GD_PT_FRAME, %eax
	movl	%ecx, TF_EAX(%eax)
	movl	%fs:GD_PT_STACK, %esp
	leal	-(TF_SIZE + 16)(%esp), %esp
	movl	%esp, %ecx
	pushl	%eax
	pushl	%ecx
	call	gate_vfork_parent	// fills the frame; %fs is the rfork's again
	addl	$8, %esp
	jmp	gate_exit_full
2:	xchgl	%eax, %ecx
	pushl	%fs:GD_PT_RETPC
	ret
	.cfi_endproc
	.size	gate_vfork, . - gate_vfork

// long cr_trap_check(const uint64_t args[6], long nr, const uint32_t* ast)
//   A trap that a signal for this LWKT interrupts even if it came just before: from cr_trap_window to
//   cr_trap_insn, and in the kernel's entry up to its trap, the kernel-signal handler moves the program counter to
//   cr_trap_unbegun: -513 (ERESTARTNOINTR). If the kernel restarts the trap, to cr_trap_begun: -512 (ERESTARTSYS).
//   Both with %esp as it is at cr_trap_window.
	.globl	cr_trap_check
	.hidden	cr_trap_check
	.type	cr_trap_check, @function
	.p2align 4
cr_trap_check:
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
	movl	0(%eax), %ebx
	movl	8(%eax), %ecx
	movl	16(%eax), %edx
	movl	24(%eax), %esi
	movl	32(%eax), %edi
	movl	40(%eax), %ebp
	.globl	cr_trap_window, cr_trap_insn, cr_trap_unbegun, cr_trap_begun
	.hidden	cr_trap_window, cr_trap_insn, cr_trap_unbegun, cr_trap_begun
cr_trap_window:
	movl	28(%esp), %eax
	cmpl	$0, (%eax)
	jne	cr_trap_unbegun
	cmpl	$0, %fs:GD_AST
	jne	cr_trap_unbegun
	movl	24(%esp), %eax
cr_trap_insn:
	call	*%fs:GD_VSYSCALL
	.globl	cr_trap_after
	.hidden	cr_trap_after
cr_trap_after:
	.cfi_remember_state
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
	.cfi_restore_state
cr_trap_unbegun:
	movl	$-513, %eax
	jmp	cr_trap_after
cr_trap_begun:
	movl	$-512, %eax
	jmp	cr_trap_after
	.cfi_endproc
	.size	cr_trap_check, . - cr_trap_check

// cr_call: the wrappers' door and the runtime's own (wrapcall.h, call.h), with the registers as at a trap.
// Out: %eax the raw result; %ecx and %edx stay.
	.globl	cr_call
	.hidden	cr_call
	.type	cr_call, @function
	.p2align 4
cr_call:
	.cfi_startproc
	pushl	%ecx
	.cfi_adjust_cfa_offset 4
	call	cr_pc_thunk_cx
1:	cmpb	$0, cr_gate_ready - 1b(%ecx)
	popl	%ecx
	.cfi_adjust_cfa_offset -4
	je	cr_int80
	jmp	*%fs:GD_SYSGATE
	.cfi_endproc
	.size	cr_call, . - cr_call

// A restart of a call that came through the thread block: its return address is on the stack again.
	.globl	cr_call_reenter
	.hidden	cr_call_reenter
	.type	cr_call_reenter, @function
	.p2align 4
cr_call_reenter:
	.cfi_startproc
	jmp	*%fs:GD_SYSGATE
	.cfi_endproc
	.size	cr_call_reenter, . - cr_call_reenter

// No way out of here but gate_entry's: src/signal/kernel.cc asks for these labels.
	.globl	cr_call_check, cr_call_last
	.hidden	cr_call_check, cr_call_last
	.set	cr_call_check, gate_fast_check
	.set	cr_call_last, gate_fast_check
	.globl	cr_call_window, cr_call_insn, cr_call_unbegun, cr_call_begun
	.hidden	cr_call_window, cr_call_insn, cr_call_unbegun, cr_call_begun
	.set	cr_call_window, gate_sleep_window
	.set	cr_call_insn, gate_sleep_insn
	.set	cr_call_unbegun, gate_sleep_unbegun
	.set	cr_call_begun, gate_sleep_begun

// The kernel's own frames, on an rfork's alternate stack, end here.
	.globl	cr_kernel_restorer
	.hidden	cr_kernel_restorer
	.type	cr_kernel_restorer, @function
	.p2align 4
	.cfi_startproc
	.cfi_signal_frame
	.cfi_undefined %eip
	nop
cr_kernel_restorer:
	movl	$173, %eax		// rt_sigreturn; the frame begins 4 bytes below %esp
	jmp	*%fs:GD_SIGRETURN
	.cfi_endproc
	.size	cr_kernel_restorer, . - cr_kernel_restorer

	.section .note.GNU-stack, "", @progbits
