// The same source for each instruction set version, with and without debug information. v1: 64-bit compares only; v2: jumps on
// less-than; v3: 32-bit jumps, atomics; v4: signed division, sign extension, byte swap, long jumps.
// build: instructions_v1.o -O2 -g -mcpu=v1
// build: instructions_v2.o -O2 -g -mcpu=v2
// build: instructions_v3.o -O2 -g -mcpu=v3
// build: instructions_v4.o -O2 -g -mcpu=v4
// build: instructions_no_btf.o -O2 -mcpu=v3
// build: instructions_debug.o -O2 -g -mcpu=v3 keep-debug
// build: instructions_o1.o -O1 -g -mcpu=v3
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define OPAQUE(x) asm volatile("" : "+r"(x))

__u64 counter;

SEC("socket")
int arithmetic(struct __sk_buff *skb)
{
	__s64 a = skb->len, b = -7;
	__s32 c = skb->len, d = 3;
	__u32 swapped = skb->len;

	OPAQUE(a); OPAQUE(b); OPAQUE(c); OPAQUE(d);
	a = a * b + (a >> 3) - (a << 2);
	if ((__u64)a < (__u64)b)
		a ^= 0x5555;
	if (c > d)
		c -= d;
#if __BPF_CPU_VERSION__ >= 4
	a += a / b + a % b + c / d + c % d;
	a += (__s8)c + (__s16)a + (__s32)b;
#else
	a += (__u64)a / 7 + (__u64)a % 5 + (__u32)c / 3;
#endif
	swapped = __builtin_bswap32(swapped);
	return a + c + swapped;
}

SEC("socket")
int atomics(struct __sk_buff *skb)
{
	__sync_fetch_and_add(&counter, skb->len);
#if __BPF_CPU_VERSION__ >= 3
	__u64 old = __sync_fetch_and_or(&counter, 1);

	old += __sync_fetch_and_and(&counter, ~2ULL) + __sync_fetch_and_xor(&counter, 4);
	old += __sync_lock_test_and_set(&counter, 9) + __sync_val_compare_and_swap(&counter, 9, 10);
	return old;
#else
	return 0;
#endif
}

SEC("socket")
int loops(struct __sk_buff *skb)
{
	__u32 sum = 0;

#pragma clang loop unroll(disable)
	for (__u32 i = 0; i < 100; i++)
		sum += i ^ skb->len;
	return sum;
}

char LICENSE[] SEC("license") = "GPL";
