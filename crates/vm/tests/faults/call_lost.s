; r1 to r5 are lost in a call.
.section xdp
.func prog
    r2 = 5
    call bpf_ktime_get_ns#5
    r0 = r2
    exit

; ---- outcome
; error: r2 is read and holds no value: never written, or lost in a call [unset-register]
;   --> program prog, instruction 2
;   instruction 2: r0 = r2
; registers:
;   r2 = no value
; how their values came about:
;   0: r2 = 5    (r2 = 5)
