; The usual check: both pointers compared, then the access.
.section xdp
.func prog
    r2 = *(u32 *)(r1 +0)
    r3 = *(u32 *)(r1 +4)
    r4 = r2
    r4 += 14
    r0 = 1
    if r4 > r3 goto out
    r0 = *(u16 *)(r2 +12)
out:
    exit

; ---- outcome
; r0 = 0xd0c
