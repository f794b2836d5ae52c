// SPDX-License-Identifier: MIT OR Apache-2.0
//
// A packet rewriter at the traffic control hook (tc): what a small router does to a packet on its way.
//
// In this order, each step by its own table and switched off by leaving the table empty:
//
//   1. VLAN pop     frames with a tag in `pop_vlan` lose it
//   2. TTL          IPv4 packets lose one hop; a packet on its last hop is dropped
//   3. NAT          a destination address and port in `dnat` becomes another one; answers of that connection, which
//                   `connections` remembers, get the old one back as their source
//   4. DSCP         packets to or from a port in `classes` get its service class
//   5. VLAN push    packets with a new destination leave with the tag `push_vlan`
//
// Tables are global variables: every one of them is a map (.data) that user space may change while the program runs.
//
// Each helper that changes the packet makes earlier packet pointers stale (the verifier sees to it), so this program
// reads and writes by offset, with bpf_skb_load_bytes() and bpf_skb_store_bytes(). Checksums are not computed anew but
// corrected by the difference: bpf_l3_csum_replace() for the IP header, bpf_l4_csum_replace() for TCP and UDP, whose
// checksum covers the addresses too (BPF_F_PSEUDO_HDR).

#include <stdbool.h>
#include <stddef.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/pkt_cls.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>

#define IP4(a, b, c, d) bpf_htonl((__u32)(a) << 24 | (b) << 16 | (c) << 8 | (d))
#define L3 ETH_HLEN // after step 1 there is no VLAN tag in front of the IP header
#define MAX_RULES 4

enum step {
	SEEN,
	NOT_IPV4,
	VLAN_POPPED,
	TTL_LOWERED,
	TTL_EXPIRED,
	DNAT_DONE,
	SNAT_DONE,
	DSCP_SET,
	VLAN_PUSHED,
	FAILED, // a helper said no: the packet is dropped rather than sent half rewritten
	STEPS,
};

struct endpoint {
	__be32 address;
	__be16 port;
	__u8 proto;
	__u8 unused;
};

struct dnat_rule {
	struct endpoint from; // all zero: no rule
	struct endpoint to;   // `proto` is that of `from`
};

struct class_rule {
	__be16 port; // 0: no rule
	__u8 proto;
	__u8 dscp; // 0 to 63
};

// The tables and their first contents.
struct dnat_rule dnat[MAX_RULES] = {
	{ { IP4(10, 0, 0, 100), bpf_htons(8080), IPPROTO_TCP }, { IP4(10, 0, 0, 1), bpf_htons(80), IPPROTO_TCP } },
	{ { IP4(10, 0, 0, 100), bpf_htons(53), IPPROTO_UDP }, { IP4(10, 0, 0, 53), bpf_htons(5353), IPPROTO_UDP } },
};

struct class_rule classes[MAX_RULES] = {
	{ bpf_htons(53), IPPROTO_UDP, 46 },   // expedited forwarding
	{ bpf_htons(5353), IPPROTO_UDP, 46 },
	{ bpf_htons(80), IPPROTO_TCP, 10 },   // assured forwarding 11
};

__u16 pop_vlan[2] = { 10, 20 }; // 0: none
__u16 push_vlan = 100;
bool lower_ttl = true;

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, STEPS);
	__type(key, __u32); // enum step
	__type(value, __u64);
} steps SEC(".maps");

// The client and the server that it really talks to → the destination that it wrote on its packets.
struct connection {
	struct endpoint client;
	struct endpoint server;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct connection);
	__type(value, struct endpoint);
} connections SEC(".maps");

static __always_inline void count(enum step step)
{
	__u32 key = step;
	__u64 *n = bpf_map_lookup_elem(&steps, &key);

	if (n)
		*n += 1;
}

// ---------------------------------------------------------------------------------------------------------------------
// The steps. Each returns 0, or the error of the helper that failed.

