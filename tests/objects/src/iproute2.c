// The layout of iproute2 (tc): nine fields a map, an `id` that names it, and tail calls by section names ID/SLOT: the program
// in the section "2/7" goes into slot 7 of the program array with id 2.
// build: iproute2.o -O2 -mcpu=v1
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_helpers.h>

struct bpf_elf_map {
	__u32 type, size_key, size_value, max_elem, flags, id, pinning, inner_id, inner_idx;
};

#define PIN_GLOBAL_NS 2

struct bpf_elf_map SEC("maps") jump = { BPF_MAP_TYPE_PROG_ARRAY, 4, 4, 8, 0, .id = 2 };
struct bpf_elf_map SEC("maps") hits = { BPF_MAP_TYPE_ARRAY, 4, 4, 2, 0, .id = 5, .pinning = PIN_GLOBAL_NS };

static __attribute__((always_inline)) void hit(__u32 key)
{
	__u32 *v = bpf_map_lookup_elem(&hits, &key);

	if (v)
		__sync_fetch_and_add(v, 1);
}

SEC("2/7")
int slot_7(struct __sk_buff *skb)
{
	hit(1);
	return TC_ACT_SHOT;
}

SEC("2/0")
int slot_0(struct __sk_buff *skb)
{
	bpf_tail_call(skb, &jump, 7);
	return TC_ACT_OK;
}

SEC("classifier")
int entry(struct __sk_buff *skb)
{
	hit(0);
	bpf_tail_call(skb, &jump, 0);
	return TC_ACT_UNSPEC;
}

char _license[] SEC("license") = "GPL";
