; Uses a packet pointer from before bpf_xdp_adjust_head.
.section xdp
.func prog
    r6 = r1
    r7 = *(u32 *)(r1 +0)
    r2 = -4
    call bpf_xdp_adjust_head#44
    r0 = *(u8 *)(r7 +0)
    exit

; ---- outcome
; error: invalid read of 1 bytes: stale packet pointer: a helper has moved the packet since; load data and data_end again
;   --> program prog, instruction 4
;   instruction 4: r0 = *(u8 *)(r7 +0)
; registers:
;   r7 = stale pointer: packet + 4, 34 bytes remain of 38
; how their values came about:
;   1: r7 = *(u32 *)(r1 +0)    (r7 = stale pointer: packet + 4, 34 bytes remain of 38)
