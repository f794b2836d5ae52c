; struct xdp_md has nothing that can be read three bytes in.
.section xdp
.func prog
    r0 = *(u16 *)(r1 +2)
    exit

; ---- outcome
; error: invalid read of 2 bytes: field xdp_md.data (offset 0, 4 bytes) cannot be read 2 bytes at a time at offset 2
;   --> program prog, instruction 0
;   instruction 0: r0 = *(u16 *)(r1 +2)
; registers:
;   r1 = context (xdp_md) + 0, 24 bytes remain of 24
