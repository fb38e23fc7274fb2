# Trap sites that each ask for one decision of the analyser. Never run, only read.
# The name of a function says what is special. Section trap_marks names each `syscall`: {int32 offset
# of the trap from the entry, 28 bytes of name}. No symbol may do that: a symbol inside a window
# forbids the window, and so does an aligned word that holds such an address.
        .text

        .macro  function name
        .globl  \name
        .type   \name, @function
        .p2align 4
\name:
        .cfi_startproc
        .endm
        .macro  trap name
.Ltrap_\name:
        syscall
        .pushsection trap_marks, "a"
9:      .long   .Ltrap_\name - .
        .ascii  "\name"
        .skip   9b + 32 - .
        .popsection
        .endm
        .macro  done name
        .cfi_endproc
        .size   \name, .-\name
        .endm

        function plain_before
        mov     $39, %eax
        trap    plain_before
        ret
        done    plain_before

        function two_before                     # 2 + 3 bytes
        xor     %eax, %eax
        mov     %rdi, %rsi
        trap    two_before
        ret
        done    two_before

        function rip_relative                   # a fix-up at 3, instruction end 7
        mov     .Lfixture_number(%rip), %rax
        trap    rip_relative
        ret
        done    rip_relative

        function jump_to_trap                   # P would let the jump run the trap unseen
        mov     $39, %eax
        test    %rdi, %rdi
        jne     .Ltrap_jump_to_trap
        mov     $60, %eax
        trap    jump_to_trap
        cmp     $-4095, %rax
        ret
        done    jump_to_trap

        function exit_loop                      # before and the trap: nothing else is possible
1:      mov     $60, %eax
        jmp     2f
        nop
2:      xor     %edi, %edi
        mov     %edx, %eax
        trap    exit_loop
        jmp     2b
        done    exit_loop

        function nothing_fits                   # entered at the trap, followed by a branch
        mov     $39, %eax
        jmp     .Ltrap_nothing_fits
        mov     $40, %eax
        trap    nothing_fits
        jmp     nothing_fits
        done    nothing_fits

        function jumped_into                    # the neighbour's short jump hits the window
        xor     %eax, %eax
.Ljumped_into_middle:
        mov     %rdi, %rsi
        trap    jumped_into
        cmp     $-4095, %rax
        ret
        done    jumped_into

        function jumps_into
        jmp     .Ljumped_into_middle
        done    jumps_into

        function sigreturn_stub
        mov     $15, %rax
        trap    sigreturn_stub
        done    sigreturn_stub

        function twins                          # the second window may not reach into the first
        mov     $39, %eax
        trap    twins
        xor     %eax, %eax
        mov     %eax, %edx
        trap    twins_second
        cmp     $-4095, %rax
        ret
        done    twins

        function endbr_before
        endbr64
        mov     %edi, %eax
        trap    endbr_before
        cmp     $-4095, %rax
        ret
        done    endbr_before

        function switch_case                    # a jump table leads into the window
        lea     .Lswitch_table(%rip), %rdx
        movslq  (%rdx,%rdi,4), %rax
        add     %rdx, %rax
        jmp     *%rax
        xor     %eax, %eax
.Lswitch_target:
        mov     %rdi, %rsi
        trap    switch_case
        cmp     $-4095, %rax
        ret
        done    switch_case

        function inside_instruction             # 0f 05 as an immediate is no site
        mov     $0x0000050f, %eax
        ret
        done    inside_instruction

        function table_among_code               # control flow steps over data in the function
        jmp     1f
        .byte   0x06, 0x0f, 0x05, 0x06, 0x0f, 0x05
1:      mov     $39, %eax
        trap    table_among_code
        ret
        done    table_among_code

        function xmm_live
        movq    %rdi, %xmm5
        mov     $39, %eax
        trap    xmm_live
        movq    %xmm5, %rax
        ret
        done    xmm_live

        function xmm_dead                       # written again before it is read
        movq    %rdi, %xmm5
        mov     $39, %eax
        trap    xmm_dead
        pxor    %xmm5, %xmm5
        movq    %xmm5, %rax
        ret
        done    xmm_dead

        function ymm_live
        vmovdqu (%rdi), %ymm3
        mov     $39, %eax
        trap    ymm_live
        vmovdqu %ymm3, (%rdi)
        ret
        done    ymm_live

        function mask_live
        kmovw   %edi, %k1
        mov     $39, %eax
        trap    mask_live
        kmovw   %k1, %eax
        ret
        done    mask_live

        function returned_double
        movq    %rdi, %xmm0
        mov     $39, %eax
        trap    returned_double
        ret
        done    returned_double

        .type   ipa_callee, @function           # its caller knows that it spares xmm9
        .p2align 4
ipa_callee:
        .cfi_startproc
        mov     $39, %eax
        trap    ipa_callee
        ret
        .cfi_endproc
        .size   ipa_callee, .-ipa_callee

        function ipa_caller
        movq    %rdi, %xmm9
        call    ipa_callee
        movq    %xmm9, %rax
        ret
        done    ipa_caller

        .globl  fde_ends_at_trap                # as glibc's clone
        .p2align 4
fde_ends_at_trap:
        .cfi_startproc
        mov     $56, %eax
        .cfi_endproc
        trap    fde_ends_at_trap
        test    %rax, %rax
        je      1f
        ret
1:      .cfi_startproc
        xor     %ebp, %ebp
        hlt
        .cfi_endproc

        .p2align 4                              # data in .text, as OpenSSL's P-256 table
text_table:
        .byte   0xb8, 0x27, 0, 0, 0, 0x0f, 0x05, 0xc3

        .section .rodata
        .p2align 2
.Lswitch_table:
        .long   .Lswitch_target - .Lswitch_table
.Lfixture_number:
        .quad   39
        .section .note.GNU-stack, "", @progbits