// The outer VLAN id: the kernel has usually moved the tag out of the packet into the skb; else it is still in there.
static __always_inline __u16 vlan_id(struct __sk_buff *skb)
{
	__be16 tag[2];

	if (skb->vlan_present)
		return skb->vlan_tci & 0x0fff;
	if (skb->protocol != bpf_htons(ETH_P_8021Q) && skb->protocol != bpf_htons(ETH_P_8021AD))
		return 0;
	if (bpf_skb_load_bytes(skb, ETH_HLEN, tag, sizeof(tag)))
		return 0;
	return bpf_ntohs(tag[0]) & 0x0fff;
}

// Twice, as there may be a tag within a tag.
static __always_inline int pop_tags(struct __sk_buff *skb)
{
	for (int i = 0; i < 2; i++) {
		__u16 id = vlan_id(skb);
		int err;

		if (!id || (id != pop_vlan[0] && id != pop_vlan[1]))
			break;
		err = bpf_skb_vlan_pop(skb);
		if (err)
			return err;
		count(VLAN_POPPED);
	}
	return 0;
}

// TTL and protocol share a 16-bit word of the header, and the checksum is a sum of such words.
static __always_inline int lower_hops(struct __sk_buff *skb, const struct iphdr *ip)
{
	__u8 ttl = ip->ttl - 1;
	__be16 before = bpf_htons(ip->ttl << 8 | ip->protocol);
	__be16 after = bpf_htons(ttl << 8 | ip->protocol);
	int err = bpf_l3_csum_replace(skb, L3 + offsetof(struct iphdr, check), before, after, 2);

	return err ? err : bpf_skb_store_bytes(skb, L3 + offsetof(struct iphdr, ttl), &ttl, 1, 0);
}

static __always_inline int set_dscp(struct __sk_buff *skb, __u8 dscp)
{
	__u8 old[2], tos; // version and header length, type of service
	int err = bpf_skb_load_bytes(skb, L3, old, sizeof(old));

	if (err)
		return err;
	tos = dscp << 2 | (old[1] & 3); // the two low bits are for congestion notification: not ours
	err = bpf_l3_csum_replace(skb, L3 + offsetof(struct iphdr, check), bpf_htons(old[0] << 8 | old[1]),
				  bpf_htons(old[0] << 8 | tos), 2);
	return err ? err : bpf_skb_store_bytes(skb, L3 + offsetof(struct iphdr, tos), &tos, 1, 0);
}

// Where in the packet one end of the connection is written.
struct place {
	__u32 address;
	__u32 port;
	__u32 l4_check;
	__u64 l4_flags;
};

static __always_inline struct place place_of(__u32 l4, __u8 proto, bool source)
{
	struct place p;

	p.address = L3 + (source ? offsetof(struct iphdr, saddr) : offsetof(struct iphdr, daddr));
	p.port = l4 + (source ? 0 : 2);
	if (proto == IPPROTO_TCP) {
		p.l4_check = l4 + offsetof(struct tcphdr, check);
		p.l4_flags = 0;
	} else {
		p.l4_check = l4 + offsetof(struct udphdr, check);
		p.l4_flags = BPF_F_MARK_MANGLED_0; // a UDP checksum of 0 means "none": leave that, and do not make one
	}
	return p;
}

static __always_inline int replace_endpoint(struct __sk_buff *skb, const struct place *p, const struct endpoint *from,
					    const struct endpoint *to)
{
	int err;

	err = bpf_l4_csum_replace(skb, p->l4_check, from->address, to->address, p->l4_flags | BPF_F_PSEUDO_HDR | 4);
	if (!err)
		err = bpf_l4_csum_replace(skb, p->l4_check, from->port, to->port, p->l4_flags | 2);
	if (!err)
		err = bpf_l3_csum_replace(skb, L3 + offsetof(struct iphdr, check), from->address, to->address, 4);
	if (!err)
		err = bpf_skb_store_bytes(skb, p->address, &to->address, 4, 0);
	if (!err)
		err = bpf_skb_store_bytes(skb, p->port, &to->port, 2, 0);
	return err;
}

