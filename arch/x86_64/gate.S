// The gate: how a system call leaves the program and comes back.
//
// gate_entry
//   in:      %rax the call's number, the arguments in %rdi %rsi %rdx %r10 %r8 %r9, %r11 the
//            site's descriptor. %rcx is free (the trap destroys it). %rsp is the program's, any
//            alignment, with 128 live bytes below it (the red zone).
//   frame:   a struct trapframe below rsp - 128, 16-byte aligned (not for plain traps, below).
//   out:     at the descriptor's retpc with the result in %rax; every other register, the
//            flags and the vectors as they were; %rcx = retpc as the kernel leaves it.
//
// The way out is restartable: from gate_exit_check to gate_exit_last the frame is whole and
// %rsp is its base, so a signal that hits there sets AST_SIGNAL and rolls the program counter
// back to gate_exit_check. At gate_exit_last (the final jump) everything is the program's and
// the signal is delivered as if the jump had been done (src/signal/kernel.cc knows the labels).
//
// The runtime's code touches no vector register, so none is saved here; a site whose vectors
// are live over the trap (SD.vector) has them saved around the dispatch.

#include "leave.h"

#define DW_CFA_def_cfa_expression 0x0f
#define DW_CFA_expression 0x10
// A register saved at %rsp + off, off < 64 and 64 <= off < 8192 (DW_OP_breg7, sleb128).
#define CFI_SAVED_NEAR(reg, off) .cfi_escape DW_CFA_expression, reg, 2, 0x77, off
#define CFI_SAVED_FAR(reg, off) \
	.cfi_escape DW_CFA_expression, reg, 3, 0x77, ((off) & 0x7f) | 0x80, (off) >> 7

	.text

	.macro CFI_TRAPFRAME
	// CFA = the program's %rsp; the return address is the program's next instruction.
	.cfi_escape DW_CFA_def_cfa_expression, 4, 0x77, (TF_RSP & 0x7f) | 0x80, TF_RSP >> 7, 0x06
	CFI_SAVED_FAR(16, TF_UNWINDPC)
	CFI_SAVED_FAR(3, TF_RBX)
	CFI_SAVED_FAR(6, TF_RBP)
	CFI_SAVED_FAR(12, TF_R12)
	CFI_SAVED_FAR(13, TF_R13)
	CFI_SAVED_FAR(14, TF_R14)
	CFI_SAVED_FAR(15, TF_R15)
	.endm

	// In: %rcx the program's %rsp, %r11 the descriptor, the flags at -136(%rcx), %rsp at or
	// above there. Out: the frame, %rsp its base. Clobbers %rdx and, after saving it, %rax.
	// The frame of a narrow site is on its thread's call stack, if it has one; not in a shim, which is there already.
	.macro BUILD_FRAME
	cmpb	$0, SD_NARROW(%r11)
	je	98f
	movq	%rdx, -8(%rsp)
	movq	%rax, -16(%rsp)
	PERCPU_READ GD_CURTHREAD, %rdx
	testl	$GATE_INPORT, TD_FLAGS(%rdx)
	jnz	97f
	movl	TD_SLOT(%rdx), %edx
	movq	cr_callstacks(%rip), %rax
	testq	%rax, %rax
	jz	97f
	cmpl	$-1, %edx
	je	97f
	movq	(%rax, %rdx, 8), %rax
	testq	%rax, %rax
	jz	97f
	movq	-8(%rsp), %rdx
	xchgq	%rax, %rsp
	movq	-16(%rax), %rax
	jmp	98f
97:	movq	-8(%rsp), %rdx
	movq	-16(%rsp), %rax
