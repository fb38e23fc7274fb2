// The per-cpu register: how C++ (arch/percpu.h) and assembly read it.
//
// It is %gs, whose base is the globaldata. In the library of cr run --keep-gs (CR_KEEP_GS) that register is the
// program's, and %es is the one: its selector names an entry of the LDT that nobody addresses anything by, since
// 64-bit code has no use for %es, and the kernel keeps it with the thread, over signals, too. Reading a word takes
// four instructions there for one. A kernel thread does not change its LWKT between them: this is libcr's text.
#pragma once

#ifdef CR_KEEP_GS
// Entries of the LDT: a program's own begin at the lower end.
#define PERCPU_FIRST 1024
#define PERCPU_ENTRIES 4096
// From the place of a selector in cr_percpu_areas to that of its area, a table of pointers.
#define PERCPU_BIAS (8 * PERCPU_FIRST + 7)
#define PERCPU_STR2(x) #x
#define PERCPU_STR(x) PERCPU_STR2(x)
#endif

#ifdef __ASSEMBLER__
#ifndef CR_KEEP_GS
	.macro PERCPU_READ offset, reg
	movq	%gs:\offset, \reg
	.endm
	.macro PERCPU_IF_AST to, scratch
	cmpl	$0, %gs:GD_AST
	jne	\to
	.endm
	// To the gate, or to the pass-through of a vfork's child. Takes %rcx.
	.macro PERCPU_GATE
	jmp	*%gs:GD_GATE
	.endm
	// Compares \reg with where that would go. Takes %rcx.
	.macro PERCPU_CMP_GATE reg
	cmpq	\reg, %gs:GD_GATE
	.endm
#else
	.macro PERCPU_AREA_NO_FLAGS reg, scratch
	leaq	cr_percpu_areas - PERCPU_BIAS(%rip), \reg
	movq	%es, \scratch
	movq	(\reg, \scratch), \reg
	.endm
	// These change the flags.
	.macro PERCPU_AREA reg
	movq	%es, \reg
	addq	cr_percpu_table(%rip), \reg
	movq	(\reg), \reg
	.endm
	.macro PERCPU_READ offset, reg
	PERCPU_AREA \reg
	movq	\offset(\reg), \reg
	.endm
	.macro PERCPU_IF_AST to, scratch
	PERCPU_AREA \scratch
	cmpl	$0, GD_AST(\scratch)
	jne	\to
	.endm
	.macro PERCPU_GATE
	PERCPU_READ GD_GATE, %rcx
	jmp	*%rcx
	.endm
	.macro PERCPU_CMP_GATE reg
	PERCPU_AREA %rcx
	cmpq	\reg, GD_GATE(%rcx)
	.endm
#endif

#else

#ifndef CR_KEEP_GS
#define PERCPU_READ(out, offset) asm volatile("mov %%gs:%c1, %0" : "=r"(out) : "i"(offset))
// In cpu_switch: %rsi is the current thread now.
#define PERCPU_SET_CURTHREAD "movq %%rsi, %%gs:%c[cur]\n\t"
// In cpu_switch: what else of the registers is the program's, to the LWKT in %rdi and from that in %rsi.
#define SWITCH_SAVE_REGS ""
#define SWITCH_LOAD_REGS ""
#else
#define PERCPU_AREA(reg) \
  "movq %%es, " reg "\n\taddq cr_percpu_table(%%rip), " reg "\n\tmovq (" reg "), " reg "\n\t"
#define PERCPU_READ(out, offset) \
  asm volatile(PERCPU_AREA("%0") "movq %c1(%0), %0" : "=&r"(out) : "i"(offset) : "cc")
#define PERCPU_SET_CURTHREAD PERCPU_AREA("%%rax") "movq %%rsi, %c[cur](%%rax)\n\t"
#define SWITCH_SAVE_REGS "rdgsbase %%rax\n\tmovq %%rax, " PERCPU_STR(TD_GS) "(%%rdi)\n\t"
#define SWITCH_LOAD_REGS "movq " PERCPU_STR(TD_GS) "(%%rsi), %%rax\n\twrgsbase %%rax\n\t"
#endif

#endif
