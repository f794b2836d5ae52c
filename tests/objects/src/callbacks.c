// Subprograms whose address is taken: loop, map walk and timer callbacks.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16);
	__type(key, __u32);
	__type(value, __u64);
} table SEC(".maps");

struct alarm {
	struct bpf_timer timer;
	__u64 fired;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct alarm);
} alarms SEC(".maps");

static long fill(__u32 i, void *sum)
{
	__u64 value = i * i;

	bpf_map_update_elem(&table, &i, &value, BPF_ANY);
	*(__u64 *)sum += i;
	return i == 9;
}

static long walk(void *map, const __u32 *key, __u64 *value, __u64 *sum)
{
	*sum += *value;
	return 0;
}

static int ring(void *map, __u32 *key, struct alarm *alarm)
{
	alarm->fired++;
	return 0;
}

// 45 + 285: the numbers and the squares of 0 to 9.
SEC("tc")
int run_callbacks(struct __sk_buff *skb)
{
	__u64 sum = 0;
	__u32 key = 0;
	struct alarm *alarm = bpf_map_lookup_elem(&alarms, &key);

	bpf_loop(100, fill, &sum, 0);
	bpf_for_each_map_elem(&table, walk, &sum, 0);
	if (alarm && !bpf_timer_init(&alarm->timer, &alarms, 1)) {
		bpf_timer_set_callback(&alarm->timer, ring);
		bpf_timer_start(&alarm->timer, 1000000, 0);
	}
	return sum;
}

char LICENSE[] SEC("license") = "GPL";
