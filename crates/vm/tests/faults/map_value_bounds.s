; One byte past a map's value.
.map counters, type=array, key_size=4, value_size=8, max_entries=2
.section xdp
.func prog
    *(u32 *)(r10 -4) = 1
    r2 = r10
    r2 += -4
    r1 = counters ll
    call bpf_map_lookup_elem#1
    if r0 == 0 goto out
    r0 += 5
    r1 = *(u32 *)(r0 +0)
out:
    r0 = 2
    exit

; ---- outcome
; error: invalid read of 4 bytes: offset 5 of the value of map counters, which has 8 bytes
;   --> program prog, instruction 8
;   instruction 8: r1 = *(u32 *)(r0 +0)
; registers:
;   r0 = value of map counters + 5, 3 bytes remain of 8
; how their values came about:
;   5: call bpf_map_lookup_elem#1    (r0 = value of map counters + 0, 8 bytes remain of 8)
;   7: r0 += 5    (r0 = value of map counters + 5, 3 bytes remain of 8)
