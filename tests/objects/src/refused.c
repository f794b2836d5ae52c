// Mistakes that people make, one a program: what the verifier says of each is a transcript of `skep verify`.
#include <stdbool.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/in.h>
#include <linux/tcp.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>

struct value {
	__u64 packets;
	__u32 slots[8];
};

struct locked {
	struct bpf_spin_lock lock;
	__u32 count;
};

struct event {
	__u32 len;
	__u32 mark;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, __u32);
	__type(value, struct value);
} values SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct locked);
} locks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} events SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, __u32);
} programs SEC(".maps");

char LICENSE[] SEC("license") = "Dual MIT/GPL";

// The result of a look-up is used without a comparison with NULL.
SEC("xdp")
int no_null_check(struct xdp_md *ctx)
{
	__u32 key = ctx->rx_queue_index;
	struct value *v = bpf_map_lookup_elem(&values, &key);

	v->packets++;
	return XDP_PASS;
}

// The packet is read without any comparison with its end.
SEC("xdp")
int no_bounds_check(struct xdp_md *ctx)
{
	struct ethhdr *eth = (void *)(long)ctx->data;

	return eth->h_proto == bpf_htons(ETH_P_IP) ? XDP_PASS : XDP_DROP;
}

// The comparison covers the Ethernet header, the access goes beyond.
SEC("xdp")
int short_bounds_check(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *data_end = (void *)(long)ctx->data_end;
	struct iphdr *ip = data + sizeof(struct ethhdr);

	if (data + sizeof(struct ethhdr) > data_end)
		return XDP_PASS;
	return ip->protocol == IPPROTO_TCP ? XDP_PASS : XDP_DROP;
}

static __always_inline struct tcphdr *tcp_of(struct iphdr *ip)
{
	return (void *)ip + ip->ihl * 4;
}

// An inlined function reads what its caller did not check for.
SEC("xdp")
int inlined(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *data_end = (void *)(long)ctx->data_end;
	struct iphdr *ip = data + sizeof(struct ethhdr);
	struct tcphdr *tcp;

	if ((void *)(ip + 1) > data_end)
		return XDP_PASS;
	tcp = tcp_of(ip);
	return tcp->syn ? XDP_DROP : XDP_PASS;
}

// Packet pointers are void after the packet was moved.
SEC("xdp")
int stale_packet(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *data_end = (void *)(long)ctx->data_end;
	__u8 *first = data;

	if (data + 1 > data_end)
		return XDP_PASS;
	if (bpf_xdp_adjust_head(ctx, 4))
		return XDP_DROP;
	return *first ? XDP_PASS : XDP_DROP;
}

// An index from outside is used as it is.
SEC("tc")
int unbounded_index(struct __sk_buff *skb)
{
	__u32 key = 0, index = skb->mark;
	struct value *v = bpf_map_lookup_elem(&values, &key);

	if (!v)
		return 0;
	return v->slots[index];
}

// The bound is one too large.
SEC("tc")
int off_by_one(struct __sk_buff *skb)
{
	__u32 key = 0, index = skb->mark;
	struct value *v = bpf_map_lookup_elem(&values, &key);

	if (!v || index > 8)
		return 0;
	return v->slots[index];
}

// A signed index has a bound on one side only.
SEC("tc")
int signed_index(struct __sk_buff *skb)
{
	__u32 key = 0;
	int index = skb->mark;
	struct value *v = bpf_map_lookup_elem(&values, &key);

	if (!v || index > 7)
		return 0;
	return v->slots[(long)index];
}

// A record is not given back on one of the ways out.
SEC("tc")
int leaked_record(struct __sk_buff *skb)
{
	struct event *e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);

	if (!e)
		return 0;
	e->len = skb->len;
	e->mark = skb->mark;
	if (e->len > 1000)
		return 1;
	bpf_ringbuf_submit(e, 0);
	return 0;
}

// A socket that was looked up is never released.
SEC("tc")
int leaked_socket(struct __sk_buff *skb)
{
	struct bpf_sock_tuple tuple = {};
	struct bpf_sock *sk = bpf_sk_lookup_tcp(skb, &tuple, sizeof(tuple.ipv4), BPF_F_CURRENT_NETNS, 0);

	return sk ? 1 : 0;
}

// A record is used after it was given back.
SEC("tc")
int used_after_submit(struct __sk_buff *skb)
{
	struct event *e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);

	if (!e)
		return 0;
	bpf_ringbuf_submit(e, 0);
	return *(volatile __u32 *)&e->len;
}

// A lock is still held on one of the ways out.
SEC("tc")
int held_lock(struct __sk_buff *skb)
{
	__u32 key = 0;
	struct locked *l = bpf_map_lookup_elem(&locks, &key);

	if (!l)
		return 0;
	bpf_spin_lock(&l->lock);
	if (l->count > 10)
		return 1;
	l->count++;
	bpf_spin_unlock(&l->lock);
	return 0;
}

// A helper is called while a lock is held.
SEC("tc")
int call_under_lock(struct __sk_buff *skb)
{
	__u32 key = 0;
	struct locked *l = bpf_map_lookup_elem(&locks, &key);

	if (!l)
		return 0;
	bpf_spin_lock(&l->lock);
	l->count += bpf_get_prandom_u32();
	bpf_spin_unlock(&l->lock);
	return 0;
}

