; The stack where a map should be.
.section xdp
.func prog
    *(u32 *)(r10 -4) = 0
    r2 = r10
    r2 += -4
    r1 = r2
    call bpf_map_lookup_elem#1
    exit

; ---- outcome
; error: argument 1: stack of frame 0, r10-4, expected a map
;   --> program prog, instruction 4
;   instruction 4: call bpf_map_lookup_elem#1
; registers:
;   r1 = stack of frame 0, r10-4
;   r2 = stack of frame 0, r10-4
; how their values came about:
;   1: r2 = r10    (r2 = stack of frame 0, r10+0)
;   2: r2 += -4    (r2 = stack of frame 0, r10-4)
;   3: r1 = r2    (r1 = stack of frame 0, r10-4)
