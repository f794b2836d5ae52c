; The callback's index is no pointer.
.section xdp
.func prog
    r1 = 10
    r2 = each ll
    r3 = 0
    r4 = 0
    call bpf_loop#181
    r0 = 2
    exit
.text
.func each, local
    r0 = *(u64 *)(r1 +0)
    exit

; ---- outcome
; error: invalid read of 8 bytes: not a pointer: NULL, perhaps a result that was not checked
;   --> each of program prog, instruction 8
;   instruction 8: r0 = *(u64 *)(r1 +0)
; registers:
;   r1 = 0
; how their values came about:
;   5: call bpf_loop#181    (r1 = 0)
; called from (outermost first):
;   program prog, instruction 5