// The lock is read as a number.
SEC("tc")
int copied_lock(struct __sk_buff *skb)
{
	__u32 key = 0;
	struct locked *l = bpf_map_lookup_elem(&locks, &key);

	return l ? *(volatile __u32 *)l : 0;
}

// The hook understands 0 and 1.
SEC("cgroup/skb")
int wrong_return(struct __sk_buff *skb)
{
	return skb->len;
}

// One way out sets no return value.
SEC("tc")
__attribute__((naked)) int no_return_value(struct __sk_buff *skb)
{
	asm volatile("r1 = *(u32 *)(r1 + 0);"
		     "if r1 > 10 goto +1;"
		     "r0 = 0;"
		     "exit;");
}

// A register that a call destroys is read after it.
SEC("tc")
__attribute__((naked)) int lost_in_call(struct __sk_buff *skb)
{
	asm volatile("call %[random];"
		     "r0 = *(u32 *)(r1 + 0);"
		     "exit;" ::[random] "i"(BPF_FUNC_get_prandom_u32));
}

// A size from outside describes a buffer on the stack.
SEC("tc")
int unbounded_size(struct __sk_buff *skb)
{
	char buffer[64] = {};

	bpf_skb_load_bytes(skb, 0, buffer, skb->mark);
	return buffer[0];
}

// The size may be zero.
SEC("tc")
int zero_size(struct __sk_buff *skb)
{
	char buffer[64] = {};
	__u32 size = skb->mark;

	if (size <= sizeof(buffer))
		bpf_skb_load_bytes(skb, 0, buffer, size);
	return buffer[0];
}

// The index into an array on the stack is not bounded.
SEC("tc")
int stack_index(struct __sk_buff *skb)
{
	volatile char buffer[64] = {};

	buffer[skb->mark & 127] = 1;
	return buffer[3];
}

// The loop's end is not in sight.
SEC("tc")
int endless(struct __sk_buff *skb)
{
	volatile __u32 zero = 0;

	while (!zero)
		;
	return 0;
}

// The context is written where programs may only read.
SEC("tc")
int read_only_field(struct __sk_buff *skb)
{
	*(volatile __u32 *)&skb->len = 0;
	return 0;
}

// The context pointer was moved before the access.
SEC("tc")
__attribute__((naked)) int moved_context(struct __sk_buff *skb)
{
	asm volatile("r1 += 8;"
		     "r0 = *(u32 *)(r1 + 0);"
		     "exit;");
}

// A number is followed as if it were a pointer.
SEC("kprobe")
int plain_pointer(void *ctx)
{
	__u64 address = *(__u64 *)(ctx + 8);

	return *(volatile int *)address;
}

// The key is given by value.
SEC("tc")
int key_by_value(struct __sk_buff *skb)
{
	return bpf_map_lookup_elem(&values, (void *)(long)skb->mark) != 0;
}

// A look-up in a map that has none.
SEC("tc")
int wrong_map(struct __sk_buff *skb)
{
	__u32 key = 0;

	return bpf_map_lookup_elem(&programs, &key) != 0;
}

// A helper of another program type.
SEC("xdp")
int wrong_helper(struct xdp_md *ctx)
{
	return bpf_skb_load_bytes(ctx, 0, ctx, 4) ? XDP_PASS : XDP_DROP;
}

// Two structures of 300 bytes are open at once.
static __noinline int deeper(int x)
{
	volatile char buffer[300];

	buffer[x & 7] = 1;
	return buffer[3];
}

SEC("tc")
int deep_stack(struct __sk_buff *skb)
{
	volatile char buffer[300];

	buffer[skb->mark & 7] = deeper(skb->mark);
	return buffer[3];
}

// A division by a constant that turns out to be zero.
SEC("tc")
__attribute__((naked)) int division(struct __sk_buff *skb)
{
	asm volatile("r0 = 1;"
		     "r0 /= 0;"
		     "exit;");
}

// Three mistakes in one program, on three paths.
SEC("tc")
int several(struct __sk_buff *skb)
{
	__u32 key = skb->mark;
	struct value *v = bpf_map_lookup_elem(&values, &key);

	if (skb->len > 100)
		return v->packets;
	if (!v)
		return 0;
	if (skb->len > 50)
		return v->slots[skb->priority];
	return *(volatile int *)(long)skb->len;
}

// A socket is given back twice.
SEC("tc")
int released_twice(struct __sk_buff *skb)
{
	struct bpf_sock_tuple tuple = {};
	struct bpf_sock *sk = bpf_sk_lookup_tcp(skb, &tuple, sizeof(tuple.ipv4), BPF_F_CURRENT_NETNS, 0);

	if (!sk)
		return 0;
	bpf_sk_release(sk);
	bpf_sk_release(sk);
	return 0;
}

// A socket that nobody looks at.
SEC("tc")
int leaked_unseen(struct __sk_buff *skb)
{
	struct bpf_sock_tuple tuple = {};

	bpf_sk_lookup_tcp(skb, &tuple, sizeof(tuple.ipv4), BPF_F_CURRENT_NETNS, 0);
	return 0;
}

// A packet's bytes are copied to a buffer that is shorter than they may be.
SEC("tc")
int overlong_copy(struct __sk_buff *skb)
{
	char buffer[64];
	__u32 len = skb->mark & 0x7f;

	if (len == 0)
		return 0;
	bpf_skb_load_bytes(skb, 0, buffer, len);
	return buffer[0];
}
