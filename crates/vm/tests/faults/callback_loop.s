; A callback adds its index to what it is given: the caller's stack.
.section xdp
.func prog
    *(u64 *)(r10 -8) = 0
    r1 = 10
    r2 = each ll
    r3 = r10
    r3 += -8
    r4 = 0
    call bpf_loop#181
    r0 = *(u64 *)(r10 -8)
    exit
.text
.func each, local
    r3 = *(u64 *)(r2 +0)
    r3 += r1
    *(u64 *)(r2 +0) = r3
    r0 = 0
    exit

; ---- outcome
; r0 = 0x2d
