.license 5
.licence "GPL"
.map m, key_size=4
.map m, type=hash, colour=3
.map m, type=hash
.map m, type=hash
.inner colour=3
.value 0, nothing
.section .data
r0 = 0
.byte 256
.byte 1,
.quad nothing
.section .bss
.byte 1
.section xdp, align=3
.section xdp, data
.byte 1
.func f, size
.func f, colour
.func f
f: exit
label: label: exit
r11 = 0
r1 = 0x80000000
w1 = r2
r1 += 0x80000000
r1 = (s32)w1
w1 = (s32)w1
r1 = -r2
r1 = be16 r2
r1 = *(u31 *)(r1 +0)
r1 = *(u32 *)(r1 +40000)
w1 = *(u64 *)(r1 +0)
r1 = *(u8 *)skb[1]
*(s8 *)(r1 +0) = 1
lock *(u8 *)(r1 +0) += r1
lock *(u64 *)(r1 +0) -= r1
r1 = atomic_fetch_add((u32 *)(r1 +0), r2)
r1 = atomic64_fetch_add((u32 *)(r1 +0), r1)
r1 = atomic64_cmpxchg((u64 *)(r1 +0), r0, r1)
r1 = frobnicate(r1)
if r1 ? r2 goto +1
if r1 == r2 goto nowhere
if r1 == w2 goto +1
goto
goto +40000
call nothing
call f+4
r1 = nothing ll
r1 = m
exit exit
.insn 00 11
.insn 00 11 22 33 44 55 66 77 88
.ascii "open
.ascii "\q"
r1 = 99999999999999999999
.reloc nonsense, f
é
frobnicate r1
