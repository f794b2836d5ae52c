; One of everything that the grammar has.
.license Dual
.extern kf, func, weak, section=.ksyms
.extern CONFIG_HZ, object, section=.kconfig
.extern other
.map outer, type=array_of_maps, key_size=4, value_size=4, max_entries=2
.inner type=array, key_size=4, value_size=4, max_entries=1
.value 0, inner_a
.value 1, inner_a
.map inner_a, type=2, key_size=4, value_size=4, max_entries=1, section=maps, pinning=1, numa_node=3, local
.map weird, type=bloom_filter, map_extra=0x5, weak, map_flags=0xff

.text
.func sub, hidden, weak
    r0 = 0
    exit
.func static_sub, local, size=16
    exit
    exit
    exit

.section "tc/ingress", align=16
.func prog, prog_type=sched_cls
start: again:
    call sub
    call static_sub
    call .text+16
    call section(.text)+24
    r2 = section(.maps)+8 ll
    call kf
    call pc+1
    callx r3
    r1 = outer ll
    r1 = .rodata.str+4 ll
    r1 = word-8 ll
    r1 = -1 ll
    r1 = map[idx:2][0]+8
    r1 = ksym[btf_id:12, fd:3]
    r1 = subprog[-3]
    gotol start
    may_goto again
    .reloc R_BPF_64_64, other
    .insn 18 11 00 00 00 00 00 00
    .insn 8d 00 00 00 03 00 00 00 ; callx r3
    12: (bf) r6 = r1
    call kfunc bpf_thing#12 off=3
.symbol label, local
.func "odd name"
    exit
.symbol inside, offset=12, size=3

.section .rodata.str
    .asciz "%s\n"
    .ascii "no zero \xff\x00 end"
    .zero 5

.section .data, align=8
.object word
    .byte 1, -1, 0xff
    .short 0x1234, -2
    .long 0xffffffff, -1
    .long word+4
    .quad 1, -1, 0xffffffffffffffff
    .quad prog+8, section(.text)
    .reloc 77, word, offset=2
.object second, weak
    .zero 8

.section .bss
    .zero 4
.object counter
    .zero 100

.section "my data", rodata
    .quad 5

.section maps
.object old_map
    .long 1, 4, 8, 1024, 0
.object odd_map
    .long 2, 4, 8, 16, 0, 0, 0
    .byte 1
