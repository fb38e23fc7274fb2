// What the ways back into the program's text share (gate.S, sigreturn.S).
#pragma once

#include "frame.h"

// The arithmetic flags from %eax. Takes %rax and %cl.
	.macro RESTORE_FLAGS
	btl	$11, %eax		// OF
	setc	%cl
	movb	%al, %ah
	addb	$0x7f, %cl		// sets OF as it was
	sahf				// the other arithmetic flags; OF untouched
	.endm

// Goes to \to if a signal or a reschedule is pending. Takes %rcx.
	.macro IF_PENDING to
	movq	%gs:GD_CURTHREAD, %rcx
	cmpl	$0, TD_AST(%rcx)
	jne	\to
	cmpl	$0, %gs:GD_AST
	jne	\to
	.endm
