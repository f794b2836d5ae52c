// SPDX-License-Identifier: MIT OR Apache-2.0
//
// An XDP firewall for one host: decides on every incoming frame before the network stack sees it.
//
// How a packet flows, first match wins:
//
//     Ethernet, up to two VLAN tags ──► not IP: pass
//     IPv4 / IPv6 header             ──► lies about its lengths: DROP_MALFORMED
//     source in a block list (LPM)   ──► DROP_BLOCKED
//     later fragment                 ──► as its first fragment was judged; first one unknown: DROP_FRAGMENT
//     rule for protocol and port     ──► ALLOW: pass    DROP: DROP_PORT    LIMIT: go on
//     packet that may open a flow    ──► source has no token left: DROP_RATE
//     pass
//
// What always holds: every packet adds to exactly one row of `counters`; every dropped packet is told to `events`
// (or counted in `events_lost` where the ring is full); nothing in the packet is changed.
//
// The maps can be filled by any tool while the program runs. So that it is of use without one, the first packet puts in
// the `default_…` tables below; they live in .rodata, and a loader that brings its own rules sets `install_defaults` to
// false before loading.

#include <stdbool.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>

#define NS_PER_SEC 1000000000ULL
#define VLAN_TAGS_MAX 2
#define IPV6_EXTENSIONS_MAX 6

#define IPV4_FRAGMENT_OFFSET 0x1fff
#define IPV4_MORE_FRAGMENTS 0x2000
#define IPV6_FRAGMENT_OFFSET 0xfff8
#define IPV6_MORE_FRAGMENTS 0x0001

// ---------------------------------------------------------------------------------------------------------------------
// What user space sees

// Why a packet was let through or dropped: the index into `counters`, and `reason` of an event.
enum reason {
	PASS_NOT_IP,	// ARP and the like: not this program's business
	PASS_ALLOWED,	// a rule says ALLOW
	PASS_OTHER,	// no rule against it
	PASS_FRAGMENT,	// a later fragment whose first one passed
	DROP_MALFORMED, // the headers contradict themselves or the frame
	DROP_BLOCKED,	// the source address is in a block list
	DROP_PORT,	// a rule says DROP
	DROP_RATE,	// the source opens flows faster than its bucket fills
	DROP_FRAGMENT,	// a later fragment whose first one was dropped or never seen
	REASONS,
};

enum action {
	ALLOW = 1, // pass, no rate limit
	DROP = 2,
	LIMIT = 3, // pass while the source has tokens
};

struct traffic {
	__u64 packets;
	__u64 bytes;
};

// An IPv4 address is written as the IPv6 address ::ffff:a.b.c.d, so that one table serves both.
struct address {
	__u8 bytes[16];
};

// Keys of the LPM tries: the prefix length in bits, then the address in network order.
struct prefix_v4 {
	__u32 bits;
	__u8 address[4];
};

struct prefix_v6 {
	__u32 bits;
	__u8 address[16];
};

struct port_key {
	__u16 port;  // destination port, host order; 0 = every port of the protocol
	__u8 proto;  // IPPROTO_TCP, IPPROTO_UDP, …
	__u8 unused; // zero
};

struct bucket {
	__u64 tokens;	 // in billionths of a packet, so that a refill never rounds to nothing
	__u64 filled_ns; // when `tokens` was true
};

struct fragment_key {
	struct address source;
	struct address destination;
	__u32 id;
	__u32 proto;
};

struct event {
	__u64 time_ns;
	struct address source;
	struct address destination;
	__u16 source_port;
	__u16 destination_port;
	__u16 bytes; // length of the frame
	__u16 vlan;  // innermost VLAN id, 0 = none
	__u8 proto;
	__u8 reason; // enum reason
	__u8 unused[6];
};

