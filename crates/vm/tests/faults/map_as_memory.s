; A map is no memory.
.map flows, type=hash, key_size=8, value_size=8, max_entries=2
.section xdp
.func prog
    r1 = flows ll
    r0 = *(u64 *)(r1 +0)
    exit

; ---- outcome
; error: invalid read of 8 bytes: a pointer to a map is good as a helper's argument only
;   --> program prog, instruction 2
;   instruction 2: r0 = *(u64 *)(r1 +0)
; registers:
;   r1 = map flows
; how their values came about:
;   0: r1 = map[idx:0] ; flows    (r1 = map flows)
