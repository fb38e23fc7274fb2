/*
 * cr_call without a runtime: count it, trap. In: the registers of a trap. Out: rax = raw result. The CFI lets a cancellation unwind from the trap.
 */
	.text
	.globl cr_call
	.hidden cr_call
	.type cr_call, @function
cr_call:
	.cfi_startproc
	lock incq cr_calls(%rip)
	syscall
	ret
	.cfi_endproc
	.size cr_call, . - cr_call

	.bss
	.balign 8
	.globl cr_calls
	.hidden cr_calls
	.type cr_calls, @object
	.size cr_calls, 8
cr_calls:
	.quad 0
	.section .note.GNU-stack, "", @progbits
