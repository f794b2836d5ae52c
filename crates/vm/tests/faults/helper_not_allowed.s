; bpf_xdp_adjust_head is for XDP.
.section socket
.func prog
    r2 = 0
    call bpf_xdp_adjust_head#44
    exit

; ---- outcome
; error: a program of type socket_filter may not call bpf_xdp_adjust_head [helper-not-allowed]
;   --> program prog, instruction 1
;   instruction 1: call bpf_xdp_adjust_head#44
; registers:
;   r1 = context (__sk_buff) + 0, 192 bytes remain of 192
;   r2 = 0
;   r3 = no value
;   r4 = no value
;   r5 = no value
; how their values came about:
;   0: r2 = 0    (r2 = 0)
