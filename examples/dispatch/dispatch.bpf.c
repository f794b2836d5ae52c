// SPDX-License-Identifier: MIT OR Apache-2.0
//
// A dispatcher by tail calls: one small program for each protocol instead of one large one.
//
// `dispatch` finds out the IP protocol and jumps into the slot of `handlers` with that number. A tail call does not come back:
// the handler's return value is the verdict. An empty slot makes bpf_tail_call() return, and `dispatch` goes on with the
// default. The handlers are put into their slots by the loader, from the initial values below; while all this runs, user
// space can replace one of them by writing another program into its slot.
//
// Stack and registers are not handed over, only the context. What `dispatch` has learnt travels in front of the packet, in
// the metadata area that bpf_xdp_adjust_meta() opens.

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>

#define LARGE_PING 1000

int on_icmp(struct xdp_md *ctx);
int on_tcp(struct xdp_md *ctx);
int on_udp(struct xdp_md *ctx);
int on_icmpv6(struct xdp_md *ctx);

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 256); // as many as there are IP protocols
	__uint(key_size, sizeof(__u32));
	__array(values, int(void *));
} handlers SEC(".maps") = {
	.values = {
		[IPPROTO_ICMP] = (void *)&on_icmp,
		[IPPROTO_TCP] = (void *)&on_tcp,
		[IPPROTO_UDP] = (void *)&on_udp,
		[IPPROTO_ICMPV6] = (void *)&on_icmpv6,
	},
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 256);
	__type(key, __u32); // IP protocol
	__type(value, __u64);
} handled SEC(".maps");

__u64 unhandled;      // packets of a protocol that nobody handles
__u64 tcp_resets;     // RST segments
__u64 udp_empty;      // datagrams without payload
__u64 pings_dropped;  // larger than LARGE_PING

// What the handlers are told. The metadata area holds multiples of four bytes.
struct note {
	__u16 l4; // offset of the transport header
	__u16 proto;
};

// The note in front of the packet; NULL where there is none (the verifier wants it asked).
static __always_inline struct note *note_of(struct xdp_md *ctx)
{
	struct note *note = (void *)(long)ctx->data_meta;

	return (void *)(note + 1) > (void *)(long)ctx->data ? NULL : note;
}

// Counts, and gives the first `size` bytes of the transport header; NULL where the packet ends before that.
static __always_inline void *begin(struct xdp_md *ctx, __u32 size)
{
	struct note *note = note_of(ctx);
	void *l4;
	__u64 *count;
	__u32 proto;

	if (!note)
		return NULL;
	proto = note->proto;
	count = bpf_map_lookup_elem(&handled, &proto);
	if (count)
		*count += 1;
	l4 = (void *)(long)ctx->data + (note->l4 & 0xff); // a bound that the verifier can see
	return l4 + size > (void *)(long)ctx->data_end ? NULL : l4;
}

SEC("xdp")
int on_icmp(struct xdp_md *ctx)
{
	__u8 *icmp = begin(ctx, 8);

	if (!icmp)
		return XDP_PASS;
	if (icmp[0] == 8 && ctx->data_end - ctx->data > LARGE_PING) { // echo request
		__sync_fetch_and_add(&pings_dropped, 1);
		return XDP_DROP;
	}
	return XDP_PASS;
}

SEC("xdp")
int on_icmpv6(struct xdp_md *ctx)
{
	begin(ctx, 8);
	return XDP_PASS;
}

SEC("xdp")
int on_tcp(struct xdp_md *ctx)
{
	__u8 *tcp = begin(ctx, 20);

	if (tcp && tcp[13] & 0x04)
		__sync_fetch_and_add(&tcp_resets, 1);
	return XDP_PASS;
}

SEC("xdp")
int on_udp(struct xdp_md *ctx)
{
	__be16 *udp = begin(ctx, 8);

	if (udp && udp[2] == bpf_htons(8))
		__sync_fetch_and_add(&udp_empty, 1);
	return XDP_PASS;
}

// Fills the note; 0 where the packet is not whole IP.
static __always_inline int look(struct xdp_md *ctx, struct note *note)
{
	struct ethhdr *eth = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	struct ipv6hdr *ip6 = (void *)(eth + 1);
	struct iphdr *ip4 = (void *)(eth + 1);

	if ((void *)(ip4 + 1) > end)
		return 0;
	if (eth->h_proto == bpf_htons(ETH_P_IP)) {
		note->l4 = sizeof(*eth) + ip4->ihl * 4;
		note->proto = ip4->protocol;
		return !(ip4->frag_off & bpf_htons(0x1fff));
	}
	if (eth->h_proto != bpf_htons(ETH_P_IPV6) || (void *)(ip6 + 1) > end)
		return 0;
	note->l4 = sizeof(*eth) + sizeof(*ip6);
	note->proto = ip6->nexthdr;
	return 1;
}

SEC("xdp")
int dispatch(struct xdp_md *ctx)
{
	struct note found = {}, *note;

	if (!look(ctx, &found))
		return XDP_PASS;
	if (bpf_xdp_adjust_meta(ctx, -(int)sizeof(found)))
		return XDP_PASS; // a driver without metadata
	note = note_of(ctx);
	if (!note)
		return XDP_PASS;
	*note = found;
	bpf_tail_call(ctx, &handlers, found.proto);
	__sync_fetch_and_add(&unhandled, 1);
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
