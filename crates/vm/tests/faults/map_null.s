; The result of a look-up, not compared with NULL.
.map counters, type=hash, key_size=4, value_size=8, max_entries=2
.section xdp
.func prog
    *(u32 *)(r10 -4) = 0
    r2 = r10
    r2 += -4
    r1 = counters ll
    call bpf_map_lookup_elem#1
    r1 = 1
    lock *(u64 *)(r0 +0) += r1
    r0 = 2
    exit

; ---- outcome
; error: invalid write of 8 bytes: not a pointer: NULL, perhaps a result that was not checked
;   --> program prog, instruction 7
;   instruction 7: lock *(u64 *)(r0 +0) += r1
; registers:
;   r0 = 0
;   r1 = 1
; how their values came about:
;   5: call bpf_map_lookup_elem#1    (r0 = 0)
;   6: r1 = 1    (r1 = 1)
