// One section a map: "maps/NAME", as gobpf and old tools wrote them.
// build: maps_sections.o -O2 -mcpu=v1
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct map_def {
	unsigned int type, key_size, value_size, max_entries, map_flags;
};

struct map_def SEC("maps/packets") packets = { BPF_MAP_TYPE_ARRAY, 4, 8, 4, 0 };
struct map_def SEC("maps/sources") sources = { BPF_MAP_TYPE_HASH, 4, 8, 64, 0 };

SEC("xdp")
int count(struct xdp_md *ctx)
{
	__u32 key = 0;
	__u64 *v = bpf_map_lookup_elem(&packets, &key), one = 1;

	if (v)
		*v += 1;
	bpf_map_update_elem(&sources, &key, &one, BPF_ANY);
	return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
