// What small packet programs cost: each works on an Ethernet frame with IPv4 and UDP or TCP inside; `pass` is the empty one,
// to be subtracted.
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

char _license[] SEC("license") = "GPL";

struct flow {
	__u32 saddr, daddr;
	__u16 sport, dport;
	__u32 proto;
};
struct count {
	__u64 packets, bytes;
};
struct prefix {
	__u32 len, addr;
};
struct bucket {
	__u64 tokens, last;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, __u32);
	__type(value, __u32);
} blocked SEC(".maps");
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 16384);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct prefix);
	__type(value, __u32);
} routes SEC(".maps");
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, __u32);
	__type(value, struct bucket);
} buckets SEC(".maps");
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, struct flow);
	__type(value, struct count);
} flows SEC(".maps");

static __always_inline struct iphdr *ip_of(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	struct iphdr *ip = (void *)(eth + 1);

	if ((void *)((struct udphdr *)(ip + 1) + 1) > end || eth->h_proto != bpf_htons(ETH_P_IP) || ip->ihl != 5)
		return 0;
	return ip;
}

SEC("xdp")
int pass(struct xdp_md *ctx)
{
	return XDP_PASS;
}

SEC("xdp")
int hash(struct xdp_md *ctx)
{
	struct iphdr *ip = ip_of(ctx);
	__u32 key;

	if (!ip)
		return XDP_PASS;
	key = ip->saddr;
	return bpf_map_lookup_elem(&blocked, &key) ? XDP_DROP : XDP_PASS;
}

SEC("xdp")
int lpm(struct xdp_md *ctx)
{
	struct iphdr *ip = ip_of(ctx);
	struct prefix key = { .len = 32 };
	__u32 *hop;

	if (!ip)
		return XDP_PASS;
	key.addr = ip->daddr;
	hop = bpf_map_lookup_elem(&routes, &key);
	return hop && *hop == 0 ? XDP_DROP : XDP_PASS;
}

SEC("xdp")
int token_bucket(struct xdp_md *ctx)
{
	struct iphdr *ip = ip_of(ctx);
	struct bucket *b;
	__u64 now, tokens;
	__u32 key;

	if (!ip)
		return XDP_PASS;
	key = ip->saddr;
	b = bpf_map_lookup_elem(&buckets, &key);
	if (!b)
		return XDP_PASS;
	now = bpf_ktime_get_ns();
	tokens = b->tokens + (now - b->last) / 100;
	if (tokens > 1000)
		tokens = 1000;
	b->last = now;
	b->tokens = tokens ? tokens - 1 : 0;
	return tokens ? XDP_PASS : XDP_DROP;
}

SEC("xdp")
int flow_counter(struct xdp_md *ctx)
{
	struct iphdr *ip = ip_of(ctx);
	struct flow key = {};
	struct udphdr *udp;
	struct count *c;

	if (!ip)
		return XDP_PASS;
	udp = (void *)(ip + 1);
	key.saddr = ip->saddr;
	key.daddr = ip->daddr;
	key.sport = udp->source;
	key.dport = udp->dest;
	key.proto = ip->protocol;
	c = bpf_map_lookup_elem(&flows, &key);
	if (c) {
		c->packets++;
		c->bytes += (long)ctx->data_end - (long)ctx->data;
	} else {
		struct count one = { 1, (long)ctx->data_end - (long)ctx->data };

		bpf_map_update_elem(&flows, &key, &one, BPF_ANY);
	}
	return XDP_PASS;
}
