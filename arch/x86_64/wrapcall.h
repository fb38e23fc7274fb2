/*
 * How the exported wrappers (wrappers.c, generated) make a call as a message. C, for that file alone.
 *
 * All return the raw kernel result, -4095 to -1 for an error.
 */
#pragma once

#include <stdint.h>

#include "frame.h"

extern __attribute__((visibility("hidden"))) const uintptr_t *cr_doors; /* gate.S */

/* By cr_call (gate.S), with the registers of a trap; %rbx: where it goes on. */
static inline __attribute__((always_inline)) long call(long nr, long a1, long a2, long a3, long a4, long a5, long a6)
{
	long result;
	register long r10 __asm__("r10") = a4;
	register long r8 __asm__("r8") = a5;
	register long r9 __asm__("r9") = a6;
	__asm__ volatile("leaq 1f(%%rip), %%rbx\n\t"
	                 "jmp cr_call\n"
	                 "1:"
	                 : "=a"(result)
	                 : "a"(nr), "D"(a1), "S"(a2), "d"(a3), "r"(r10), "r"(r8), "r"(r9)
	                 : "rbx", "rcx", "r11", "memory", "cc");
	return result;
}

/*
 * A call that the table serves by a trap which doesn't sleep. While nothing stands in front of syscall_port
 * the message is filled and the trap made right here, in the program's text as it were: a signal is delivered
 * wherever it hits, as natively, so nothing is to be looked at afterwards. A branch that is taken between a
 * trap and the wrapper's return is often mispredicted: by cr_call getppid took 1 to 11 ns over the bare trap,
 * as the process happened to lie in memory.
 */
static inline __attribute__((always_inline)) long plain_call(
    long nr, long a1, long a2, long a3, long a4, long a5, long a6)
{
#ifdef CR_KEEP_GS /* outside of libcr's text the per-cpu register is read by one instruction, or not at all */
	return call_apart(nr, a1, a2, a3, a4, a5, a6);
#else
	if (__builtin_expect(cr_doors[nr] != DOOR_PLAIN, 0))
		return call_apart(nr, a1, a2, a3, a4, a5, a6);
	long result;
	register long r10 __asm__("r10") = a4;
	register long r8 __asm__("r8") = a5;
	register long r9 __asm__("r9") = a6;
	__asm__ volatile("movq %%gs:%c[cur], %%rcx\n\t"
	                 "movl %%eax, %c[mnr](%%rcx)\n\t"
	                 "movq %%rdi, %c[arg](%%rcx)\n\t"
	                 "movq %%rsi, %c[arg] + 8(%%rcx)\n\t"
	                 "movq %%rdx, %c[arg] + 16(%%rcx)\n\t"
	                 "movq %%r10, %c[arg] + 24(%%rcx)\n\t"
	                 "movq %%r8, %c[arg] + 32(%%rcx)\n\t"
	                 "movq %%r9, %c[arg] + 40(%%rcx)\n\t"
	                 "syscall\n\t"
	                 "movq %%gs:%c[cur], %%rcx\n\t"
	                 "movq %%rax, %c[res](%%rcx)"
	                 : "=a"(result)
	                 : "a"(nr), "D"(a1), "S"(a2), "d"(a3), "r"(r10), "r"(r8), "r"(r9), [cur] "i"(GD_CURTHREAD),
	                   [mnr] "i"(TD_MSG_NR), [arg] "i"(TD_MSG_ARGS), [res] "i"(TD_MSG_RESULT)
	                 : "rcx", "r11", "memory", "cc");
	return result;
#endif
}
