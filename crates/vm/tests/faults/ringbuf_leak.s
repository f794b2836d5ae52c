; A reserved record that is neither submitted nor discarded.
.map events, type=ringbuf, max_entries=4096
.section xdp
.func prog
    r1 = events ll
    r2 = 16
    r3 = 0
    call bpf_ringbuf_reserve#131
    if r0 == 0 goto out
    *(u64 *)(r0 +0) = 1
out:
    r0 = 2
    exit

; ---- outcome
; error: what bpf_ringbuf_reserve gave at instruction 4 was neither released nor submitted [reference-leak]
;   --> program prog, instruction 8
;   instruction 8: exit
; registers:
;   r0 = 2
; how their values came about:
;   7: r0 = 2    (r0 = 2)
