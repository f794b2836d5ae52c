// Functions of the kernel as externs: two that exist, and a weak one that does not, behind a check.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

extern void bpf_rcu_read_lock(void) __ksym;
extern void bpf_rcu_read_unlock(void) __ksym;
extern int no_such_kfunc(int a) __ksym __weak;

SEC("tc")
int call_kfuncs(struct __sk_buff *skb)
{
	bpf_rcu_read_lock();
	bpf_rcu_read_unlock();
	if (no_such_kfunc)
		return no_such_kfunc(1);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
