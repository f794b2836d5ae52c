// CO-RE relocations of all kinds against the kernel's task_struct and a few types that do not exist. Flavours (___name) are local
// views of the same kernel type.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

struct task_struct {
	int pid;
	int tgid;
	char comm[16];
	struct task_struct *real_parent;
} __attribute__((preserve_access_index));

struct task_struct___older {
	int state;
} __attribute__((preserve_access_index));

struct task_struct___no_match {
	int no_such_field;
	void *(*pid)(int);
} __attribute__((preserve_access_index));

struct sk_buff {
	unsigned char pkt_type : 3;
} __attribute__((preserve_access_index));

struct no_such_struct {
	int x;
} __attribute__((preserve_access_index));

enum bpf_map_type___local { BPF_MAP_TYPE_ARRAY___local = 99, NO_SUCH_VALUE = 5 };

struct facts {
	int pid, parent;
	__u32 offset, size, comm_size, struct_size;
	__u32 has_pid, has_state, has_nothing;
	__u32 type_exists, type_missing, matches, no_match;
	__u32 enum_exists, enum_value, enum_missing;
	__u32 shift_left, shift_right, is_signed, type_id_local, type_id_target;
} facts;

SEC("raw_tp/sched_switch")
int relocate(void *ctx)
{
	struct task_struct *task = (void *)bpf_get_current_task();

	facts.pid = BPF_CORE_READ(task, pid);
	facts.parent = BPF_CORE_READ(task, real_parent, tgid);
	facts.offset = bpf_core_field_offset(struct task_struct, comm);
	facts.size = bpf_core_field_size(struct task_struct, pid);
	facts.comm_size = bpf_core_field_size(struct task_struct, comm);
	facts.struct_size = bpf_core_type_size(struct task_struct);
	facts.has_pid = bpf_core_field_exists(struct task_struct, pid);
	facts.has_state = bpf_core_field_exists(struct task_struct___older, state);
	facts.has_nothing = bpf_core_field_exists(struct task_struct___no_match, no_such_field);
	facts.type_exists = bpf_core_type_exists(struct task_struct);
	facts.type_missing = bpf_core_type_exists(struct no_such_struct);
	facts.matches = bpf_core_type_matches(struct task_struct);
	facts.no_match = bpf_core_type_matches(struct task_struct___no_match);
	facts.enum_exists = bpf_core_enum_value_exists(enum bpf_map_type___local, BPF_MAP_TYPE_ARRAY___local);
	facts.enum_value = bpf_core_enum_value(enum bpf_map_type___local, BPF_MAP_TYPE_ARRAY___local);
	facts.enum_missing = bpf_core_enum_value_exists(enum bpf_map_type___local, NO_SUCH_VALUE);
	facts.shift_left = __builtin_preserve_field_info(((struct sk_buff *)0)->pkt_type, BPF_FIELD_LSHIFT_U64);
	facts.shift_right = __builtin_preserve_field_info(((struct sk_buff *)0)->pkt_type, BPF_FIELD_RSHIFT_U64);
	facts.is_signed = __builtin_preserve_field_info(((struct task_struct *)0)->pid, BPF_FIELD_SIGNED);
	facts.type_id_local = bpf_core_type_id_local(struct task_struct);
	facts.type_id_target = bpf_core_type_id_kernel(struct task_struct);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
