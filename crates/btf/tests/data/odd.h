#ifndef __VMLINUX_H__
#define __VMLINUX_H__

#ifndef BPF_NO_PRESERVE_ACCESS_INDEX
#pragma clang attribute push (__attribute__((preserve_access_index)), apply_to = record)
#endif

struct base {
	unsigned int x;
	unsigned int y;
};

struct base___2 {
	unsigned int int_;
	unsigned int while_;
	struct {
		unsigned int x;
		unsigned int y;
	};
	long: 64;
};

struct twice {
	enum {
		A___2 = 1,
		B = 2,
	} one;
	enum {
		A___3 = 1,
		B___2 = 2,
	} two;
};

enum base___3 {
	A___4 = -1,
} __attribute__((mode(DI)));

union twice___fwd;

struct gap {
	unsigned char first;
	char __padding_at_1[8183];
	union twice___fwd *last;
};

struct end {
	unsigned char first;
	char __padding_at_1[4095];
};

union padded {
	unsigned char small;
	long: 64;
};

union padded_more {
	unsigned char small;
	long int long_;
	char __padding[32];
};

struct under_aligned {
	unsigned int a;
	long int b;
} __attribute__((packed));

struct straddles {
	unsigned int a: 20;
	unsigned int b: 20;
	char: 8;
	char: 2;
	unsigned int c: 14;
} __attribute__((packed));

enum none {
	none___empty = 0,
};

enum short_one {
	S = 65535,
} __attribute__((mode(HI)));

enum wide_one {
	W = 1,
} __attribute__((mode(DI)));

typedef long int __builtin_va_list___2;

typedef unsigned char core__option__Option_u8_;

typedef unsigned int A;

#ifndef BPF_NO_KFUNC_PROTOTYPES
#ifndef __ksym
#define __ksym __attribute__((section(".ksyms")))
#endif

#ifndef __weak
#define __weak __attribute__((weak))
#endif

#ifndef __bpf_fastcall
#if __has_attribute(bpf_fastcall)
#define __bpf_fastcall __attribute__((bpf_fastcall))
#else
#define __bpf_fastcall
#endif
#endif

extern __bpf_fastcall void kernel_function(unsigned char __attribute__((btf_type_tag("user"))) * restrict inline_, ...) __weak __ksym;

#endif /* BPF_NO_KFUNC_PROTOTYPES */

#ifndef BPF_NO_PRESERVE_ACCESS_INDEX
#pragma clang attribute pop
#endif

#endif /* __VMLINUX_H__ */
