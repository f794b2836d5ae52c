// Maps of maps with their first contents in the object: the loader puts `one` and `two` into the slots.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct inner {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, __u64);
} one SEC(".maps"), two SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 5);
	__type(key, __u32);
	__array(values, struct inner);
} outer_array SEC(".maps") = { .values = { [0] = &one, [3] = &two } };

struct {
	__uint(type, BPF_MAP_TYPE_HASH_OF_MAPS);
	__uint(max_entries, 3);
	__type(key, __u32);
	__array(values, struct inner);
} outer_hash SEC(".maps") = { .values = { [1] = &two } };

// The inner map described in place, no contents.
struct {
	__uint(type, BPF_MAP_TYPE_HASH_OF_MAPS);
	__uint(max_entries, 2);
	__uint(key_size, 4);
	__array(values, struct {
		__uint(type, BPF_MAP_TYPE_HASH);
		__uint(max_entries, 8);
		__type(key, __u32);
		__type(value, __u32);
	});
} outer_empty SEC(".maps");

static __always_inline int bump(void *outer, __u32 slot)
{
	__u32 key = 2;
	void *inner = bpf_map_lookup_elem(outer, &slot);
	__u64 *v = inner ? bpf_map_lookup_elem(inner, &key) : 0;

	if (!v)
		return 0;
	*v += 1;
	return 1;
}

// 1 + 2 + 4: found in slot 0 and 3 of the array and under key 1 of the hash.
SEC("socket")
int look_through(struct __sk_buff *skb)
{
	int found = bump(&outer_array, 0) + 2 * bump(&outer_array, 3) + 4 * bump(&outer_hash, 1);

	return found + 8 * bump(&outer_array, 1) + (bpf_map_lookup_elem(&outer_empty, &found) ? 16 : 0);
}

char LICENSE[] SEC("license") = "GPL";
