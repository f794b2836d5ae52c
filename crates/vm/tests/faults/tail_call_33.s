; A program that calls itself for ever ends after 33 tail calls: the counter says how often it began.
.map counter, type=array, key_size=4, value_size=8, max_entries=1
.map next, type=prog_array, key_size=4, value_size=4, max_entries=1
.value 0, prog
.section xdp
.func prog
    r6 = r1
    *(u32 *)(r10 -4) = 0
    r2 = r10
    r2 += -4
    r1 = counter ll
    call bpf_map_lookup_elem#1
    if r0 == 0 goto out
    r7 = r0
    r1 = 1
    lock *(u64 *)(r7 +0) += r1
    r1 = r6
    r2 = next ll
    r3 = 0
    call bpf_tail_call#12
    r0 = *(u64 *)(r7 +0)
    exit
out:
    r0 = -1
    exit

; ---- outcome
; r0 = 0x22
