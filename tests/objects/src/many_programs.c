// Several programs in a section, and the same section name for programs that are told apart by their symbols only.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

SEC("xdp") int first(struct xdp_md *ctx) { return XDP_PASS; }
SEC("xdp") int second(struct xdp_md *ctx) { return ctx->data_end - ctx->data > 100 ? XDP_DROP : XDP_PASS; }
SEC("xdp") int third(struct xdp_md *ctx) { return XDP_TX; }
SEC("socket") int keep_nothing(struct __sk_buff *skb) { return 0; }
SEC("socket") int keep_all(struct __sk_buff *skb) { return skb->len; }

char LICENSE[] SEC("license") = "GPL";
