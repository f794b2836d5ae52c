        r1 = r9
        r1 -= r8
        if r1 s< 4 goto none
        r0 = *(u16 *)skb[r8 + 0]
        r0 = be16 r0
        if r0 < 4 goto none
        r1 = r9
        r1 -= r8
        if r0 s> r1 goto none
        r9 = r8
        r9 += r0
        r8 += 4