98:	leaq	-(TF_SIZE + 24)(%rsp), %rsp
	andq	$-16, %rsp		// the flags are already in memory
	movq	%rdi, TF_RDI(%rsp)
	movq	%rsi, TF_RSI(%rsp)
	movq	%rdx, TF_RDX(%rsp)
	movq	%r10, TF_R10(%rsp)
	movq	%r8, TF_R8(%rsp)
	movq	%r9, TF_R9(%rsp)
	movq	%rax, TF_RAX(%rsp)
	movq	%rbx, TF_RBX(%rsp)
	movq	%rbp, TF_RBP(%rsp)
	movq	%r12, TF_R12(%rsp)
	movq	%r13, TF_R13(%rsp)
	movq	%r14, TF_R14(%rsp)
	movq	%r15, TF_R15(%rsp)
	movq	-136(%rcx), %rax
	movq	%rax, TF_RFLAGS(%rsp)
	movq	SD_RETPC(%r11), %rdx
	movq	%rdx, TF_RIP(%rsp)
	movq	SD_UNWINDPC(%r11), %rdx
	movq	%rdx, TF_UNWINDPC(%rsp)
	movq	%rcx, TF_RSP(%rsp)
	movq	%r11, TF_DESC(%rsp)
	.endm

	// The thread's message, from the registers at the trap. Out: %rcx the thread.
	.macro FILL_MESSAGE
	PERCPU_READ GD_CURTHREAD, %rcx
	movl	%eax, TD_MSG_NR(%rcx)
	movq	%rdi, TD_MSG_ARGS(%rcx)
	movq	%rsi, TD_MSG_ARGS + 8(%rcx)
	movq	%rdx, TD_MSG_ARGS + 16(%rcx)
	movq	%r10, TD_MSG_ARGS + 24(%rcx)
	movq	%r8, TD_MSG_ARGS + 32(%rcx)
	movq	%r9, TD_MSG_ARGS + 40(%rcx)
	.endm

	// A plain trap with its message. In: the number and the arguments as at the trap. Clobbers
	// %rcx and %r11; the result is in %rax.
	.macro PLAIN_TRAP
	FILL_MESSAGE
	syscall
	PERCPU_READ GD_CURTHREAD, %rcx
	movq	%rax, TD_MSG_RESULT(%rcx)
	.endm

// A trap that may sleep beside no other LWKT, with its message. The flags say whether it was EINTR; the result is
// in %rax, the thread in %rcx. A signal before the instruction moves the program counter from \name\()_window to
// \name\()_unbegun, one that the kernel restarts it for to \name\()_begun (src/signal/kernel.cc); both go on at
// \interrupted as if the trap had said so.
	.macro SLEEPING_TRAP name
	FILL_MESSAGE
	.globl	\name\()_window, \name\()_insn
	.hidden	\name\()_window, \name\()_insn
\name\()_window:
	cmpl	$0, TD_AST(%rcx)
	jne	\name\()_unbegun
	PERCPU_IF_AST \name\()_unbegun, %rcx
\name\()_insn:
	syscall
	PERCPU_READ GD_CURTHREAD, %rcx
	movq	%rax, TD_MSG_RESULT(%rcx)
	cmpq	$-4, %rax
	.endm
	.macro SLEEPING_TRAP_INTERRUPTED name, interrupted
	.globl	\name\()_unbegun, \name\()_begun
	.hidden	\name\()_unbegun, \name\()_begun
\name\()_unbegun:
	PERCPU_READ GD_CURTHREAD, %rcx
	movq	$-513, TD_MSG_RESULT(%rcx)	// ERESTARTNOINTR
	jmp	\interrupted
