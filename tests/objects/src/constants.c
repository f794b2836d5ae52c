// Constants that are known when the program is loaded: `.rodata`, which is filled and then frozen, and beside it an array that
// programs may not write but users may, at any time.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

const volatile __u32 mode = 2;
const volatile _Bool verbose = 0;
const volatile __s16 less = -3;
const volatile __u64 seed = 0x123456789abcdef0;
const volatile __u8 table[4] = { 10, 20, 30, 40 };
__u32 drawn; // .bss: what the long way has seen

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_RDONLY_PROG);
	__type(key, __u32);
	__type(value, __u32);
} limits SEC(".maps");

// Returns 2000 + 0xef0 - 3 + 10 + what limits has, for 74 bytes (60 without the Ethernet header).
SEC("socket")
int decide(struct __sk_buff *skb)
{
	__u32 zero = 0, *limit = bpf_map_lookup_elem(&limits, &zero);
	__u64 sum = skb->len & 1;

	if (verbose) {
		for (int i = 0; i < 8; i++)
			drawn += bpf_get_prandom_u32() ^ i * 0x5a5a5a;
		sum += 100000;
	}
	if (mode == 2)
		sum += 2000;
	else if (mode == 3)
		sum += 3000 * (skb->len >> 1) + skb->len % 7;
	sum += seed & 0xfff;
	sum += less;
	sum += table[skb->len & 3];
	return sum + (limit ? *limit : 0);
}

char LICENSE[] SEC("license") = "GPL";
