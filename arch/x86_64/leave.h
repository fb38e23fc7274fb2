// What the ways back into the program's text share (gate.S, sigreturn.S).
#pragma once

#include "../flags.h"
#include "frame.h"

// Goes to \to if a signal or a reschedule is pending. Takes %rcx.
	.macro IF_PENDING to
	movq	%gs:GD_CURTHREAD, %rcx
	cmpl	$0, TD_AST(%rcx)
	jne	\to
	cmpl	$0, %gs:GD_AST
	jne	\to
	.endm
