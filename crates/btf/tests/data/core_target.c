// What core_local.c is relocated against: fields moved, changed, doubled, gone.
struct inner { long added; short b; short a; };
struct task {
	long added;
	struct task *parent;
	int pid;
	union { unsigned int flags; struct { char pad[8]; struct { int nested; }; }; };
	char comm[4];
	struct inner inner[3];
	unsigned long bit_b : 9;
	unsigned long bit_a : 60;
	int bit_s;
	unsigned long grows;
	long signed_grows;
	int flexible[];
};
struct twice { long first; int field; };
struct twice___2 { long other; int field; };
struct differ { int field; };
struct differ___2 { long first; int field; };
struct compat { int pointer; void *parent; struct { long before; int u; } choice; };
union becomes_union { int a; };
struct missing_not;
struct match { long more; enum { OTHER, IN_MATCH } e; struct missing *behind; int a; };
struct no_match { int a; int b; };
typedef int (*func_t)(struct task *t, long n);
typedef struct { long a; } anon_t;
enum state { NEW, STOPPED = 7, RUNNING___renamed = 9 };
enum wide { WIDE = 0x200000000ULL };
enum unsigned_state { HIGH = 0xfffffff0u };
enum signed_state { LOW = -6 };
struct all {
	struct twice b; struct twice___2 c; struct differ d; struct differ___2 e; struct compat f;
	union becomes_union g; struct match h; struct no_match i; func_t j; anon_t k; enum state l; enum wide m;
	enum unsigned_state n; enum signed_state o; struct task a;
} all;
