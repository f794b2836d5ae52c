; The wrong step is two calls deep.
.section xdp
.func prog
    r1 = *(u32 *)(r1 +0)
    call outer
    exit
.func outer, local
    r1 += 30
    call inner
    r0 += 1
    exit
.func inner, local
    r0 = *(u64 *)(r1 +0)
    exit

; ---- outcome
; error: invalid read of 8 bytes: offset 30 of the packet, which has 34 bytes
;   --> inner of program prog, instruction 7
;   instruction 7: r0 = *(u64 *)(r1 +0)
; registers:
;   r1 = packet + 30, 4 bytes remain of 34
; how their values came about:
;   0: r1 = *(u32 *)(r1 +0)    (r1 = packet + 0, 34 bytes remain of 34)
;   3: r1 += 30    (r1 = packet + 30, 4 bytes remain of 34)
; called from (outermost first):
;   program prog, instruction 1
;   outer of program prog, instruction 4
