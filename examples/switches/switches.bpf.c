// SPDX-License-Identifier: MIT OR Apache-2.0
//
// Who gets the processor, and who gives it up of his own will? Counts at the tracepoint sched:sched_switch, by command name.
//
// This is the example for CO-RE (compile once, run everywhere). The context of a tracepoint is a record whose layout
// belongs to the kernel and changes between versions. The struct below names only the fields that are used here, and not
// their places: clang writes a relocation for each access (`preserve_access_index`), and the loader finds the right
// offset in the BTF of the kernel that the program is loaded for.

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

#define COMM 16
#define PRIORITIES 140 // 0 to 99 real time, 100 to 139 by nice value

struct trace_event_raw_sched_switch {
	char prev_comm[COMM];
	int prev_pid;
	int prev_prio;
	long prev_state; // 0: would have liked to go on
	char next_comm[COMM];
	int next_pid;
	int next_prio;
} __attribute__((preserve_access_index));

struct name {
	char comm[COMM];
};

struct task {
	__u64 switched_in;
	__u64 preempted; // had to go
	__u64 slept;	 // went by itself: waits, sleeps or has ended
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct name);
	__type(value, struct task);
} tasks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, PRIORITIES);
	__type(key, __u32); // priority of the task that is switched to
	__type(value, __u64);
} priorities SEC(".maps");

static __always_inline struct task *task_of(const char *comm)
{
	struct task *task, fresh = {};
	struct name key = {};

	bpf_probe_read_kernel(key.comm, COMM, comm); // an array in the context is copied by helper, not by loads
	task = bpf_map_lookup_elem(&tasks, &key);
	if (task)
		return task;
	bpf_map_update_elem(&tasks, &key, &fresh, BPF_NOEXIST);
	return bpf_map_lookup_elem(&tasks, &key);
}

SEC("tracepoint/sched/sched_switch")
int switches(struct trace_event_raw_sched_switch *ctx)
{
	struct task *prev = task_of(ctx->prev_comm);
	struct task *next = task_of(ctx->next_comm);
	__u32 priority = ctx->next_prio;
	__u64 *count = bpf_map_lookup_elem(&priorities, &priority);

	if (prev)
		__sync_fetch_and_add(ctx->prev_state ? &prev->slept : &prev->preempted, 1);
	if (next)
		__sync_fetch_and_add(&next->switched_in, 1);
	if (count)
		*count += 1;
	return 0;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
