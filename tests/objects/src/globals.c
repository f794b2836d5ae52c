// Global variables in every kind of section: constants, strings, zeroes, data, sections with names of their own; static ones, which
// relocations reach through the section symbol and an addend; weak and hidden ones.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

const volatile __u32 option = 5;		       // .rodata
const volatile struct { __u8 a; __u64 b; } pair = { 1, 2 }; // .rodata, with padding
__u64 zero;					       // .bss
static volatile __u64 static_zero[4];		       // .bss, local
__u32 initial = 77;				       // .data
static volatile __u16 static_initial[3] = { 1, 2, 3 }; // .data, local
__u32 weak_one __weak = 3;
__u32 hidden_one __hidden = 4;
__u32 in_own_data SEC(".data.own") = 8;
const volatile __u32 in_own_rodata SEC(".rodata.own") = 16;

SEC("socket")
int sum_all(struct __sk_buff *skb)
{
	static const char text[] = "a text"; // .rodata or .rodata.str
	__u32 i = skb->len & 3;
	char copy[8] = "another"; // .rodata.str1.1, or an immediate

	zero++;
	static_zero[i] += 2;
	static_zero[1] = static_initial[2];
	bpf_trace_printk(text, sizeof(text), i);
	bpf_trace_printk(copy, sizeof(copy));
	return option + pair.a + pair.b + initial + static_initial[1] + weak_one + hidden_one + in_own_data + in_own_rodata;
}

char LICENSE[] SEC("license") = "GPL";
