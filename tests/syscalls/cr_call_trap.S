/*
 * cr_call without a runtime: count it, trap. In: the registers of a trap; x86_64: %rbx where to go on. Out: the raw
 * result. The CFI lets a cancellation unwind from the trap. cr_doors: nothing is a plain trap, so that all calls
 * come here and are counted.
 */
	.text
	.globl cr_call
	.hidden cr_call
	.type cr_call, @function
cr_call:
#ifdef __i386__
#define WORD .long
	.cfi_startproc
	pushl %eax
	.cfi_adjust_cfa_offset 4
	call 1f
	.cfi_adjust_cfa_offset 4
1:	popl %eax
	.cfi_adjust_cfa_offset -4
	lock incl cr_calls - 1b(%eax)
	popl %eax
	.cfi_adjust_cfa_offset -4
	int $0x80
	ret
#else
#define WORD .quad
	.cfi_startproc simple
	.cfi_def_cfa %rsp, 0
	.cfi_register %rip, %rbx
	lock incq cr_calls(%rip)
	syscall
	jmp *%rbx
#endif
	.cfi_endproc
	.size cr_call, . - cr_call

	.bss
	.balign 8
	.globl cr_calls
	.hidden cr_calls
	.type cr_calls, @object
	.size cr_calls, 8
cr_calls:
	WORD 0, 0
no_doors:
	.zero 8 * 512 /* DOOR_LONG */

	.section .data.rel.ro.local, "aw", @progbits
	.balign 8
	.globl cr_doors
	.hidden cr_doors
	.type cr_doors, @object
	.size cr_doors, 8
cr_doors:
	WORD no_doors
	.section .note.GNU-stack, "", @progbits