// Options, constant once loaded: a loader (a libbpf skeleton, say) may write other values before that.
const volatile bool install_defaults = true;
const volatile __u64 rate_per_second = 50; // flow openings a second and source
const volatile __u64 rate_burst = 64;	   // … and how many of them at once
const volatile __u32 default_action = LIMIT;

#define DEFAULT_BLOCKED_V4 3
const volatile struct prefix_v4 default_blocked_v4[DEFAULT_BLOCKED_V4] = {
	{ 24, { 203, 0, 113, 0 } },  // a network set aside for documentation (RFC 5737): the villain of the capture
	{ 24, { 198, 51, 100, 0 } }, // another one
	{ 4, { 240, 0, 0, 0 } },     // reserved: no honest source
};

#define DEFAULT_BLOCKED_V6 2
const volatile struct prefix_v6 default_blocked_v6[DEFAULT_BLOCKED_V6] = {
	{ 48, { 0x20, 0x01, 0x0d, 0xb8, 0x0b, 0xad } }, // 2001:db8:bad::/48, documentation (RFC 3849)
	{ 8, { 0xff } },				 // a multicast address is never a source
};

struct port_rule {
	struct port_key key;
	__u32 action;
};

#define DEFAULT_PORTS 6
const volatile struct port_rule default_ports[DEFAULT_PORTS] = {
	{ { 53, IPPROTO_UDP }, ALLOW }, // DNS
	{ { 80, IPPROTO_TCP }, LIMIT }, // HTTP, protected from SYN floods
	{ { 23, IPPROTO_TCP }, DROP },	// Telnet
	{ { 445, IPPROTO_TCP }, DROP }, // SMB
	{ { 161, IPPROTO_UDP }, DROP }, // SNMP
	{ { 0, IPPROTO_SCTP }, DROP },	// nobody here speaks SCTP
};

// ---------------------------------------------------------------------------------------------------------------------
// Maps

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 16384);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct prefix_v4);
	__type(value, __u64); // packets dropped because of this prefix
} blocked_v4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 16384);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct prefix_v6);
	__type(value, __u64);
} blocked_v6 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, struct port_key);
	__type(value, __u32); // enum action
} ports SEC(".maps");

// Least recently used sources are forgotten first, so a flood from many addresses cannot fill the memory.
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct address);
	__type(value, struct bucket);
} buckets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct fragment_key);
	__type(value, __u32); // enum reason of the first fragment
} fragments SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, REASONS);
	__type(key, __u32); // enum reason
	__type(value, struct traffic);
} counters SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 64 * 1024);
} events SEC(".maps");

// Global variables are maps as well: these two are in .bss.
__u64 events_lost;
__u32 defaults_installed;

// ---------------------------------------------------------------------------------------------------------------------
// Parsing: a cursor that moves over the packet, and what was learnt on the way

struct cursor {
	void *at;
	void *end;
};

struct packet {
	struct address source;
	struct address destination;
	__u32 fragment_id;
	__u16 source_port;
	__u16 destination_port;
	__u16 bytes;
	__u16 vlan;
	__u8 proto;
	bool fragmented;     // one piece of a datagram
	bool later_fragment; // … and not the first: it has no ports
	bool opens_flow;     // a TCP SYN, or a protocol without connections
};

// Takes `size` bytes off the packet; NULL where it ends before that. The comparison with `end` is what proves to the
// verifier that the bytes may be read, so it has to be written out like this, with `size` a constant.
#define take(cursor, type) ((type *)take_bytes(cursor, sizeof(type)))

static __always_inline void *take_bytes(struct cursor *c, __u32 size)
{
	void *start = c->at;

	if (start + size > c->end)
		return NULL;
	c->at = start + size;
	return start;
}

struct vlan_tag {
	__be16 tci;
	__be16 next_proto;
};

