// With merge_b.c: types that are the same, that differ, that are declared here and defined there.
struct only_declared;
struct defined_in_b;
struct both { struct both *self; struct defined_in_b *b; struct only_declared *never; int n; };
struct differs { int here; };
typedef struct { long a; } anonymous_t;
enum shared { SHARED_A, SHARED_B };
struct both both_a __attribute__((section(".data")));
struct differs differs_a __attribute__((section(".data")));
anonymous_t anonymous_a __attribute__((section(".data")));
enum shared shared_a __attribute__((section(".data")));
int function(struct both *b) { return b->n; }