\name\()_begun:
	PERCPU_READ GD_CURTHREAD, %rcx
	movq	$-512, TD_MSG_RESULT(%rcx)	// ERESTARTSYS
	jmp	\interrupted
	.endm

	.macro SAVE_FEW
	movups	%xmm0, (%rsp)
	movups	%xmm1, 16(%rsp)
	movups	%xmm2, 32(%rsp)
	movups	%xmm3, 48(%rsp)
	.endm

	.macro RESTORE_FEW
	movups	(%rsp), %xmm0
	movups	16(%rsp), %xmm1
	movups	32(%rsp), %xmm2
	movups	48(%rsp), %xmm3
	.endm

	.macro SAVE_XMM
	SAVE_FEW
	movups	%xmm4, 64(%rsp)
	movups	%xmm5, 80(%rsp)
	movups	%xmm6, 96(%rsp)
	movups	%xmm7, 112(%rsp)
	movups	%xmm8, 128(%rsp)
	movups	%xmm9, 144(%rsp)
	movups	%xmm10, 160(%rsp)
	movups	%xmm11, 176(%rsp)
	movups	%xmm12, 192(%rsp)
	movups	%xmm13, 208(%rsp)
	movups	%xmm14, 224(%rsp)
	movups	%xmm15, 240(%rsp)
	.endm

	.macro RESTORE_XMM
	RESTORE_FEW
	movups	64(%rsp), %xmm4
	movups	80(%rsp), %xmm5
	movups	96(%rsp), %xmm6
	movups	112(%rsp), %xmm7
	movups	128(%rsp), %xmm8
	movups	144(%rsp), %xmm9
	movups	160(%rsp), %xmm10
	movups	176(%rsp), %xmm11
	movups	192(%rsp), %xmm12
	movups	208(%rsp), %xmm13
	movups	224(%rsp), %xmm14
	movups	240(%rsp), %xmm15
	.endm

	// The number and the arguments, to (%rsp) and to the message; %rdi is the message then.
	.macro QUICK_SAVE
	movq	%rax, (%rsp)
	movq	%rdi, 8(%rsp)
	movq	%rsi, 16(%rsp)
	movq	%rdx, 24(%rsp)
	movq	%r10, 32(%rsp)
	movq	%r8, 40(%rsp)
	movq	%r9, 48(%rsp)
	FILL_MESSAGE
	leaq	TD_MSG(%rcx), %rdi
	.endm

	// A function that needs no frame, with the vectors kept in \room bytes below what QUICK_SAVE keeps.
	// \lo, \hi: \room + 56, where the site's descriptor lies, as sleb128.
	.macro QUICK_VECTOR save, restore, room, lo, hi
	subq	$56, %rsp
	QUICK_SAVE
	subq	$\room, %rsp
	\save
	.cfi_remember_state
	.cfi_def_cfa %rsp, 144 + 56 + \room
	.cfi_escape DW_CFA_expression, 16, 6, 0x77, \lo, \hi, 0x06, 0x23, SD_UNWINDPC
	call	*%r11
	.cfi_restore_state
	\restore
	addq	$\room, %rsp
	jmp	gate_quick_done
	.endm

// cr_doors has a word for each call number (sysport.cc fills it; with a shim in the way all are
// DOOR_LONG):
//
//   DOOR_LONG   a trap frame and gate_syscall: calls that look at the frame or leave another way
//   DOOR_PLAIN  a trap that doesn't sleep: made right here, with no return after it that the
//               processor would have to predict anew
//   DOOR_SLEEP  a trap that may sleep, while there is one LWKT: made here unless a signal came just before
//   else        a function int (union sysunion *) that needs no frame. The registers that C keeps
//               stay in place; the others are kept below the flags, since the function may change
//               its message.
//
// What a signal finds is restartable like the long way out: gate_fast_check to gate_fast_last
// change %rcx and %r11 alone.
	.globl	gate_entry
	.hidden	gate_entry
	.type	gate_entry, @function
	.p2align 6
gate_entry:
	.cfi_startproc simple
	.cfi_def_cfa %rsp, 0
	.cfi_undefined %rip
	endbr64
	leaq	-128(%rsp), %rsp
	pushfq
	pushq	%r11
	cmpl	$GATE_DOORS, %eax
	jae	gate_long
	movl	%eax, %ecx
	movq	cr_doors(%rip), %r11
	movq	(%r11, %rcx, 8), %r11
	cmpq	$DOOR_SLEEP, %r11
	jbe	gate_trap
	testb	$4, 9(%rsp)		// DF: C++ needs it clear
	jnz	gate_long
	movq	(%rsp), %rcx
	cmpw	$0, SD_VECTOR(%rcx)	// and SD_NARROW
	jne	gate_quick_vector
	subq	$56, %rsp
	QUICK_SAVE
	.cfi_remember_state
	.cfi_def_cfa %rsp, 144 + 56
	.cfi_escape DW_CFA_expression, 16, 5, 0x77, 56, 0x06, 0x23, SD_UNWINDPC
	call	*%r11
	.cfi_restore_state
gate_quick_done:
	PERCPU_READ GD_CURTHREAD, %rcx
	movl	(%rsp), %edi
	movl	%edi, TD_MSG_NR(%rcx)
	testl	%eax, %eax
	jne	gate_quick_error
	movq	TD_MSG_RESULT(%rcx), %rax
