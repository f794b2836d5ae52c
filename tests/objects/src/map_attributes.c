// Everything that a BTF map definition can say: sizes by type or by number, flags, pinning, NUMA node, map_extra, typed and
// untyped keys, types that take no key.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 100);
	__uint(key_size, 6);
	__uint(value_size, 10);
	__uint(map_flags, BPF_F_NO_PREALLOC | BPF_F_RDONLY_PROG);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
	__uint(numa_node, 0);
} by_number SEC(".maps");

struct pair { __u32 a; __u64 b; };

struct {
	__uint(type, BPF_MAP_TYPE_LRU_PERCPU_HASH);
	__uint(max_entries, 64);
	__type(key, struct pair);
	__type(value, struct pair);
} by_type SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_BLOOM_FILTER);
	__uint(max_entries, 50);
	__uint(map_extra, 3);
	__type(value, __u64);
} keyless SEC(".maps");

struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 4096); } ring SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_QUEUE); __uint(max_entries, 3); __uint(value_size, 4); } queue SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY); __uint(key_size, 4); __uint(value_size, 4); } perf SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 2); __uint(map_flags, BPF_F_MMAPABLE); __type(key, int); __type(value, __u64); } mapped SEC(".maps");

SEC("tc")
int use_all(struct __sk_buff *skb)
{
	__u64 value = skb->len, key[2] = {};
	struct pair pair = {};

	pair.a = skb->mark;
	bpf_map_update_elem(&by_type, &pair, &pair, BPF_ANY);
	bpf_map_push_elem(&keyless, &value, 0);
	bpf_map_push_elem(&queue, &value, BPF_EXIST);
	bpf_ringbuf_output(&ring, &value, sizeof(value), 0);
	bpf_perf_event_output(skb, &perf, BPF_F_CURRENT_CPU, &value, sizeof(value));
	return (bpf_map_lookup_elem(&by_number, key) || bpf_map_lookup_elem(&mapped, key)) ? 0 : 2;
}

char LICENSE[] SEC("license") = "GPL";
