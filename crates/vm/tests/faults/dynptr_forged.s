; Sixteen bytes on the stack are no dynptr because they look like one.
.section xdp
.func prog
    *(u64 *)(r10 -16) = r10
    *(u64 *)(r10 -8) = 16
    *(u64 *)(r10 -24) = 0
    r1 = r10
    r1 += -24
    r2 = 8
    r3 = r10
    r3 += -16
    r4 = 0
    r5 = 0
    call bpf_dynptr_read#201
    r0 = 2
    exit

; ---- outcome
; error: argument 3: the stack holds no initialised dynptr here
;   --> program prog, instruction 10
;   instruction 10: call bpf_dynptr_read#201
; registers:
;   r1 = stack of frame 0, r10-24
;   r2 = 8
;   r3 = stack of frame 0, r10-16
;   r4 = 0
;   r5 = 0
; how their values came about:
;   3: r1 = r10    (r1 = stack of frame 0, r10+0)
;   4: r1 += -24    (r1 = stack of frame 0, r10-24)
;   5: r2 = 8    (r2 = 8)
;   6: r3 = r10    (r3 = stack of frame 0, r10+0)
;   7: r3 += -16    (r3 = stack of frame 0, r10-16)
;   8: r4 = 0    (r4 = 0)
;   9: r5 = 0    (r5 = 0)
