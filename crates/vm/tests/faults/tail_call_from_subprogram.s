; What a subprogram tail-calls returns to the subprogram's caller.
.map next, type=prog_array, key_size=4, value_size=4, max_entries=1
.value 0, other
.section xdp
.func prog
    call sub
    r0 += 1
    exit
.func sub, local
    r2 = next ll
    r3 = 0
    call bpf_tail_call#12
    r0 = 1000
    exit
.section "xdp/other"
.func other
    r0 = 41
    exit

; ---- outcome
; r0 = 0x2a
