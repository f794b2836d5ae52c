; The end of the packet is no pointer to memory.
.section xdp
.func prog
    r2 = *(u32 *)(r1 +4)
    r0 = *(u8 *)(r2 -1)
    exit

; ---- outcome
; error: invalid read of 1 bytes: the end of the packet is good for comparison only
;   --> program prog, instruction 1
;   instruction 1: r0 = *(u8 *)(r2 -1)
; registers:
;   r2 = end of the packet + 0
; how their values came about:
;   0: r2 = *(u32 *)(r1 +4)    (r2 = end of the packet + 0)