gate_quick_registers:
	movq	8(%rsp), %rdi
	movq	16(%rsp), %rsi
	movq	24(%rsp), %rdx
	movq	32(%rsp), %r10
	movq	40(%rsp), %r8
	movq	48(%rsp), %r9
	addq	$56, %rsp
gate_fast_result:
	movq	%rax, %r11
	movq	8(%rsp), %rax		// the flags
	RESTORE_FLAGS
	movq	%r11, %rax
	.globl	gate_fast_check, gate_fast_last
	.hidden	gate_fast_check, gate_fast_last
gate_fast_check:
	IF_PENDING_NO_FLAGS gate_fast_ast	// they are the program's again
	movq	(%rsp), %rcx
	movq	SD_RETPC(%rcx), %rcx
	leaq	144(%rsp), %rsp
gate_fast_last:
	jmp	*%rcx

gate_trap:
	cmpq	$DOOR_PLAIN, %r11
	jb	gate_long
	jne	gate_sleep
	PLAIN_TRAP
	jmp	gate_fast_result
gate_sleep:
	SLEEPING_TRAP gate_sleep
	jne	gate_fast_result
gate_sleep_interrupt:			// EINTR or a restart: whose signal was it?
	cld
	movl	TD_MSG_NR(%rcx), %eax
	popq	%r11
	leaq	136(%rsp), %rcx
	BUILD_FRAME
	movq	TF_RAX(%rsp), %rdx
	movq	%rdx, TF_NR(%rsp)
	movq	%rsp, %rdi
	call	gate_sleep_interrupted
	testb	%al, %al
	jnz	gate_exit_check
	movq	TF_DESC(%rsp), %r11
	jmp	gate_entry_2
	SLEEPING_TRAP_INTERRUPTED gate_sleep, gate_sleep_interrupt

// A positive errno, or one that asks for a restart once the signal was delivered.
gate_quick_error:
	leal	-512(%rax), %edx
	cmpl	$4, %edx
	ja	1f
	lock orl $GATE_AST_SIGNAL, TD_AST(%rcx)
1:	negl	%eax
	cltq
	jmp	gate_quick_registers

gate_quick_vector:
	cmpb	$0, SD_NARROW(%rcx)
	jne	gate_long
	cmpb	$3, SD_VECTOR(%rcx)
	je	gate_quick_few
	cmpb	$1, SD_VECTOR(%rcx)
	jne	gate_long
	QUICK_VECTOR SAVE_XMM, RESTORE_XMM, 256, 0xb8, 0x02
gate_quick_few:
	QUICK_VECTOR SAVE_FEW, RESTORE_FEW, 64, 0xf8, 0x00

// Something is pending after a fast call: go out the long way.
gate_fast_ast:
	cld
	popq	%r11
	leaq	136(%rsp), %rcx
	BUILD_FRAME
	PERCPU_READ GD_CURTHREAD, %rcx
	movl	TD_MSG_NR(%rcx), %eax
	movq	%rax, TF_NR(%rsp)
	jmp	gate_exit_check

gate_long:
	popq	%r11
	leaq	136(%rsp), %rcx
	BUILD_FRAME
	movq	TF_RAX(%rsp), %rdx
	movq	%rdx, TF_NR(%rsp)
	CFI_TRAPFRAME
	testl	$0x400, %eax		// DF: C++ needs it clear
	jnz	gate_entry_df
gate_entry_2:
	movq	%rsp, %rdi
	cmpb	$0, SD_VECTOR(%r11)
	jne	gate_entry_vector
	call	gate_syscall
	// fall through

	.globl	gate_exit_check
	.hidden	gate_exit_check
gate_exit_check:
	IF_PENDING gate_exit_ast
gate_exit_restore:
	movq	TF_RFLAGS(%rsp), %rax
	RESTORE_FLAGS
	movq	TF_RDI(%rsp), %rdi
	movq	TF_RSI(%rsp), %rsi
	movq	TF_RDX(%rsp), %rdx
	movq	TF_R10(%rsp), %r10
	movq	TF_R8(%rsp), %r8
	movq	TF_R9(%rsp), %r9
	movq	TF_RAX(%rsp), %rax
	movq	TF_RIP(%rsp), %rcx
	movq	TF_RSP(%rsp), %rsp
	.globl	gate_exit_last
	.hidden	gate_exit_last
gate_exit_last:
	jmp	*%rcx

