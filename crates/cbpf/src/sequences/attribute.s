; r0 = offset of the netlink attribute of type w7 among those from w0 on, or 0. In: r6 context, w0 start.
; r8: the attribute looked at; r9: end of the attributes; *(u64 *)(r10 -72): length of that attribute.
        w8 = w0
        r9 = *(u32 *)(r6 + 0)
NESTED
look:
        may_goto none
        r1 = r9
        r1 -= r8
        if r1 s< 4 goto none
        r0 = *(u16 *)skb[r8 + 0]
        r0 = be16 r0
        if r0 < 4 goto none
        r1 = r9
        r1 -= r8
        if r0 s> r1 goto none
        *(u64 *)(r10 - 72) = r0
        r0 = *(u16 *)skb[r8 + 2]
        r0 = be16 r0
        w0 &= 0x3fff
        if w0 == w7 goto found
        r0 = *(u64 *)(r10 - 72)
        w0 += 3
        w0 &= -4
        r8 += r0
        goto look
none:
        r8 = 0
found:
        w0 = w8
