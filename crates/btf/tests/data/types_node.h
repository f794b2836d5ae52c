struct forward;

union forward_union;

typedef unsigned long long u64;

struct wide {
	char a;
	char: 8;
	short: 16;
	int: 32;
	long: 64;
	u64 b;
	char c;
	char: 8;
	short: 16;
	int: 32;
	long: 64;
	long: 64;
	long: 64;
	long: 64;
};

typedef unsigned int u32;

typedef struct {
	int x;
	int y;
} point_t;

typedef int matrix_t[2][3];

typedef int (*callback_t)(void *, const char *, ...);

enum large {
	LARGE = 20015998343868ULL,
	SMALL = 1,
};

enum large_negative {
	LOWEST = (-9223372036854775807LL - 1),
	ONE = 1,
};

enum negative {
	MINUS = -3,
	PLUS = 3,
};

enum tiny {
	TINY_A = 0,
	TINY_B = 200,
} __attribute__((mode(QI)));

struct packed {
	char a;
	u64 b;
	short c;
	u32 d: 5;
	u32 e: 30;
} __attribute__((packed));

struct node {
	struct node *next;
	struct forward *forward;
	union forward_union *other;
	long: 64;
	long: 64;
	long: 64;
	long: 64;
	long: 64;
	struct wide wide;
	union {
		u32 id;
		struct {
			char key[4];
			union {
				u64 lo;
				u64 hi;
			};
		};
	};
	enum {
		INNER_A = 0,
		INNER_B = 1,
	} inner;
	point_t points[2];
	matrix_t matrix;
	callback_t callbacks[3];
	int (*(*finder)(int))(const struct node *);
	const volatile char * const text;
	void *restrict_me[0];
	unsigned __int128 huge;
	float f;
	enum large large;
	enum large_negative low;
	enum negative sign;
	enum tiny tiny;
	struct packed packed;
	char flexible[0];
	char: 8;
	short: 16;
	long: 64;
	long: 64;
};

