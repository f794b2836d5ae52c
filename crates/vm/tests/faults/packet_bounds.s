; Reads past the end of the packet without having looked where it ends.
.section xdp
.func prog
    r2 = *(u32 *)(r1 +0)
    r3 = *(u16 *)(r2 +12)
    r4 = *(u32 *)(r2 +31)
    r0 = 2
    exit

; ---- outcome
; error: invalid read of 4 bytes: offset 31 of the packet, which has 34 bytes
;   --> program prog, instruction 2
;   instruction 2: r4 = *(u32 *)(r2 +31)
; registers:
;   r2 = packet + 0, 34 bytes remain of 34
; how their values came about:
;   0: r2 = *(u32 *)(r1 +0)    (r2 = packet + 0, 34 bytes remain of 34)
