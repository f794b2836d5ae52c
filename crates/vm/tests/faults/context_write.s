; The context's data pointer is read-only.
.section xdp
.func prog
    r2 = 5
    *(u32 *)(r1 +0) = r2
    r0 = 0
    exit

; ---- outcome
; error: invalid write of 4 bytes: field xdp_md.data (offset 0, 4 bytes) cannot be written 4 bytes at a time at offset 0
;   --> program prog, instruction 1
;   instruction 1: *(u32 *)(r1 +0) = r2
; registers:
;   r1 = context (xdp_md) + 0, 24 bytes remain of 24
;   r2 = 5
; how their values came about:
;   0: r2 = 5    (r2 = 5)
