// XDP programs that share a device: what they ask for stands in section .xdp_run_config, as libxdp has it.
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define XDP_RUN_CONFIG(f) _##f SEC(".xdp_run_config")

struct { __uint(priority, 10); __uint(XDP_PASS, 1); } XDP_RUN_CONFIG(count);
struct { __uint(priority, 20); __uint(XDP_PASS, 1); __uint(XDP_DROP, 0); } XDP_RUN_CONFIG(guard);
struct { __uint(priority, 30); __uint(XDP_DROP, 1); __uint(XDP_PASS, 0); } XDP_RUN_CONFIG(other);

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, __u64);
} seen SEC(".maps");

static __noinline void saw(__u32 who)
{
	__u64 *n = bpf_map_lookup_elem(&seen, &who);

	if (n)
		__sync_fetch_and_add(n, 1);
}

/* The port that a UDP datagram goes to, or 0. */
static __noinline int port(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	struct iphdr *ip = data + sizeof(*eth);
	struct udphdr *udp = data + sizeof(*eth) + sizeof(*ip);

	if ((void *)(udp + 1) > end || eth->h_proto != bpf_htons(ETH_P_IP) || ip->protocol != IPPROTO_UDP)
		return 0;
	return bpf_ntohs(udp->dest);
}

SEC("xdp") int count(struct xdp_md *ctx)
{
	if (port(ctx))
		saw(0);
	return XDP_PASS;
}

SEC("xdp") int guard(struct xdp_md *ctx)
{
	int to = port(ctx);

	if (to)
		saw(1);
	return to == 9 ? XDP_DROP : XDP_PASS;
}

SEC("xdp") int other(struct xdp_md *ctx)
{
	if (port(ctx))
		saw(2);
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "GPL";
