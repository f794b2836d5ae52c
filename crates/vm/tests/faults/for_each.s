; Sums the values of a map through keys and values lent to a callback.
.map numbers, type=array, key_size=4, value_size=8, max_entries=4
.section tc
.func prog
    r6 = 0
next:
    *(u32 *)(r10 -4) = r6
    r7 = r6
    r7 += 1
    *(u64 *)(r10 -16) = r7
    r1 = numbers ll
    r2 = r10
    r2 += -4
    r3 = r10
    r3 += -16
    r4 = 0
    call bpf_map_update_elem#2
    r6 += 1
    if r6 < 4 goto next
    *(u64 *)(r10 -8) = 0
    r1 = numbers ll
    r2 = each ll
    r3 = r10
    r3 += -8
    r4 = 0
    call bpf_for_each_map_elem#164
    r0 = *(u64 *)(r10 -8)
    exit
.text
.func each, local
    r5 = *(u32 *)(r2 +0)
    r5 <<= 8
    r3 = *(u64 *)(r3 +0)
    r3 += r5
    r5 = *(u64 *)(r4 +0)
    r5 += r3
    *(u64 *)(r4 +0) = r5
    r0 = 0
    exit

; ---- outcome
; r0 = 0x60a