gate_entry_df:
	cld
	jmp	gate_entry_2

// Something is pending: a signal, a reschedule. gate_ast may leave by another way (a signal
// frame) and not return.
gate_exit_ast:
	movq	%rsp, %rdi
	call	gate_ast
	testl	%eax, %eax
	jz	gate_exit_check
	jmp	gate_exit_restore

// Restores everything: a clone's child, and what leaves by a frame of its own.
	.globl	gate_exit_full
	.hidden	gate_exit_full
gate_exit_full:
	movq	TF_RBX(%rsp), %rbx
	movq	TF_RBP(%rsp), %rbp
	movq	TF_R12(%rsp), %r12
	movq	TF_R13(%rsp), %r13
	movq	TF_R14(%rsp), %r14
	movq	TF_R15(%rsp), %r15
	jmp	gate_exit_check

// void gate_leave(trapframe* %rdi): leaves through a frame that stands anywhere on the stack.
	.globl	gate_leave
	.hidden	gate_leave
gate_leave:
	movq	%rdi, %rsp
	jmp	gate_exit_full

// Vectors are live over this trap: keep them on the program's stack. 512 bytes of fxsave's
// xmm part are enough for SiteVector::kSse; wider state goes through xsave.
gate_entry_vector:
	movq	%rsp, %rbx		// callee-saved; the program's is in the frame
	cmpb	$2, SD_VECTOR(%r11)
	je	gate_entry_xsave
	subq	$256, %rsp
	SAVE_XMM
	call	gate_syscall
	RESTORE_XMM
	movq	%rbx, %rsp
	movq	TF_RBX(%rsp), %rbx
	jmp	gate_exit_check
gate_entry_xsave:
	subq	cr_xsave_size(%rip), %rsp
	andq	$-64, %rsp
	// The header's 64 bytes must be zero before the first save into this memory.
	xorl	%eax, %eax
	movl	$64, %ecx
	leaq	512(%rsp), %rdi
	rep stosb
	movl	$-1, %eax
	movl	$-1, %edx
	xsave64	(%rsp)
	movq	%rbx, %rdi
	call	gate_syscall
	movl	$-1, %eax
	movl	$-1, %edx
	xrstor64 (%rsp)
	movq	%rbx, %rsp
	movq	TF_RBX(%rsp), %rbx
	jmp	gate_exit_check
	.cfi_endproc
	.size	gate_entry, . - gate_entry

// The first switch to a thread that clone made lands here: %rsp is its trap frame.
	.globl	gate_clone_start
	.hidden	gate_clone_start
	.type	gate_clone_start, @function
	.p2align 4
gate_clone_start:
	.cfi_startproc simple
	CFI_TRAPFRAME
	endbr64
	addq	$8, %rsp		// the word for %rbp
	call	cr_switch_return
	jmp	gate_exit_full
	.cfi_endproc
	.size	gate_clone_start, . - gate_clone_start

#ifdef CR_KEEP_GS
// Where a stub goes: to gate_entry, or to gate_passthru in a vfork's child. It has one register and the stack.
	.globl	gate_stub
	.hidden	gate_stub
	.type	gate_stub, @function
	.p2align 4
gate_stub:
	.cfi_startproc
	.cfi_undefined %rip
	endbr64
	leaq	-128(%rsp), %rsp
	pushq	%r11
	PERCPU_AREA_NO_FLAGS %r11, %rcx
	movq	GD_GATE(%r11), %rcx
	popq	%r11
	leaq	128(%rsp), %rsp
	jmp	*%rcx
	.cfi_endproc
	.size	gate_stub, . - gate_stub
#endif

// A vfork child's way: it runs on its parent's memory (and often its stack) and is no LWKT of
// ours. Its calls trap in place; nothing is written above its red zone's end. %rcx and %r11 are the only free
// registers and the flags stay: hence lea and jrcxz. An exec goes through C++ so that the
// preload goes on in the new image, and rt_sigaction, since libcr's handlers are not the program's.
	.globl	gate_passthru
	.hidden	gate_passthru
	.type	gate_passthru, @function
	.p2align 4
