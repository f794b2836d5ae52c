// Calls from one section into another: programs of two sections share subprograms in .text, and one subprogram lives in a
// section of its own (which libbpf refuses, older tools and Skep link it).
// build: cross_section.o -O2 -g -mcpu=v3
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

static __noinline int shared(int a) { asm volatile("" : "+r"(a)); return a & 1; }

__attribute__((section("elsewhere"), noinline)) int far_away(int a) { asm volatile("" : "+r"(a)); return a | 2; }

SEC("xdp") int from_xdp(struct xdp_md *ctx) { return shared(ctx->data_end - ctx->data) ? XDP_PASS : XDP_DROP; }
SEC("tc") int from_tc(struct __sk_buff *skb) { return shared(skb->len); }
SEC("socket") int from_socket(struct __sk_buff *skb) { return far_away(skb->len); }

char LICENSE[] SEC("license") = "GPL";