// The ethertype behind the VLAN tags, or 0 where the frame is too short.
static __always_inline __u16 parse_ethernet(struct cursor *c, struct packet *p)
{
	struct ethhdr *eth = take(c, struct ethhdr);
	__u16 proto;

	if (!eth)
		return 0;
	proto = bpf_ntohs(eth->h_proto);
	for (int i = 0; i < VLAN_TAGS_MAX; i++) {
		struct vlan_tag *tag;

		if (proto != ETH_P_8021Q && proto != ETH_P_8021AD)
			break;
		tag = take(c, struct vlan_tag);
		if (!tag)
			return 0;
		p->vlan = bpf_ntohs(tag->tci) & 0x0fff;
		proto = bpf_ntohs(tag->next_proto);
	}
	return proto;
}

static __always_inline void set_v4(struct address *to, const __be32 *from)
{
	__builtin_memset(to->bytes, 0, 10);
	to->bytes[10] = to->bytes[11] = 0xff;
	__builtin_memcpy(to->bytes + 12, from, 4);
}

static __always_inline bool parse_ipv4(struct cursor *c, struct packet *p)
{
	void *start = c->at;
	struct iphdr *ip = take(c, struct iphdr);
	__u16 fragment;
	__u32 header, total;

	if (!ip || ip->version != 4 || ip->ihl < 5)
		return false;
	header = ip->ihl * 4;
	total = bpf_ntohs(ip->tot_len);
	if (total < header || start + total > c->end)
		return false;
	c->at = start + header; // over the options
	set_v4(&p->source, &ip->saddr);
	set_v4(&p->destination, &ip->daddr);
	p->proto = ip->protocol;

	fragment = bpf_ntohs(ip->frag_off);
	p->fragmented = fragment & (IPV4_FRAGMENT_OFFSET | IPV4_MORE_FRAGMENTS);
	p->later_fragment = fragment & IPV4_FRAGMENT_OFFSET;
	p->fragment_id = bpf_ntohs(ip->id);
	return true;
}

// Both extension headers that name their own length begin like this.
struct extension {
	__u8 next;
	__u8 length; // in units of 8 bytes, the first 8 not counted
};

struct fragment_extension {
	__u8 next;
	__u8 reserved;
	__be16 offset_more;
	__be32 id;
};

static __always_inline bool parse_ipv6_fragment(struct cursor *c, struct packet *p)
{
	struct fragment_extension *f = take(c, struct fragment_extension);
	__u16 offset_more;

	if (!f)
		return false;
	offset_more = bpf_ntohs(f->offset_more);
	p->fragmented = offset_more & (IPV6_FRAGMENT_OFFSET | IPV6_MORE_FRAGMENTS);
	p->later_fragment = offset_more & IPV6_FRAGMENT_OFFSET;
	p->fragment_id = bpf_ntohl(f->id);
	p->proto = f->next;
	return true;
}

static __always_inline bool parse_ipv6(struct cursor *c, struct packet *p)
{
	struct ipv6hdr *ip = take(c, struct ipv6hdr);

	if (!ip || ip->version != 6 || c->at + bpf_ntohs(ip->payload_len) > c->end)
		return false;
	__builtin_memcpy(p->source.bytes, &ip->saddr, 16);
	__builtin_memcpy(p->destination.bytes, &ip->daddr, 16);
	p->proto = ip->nexthdr;

	for (int i = 0; i < IPV6_EXTENSIONS_MAX; i++) {
		void *start = c->at;
		struct extension *e;

		switch (p->proto) {
		case IPPROTO_HOPOPTS:
		case IPPROTO_ROUTING:
		case IPPROTO_DSTOPTS:
			e = take(c, struct extension);
			if (!e)
				return false;
			p->proto = e->next;
			c->at = start + 8 + e->length * 8;
			break;
		case IPPROTO_FRAGMENT:
			if (!parse_ipv6_fragment(c, p))
				return false;
			if (p->later_fragment)
				return true; // what follows is the middle of something
			break;
		default:
			return true;
		}
	}
	return false; // nobody needs that many extension headers
}