gate_passthru:
	.cfi_startproc
	.cfi_undefined %rip
	endbr64
	leal	-59(%rax), %ecx		// execve
	jrcxz	1f
	leal	-322(%rax), %ecx	// execveat
	jrcxz	1f
	leal	-13(%rax), %ecx		// rt_sigaction
	jrcxz	1f
	movq	SD_TRAPPC(%r11), %rcx
	jmp	*%rcx
1:	leaq	-128(%rsp), %rsp	// as gate_entry, and past the doors, which are for LWKTs
	pushfq
	pushq	%r11
	jmp	gate_long
	.cfi_endproc
	.size	gate_passthru, . - gate_passthru

// void gate_vfork(trapframe* copy %rdi, globaldata* passthru %rsi)
//   Does the call in `copy` (a frame outside the stack: the child may overwrite everything
//   below the program's %rsp) with the program's registers and the pass-through area in the per-cpu register,
//   so that the child starts there. The child goes to the program at once; the parent, when
//   the kernel lets it go on, takes its own area back and leaves by the gate.
	.globl	gate_vfork
	.hidden	gate_vfork
	.type	gate_vfork, @function
	.p2align 4
gate_vfork:
	.cfi_startproc simple
	.cfi_undefined %rip
	endbr64
	movq	%rdi, %r15
#ifndef CR_KEEP_GS
	cmpb	$0, cr_have_fsgsbase(%rip)
	je	3f
	wrgsbase %rsi
#else
	movl	GD_SELECTOR(%rsi), %esi
	movl	%esi, %es
#endif
1:	movq	TF_RDI(%r15), %rdi
	movq	TF_RSI(%r15), %rsi
	movq	TF_RDX(%r15), %rdx
	movq	TF_R10(%r15), %r10
	movq	TF_R8(%r15), %r8
	movq	TF_R9(%r15), %r9
	movq	TF_RBX(%r15), %rbx
	movq	TF_RBP(%r15), %rbp
	movq	TF_R12(%r15), %r12
	movq	TF_R13(%r15), %r13
	movq	TF_R14(%r15), %r14
	movq	TF_NR(%r15), %rax
	movq	TF_RSP(%r15), %rsp
	movq	TF_R15(%r15), %r15
	syscall
	movq	%rax, %rcx
	jrcxz	2f
	// The parent. rax: the child's pid or an error.
	PERCPU_READ GD_PT_FRAME, %r11
	movq	%rax, TF_RAX(%r11)
	PERCPU_READ GD_PT_STACK, %rcx
	movq	%rcx, %rsp
	leaq	-(TF_SIZE + 16)(%rsp), %rsp
	andq	$-16, %rsp
	movq	%rsp, %rdi
	movq	%r11, %rsi
	call	gate_vfork_parent	// fills the frame at %rdi; the register is the rfork's again
	jmp	gate_exit_full
2:	PERCPU_READ GD_PT_RETPC, %rcx
	jmp	*%rcx
#ifndef CR_KEEP_GS
3:	movl	$0x1001, %edi		// ARCH_SET_GS
	movl	$158, %eax
	syscall
	jmp	1b
#endif
	.cfi_endproc
	.size	gate_vfork, . - gate_vfork

// long cr_trap_check(const uint64_t args[6] %rdi, long nr %rsi, const uint32_t* ast %rdx)
//   A trap that a signal for this LWKT interrupts even if it came just before: from cr_trap_window on the
//   kernel-signal handler moves the program counter to cr_trap_unbegun: -513 (ERESTARTNOINTR); at
//   cr_trap_insn, if the kernel restarts it, to cr_trap_begun: -512 (ERESTARTSYS).
	.globl	cr_trap_check
	.hidden	cr_trap_check
	.type	cr_trap_check, @function
	.p2align 4
cr_trap_check:
	.cfi_startproc
	endbr64
	pushq	%rbx
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset %rbx, 0
	movq	%rdx, %rbx
	movq	%rdi, %rcx
	movq	%rsi, %rax
	movq	0(%rcx), %rdi
	movq	8(%rcx), %rsi
	movq	16(%rcx), %rdx
	movq	24(%rcx), %r10
	movq	32(%rcx), %r8
	movq	40(%rcx), %r9
	.globl	cr_trap_window, cr_trap_insn, cr_trap_unbegun, cr_trap_begun
	.hidden	cr_trap_window, cr_trap_insn, cr_trap_unbegun, cr_trap_begun
