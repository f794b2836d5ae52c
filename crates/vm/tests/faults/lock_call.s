; Calls a helper with a spin lock held.
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
    call bpf_ktime_get_ns#5
out:
    r0 = 0
    exit

; ---- outcome
; error: bpf_ktime_get_ns is called while a spin lock is held [call-with-lock]
;   --> program prog, instruction 9
;   instruction 9: call bpf_ktime_get_ns#5
