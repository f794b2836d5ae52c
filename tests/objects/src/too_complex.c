// A program that the verifier gives up on: where the work went is a transcript of `skep verify`.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "Dual MIT/GPL";

// Every turn doubles the paths, and none of them meet.
SEC("tc")
int too_many_paths(struct __sk_buff *skb)
{
	__u64 sum = 0, i;

	for (i = 0; i < 40; i++) {
		if (bpf_get_prandom_u32() & 1)
			sum += 1ull << i;
		asm volatile("" : "+r"(sum));
	}
	if (sum > 1ull << 40)
		return *(volatile int *)sum;
	return 0;
}
