// A program array with its first contents in the object. Slot 1 stays empty: the tail call falls through.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

int tail_0(struct __sk_buff *skb);
int tail_2(struct __sk_buff *skb);

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 4);
	__uint(key_size, sizeof(__u32));
	__array(values, int(void *));
} jumps SEC(".maps") = { .values = { [0] = (void *)&tail_0, [2] = (void *)&tail_2 } };

SEC("socket") int tail_0(struct __sk_buff *skb) { bpf_tail_call(skb, &jumps, 2); return 1; }
SEC("socket") int tail_2(struct __sk_buff *skb) { return 42; }

// 42, by way of tail_0 and tail_2.
SEC("socket")
int entry(struct __sk_buff *skb)
{
	bpf_tail_call(skb, &jumps, 1);
	bpf_tail_call(skb, &jumps, 0);
	return 2;
}

char LICENSE[] SEC("license") = "GPL";