cr_trap_window:
	cmpl	$0, (%rbx)
	jne	cr_trap_unbegun
	PERCPU_IF_AST cr_trap_unbegun, %rcx
cr_trap_insn:
	syscall
1:	popq	%rbx
	.cfi_remember_state
	.cfi_adjust_cfa_offset -8
	.cfi_restore %rbx
	ret
	.cfi_restore_state
cr_trap_unbegun:
	movq	$-513, %rax
	jmp	1b
cr_trap_begun:
	movq	$-512, %rax
	jmp	1b
	.cfi_endproc
	.size	cr_trap_check, . - cr_trap_check

// cr_call: the wrappers' door. In: the registers as at a trap, %rbx where to go on. Out: %rax the raw
// result. Clobbers %rcx, %r11 and the flags, as a trap does (arch/x86_64/call.h, wrappers.c: a jump
// from inline assembly, so that no argument goes by the stack and nothing returns twice after a trap:
// many kernels leave the processor's stack of return addresses empty, and each return costs 3 ns
// then). What is neither a plain trap nor one that may sleep beside no other LWKT goes through gate_entry, so that a
// signal or a fork finds the same frame everywhere.
	.globl	cr_call
	.hidden	cr_call
	.type	cr_call, @function
	.p2align 4
cr_call:
	.cfi_startproc simple
	.cfi_def_cfa %rsp, 0
	.cfi_register %rip, %rbx
	endbr64
	cmpl	$GATE_DOORS, %eax
	jae	cr_call_long
	movl	%eax, %ecx
	movq	cr_doors(%rip), %r11
	movq	(%r11, %rcx, 8), %r11
	cmpq	$DOOR_PLAIN, %r11
	je	cr_call_plain
	cmpq	$DOOR_SLEEP, %r11
	jne	cr_call_long
	leaq	gate_entry(%rip), %r11
	PERCPU_CMP_GATE %r11		// a vfork's child has no calls of its own to interrupt
	jne	cr_call_long
	SLEEPING_TRAP cr_call
	je	cr_call_interrupted
	.globl	cr_call_check, cr_call_last
	.hidden	cr_call_check, cr_call_last
cr_call_check:
	IF_PENDING cr_call_ast
cr_call_last:
	jmp	*%rbx
cr_call_plain:
	PLAIN_TRAP
	jmp	cr_call_check
cr_call_interrupted:
	leaq	wrapper_desc(%rip), %r11
	leaq	-128(%rsp), %rsp
	pushfq
	pushq	%r11
	jmp	gate_sleep_interrupt
	SLEEPING_TRAP_INTERRUPTED cr_call, cr_call_interrupted
cr_call_ast:
	leaq	wrapper_desc(%rip), %r11
	leaq	-128(%rsp), %rsp
	pushfq
	pushq	%r11
	jmp	gate_fast_ast
cr_call_long:
	leaq	wrapper_desc(%rip), %r11
	cmpb	$0, cr_gate_ready(%rip)
	je	cr_call_trap
	PERCPU_GATE
	.globl	cr_call_reenter
	.hidden	cr_call_reenter
cr_call_reenter:			// a restart: the registers are the trap's already
	leaq	wrapper_desc(%rip), %r11
	PERCPU_GATE
cr_call_trap:
	syscall
cr_call_ret:
	jmp	*%rbx
	.cfi_endproc
	.size	cr_call, . - cr_call

// The kernel's own frames, on an rfork's alternate stack, end here.
	.globl	cr_kernel_restorer
	.hidden	cr_kernel_restorer
	.type	cr_kernel_restorer, @function
	.p2align 4
	.cfi_startproc
	.cfi_signal_frame
	.cfi_undefined %rip
	nop
cr_kernel_restorer:
	movl	$15, %eax
	syscall
	ud2
	.cfi_endproc
	.size	cr_kernel_restorer, . - cr_kernel_restorer

	.section .data.rel.ro.local, "aw", @progbits
	.p2align 4
wrapper_desc:
	.quad	cr_call_ret
	.quad	cr_call_trap
	.quad	cr_call_ret
	.quad	0
	.size	wrapper_desc, . - wrapper_desc

	.section .note.GNU-stack, "", @progbits
