// All kinds of BTF types, and layouts that are hard to write back as C.
#define SEC(name) __attribute__((section(name)))
#define TAG(text) __attribute__((btf_decl_tag(text)))
#define TYPE_TAG(text) __attribute__((btf_type_tag(text)))

typedef unsigned int u32;
typedef unsigned long long u64;
typedef _Bool bool;
typedef int (*callback_t)(void *ctx, const char *name, ...);
typedef struct { int x, y; } point_t;
typedef int matrix_t[2][3];

enum color { RED, GREEN = 5, BLUE };
enum negative { MINUS = -3, PLUS = 3 };
enum large { LARGE = 0x123456789abcULL, SMALL = 1 };
enum large_negative { LOWEST = -0x7fffffffffffffffLL - 1, ONE = 1 };
enum __attribute__((packed)) tiny { TINY_A, TINY_B = 200 };

struct forward;
union forward_union;

struct bits {
	u32 a : 3;
	u32 b : 10;
	int c : 5;
	u64 d : 40;
	bool e : 1;
	u32 : 0;
	enum color f : 4;
	char g;
	u32 h : 9;
};

struct __attribute__((packed)) packed {
	char a;
	u64 b;
	short c;
	u32 d : 5;
	u32 e : 30;
};

struct __attribute__((aligned(64))) wide {
	char a;
	u64 b __attribute__((aligned(16)));
	char c;
};

union mixed {
	u32 word;
	char bytes[7];
	struct { short low, high; };
	double number;
};

struct node {
	struct node *next;
	struct forward *forward;
	union forward_union *other;
	struct wide wide;
	union {
		u32 id;
		struct {
			char key[4];
			union { u64 lo; u64 hi; };
		};
	};
	enum { INNER_A, INNER_B } inner;
	point_t points[2];
	matrix_t matrix;
	callback_t callbacks[3];
	int (*(*finder)(int which))(const struct node *);
	const volatile char *const text;
	void *restrict_me[0];
	long long : 24;
	unsigned __int128 huge;
	float f;
	enum large large;
	enum large_negative low;
	enum negative sign;
	enum tiny tiny;
	struct packed packed;
	char flexible[];
};

struct TAG("whole") tagged {
	int TYPE_TAG("user") *user TAG("member");
};

struct __attribute__((aligned(8))) empty {};

struct holder {
	struct empty empty;
	int n;
};

struct value {
	u32 id;
	int delta;
	bool on;
	char name[8];
	enum color color;
	struct bits bits;
	union mixed mixed;
	struct { short inner; };
	int list[3];
	void *pointer;
	float f;
	double d;
	char raw[4];
};

struct node first SEC(".data");
struct bits second SEC(".data");
static volatile int hidden SEC(".bss.x");
extern const int outside SEC(".kconfig");
struct value *value_pointer;
struct tagged *tagged_pointer;
struct holder holder;
enum color color;

extern int outer(struct value *v) SEC(".ksyms");

static __attribute__((noinline)) int helper(int a, const struct value *v TAG("arg")) { return a + v->delta + hidden; }

SEC("tc") int entry(struct node *n) { return helper(n->sign, value_pointer) + outside + outer(value_pointer); }
char _license[] SEC("license") = "GPL";
