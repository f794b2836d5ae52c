// A zeroed section of its own, ".bss.own", which libbpf passes over.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

__u32 in_own_bss SEC(".bss.own");
__u32 in_bss;

SEC("socket")
int count(struct __sk_buff *skb) { return ++in_own_bss + ++in_bss; }

char LICENSE[] SEC("license") = "GPL";
