; A loop without end.
.section tc
.func prog
again:
    goto again
    r0 = 0
    exit

; ---- outcome
; error: more than 1000000 instructions in one run: a loop that does not end, or raise the budget [budget]
;   --> program prog, instruction 0
;   instruction 0: goto pc-1
