// A packet program as one writes it by hand.
.license "GPL"
.map blocked, type=lpm_trie, key_size=8, value_size=4, max_entries=1024, map_flags=1
.map counters, type=percpu_array, key_size=4, value_size=8, max_entries=2
.extern bpf_dynptr_from_xdp, func, section=.ksyms

.section xdp
.func firewall
    r6 = r1
    r2 = *(u32 *)(r1 +0)        ; data
    r3 = *(u32 *)(r1 +4)        ; data_end
    r4 = r2
    r4 += 34
    if r4 > r3 goto pass
    r5 = *(u16 *)(r2 +12)
    r5 = be16 r5
    if r5 != 0x800 goto pass
    r1 = *(u32 *)(r2 +26)
    *(u32 *)(r10 -4) = r1
    *(u32 *)(r10 -8) = 32
    r1 = blocked ll
    r2 = r10
    r2 += -8
    call bpf_map_lookup_elem#1
    if r0 == 0 goto pass
    r1 = 1                      # dropped
    call count
    r0 = 1
    exit
pass:
    r1 = 0
    call count
    r0 = 2
    exit

.func count, local
    *(u32 *)(r10 -4) = r1
    r2 = r10
    r2 += -4
    r1 = counters ll
    call bpf_map_lookup_elem#1
    if r0 == 0 goto out
    r1 = 1
    lock *(u64 *)(r0 +0) += r1
out:
    r0 = limit ll
    r0 = *(u32 *)(r0 +0)
    exit

.section .rodata
.object limit
    .long 1000
.object message
    .asciz "dropped %d\n"
