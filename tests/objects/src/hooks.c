// Programs for tests on real hooks: devices of network namespaces, sockets, cgroups, ring buffers.

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/pkt_cls.h>
#include <linux/udp.h>
#include <stddef.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

char _license[] SEC("license") = "GPL";

struct {
	__uint(type, BPF_MAP_TYPE_DEVMAP);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, __u32);
} ports SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_SOCKMAP);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} listener SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 22);
} records SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__uint(key_size, 4);
	__uint(value_size, 4);
} samples SEC(".maps");

struct record {
	__u64 number;
	__u64 rest[7];
};

__u64 first_runs, second_runs;
__u64 produced, refused;
__u64 sampled, not_sampled;
__u32 backends[2];
__u32 connects;

struct udp_packet {
	struct ethhdr eth;
	struct iphdr ip;
	struct udphdr udp;
} __attribute__((packed));

static __always_inline struct udp_packet *udp_of(struct xdp_md *ctx)
{
	struct udp_packet *p = (void *)(long)ctx->data;

	if ((void *)(p + 1) > (void *)(long)ctx->data_end)
		return NULL;
	if (p->eth.h_proto != bpf_htons(ETH_P_IP) || p->ip.protocol != IPPROTO_UDP || p->ip.ihl != 5)
		return NULL;
	return p;
}

// Drops UDP to port 9.
SEC("xdp")
int discard(struct xdp_md *ctx)
{
	struct udp_packet *p = udp_of(ctx);

	return p && p->udp.dest == bpf_htons(9) ? XDP_DROP : XDP_PASS;
}

// Answers UDP to port 7 with itself.
SEC("xdp")
int echo(struct xdp_md *ctx)
{
	struct udp_packet *p = udp_of(ctx);
	unsigned char mac[ETH_ALEN];
	__u32 address;
	__u16 port;

	if (!p || p->udp.dest != bpf_htons(7))
		return XDP_PASS;
	__builtin_memcpy(mac, p->eth.h_source, ETH_ALEN);
	__builtin_memcpy(p->eth.h_source, p->eth.h_dest, ETH_ALEN);
	__builtin_memcpy(p->eth.h_dest, mac, ETH_ALEN);
	address = p->ip.saddr;
	p->ip.saddr = p->ip.daddr;
	p->ip.daddr = address;
	port = p->udp.source;
	p->udp.source = p->udp.dest;
	p->udp.dest = port;
	return XDP_TX;
}

// Everything out of the device in entry 0.
SEC("xdp")
int forward(struct xdp_md *ctx)
{
	return bpf_redirect_map(&ports, 0, XDP_PASS);
}

// Everything out of the device in entry 1.
SEC("xdp")
int back(struct xdp_md *ctx)
{
	return bpf_redirect_map(&ports, 1, XDP_PASS);
}

SEC("xdp")
int first(struct xdp_md *ctx)
{
	if (udp_of(ctx))
		__sync_fetch_and_add(&first_runs, 1);
	return XDP_PASS;
}

SEC("xdp")
int second(struct xdp_md *ctx)
{
	if (udp_of(ctx))
		__sync_fetch_and_add(&second_runs, 1);
	return XDP_PASS;
}

// UDP to port 1111 goes to 2222.
SEC("tc")
int rewrite(struct __sk_buff *skb)
{
	__u16 from = bpf_htons(1111), to = bpf_htons(2222);
	struct udp_packet *p;

	if (bpf_skb_pull_data(skb, sizeof(*p)))
		return TC_ACT_OK;
	p = (void *)(long)skb->data;
	if ((void *)(p + 1) > (void *)(long)skb->data_end)
		return TC_ACT_OK;
	if (p->eth.h_proto != bpf_htons(ETH_P_IP) || p->ip.protocol != IPPROTO_UDP || p->udp.dest != from)
		return TC_ACT_OK;
	bpf_l4_csum_replace(skb, offsetof(struct udp_packet, udp.check), from, to, BPF_F_MARK_MANGLED_0 | sizeof(to));
	bpf_skb_store_bytes(skb, offsetof(struct udp_packet, udp.dest), &to, sizeof(to), 0);
	return TC_ACT_OK;
}

// Ports 10000 to 10999 go to one listener.
SEC("sk_lookup")
int steer(struct bpf_sk_lookup *ctx)
{
	struct bpf_sock *sk;
	__u32 key = 0;
	long err;

	if (ctx->local_port < 10000 || ctx->local_port > 10999)
		return SK_PASS;
	sk = bpf_map_lookup_elem(&listener, &key);
	if (!sk)
		return SK_DROP;
	err = bpf_sk_assign(ctx, sk, 0);
	bpf_sk_release(sk);
	return err ? SK_DROP : SK_PASS;
}

// Connections to 10.9.9.9 go to one of two ports of loopback, by turns.
SEC("cgroup/connect4")
int balance(struct bpf_sock_addr *ctx)
{
	if (ctx->user_ip4 != bpf_htonl(0x0a090909))
		return 1;
	ctx->user_ip4 = bpf_htonl(INADDR_LOOPBACK);
	ctx->user_port = bpf_htons(backends[__sync_fetch_and_add(&connects, 1) & 1]);
	return 1;
}

static long produce_one(__u32 i, void *unused)
{
	struct record *r = bpf_ringbuf_reserve(&records, sizeof(*r), 0);

	__sync_fetch_and_add(&produced, 1);
	if (!r) {
		__sync_fetch_and_add(&refused, 1);
		return 0;
	}
	r->number = produced;
	__builtin_memset(r->rest, 0, sizeof(r->rest));
	bpf_ringbuf_submit(r, 0);
	return 0;
}

// Writes as many records as its context says.
SEC("syscall")
int produce(__u64 *ctx)
{
	bpf_loop(*ctx, produce_one, NULL, 0);
	return 0;
}

// A sample for each packet to port 9.
SEC("xdp")
int sample(struct xdp_md *ctx)
{
	struct udp_packet *p = udp_of(ctx);
	struct record r = {};

	if (!p || p->udp.dest != bpf_htons(9))
		return XDP_PASS;
	r.number = __sync_fetch_and_add(&sampled, 1);
	if (bpf_perf_event_output(ctx, &samples, BPF_F_CURRENT_CPU, &r, sizeof(r)))
		__sync_fetch_and_add(&not_sampled, 1);
	return XDP_DROP;
}
