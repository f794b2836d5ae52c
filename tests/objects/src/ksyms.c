// Symbols of the kernel as externs: typed (by BTF, a per-CPU variable), typeless (by kallsyms), and weak ones that do not exist.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct rq {
	unsigned int nr_running;
} __attribute__((preserve_access_index));

extern const struct rq runqueues __ksym;
extern const void bpf_prog_array_free __ksym;
extern const void no_such_symbol __ksym __weak;
extern const int no_such_variable __ksym __weak;

__u64 address; // of the typeless one

SEC("raw_tp/sys_enter")
int look(void *ctx)
{
	const struct rq *rq = bpf_per_cpu_ptr(&runqueues, 0);

	if (&no_such_symbol || &no_such_variable)
		return 1;
	address = (__u64)&bpf_prog_array_free;
	return rq ? rq->nr_running & 0 : 0;
}

// What needs no variable of the kernel: some kernels do not tell the addresses of those (CONFIG_KALLSYMS_ALL).
SEC("raw_tp/sys_enter")
int typeless(void *ctx)
{
	if (&no_such_symbol)
		return 1;
	address = (__u64)&bpf_prog_array_free;
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
