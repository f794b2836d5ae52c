// SPDX-License-Identifier: MIT OR Apache-2.0
//
// A flow monitor at the traffic control hook (tc ingress or egress): which conversations are there, and how big are they?
//
// For each 5-tuple and direction one entry of `flows`: packets, bytes, when it began, when it was last seen, which TCP
// flags it has shown. A new flow is told to user space at once through `new_flows`; the totals by IP protocol are in
// `protocols`. Packets are only looked at: the verdict is always TC_ACT_UNSPEC, "go on as if I were not here".
//
// The figures of one flow change together under the spin lock in its entry, so a reader (with BPF_F_LOCK) never sees
// the bytes of one packet without its count.

#include <stdbool.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>
#include <linux/udp.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>

// IPv4 addresses are written as ::ffff:a.b.c.d.
struct flow_key {
	__u8 source[16];
	__u8 destination[16];
	__u16 source_port; // host order; ICMP: type and code
	__u16 destination_port;
	__u8 proto;
	__u8 unused[3]; // zero: a hash key is compared byte by byte, padding included
};

struct flow {
	struct bpf_spin_lock lock;
	__u32 tcp_flags; // all that were seen, ored: FIN 1, SYN 2, RST 4, PSH 8, ACK 16, URG 32
	__u64 packets;
	__u64 bytes;
	__u64 first_ns;
	__u64 last_ns;
};

struct new_flow {
	__u64 time_ns;
	struct flow_key key;
	__u32 bytes; // of its first packet
};

struct total {
	__u64 packets;
	__u64 bytes;
	__u64 flows;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, struct flow_key);
	__type(value, struct flow);
} flows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 256);
	__type(key, __u32); // IP protocol number
	__type(value, struct total);
} protocols SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 64 * 1024);
} new_flows SEC(".maps");

// What could not be told.
__u64 not_ip;	   // packets
__u64 table_full;  // packets of flows for which there was no room
__u64 events_lost; // new flows that the ring buffer had no room for

struct tcp_start { // as much of the TCP header as we need
	__be16 source;
	__be16 destination;
	__be32 sequence;
	__be32 acknowledged;
	__u8 data_offset;
	__u8 flags;
};

// Everything that is needed from the packet. False: not IP.
static __always_inline bool parse(struct __sk_buff *skb, struct flow_key *key, __u8 *tcp_flags)
{
	void *data = (void *)(long)skb->data;
	void *end = (void *)(long)skb->data_end;
	struct ethhdr *eth = data;
	void *l4;
	bool first_fragment = true;
	__be16 proto;

	if (data + sizeof(*eth) > end)
		return false;
	data += sizeof(*eth);
	proto = eth->h_proto;
	// The kernel moves the outer VLAN tag out of the packet into skb->vlan_tci; an inner one stays.
	for (int i = 0; i < 2 && (proto == bpf_htons(ETH_P_8021Q) || proto == bpf_htons(ETH_P_8021AD)); i++) {
		__be16 *tag = data;

		if (data + 4 > end)
			return false;
		proto = tag[1];
		data += 4;
	}
	if (proto == bpf_htons(ETH_P_IP)) {
		struct iphdr *ip = data;

		if (data + sizeof(*ip) > end)
			return false;
		key->source[10] = key->source[11] = 0xff;
		key->destination[10] = key->destination[11] = 0xff;
		__builtin_memcpy(key->source + 12, &ip->saddr, 4);
		__builtin_memcpy(key->destination + 12, &ip->daddr, 4);
		key->proto = ip->protocol;
		first_fragment = !(ip->frag_off & bpf_htons(0x1fff));
		l4 = data + ip->ihl * 4;
	} else if (proto == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr *ip = data;

		if (data + sizeof(*ip) > end)
			return false;
		__builtin_memcpy(key->source, &ip->saddr, 16);
		__builtin_memcpy(key->destination, &ip->daddr, 16);
		key->proto = ip->nexthdr; // an extension header counts as the protocol
		l4 = data + sizeof(*ip);
	} else {
		return false;
	}
	if (!first_fragment)
		return true; // no ports in it: later fragments make a flow of their own with port 0

	if (key->proto == IPPROTO_TCP && l4 + sizeof(struct tcp_start) <= end) {
		struct tcp_start *tcp = l4;

		key->source_port = bpf_ntohs(tcp->source);
		key->destination_port = bpf_ntohs(tcp->destination);
		*tcp_flags = tcp->flags;
	} else if (key->proto == IPPROTO_UDP && l4 + sizeof(struct udphdr) <= end) {
		struct udphdr *udp = l4;

		key->source_port = bpf_ntohs(udp->source);
		key->destination_port = bpf_ntohs(udp->dest);
	} else if ((key->proto == IPPROTO_ICMP || key->proto == IPPROTO_ICMPV6) && l4 + 2 <= end) {
		__u8 *icmp = l4;

		key->source_port = icmp[0];
		key->destination_port = icmp[1];
	}
	return true;
}

static __always_inline void count_protocol(__u8 proto, __u32 bytes, bool new_flow)
{
	__u32 key = proto;
	struct total *t = bpf_map_lookup_elem(&protocols, &key);

	if (!t) {
		struct total zero = {};

		bpf_map_update_elem(&protocols, &key, &zero, BPF_NOEXIST);
		t = bpf_map_lookup_elem(&protocols, &key);
		if (!t)
			return;
	}
	t->packets++;
	t->bytes += bytes;
	t->flows += new_flow;
}

// A subprogram of its own (`noinline`) so that the object's BTF has `struct new_flow`: who reads the ring buffer can print
// the records by it.
static __noinline void send(const struct new_flow *event)
{
	if (bpf_ringbuf_output(&new_flows, (void *)event, sizeof(*event), 0))
		__sync_fetch_and_add(&events_lost, 1);
}

static __always_inline void tell(const struct flow_key *key, __u64 now, __u32 bytes)
{
	struct new_flow event = { .time_ns = now, .key = *key, .bytes = bytes };

	send(&event);
}

SEC("tc")
int flowmon(struct __sk_buff *skb)
{
	struct flow_key key = {};
	struct flow *flow;
	__u8 tcp_flags = 0;
	__u64 now = bpf_ktime_get_ns();
	bool new_flow = false;

	if (!parse(skb, &key, &tcp_flags)) {
		__sync_fetch_and_add(&not_ip, 1);
		return TC_ACT_UNSPEC;
	}
	flow = bpf_map_lookup_elem(&flows, &key);
	if (!flow) {
		struct flow fresh = { .first_ns = now };

		// Another processor may be quicker: then this insertion fails, and its entry is the one to use.
		new_flow = !bpf_map_update_elem(&flows, &key, &fresh, BPF_NOEXIST);
		flow = bpf_map_lookup_elem(&flows, &key);
	}
	if (flow) {
		bpf_spin_lock(&flow->lock);
		flow->packets++;
		flow->bytes += skb->len;
		flow->tcp_flags |= tcp_flags;
		flow->last_ns = now;
		bpf_spin_unlock(&flow->lock);
	} else {
		__sync_fetch_and_add(&table_full, 1);
	}
	if (new_flow)
		tell(&key, now, skb->len);
	count_protocol(key.proto, skb->len, new_flow);
	return TC_ACT_UNSPEC;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
