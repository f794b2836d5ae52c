// Maps as libbpf before 1.0 had them: structs in the section "maps", here with four fields more than the usual five, and
// no BTF. The size of an entry follows from the distance of the symbols.
// build: legacy_maps.o -O2 -mcpu=v1
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct legacy_map {
	unsigned int type, key_size, value_size, max_entries, map_flags;
	unsigned int inner_map_idx, numa_node, more, yet_more; // all zero: a loader may ignore them
};

struct legacy_map first SEC("maps") = { BPF_MAP_TYPE_HASH, 4, 8, 16, BPF_F_NO_PREALLOC };
struct legacy_map second SEC("maps") = { BPF_MAP_TYPE_ARRAY, 4, 8, 2, 0 };
struct legacy_map third SEC("maps") = { BPF_MAP_TYPE_PERCPU_ARRAY, 4, 4, 1, 0 };

SEC("socket")
int use_legacy_maps(struct __sk_buff *skb)
{
	__u32 key = 1;
	__u64 *v = bpf_map_lookup_elem(&second, &key), one = 1;

	if (v)
		__sync_fetch_and_add(v, 1);
	bpf_map_update_elem(&first, &key, &one, BPF_ANY);
	key = 0;
	return bpf_map_lookup_elem(&third, &key) ? 1 : 0;
}

char _license[] SEC("license") = "GPL";
__u32 _version SEC("version") = 0x050400;
