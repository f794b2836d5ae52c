// Values of the kernel's configuration as externs: the loader fills the map .kconfig. Version, number, boolean, tristate, text, one
// that does not exist (weak: zero).
#include <stdbool.h>
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

extern int LINUX_KERNEL_VERSION __kconfig;
extern int CONFIG_HZ __kconfig;
extern bool CONFIG_BPF __kconfig;
extern enum libbpf_tristate CONFIG_BPF_SYSCALL __kconfig;
extern char CONFIG_DEFAULT_HOSTNAME[16] __kconfig __weak;
extern long CONFIG_NO_SUCH_OPTION __kconfig __weak;

SEC("socket")
int read_config(struct __sk_buff *skb)
{
	if (!CONFIG_BPF || CONFIG_BPF_SYSCALL != TRI_YES || CONFIG_NO_SUCH_OPTION || CONFIG_DEFAULT_HOSTNAME[15])
		return 0;
	return (LINUX_KERNEL_VERSION >> 16) * 10000 + CONFIG_HZ;
}

char LICENSE[] SEC("license") = "GPL";