// An answer of a connection that had its destination changed: the old destination becomes its source.
static __always_inline int translate_back(struct __sk_buff *skb, const struct iphdr *ip, __u32 l4, __be16 *ports)
{
	struct connection key = {
		.client = { ip->daddr, ports[1], ip->protocol },
		.server = { ip->saddr, ports[0], ip->protocol },
	};
	struct endpoint *old = bpf_map_lookup_elem(&connections, &key);
	struct place place;

	if (!old)
		return 0;
	place = place_of(l4, ip->protocol, true);
	ports[0] = old->port;
	count(SNAT_DONE);
	return replace_endpoint(skb, &place, &key.server, old);
}

// Translates by the first rule that fits; *done tells whether one did, `ports` follows the change.
static __always_inline int translate(struct __sk_buff *skb, const struct iphdr *ip, __u32 l4, __be16 *ports, bool *done)
{
	struct endpoint old = { ip->daddr, ports[1], ip->protocol };

	for (int i = 0; i < MAX_RULES; i++) {
		struct endpoint from = dnat[i].from;
		struct connection key = { .client = { ip->saddr, ports[0], ip->protocol }, .server = dnat[i].to };
		struct place place;

		if (from.address != old.address || from.port != old.port || from.proto != old.proto)
			continue;
		key.server.proto = old.proto;
		bpf_map_update_elem(&connections, &key, &old, BPF_ANY);
		place = place_of(l4, ip->protocol, false);
		ports[1] = key.server.port;
		*done = true;
		count(DNAT_DONE);
		return replace_endpoint(skb, &place, &old, &key.server);
	}
	return translate_back(skb, ip, l4, ports);
}

static __always_inline int classify(struct __sk_buff *skb, __u8 proto, const __be16 *ports)
{
	for (int i = 0; i < MAX_RULES; i++) {
		struct class_rule c = classes[i];

		if (c.port && c.proto == proto && (c.port == ports[0] || c.port == ports[1])) {
			count(DSCP_SET);
			return set_dscp(skb, c.dscp);
		}
	}
	return 0;
}

static __always_inline int rewrite_transport(struct __sk_buff *skb, const struct iphdr *ip)
{
	__u32 l4 = L3 + ip->ihl * 4;
	bool translated = false;
	__be16 ports[2];
	int err;

	if (ip->protocol != IPPROTO_TCP && ip->protocol != IPPROTO_UDP)
		return 0;
	if (ip->frag_off & bpf_htons(0x3fff)) // a fragment: translating the first one alone would break the datagram
		return 0;
	err = bpf_skb_load_bytes(skb, l4, ports, sizeof(ports));
	if (!err)
		err = translate(skb, ip, l4, ports, &translated);
	if (!err)
		err = classify(skb, ip->protocol, ports);
	if (!err && translated && push_vlan) {
		err = bpf_skb_vlan_push(skb, bpf_htons(ETH_P_8021Q), push_vlan);
		if (!err)
			count(VLAN_PUSHED);
	}
	return err;
}

static __always_inline int fail(void)
{
	count(FAILED);
	return TC_ACT_SHOT;
}

SEC("tc")
int tcrewrite(struct __sk_buff *skb)
{
	struct iphdr ip;

	count(SEEN);
	if (pop_tags(skb))
		return fail();
	if (skb->protocol != bpf_htons(ETH_P_IP)) {
		count(NOT_IPV4);
		return TC_ACT_OK;
	}
	if (bpf_skb_load_bytes(skb, L3, &ip, sizeof(ip)) || ip.version != 4 || ip.ihl < 5)
		return fail();
	if (lower_ttl) {
		if (ip.ttl <= 1) {
			count(TTL_EXPIRED);
			return TC_ACT_SHOT;
		}
		if (lower_hops(skb, &ip))
			return fail();
		count(TTL_LOWERED);
	}
	if (rewrite_transport(skb, &ip))
		return fail();
	return TC_ACT_OK;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
