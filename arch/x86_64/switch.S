// The switch between two LWKTs, and where a new one starts.
//
// void cpu_switch(thread* old %rdi, thread* next %rsi)
//   in:      both threads; a critical state (below the boundary): nothing may preempt
//   saves:   the callee-saved registers, MXCSR and the x87 control word, the TLS base
//   vectors: nothing. At a call they are the caller's to save (System V ABI), and the gate has
//            saved them where the program had them live over its trap.
//   window:  between loading %rsp and storing curthread the stack is next's and curthread is
//            old. A signal there sees libcr's text and touches neither.
//   After %rsp is next's, old->td_running = 0 tells other cpus that old's context is complete.
//
// The return is pop + jmp: a ret would be predicted to go back to old's caller (9.9 ns against
// 3.3 measured).

#include "frame.h"

	.text
	.globl	cpu_switch
	.hidden	cpu_switch
	.type	cpu_switch, @function
	.p2align 5
cpu_switch:
	.cfi_startproc
	endbr64
	pushq	%rbp
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset %rbp, 0
	pushq	%rbx
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset %rbx, 0
	pushq	%r12
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset %r12, 0
	pushq	%r13
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset %r13, 0
	pushq	%r14
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset %r14, 0
	pushq	%r15
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset %r15, 0
	subq	$8, %rsp
	.cfi_adjust_cfa_offset 8
	stmxcsr	(%rsp)
	fnstcw	4(%rsp)
	movl	(%rsp), %r8d
	movzwl	4(%rsp), %r9d
	testl	$TDF_NOTLS, TD_FLAGS(%rdi)
	jnz	1f
	cmpb	$0, cr_have_fsgsbase(%rip)
	je	1f			// without the instruction td_fsbase follows arch_prctl
	rdfsbase %rax
	movq	%rax, TD_FSBASE(%rdi)
1:	movq	%rsp, TD_SP(%rdi)
	movq	TD_SP(%rsi), %rsp
	movq	%rsi, %gs:GD_CURTHREAD
	movl	$0, TD_RUNNING(%rdi)
	cmpl	(%rsp), %r8d
	jne	3f
	cmpw	4(%rsp), %r9w
	jne	3f
2:	testl	$TDF_NOTLS, TD_FLAGS(%rsi)
	jnz	4f
	movq	TD_FSBASE(%rsi), %rdi
	cmpb	$0, cr_have_fsgsbase(%rip)
	je	5f
	rdfsbase %rax
	cmpq	%rax, %rdi
	je	4f
	wrfsbase %rdi
4:	addq	$8, %rsp
	.cfi_adjust_cfa_offset -8
	popq	%r15
	.cfi_adjust_cfa_offset -8
	.cfi_restore %r15
	popq	%r14
	.cfi_adjust_cfa_offset -8
	.cfi_restore %r14
	popq	%r13
	.cfi_adjust_cfa_offset -8
	.cfi_restore %r13
	popq	%r12
	.cfi_adjust_cfa_offset -8
	.cfi_restore %r12
	popq	%rbx
	.cfi_adjust_cfa_offset -8
	.cfi_restore %rbx
	popq	%rbp
	.cfi_adjust_cfa_offset -8
	.cfi_restore %rbp
	popq	%rcx
	.cfi_adjust_cfa_offset -8
	.cfi_register %rip, %rcx
	jmp	*%rcx

	// The slow halves: control words differ; no FSGSBASE.
	.cfi_adjust_cfa_offset 64
	.cfi_rel_offset %rip, 56
	.cfi_rel_offset %rbp, 48
	.cfi_rel_offset %rbx, 40
	.cfi_rel_offset %r12, 32
	.cfi_rel_offset %r13, 24
	.cfi_rel_offset %r14, 16
	.cfi_rel_offset %r15, 8
3:	ldmxcsr	(%rsp)
	fldcw	4(%rsp)
	jmp	2b
5:	// rdi = the new base. All caller-saved registers are free here.
	movq	%rdi, %rsi
	movl	$0x1002, %edi		// ARCH_SET_FS
	movl	$158, %eax		// arch_prctl
	syscall
	jmp	4b
	.cfi_endproc
	.size	cpu_switch, . - cpu_switch

// The first switch to a thread made by lwkt_create lands here:
//   %rbx = function, %r12 = its argument, %rsp = the top of its stack, 16-byte aligned
	.globl	cpu_thread_start
	.hidden	cpu_thread_start
	.type	cpu_thread_start, @function
	.p2align 4
cpu_thread_start:
	.cfi_startproc
	.cfi_undefined %rip
	endbr64
	call	cr_switch_return
	movq	%r12, %rdi
	call	*%rbx
	call	lwkt_exit
	ud2
	.cfi_endproc
	.size	cpu_thread_start, . - cpu_thread_start

// uint64_t cpu_fpcontrol(void): MXCSR in the low half, the x87 control word above it, as
// cpu_switch keeps them on a parked stack.
	.globl	cpu_fpcontrol
	.hidden	cpu_fpcontrol
	.type	cpu_fpcontrol, @function
	.p2align 4
cpu_fpcontrol:
	.cfi_startproc
	endbr64
	stmxcsr	-8(%rsp)
	fnstcw	-16(%rsp)
	movl	-8(%rsp), %eax
	movzwl	-16(%rsp), %ecx
	shlq	$32, %rcx
	orq	%rcx, %rax
	ret
	.cfi_endproc
	.size	cpu_fpcontrol, . - cpu_fpcontrol

	.section .note.GNU-stack, "", @progbits
