; The map says BPF_F_RDONLY_PROG.
.map limits, type=array, key_size=4, value_size=8, max_entries=1, map_flags=128
.section xdp
.func prog
    *(u32 *)(r10 -4) = 0
    r2 = r10
    r2 += -4
    r1 = limits ll
    call bpf_map_lookup_elem#1
    if r0 == 0 goto out
    *(u64 *)(r0 +0) = 7
out:
    r0 = 2
    exit

; ---- outcome
; error: invalid write of 8 bytes: the region is read-only
;   --> program prog, instruction 7
;   instruction 7: *(u64 *)(r0 +0) = 7
; registers:
;   r0 = value of map limits + 0, 8 bytes remain of 8
; how their values came about:
;   5: call bpf_map_lookup_elem#1    (r0 = value of map limits + 0, 8 bytes remain of 8)
