; A loop without end but for may_goto.
.section tc
.func prog
    r0 = 0
again:
    r0 += 1
    may_goto out
    goto again
out:
    exit

; ---- outcome
; r0 = 0x28b0b
