// All kinds of CO-RE relocations, against core_target.c.
#define PAI __attribute__((preserve_access_index))
enum kind { BYTE_OFFSET, BYTE_SIZE, EXISTS, SIGNED, LSHIFT, RSHIFT };
#define field(f, k) __builtin_preserve_field_info(f, k)
#define type_exists(t) __builtin_preserve_type_info(*(typeof(t) *)0, 0)
#define type_size(t) __builtin_preserve_type_info(*(typeof(t) *)0, 1)
#define type_matches(t) __builtin_preserve_type_info(*(typeof(t) *)0, 2)
#define id_local(t) __builtin_btf_type_id(*(typeof(t) *)0, 0)
#define id_target(t) __builtin_btf_type_id(*(typeof(t) *)0, 1)
#define enum_exists(t, v) __builtin_preserve_enum_value(*(typeof(t) *)v, 0)
#define enum_value(t, v) __builtin_preserve_enum_value(*(typeof(t) *)v, 1)
#define take(n) (sink += (n))

volatile unsigned long sink;

struct task {
	int pid;
	unsigned int flags;
	struct { int nested; };
	char comm[16];
	struct inner { short a, b; } inner[4];
	unsigned int bit_a : 3, bit_b : 7;
	signed int bit_s : 5;
	struct task *parent;
	unsigned int grows;
	int signed_grows;
	int flexible[];
} PAI;

struct task___old { long gone; int pid; } PAI;
struct task___typo { int pidd; } PAI;
struct twice { int field; } PAI;
struct differ { int field; } PAI;
struct missing { int field; } PAI;
struct compat { int *pointer; struct task *parent; union { int u; } choice; } PAI;
struct becomes_union { int a; } PAI;
struct match { int a; enum { IN_MATCH } e; struct missing *behind; };
struct no_match { int a; long b; };
typedef int (*func_t)(struct task *t, long n);
typedef struct { int a; } anon_t;
enum state { RUNNING = 1, STOPPED = 2, GONE = 3 };
enum wide { WIDE = 0x100000000ULL };
enum unsigned_state { HIGH = 0xffffffffu };
enum signed_state { LOW = -5 };

__attribute__((section("tc/fields"))) int fields(struct task *t)
{
	take(t->pid);
	take(t->flags);
	take(t->nested);
	take(t->comm[3]);
	take(t->inner[2].b);
	take(t->parent->parent->pid);
	take(t->grows);
	take(t->signed_grows);
	take(t->flexible[9]);
	take(t[2].pid);
	take(((struct task___old *)t)->pid);
	if (field(((struct task___old *)t)->gone, EXISTS))
		take(((struct task___old *)t)->gone);
	take(((struct task___typo *)t)->pidd);
	take(((struct twice *)t)->field);
	take(((struct missing *)t)->field);
	take(((struct compat *)t)->choice.u);
	take(field(((struct compat *)t)->pointer, EXISTS));
	take(field(((struct compat *)t)->parent, EXISTS));
	take(((struct becomes_union *)t)->a);
	return 0;
}

__attribute__((section("tc/ambiguous"))) int ambiguous(struct differ *d) { return d->field; }

__attribute__((section("tc/info"))) int info(struct task *t)
{
#define all(f) take(field(f, BYTE_OFFSET)), take(field(f, BYTE_SIZE)), take(field(f, EXISTS)), take(field(f, SIGNED)), \
	       take(field(f, LSHIFT)), take(field(f, RSHIFT))
	all(t->bit_a);
	all(t->bit_b);
	all(t->bit_s);
	all(t->pid);
	all(t->flags);
	take(field(t->comm, BYTE_SIZE));
	take(field(t->comm[1], BYTE_SIZE));
	return 0;
}

__attribute__((section("tc/types"))) int types(void)
{
#define every(t) take(type_exists(t)), take(type_size(t)), take(type_matches(t)), take(id_local(t)), take(id_target(t))
	every(struct task);
	every(struct missing);
	every(struct becomes_union);
	every(struct match);
	every(struct no_match);
	every(func_t);
	every(anon_t);
	every(enum state);
	return 0;
}

__attribute__((section("tc/enums"))) int enums(void)
{
	take(enum_exists(enum state, RUNNING));
	take(enum_value(enum state, RUNNING));
	take(enum_value(enum state, STOPPED));
	take(enum_exists(enum state, GONE));
	take(enum_value(enum state, GONE));
	take(enum_value(enum wide, WIDE));
	take(enum_value(enum unsigned_state, HIGH));
	take(enum_value(enum signed_state, LOW));
	return 0;
}
