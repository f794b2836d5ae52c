// SPDX-License-Identifier: MIT OR Apache-2.0
//
// The smallest useful XDP program: a histogram of packet sizes in powers of two. Nothing is parsed, everything passes.
//
// Bucket n of `sizes` counts the packets of 2^n to 2^(n+1)-1 bytes. `sizes` has one copy for each processor, so counting
// needs neither a lock nor an atomic instruction; whoever reads it adds the copies up. The globals below are shared by
// all processors, and therefore counted atomically.

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define BUCKETS 17 // up to 2^16: the largest packet that there is

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, BUCKETS);
	__type(key, __u32);
	__type(value, __u64);
} sizes SEC(".maps");

__u64 packets; // in .bss
__u64 bytes;
__u32 smallest = 0xffffffff; // in .data: it does not begin as zero
__u32 largest;

// The place of the highest bit, by halving: eBPF has no instruction for it. log2_floor(0) is 0.
static __always_inline __u32 log2_floor(__u32 v)
{
	__u32 log = 0;

	if (v >> 16) {
		v >>= 16;
		log += 16;
	}
	if (v >> 8) {
		v >>= 8;
		log += 8;
	}
	if (v >> 4) {
		v >>= 4;
		log += 4;
	}
	if (v >> 2) {
		v >>= 2;
		log += 2;
	}
	return log + (v >> 1);
}

SEC("xdp")
int pktsize(struct xdp_md *ctx)
{
	__u32 size = ctx->data_end - ctx->data;
	__u32 bucket = log2_floor(size);
	__u64 *count;

	if (bucket >= BUCKETS)
		bucket = BUCKETS - 1;
	count = bpf_map_lookup_elem(&sizes, &bucket);
	if (count)
		*count += 1;

	__sync_fetch_and_add(&packets, 1);
	__sync_fetch_and_add(&bytes, size);
	if (size < smallest) // a lost race here costs one sample
		smallest = size;
	if (size > largest)
		largest = size;
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
