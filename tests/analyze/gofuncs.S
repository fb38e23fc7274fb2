# Two functions as Go's linker leaves them: no .eh_frame, no symbols, its own table. GO says of which version:
# 12 (1.2 to 1.15), 116, 118, 120; 1200: the last one among other data, its text's address by a relocation; 0: no table.
        .text
.Ltext:
.Lone:
        mov     $39, %eax
        syscall
        ret
        .p2align 5, 0xcc
.Ltwo:
        mov     $24, %eax
        syscall
        ret
        .p2align 5, 0xcc
.Lend:

#if GO
#if GO == 1200
        .section .go.buildinfo, "a"
        .byte   0
        .section .data.rel.ro, "aw"
        .p2align 3
        .quad   0xfffffff1, 0x08010000fffffffb  # no tables
#else
        .section .gopclntab, "a"
#endif
.Ltable:
#if GO == 12
        .long   0xfffffffb
#elif GO == 116
        .long   0xfffffffa
#elif GO == 118
        .long   0xfffffff0
#else
        .long   0xfffffff1
#endif
        .byte   0, 0, 1, 8
        .quad   2                               # functions
#if GO == 116
        .quad   0, 0, 0, 0, 0, .Lfunctions - .Ltable
#elif GO >= 118
        .quad   0
#if GO == 1200
        .quad   .Ltext
#else
        .quad   0x1000                          # where the text begins (-Ttext)
#endif
        .quad   0, 0, 0, 0, .Lfunctions - .Ltable
#endif
.Lfunctions:
#if GO >= 118
        .long   .Lone - .Ltext, 0, .Ltwo - .Ltext, 0, .Lend - .Ltext
#else
        .quad   0x1000, 0, 0x1000 + .Ltwo - .Ltext, 0, 0x1000 + .Lend - .Ltext
#endif
#endif
        .section .note.GNU-stack, "", @progbits
