// Sections that no loader knows. The programs in them are a diagnostic each; the others stay usable. "?xdp" is known: a program that
// is loaded only when asked for.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

SEC("nonsense/somewhere") int unknown_program(void *ctx) { return 0; }
SEC("uprob/typo") int misspelt(void *ctx) { return 0; }
SEC("xdp") int known(struct xdp_md *ctx) { return XDP_PASS; }
SEC("?xdp") int on_demand(struct xdp_md *ctx) { return XDP_DROP; }

// Data that nothing refers to, in sections of unknown names.
__attribute__((section("notes"), used)) const char a_note[] = "not a program";
__attribute__((section("__llvm_thing"), used)) int thing = 7;

char LICENSE[] SEC("license") = "GPL";
