; A record belongs to the reader once it is submitted.
.map events, type=ringbuf, max_entries=4096
.section xdp
.func prog
    r1 = events ll
    r2 = 16
    r3 = 0
    call bpf_ringbuf_reserve#131
    if r0 == 0 goto out
    r6 = r0
    r1 = r0
    r2 = 0
    call bpf_ringbuf_submit#132
    *(u64 *)(r6 +0) = 1
out:
    r0 = 2
    exit

; ---- outcome
; error: invalid write of 8 bytes: stale pointer: the region was released
;   --> program prog, instruction 10
;   instruction 10: *(u64 *)(r6 +0) = 1
; registers:
;   r6 = stale pointer: record of ring buffer events + 0, 16 bytes remain of 16
; how their values came about:
;   4: call bpf_ringbuf_reserve#131    (r0 = stale pointer: record of ring buffer events + 0, 16 bytes remain of 16)
;   6: r6 = r0    (r6 = stale pointer: record of ring buffer events + 0, 16 bytes remain of 16)
