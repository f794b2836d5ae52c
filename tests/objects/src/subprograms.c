// Subprograms of all linkages. Static ones are verified at each call, global and weak ones once; `hidden` counts as static.
// build: subprograms.o -O2 -g -mcpu=v3
// build: subprograms_no_btf.o -O2 -mcpu=v3
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

static __noinline int local(int a) { asm volatile("" : "+r"(a)); return a + 1; }
__noinline int global(int a, int b) { return local(a) * b; }
__weak __noinline int weak_one(int a) { return a - 1; }
__hidden __noinline int hidden(int a) { asm volatile("" : "+r"(a)); return global(a, 3); }
static __noinline int five(int a, int b, int c, int d, int e) { asm volatile("" : "+r"(a)); return a + b * c - d + e; }

// (len, weak_one(len), …): 2 for packets of 14 bytes and more, by a way through every one of them.
SEC("xdp")
int calls_all(struct xdp_md *ctx)
{
	int len = ctx->data_end - ctx->data;
	int sum = five(local(len), global(len, 2), weak_one(len), hidden(len), 7);

	return sum == 0 ? XDP_ABORTED : XDP_PASS;
}

SEC("tc")
int calls_some(struct __sk_buff *skb) { return global(skb->len, 1) ? 0 : 2; }

char LICENSE[] SEC("license") = "GPL";
