// SPDX-License-Identifier: MIT OR Apache-2.0
//
// A socket filter for a recorder that wants DNS and web traffic only, and no more of it than it needs.
//
// What a socket filter returns is how many bytes of the packet the socket keeps; 0 means none, the packet is not for it.
// Here: DNS whole, the beginning of HTTP messages (request line and headers), the headers alone of other segments to or
// from a web server, nothing else.
//
// A packet is read in the two ways that a socket filter has:
//   - `load_byte` and `load_half`, the packet loads of classic BPF. They read in network order and end the program with
//     0 where the packet is too short, so no check is needed. This reads Ethernet, VLAN tags and IPv4.
//   - bpf_skb_load_bytes(), which copies to the stack and returns an error instead. This reads IPv6 and what is behind.

#include <stdbool.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ipv6.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>

// The names that clang knows these instructions by.
unsigned long long load_byte(void *skb, unsigned long long offset) asm("llvm.bpf.load.byte");
unsigned long long load_half(void *skb, unsigned long long offset) asm("llvm.bpf.load.half");

#define KEEP_ALL 0xffff
#define HEADERS 128 // enough for Ethernet, two tags, IPv6 and TCP with options

const volatile __u32 http_bytes = 512; // how much of an HTTP message to keep
const volatile __u16 http_port = 80;
const volatile __u16 dns_port = 53;

enum kind {
	OTHER,
	DNS,
	HTTP_REQUEST,
	HTTP_RESPONSE,
	HTTP_SEGMENT, // to or from the web port, but not the beginning of a message
	KINDS,
};

struct kept {
	__u64 packets;
	__u64 bytes;	  // as they were on the wire
	__u64 bytes_kept; // as the socket gets them
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, KINDS);
	__type(key, __u32); // enum kind
	__type(value, struct kept);
} kinds SEC(".maps");

// Where the transport header is and which it is. Offsets count from the beginning of what the socket sees.
struct transport {
	__u32 offset;
	__u8 proto; // 0: there is none
};

// A packet socket sees the Ethernet header, every other kind of socket (and the kernel's test run) does not. Where it is
// seen, it has the packet's protocol at offset 12; an IP packet has part of the source address there.
static __always_inline bool begins_with_ethernet(struct __sk_buff *skb)
{
	return load_half(skb, 12) == bpf_ntohs(skb->protocol);
}

static __always_inline struct transport find_transport(struct __sk_buff *skb)
{
	struct transport t = {};
	__u16 ethertype = bpf_ntohs(skb->protocol);

	if (begins_with_ethernet(skb)) {
		t.offset = ETH_HLEN;
		for (int i = 0; i < 2 && (ethertype == ETH_P_8021Q || ethertype == ETH_P_8021AD); i++) {
			ethertype = load_half(skb, t.offset + 2);
			t.offset += 4;
		}
	}
	if (ethertype == ETH_P_IP) {
		if (load_half(skb, t.offset + 6) & 0x1fff)
			return t; // a later fragment has no transport header
		t.proto = load_byte(skb, t.offset + 9);
		t.offset += (load_byte(skb, t.offset) & 0x0f) * 4;
	} else if (ethertype == ETH_P_IPV6) {
		struct ipv6hdr ip;

		if (bpf_skb_load_bytes(skb, t.offset, &ip, sizeof(ip)))
			return t;
		t.proto = ip.nexthdr; // neither DNS nor HTTP come with extension headers
		t.offset += sizeof(ip);
	}
	return t;
}

// Looks at the first bytes behind the TCP header.
static __always_inline enum kind http_kind(struct __sk_buff *skb, __u32 tcp)
{
	__u8 data_offset, text[4];

	if (bpf_skb_load_bytes(skb, tcp + 12, &data_offset, 1))
		return OTHER;
	if (bpf_skb_load_bytes(skb, tcp + (data_offset >> 4) * 4, text, sizeof(text)))
		return HTTP_SEGMENT; // no payload
	if (!__builtin_memcmp(text, "HTTP", 4))
		return HTTP_RESPONSE;
	if (!__builtin_memcmp(text, "GET ", 4) || !__builtin_memcmp(text, "POST", 4) ||
	    !__builtin_memcmp(text, "PUT ", 4) || !__builtin_memcmp(text, "HEAD", 4))
		return HTTP_REQUEST;
	return HTTP_SEGMENT;
}

static __always_inline enum kind classify(struct __sk_buff *skb)
{
	struct transport t = find_transport(skb);
	__be16 ports[2];
	__u16 from, to;

	if (t.proto != IPPROTO_TCP && t.proto != IPPROTO_UDP)
		return OTHER;
	if (bpf_skb_load_bytes(skb, t.offset, ports, sizeof(ports)))
		return OTHER;
	from = bpf_ntohs(ports[0]);
	to = bpf_ntohs(ports[1]);
	if (from == dns_port || to == dns_port)
		return DNS;
	if (t.proto == IPPROTO_TCP && (from == http_port || to == http_port))
		return http_kind(skb, t.offset);
	return OTHER;
}

static __always_inline __u32 snap_length(enum kind kind)
{
	switch (kind) {
	case DNS:
		return KEEP_ALL;
	case HTTP_REQUEST:
	case HTTP_RESPONSE:
		return http_bytes;
	case HTTP_SEGMENT:
		return HEADERS;
	default:
		return 0;
	}
}

SEC("socket")
int sockfilter(struct __sk_buff *skb)
{
	enum kind kind = classify(skb);
	__u32 keep = snap_length(kind);
	__u32 key = kind;
	struct kept *k = bpf_map_lookup_elem(&kinds, &key);

	if (k) {
		__sync_fetch_and_add(&k->packets, 1);
		__sync_fetch_and_add(&k->bytes, skb->len);
		__sync_fetch_and_add(&k->bytes_kept, keep < skb->len ? keep : skb->len);
	}
	return keep;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
