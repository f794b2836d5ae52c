// A struct of operations that BPF programs implement: TCP congestion control, plain and as a link; besides a socket filter that
// must stay usable where struct_ops are not.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

struct sock;

struct tcp_congestion_ops {
	__u32 (*ssthresh)(struct sock *sk);
	void (*cong_avoid)(struct sock *sk, __u32 ack, __u32 acked);
	__u32 (*undo_cwnd)(struct sock *sk);
	char name[16];
};

SEC("struct_ops/keep_ssthresh") __u32 BPF_PROG(keep_ssthresh, struct sock *sk) { return 10; }
SEC("struct_ops/keep_avoid") void BPF_PROG(keep_avoid, struct sock *sk, __u32 ack, __u32 acked) {}
SEC("struct_ops/keep_undo") __u32 BPF_PROG(keep_undo, struct sock *sk) { return 10; }

SEC(".struct_ops")
struct tcp_congestion_ops keep = {
	.ssthresh = (void *)keep_ssthresh,
	.cong_avoid = (void *)keep_avoid,
	.undo_cwnd = (void *)keep_undo,
	.name = "bpf_keep",
};

SEC(".struct_ops.link")
struct tcp_congestion_ops keep_link = {
	.ssthresh = (void *)keep_ssthresh,
	.cong_avoid = (void *)keep_avoid,
	.undo_cwnd = (void *)keep_undo,
	.name = "bpf_keep_link",
};

SEC("socket") int bystander(struct __sk_buff *skb) { return skb->len; }

char LICENSE[] SEC("license") = "GPL";
