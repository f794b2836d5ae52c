; Ends with a spin lock held.
.map shared, type=array, key_size=4, value_size=16, max_entries=1
.section tc
.func prog
    *(u32 *)(r10 -4) = 0
    r2 = r10
    r2 += -4
    r1 = shared ll
    call bpf_map_lookup_elem#1
    if r0 == 0 goto out
    r1 = r0
    call bpf_spin_lock#93
out:
    r0 = 0
    exit

; ---- outcome
; error: the spin lock at ADDRESS is still held [lock-held]
;   --> program prog, instruction 10
;   instruction 10: exit
; registers:
;   r0 = 0
; how their values came about:
;   9: r0 = 0    (r0 = 0)
