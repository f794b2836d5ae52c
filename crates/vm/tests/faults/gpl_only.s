; bpf_probe_read_kernel is for GPL-compatible programs.
.license "Proprietary"
.section kprobe
.func prog
    r1 = r10
    r1 += -8
    r2 = 8
    r3 = 0
    call bpf_probe_read_kernel#113
    r0 = 0
    exit

; ---- outcome
; error: bpf_probe_read_kernel is for programs under a GPL-compatible licence; this one says "Proprietary" [gpl-only]
;   --> program prog, instruction 4
;   instruction 4: call bpf_probe_read_kernel#113
; registers:
;   r1 = stack of frame 0, r10-8
;   r2 = 8
;   r3 = 0
; how their values came about:
;   0: r1 = r10    (r1 = stack of frame 0, r10+0)
;   1: r1 += -8    (r1 = stack of frame 0, r10-8)
;   2: r2 = 8    (r2 = 8)
;   3: r3 = 0    (r3 = 0)
