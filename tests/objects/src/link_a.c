// Half of a program: the other half is link_b.c. What is `extern` here is found when both objects are linked into one.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct counts {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, __u64);
};

extern struct counts shared SEC(".maps");
extern __u32 limit;
extern int judge(__u32 len);

static __u32 calls; // the other half has one of the same name

__weak __noinline int preference(void) { return 1; } // both halves have it

SEC("xdp")
int first_half(struct xdp_md *ctx)
{
	__u32 key = 0, len = ctx->data_end - ctx->data;
	__u64 *v = bpf_map_lookup_elem(&shared, &key);

	calls++;
	if (v)
		*v += 1;
	if (len > limit || preference() != 1)
		return XDP_ABORTED;
	return judge(len);
}

char LICENSE[] SEC("license") = "GPL";
