/*
 * How the exported wrappers (wrappers.c, generated) make a call as a message. C, for that file alone.
 *
 * All return the raw kernel result, -4095 to -1 for an error.
 */
#pragma once

#include <stdint.h>

#include "frame.h"

extern __attribute__((visibility("hidden"))) const uintptr_t *cr_doors; /* gate.S */

/* By cr_call (gate.S), with the registers of a trap. Not static: a caller's own convention must not reach it. */
__attribute__((naked, noinline, visibility("hidden"))) long cr_wrap_six(
    long nr, long a1, long a2, long a3, long a4, long a5, long a6)
{
	__asm__("pushl %ebx\n\t"
	        ".cfi_adjust_cfa_offset 4\n\t"
	        ".cfi_rel_offset %ebx, 0\n\t"
	        "pushl %esi\n\t"
	        ".cfi_adjust_cfa_offset 4\n\t"
	        ".cfi_rel_offset %esi, 0\n\t"
	        "pushl %edi\n\t"
	        ".cfi_adjust_cfa_offset 4\n\t"
	        ".cfi_rel_offset %edi, 0\n\t"
	        "pushl %ebp\n\t"
	        ".cfi_adjust_cfa_offset 4\n\t"
	        ".cfi_rel_offset %ebp, 0\n\t"
	        "movl 20(%esp), %eax\n\t"
	        "movl 24(%esp), %ebx\n\t"
	        "movl 28(%esp), %ecx\n\t"
	        "movl 32(%esp), %edx\n\t"
	        "movl 36(%esp), %esi\n\t"
	        "movl 40(%esp), %edi\n\t"
	        "movl 44(%esp), %ebp\n\t"
	        "call cr_call\n\t"
	        "popl %ebp\n\t"
	        ".cfi_adjust_cfa_offset -4\n\t"
	        ".cfi_restore %ebp\n\t"
	        "popl %edi\n\t"
	        ".cfi_adjust_cfa_offset -4\n\t"
	        ".cfi_restore %edi\n\t"
	        "popl %esi\n\t"
	        ".cfi_adjust_cfa_offset -4\n\t"
	        ".cfi_restore %esi\n\t"
	        "popl %ebx\n\t"
	        ".cfi_adjust_cfa_offset -4\n\t"
	        ".cfi_restore %ebx\n\t"
	        "ret");
}

/*
 * Five arguments are in registers that the compiler can fill; the sixth's is its frame pointer, and not filled for
 * calls that have none: they pass a literal 0.
 */
static inline __attribute__((always_inline)) long call(long nr, long a1, long a2, long a3, long a4, long a5, long a6)
{
	if (!__builtin_constant_p(a6) || a6 != 0)
		return cr_wrap_six(nr, a1, a2, a3, a4, a5, a6);
	long result;
	__asm__ volatile("call cr_call"
	                 : "=a"(result)
	                 : "a"(nr), "b"(a1), "c"(a2), "d"(a3), "S"(a4), "D"(a5)
	                 : "memory", "cc");
	return result;
}

/*
 * A call that the table serves by a trap which doesn't sleep. While nothing stands in front of syscall_port
 * the message is filled and the trap made right here, in the program's text as it were: a signal is delivered
 * wherever it hits, as natively, so nothing is to be looked at afterwards.
 */
static inline __attribute__((always_inline)) long plain_call(
    long nr, long a1, long a2, long a3, long a4, long a5, long a6)
{
	if (!__builtin_constant_p(a6) || a6 != 0 || __builtin_expect(cr_doors[nr] != DOOR_PLAIN, 0))
		return call_apart(nr, a1, a2, a3, a4, a5, a6);
	char *td;
	long result;
	__asm__ volatile("movl %%fs:%c1, %0" : "=r"(td) : "i"(GD_CURTHREAD));
	*(int *)(td + TD_MSG_NR) = nr;
	uint64_t *slots = (uint64_t *)(td + TD_MSG_ARGS);
	slots[0] = (unsigned long)a1;
	slots[1] = (unsigned long)a2;
	slots[2] = (unsigned long)a3;
	slots[3] = (unsigned long)a4;
	slots[4] = (unsigned long)a5;
	slots[5] = 0;
	__asm__ volatile("call *%%fs:%c[entry]\n\t"
	                 "movl %%fs:%c[cur], %%ecx\n\t"
	                 "movl %%eax, %c[res](%%ecx)"
	                 : "=a"(result), "+c"(a2)
	                 : "a"(nr), "b"(a1), "d"(a3), "S"(a4), "D"(a5), [entry] "i"(GD_VSYSCALL), [cur] "i"(GD_CURTHREAD),
	                   [res] "i"(TD_MSG_RESULT)
	                 : "memory", "cc");
	return result;
}
