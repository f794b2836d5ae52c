// A user ring buffer: every record is a word, which a callback adds up.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_USER_RINGBUF);
	__uint(max_entries, 4096);
} orders SEC(".maps");

__u64 sum;

static long add(struct bpf_dynptr *record, void *unused)
{
	__u32 word = 0;

	if (bpf_dynptr_read(&word, sizeof(word), record, 0, 0) == 0)
		sum += word;
	return 0;
}

SEC("xdp")
int drain(struct xdp_md *ctx)
{
	return bpf_user_ringbuf_drain(&orders, add, 0, 0);
}

char _license[] SEC("license") = "GPL";
