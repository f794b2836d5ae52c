; A kernel function that nobody has here.
.extern bpf_task_acquire, func, weak, section=.ksyms
.section tc
.func prog
    r1 = 0
    call bpf_task_acquire
    r0 = 0
    exit

; ---- outcome
; error: kfunc 'bpf_task_acquire' is referenced but wasn't resolved [poisoned]
;   --> program prog, instruction 1
;   instruction 1: call unknown#2002000000
; registers:
;   r1 = 0
;   r2 = no value
;   r3 = no value
;   r4 = no value
;   r5 = no value
; how their values came about:
;   0: r1 = 0    (r1 = 0)