// Ports, and whether the packet may open a flow. Protocols without ports keep port 0.
static __always_inline bool parse_transport(struct cursor *c, struct packet *p)
{
	if (p->proto == IPPROTO_TCP) {
		struct tcphdr *tcp = take(c, struct tcphdr);

		if (!tcp || tcp->doff < 5)
			return false;
		p->source_port = bpf_ntohs(tcp->source);
		p->destination_port = bpf_ntohs(tcp->dest);
		p->opens_flow = tcp->syn && !tcp->ack;
		return true;
	}
	p->opens_flow = true;
	if (p->proto == IPPROTO_UDP) {
		struct udphdr *udp = take(c, struct udphdr);

		if (!udp)
			return false;
		p->source_port = bpf_ntohs(udp->source);
		p->destination_port = bpf_ntohs(udp->dest);
	}
	return true;
}

// ---------------------------------------------------------------------------------------------------------------------
// Judging

static __always_inline bool is_blocked(const struct packet *p, bool v4)
{
	__u64 *hits;

	if (v4) {
		struct prefix_v4 key = { .bits = 32 };

		__builtin_memcpy(key.address, p->source.bytes + 12, 4);
		hits = bpf_map_lookup_elem(&blocked_v4, &key);
	} else {
		struct prefix_v6 key = { .bits = 128 };

		__builtin_memcpy(key.address, p->source.bytes, 16);
		hits = bpf_map_lookup_elem(&blocked_v6, &key);
	}
	if (!hits)
		return false;
	__sync_fetch_and_add(hits, 1);
	return true;
}

static __always_inline __u32 port_action(const struct packet *p)
{
	struct port_key key = { .port = p->destination_port, .proto = p->proto };
	__u32 *action = bpf_map_lookup_elem(&ports, &key);

	if (!action) {
		key.port = 0;
		action = bpf_map_lookup_elem(&ports, &key);
	}
	return action ? *action : default_action;
}

// Takes one token out of the source's bucket; false where none is left. Buckets are not locked: two processors that
// see the same source in the same moment may both take its last token, which a rate limit can bear.
static __always_inline bool take_token(const struct address *source)
{
	__u64 now = bpf_ktime_get_ns();
	__u64 full = rate_burst * NS_PER_SEC;
	struct bucket *b = bpf_map_lookup_elem(&buckets, source);
	__u64 tokens, elapsed;

	if (!b) {
		struct bucket fresh = { .tokens = full - NS_PER_SEC, .filled_ns = now };

		bpf_map_update_elem(&buckets, source, &fresh, BPF_ANY);
		return true;
	}
	elapsed = now - b->filled_ns;
	if (elapsed > 60 * NS_PER_SEC)
		elapsed = 60 * NS_PER_SEC; // keeps the product below from running over
	tokens = b->tokens + elapsed * rate_per_second;
	if (tokens > full)
		tokens = full;
	b->filled_ns = now;
	if (tokens < NS_PER_SEC) {
		b->tokens = tokens;
		return false;
	}
	b->tokens = tokens - NS_PER_SEC;
	return true;
}

static __always_inline enum reason judge_whole(const struct packet *p)
{
	__u32 action = port_action(p);

	if (action == DROP)
		return DROP_PORT;
	if (action == ALLOW)
		return PASS_ALLOWED;
	if (p->opens_flow && !take_token(&p->source))
		return DROP_RATE;
	return PASS_OTHER;
}

static __always_inline void fragment_key(struct fragment_key *key, const struct packet *p)
{
	key->source = p->source;
	key->destination = p->destination;
	key->id = p->fragment_id;
	key->proto = p->proto;
}

static __always_inline enum reason judge_later_fragment(const struct packet *p)
{
	struct fragment_key key;
	__u32 *first;

	fragment_key(&key, p);
	first = bpf_map_lookup_elem(&fragments, &key);
	return first && *first < DROP_MALFORMED ? PASS_FRAGMENT : DROP_FRAGMENT;
}

