// What the ways back into the program's text share (gate.S, sigreturn.S).
#pragma once

#include "../flags.h"
#include "frame.h"

// Goes to \to if a signal or a reschedule is pending. Takes %rcx.
	.macro IF_PENDING to
	PERCPU_READ GD_CURTHREAD, %rcx
	cmpl	$0, TD_AST(%rcx)
	jne	\to
	PERCPU_IF_AST \to, %rcx
	.endm

// The same with the flags left alone. Takes %rcx and %r11.
	.macro IF_PENDING_NO_FLAGS to
#ifndef CR_KEEP_GS
	movq	%gs:GD_CURTHREAD, %rcx
	movl	TD_AST(%rcx), %ecx
	jrcxz	91f
	jmp	\to
91:	movl	%gs:GD_AST, %ecx
#else
	PERCPU_AREA_NO_FLAGS %r11, %rcx
	movq	GD_CURTHREAD(%r11), %rcx
	movl	TD_AST(%rcx), %ecx
	jrcxz	91f
	jmp	\to
91:	movl	GD_AST(%r11), %ecx
#endif
	jrcxz	92f
	jmp	\to
92:
	.endm
