// The packet loads of classic BPF at constant and computed offsets, forward from the data and relative to the network header.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

unsigned long long load_byte(void *skb, unsigned long long offset) asm("llvm.bpf.load.byte");
unsigned long long load_half(void *skb, unsigned long long offset) asm("llvm.bpf.load.half");
unsigned long long load_word(void *skb, unsigned long long offset) asm("llvm.bpf.load.word");

#define FROM_NETWORK_HEADER (-0x100000)

SEC("socket")
int loads(struct __sk_buff *skb)
{
	__u32 header = (load_byte(skb, 0) & 15) * 4;

	return load_half(skb, 2) + load_word(skb, header) + load_byte(skb, header + 1);
}

SEC("socket")
int network_relative(struct __sk_buff *skb)
{
	return load_byte(skb, FROM_NETWORK_HEADER) >> 4;
}

char LICENSE[] SEC("license") = "GPL";
