; r0 = offset of the payload, or 0. In: r6 context. NETWORK is the offset of the network header.
; r8: place looked at; r9: EtherType or IP protocol of what stands there.
; *(u64 *)(r10 -72): headers walked over; *(u32 *)(r10 -80): fragment field of an IPv4 header.
        r8 = NETWORK
        *(u64 *)(r10 - 72) = 0
        r9 = *(u32 *)(r6 + 16)
        r9 = be16 r9
ether:
        r1 = *(u32 *)(r6 + 0)
        if r9 == 0x0800 goto ipv4
        if r9 == 0x86dd goto ipv6
        if r9 == 0x8100 goto vlan
        if r9 == 0x88a8 goto vlan
        if r9 == 0x8847 goto mpls
        if r9 == 0x8848 goto mpls
        if r9 == 0x0806 goto end
        if r9 == 0x8035 goto end
bad:
        r8 = 0
        goto done
mpls:
        r8 += 4
        goto end
vlan:
        r8 += 4
        if r8 > r1 goto bad
        r0 = *(u16 *)skb[r8 + -2]
        r9 = r0
        goto again
ipv4:
        r2 = r8
        r2 += 20
        if r2 > r1 goto bad
        r0 = *(u16 *)skb[r8 + 6]
        *(u32 *)(r10 - 80) = r0
        r0 = *(u8 *)skb[r8 + 9]
        r9 = r0
        r0 = *(u8 *)skb[r8 + 0]
        r0 &= 15
        if r0 < 5 goto bad
        r0 <<= 2
        r8 += r0
        r0 = *(u32 *)(r10 - 80)
        if r0 & 0x1fff goto end
        if r0 & 0x2000 goto transport
        goto ip
ipv6:
        r2 = r8
        r2 += 40
        if r2 > r1 goto bad
        r0 = *(u8 *)skb[r8 + 6]
        r9 = r0
        r8 += 40
ip6:
        r1 = *(u32 *)(r6 + 0)
        if r9 == 0 goto option
        if r9 == 43 goto option
        if r9 == 60 goto option
        if r9 == 44 goto fragment
ip:
        if r9 == 4 goto in_ipv4
        if r9 == 41 goto in_ipv6
        if r9 == 137 goto mpls
transport:
        r1 = *(u32 *)(r6 + 0)
        if r8 <= r1 goto inside
        r8 = r1
inside:
        if r9 == 6 goto tcp
        if r9 == 17 goto eight
        if r9 == 136 goto eight
        if r9 == 1 goto eight
        if r9 == 58 goto eight
        if r9 == 2 goto eight
        if r9 == 33 goto twelve
        if r9 == 132 goto twelve
        goto done
option:
        r2 = r8
        r2 += 2
        if r2 > r1 goto bad
        r0 = *(u8 *)skb[r8 + 0]
        r9 = r0
        r0 = *(u8 *)skb[r8 + 1]
        r0 += 1
        r0 <<= 3
        r8 += r0
        r0 = *(u64 *)(r10 - 72)
        r0 += 1
        *(u64 *)(r10 - 72) = r0
        if r0 > 15 goto transport
        goto ip6
fragment:
        r2 = r8
        r2 += 8
        if r2 > r1 goto bad
        r0 = *(u8 *)skb[r8 + 0]
        r9 = r0
        r0 = *(u16 *)skb[r8 + 2]
        r8 += 8
        if r0 & 0xfff8 goto end
        goto transport
in_ipv4:
        r9 = 0x0800
        goto again
in_ipv6:
        r9 = 0x86dd
again:
        r0 = *(u64 *)(r10 - 72)
        r0 += 1
        *(u64 *)(r10 - 72) = r0
        if r0 > 15 goto end
        goto ether
tcp:
        r2 = r8
        r2 += 13
        if r2 > r1 goto done
        r0 = *(u8 *)skb[r8 + 12]
        r0 &= 0xf0
        r0 >>= 2
        if r0 >= 20 goto offset
        r0 = 20
offset:
        r8 += r0
        goto done
twelve:
        r8 += 12
        goto done
eight:
        r8 += 8
        goto done
end:
        r1 = *(u32 *)(r6 + 0)
        if r8 <= r1 goto done
        r8 = r1
done:
        w0 = w8
