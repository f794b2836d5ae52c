// An arena: memory that programs and user space share, in its own address space; casts between the spaces are instructions.
// build: arena.o -O2 -g -mcpu=v4
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define __arena __attribute__((address_space(1)))

struct {
	__uint(type, 33); // BPF_MAP_TYPE_ARENA
	__uint(map_flags, 1 << 10); // BPF_F_MMAPABLE
	__uint(max_entries, 4); // pages
} arena SEC(".maps");

extern void __arena *bpf_arena_alloc_pages(void *map, void __arena *address, __u32 pages, int node, __u64 flags) __ksym;

SEC("syscall")
int touch(void *ctx)
{
	__u32 __arena *page = bpf_arena_alloc_pages(&arena, 0, 1, -1, 0);

	if (!page)
		return 1;
	page[3] = 42;
	return page[3] == 42 ? 0 : 2;
}

char LICENSE[] SEC("license") = "GPL";
