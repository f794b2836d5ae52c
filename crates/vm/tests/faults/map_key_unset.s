; The second half of the key was never written.
.map flows, type=hash, key_size=8, value_size=8, max_entries=2
.section xdp
.func prog
    *(u32 *)(r10 -8) = 0
    r2 = r10
    r2 += -8
    r1 = flows ll
    call bpf_map_lookup_elem#1
    r0 = 2
    exit

; ---- outcome
; error: argument 2: invalid read of 8 bytes: the byte at r10-4 of frame 0's stack was never written
;   --> program prog, instruction 5
;   instruction 5: call bpf_map_lookup_elem#1
; registers:
;   r1 = map flows
;   r2 = stack of frame 0, r10-8
; how their values came about:
;   1: r2 = r10    (r2 = stack of frame 0, r10+0)
;   2: r2 += -8    (r2 = stack of frame 0, r10-8)
;   3: r1 = map[idx:0] ; flows    (r1 = map flows)
