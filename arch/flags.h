// The flags on a way back into the program's text.
#pragma once

// The arithmetic flags from %eax. Takes that and %cl.
	.macro RESTORE_FLAGS
	btl	$11, %eax		// OF
	setc	%cl
	movb	%al, %ah
	addb	$0x7f, %cl		// sets OF as it was
	sahf				// the other arithmetic flags; OF untouched
	.endm