static __always_inline enum reason judge(struct cursor *c, struct packet *p)
{
	__u16 ethertype = parse_ethernet(c, p);
	enum reason reason;

	switch (ethertype) {
	case 0:
		return DROP_MALFORMED;
	case ETH_P_IP:
		if (!parse_ipv4(c, p))
			return DROP_MALFORMED;
		break;
	case ETH_P_IPV6:
		if (!parse_ipv6(c, p))
			return DROP_MALFORMED;
		break;
	default:
		return PASS_NOT_IP;
	}
	if (is_blocked(p, ethertype == ETH_P_IP))
		return DROP_BLOCKED;
	if (p->later_fragment)
		return judge_later_fragment(p);
	if (!parse_transport(c, p))
		return DROP_MALFORMED;
	reason = judge_whole(p);
	if (p->fragmented) {
		struct fragment_key key;
		__u32 verdict = reason;

		fragment_key(&key, p);
		bpf_map_update_elem(&fragments, &key, &verdict, BPF_ANY);
	}
	return reason;
}

// ---------------------------------------------------------------------------------------------------------------------
// Telling

static __always_inline void count(enum reason reason, __u64 bytes)
{
	__u32 key = reason;
	struct traffic *t = bpf_map_lookup_elem(&counters, &key);

	if (t) { // always so: but the verifier does not know the range of `reason`
		t->packets++;
		t->bytes += bytes;
	}
}

// A subprogram of its own (`noinline`) so that the object's BTF has `struct event`: who reads the ring buffer can print
// the records by it.
static __noinline void describe(struct event *e, const struct packet *p, enum reason reason)
{
	e->time_ns = bpf_ktime_get_ns();
	e->source = p->source;
	e->destination = p->destination;
	e->source_port = p->source_port;
	e->destination_port = p->destination_port;
	e->bytes = p->bytes;
	e->vlan = p->vlan;
	e->proto = p->proto;
	e->reason = reason;
}

static __always_inline void tell(const struct packet *p, enum reason reason)
{
	struct event *e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);

	if (!e) {
		__sync_fetch_and_add(&events_lost, 1);
		return;
	}
	__builtin_memset(e, 0, sizeof(*e));
	describe(e, p, reason);
	bpf_ringbuf_submit(e, 0);
}

// Runs once, on the first packet. A subprogram of its own (`noinline`): it is not worth a place in the hot path.
static __noinline void fill_tables(void)
{
	__u64 none = 0;

	for (int i = 0; i < DEFAULT_BLOCKED_V4; i++) {
		struct prefix_v4 key = default_blocked_v4[i];

		bpf_map_update_elem(&blocked_v4, &key, &none, BPF_NOEXIST);
	}
	for (int i = 0; i < DEFAULT_BLOCKED_V6; i++) {
		struct prefix_v6 key = default_blocked_v6[i];

		bpf_map_update_elem(&blocked_v6, &key, &none, BPF_NOEXIST);
	}
	for (int i = 0; i < DEFAULT_PORTS; i++) {
		struct port_rule rule = default_ports[i];

		bpf_map_update_elem(&ports, &rule.key, &rule.action, BPF_NOEXIST);
	}
}

SEC("xdp")
int firewall(struct xdp_md *ctx)
{
	struct cursor c = { (void *)(long)ctx->data, (void *)(long)ctx->data_end };
	struct packet p = {};
	enum reason reason;

	if (install_defaults && !defaults_installed && !__sync_val_compare_and_swap(&defaults_installed, 0, 1))
		fill_tables();

	p.bytes = c.end - c.at;
	reason = judge(&c, &p);
	count(reason, p.bytes);
	if (reason < DROP_MALFORMED)
		return XDP_PASS;
	tell(&p, reason);
	return XDP_DROP;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
