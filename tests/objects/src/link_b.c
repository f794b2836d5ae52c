// The other half of link_a.c; a program of its own in the same section besides.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct counts {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, __u64);
};

struct counts shared SEC(".maps");
__u32 limit = 2000;

static __u32 calls;

__weak __noinline int preference(void) { return 2; }

__noinline int judge(__u32 len)
{
	__u32 key = 1;
	__u64 *v = bpf_map_lookup_elem(&shared, &key);

	calls++;
	if (v)
		*v += len;
	return len < 60 ? XDP_DROP : XDP_PASS;
}

SEC("xdp")
int second_half(struct xdp_md *ctx) { return judge(preference()); }

char LICENSE[] SEC("license") = "GPL";
