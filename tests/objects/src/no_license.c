// No license section: helpers for GPL programs only are not for this one.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

SEC("socket") int plain(struct __sk_buff *skb) { return skb->len; }
SEC("socket") int wants_gpl(struct __sk_buff *skb) { bpf_printk("len %d", skb->len); return 0; }
