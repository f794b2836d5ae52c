// A loop that the verifier need not follow: may_goto leaves it after some millions of rounds.
// build: may_goto.o -O2 -g -mcpu=v4
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

SEC("socket")
int rounds(struct __sk_buff *skb)
{
	__u64 n = 0;

	for (;;) {
		asm volatile goto("may_goto %l[out]" :::: out);
		if (++n == 1000)
			break;
	}
out:
	return n;
}

char LICENSE[] SEC("license") = "GPL";
