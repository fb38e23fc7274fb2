# Sets %gs, as code of wasm2c's in Firefox does.
        .text
        .globl  sets_gs
        .type   sets_gs, @function
sets_gs:
        .cfi_startproc
        wrgsbase %rdi
        ret
        .cfi_endproc
        .size   sets_gs, . - sets_gs
        .section .note.GNU-stack, "", @progbits
