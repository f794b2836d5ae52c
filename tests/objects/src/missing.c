// Strong externs that no kernel has: a typeless symbol, a typed variable, a function. Each program needs one of them.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

extern const void skep_no_such_symbol __ksym;
extern const int skep_no_such_variable __ksym;
extern int skep_no_such_function(int n) __ksym;

__u64 address;

SEC("raw_tp/sys_enter")
int symbol(void *ctx)
{
	address = (__u64)&skep_no_such_symbol;
	return 0;
}

SEC("raw_tp/sys_enter")
int variable(void *ctx)
{
	return *(int *)bpf_this_cpu_ptr(&skep_no_such_variable);
}

SEC("tc")
int function(struct __sk_buff *skb)
{
	return skep_no_such_function(1);
}

char LICENSE[] SEC("license") = "GPL";
