// TCP congestion control for tests on real sockets: two link variants of one name, which count what they are asked, one whose
// structure has members that no kernel has, and one that is made only if asked for.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

/* A whole one, since kernel functions that take it are found by the kinds of their parameters. */
struct sock {
	int unused;
};

/* In another order than the kernel's, and with less in it. */
struct tcp_congestion_ops {
	char name[16];
	__u32 flags;
	void (*init)(struct sock *sk);
	void (*release)(struct sock *sk);
	__u32 (*undo_cwnd)(struct sock *sk);
	void (*cong_avoid)(struct sock *sk, __u32 ack, __u32 acked);
	__u32 (*ssthresh)(struct sock *sk);
};

struct tcp_congestion_ops___future {
	__u64 not_invented_yet;
	__u32 (*ssthresh)(struct sock *sk);
	__u32 (*undo_cwnd)(struct sock *sk);
	void (*cong_avoid)(struct sock *sk, __u32 ack, __u32 acked);
	void (*nor_this)(struct sock *sk);
	char name[16];
};

extern void tcp_reno_cong_avoid(struct sock *sk, __u32 ack, __u32 acked) __ksym;
extern __u32 tcp_reno_ssthresh(struct sock *sk) __ksym;
extern __u32 tcp_reno_undo_cwnd(struct sock *sk) __ksym;

__u64 first_inits, second_inits, releases, acks;

SEC("struct_ops") void BPF_PROG(first_init, struct sock *sk) { __sync_fetch_and_add(&first_inits, 1); }
SEC("struct_ops") void BPF_PROG(second_init, struct sock *sk) { __sync_fetch_and_add(&second_inits, 1); }
SEC("struct_ops") void BPF_PROG(gone, struct sock *sk) { __sync_fetch_and_add(&releases, 1); }
SEC("struct_ops") __u32 BPF_PROG(ssthresh, struct sock *sk) { return tcp_reno_ssthresh(sk); }
SEC("struct_ops") __u32 BPF_PROG(undo, struct sock *sk) { return tcp_reno_undo_cwnd(sk); }
SEC("struct_ops") void BPF_PROG(avoid, struct sock *sk, __u32 ack, __u32 acked)
{
	__sync_fetch_and_add(&acks, 1);
	tcp_reno_cong_avoid(sk, ack, acked);
}

#define COMMON .ssthresh = (void *)ssthresh, .cong_avoid = (void *)avoid, .undo_cwnd = (void *)undo

SEC(".struct_ops.link") struct tcp_congestion_ops first = {
	COMMON, .init = (void *)first_init, .release = (void *)gone, .name = "skep_test",
};
SEC(".struct_ops.link") struct tcp_congestion_ops second = {
	COMMON, .init = (void *)second_init, .release = (void *)gone, .name = "skep_test",
};
SEC(".struct_ops") struct tcp_congestion_ops___future future = { COMMON, .name = "skep_future" };
SEC("?.struct_ops") struct tcp_congestion_ops unwanted = { COMMON, .name = "skep_unwanted" };

char LICENSE[] SEC("license") = "GPL";
