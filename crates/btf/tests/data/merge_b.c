// See merge_a.c.
struct only_declared;
struct both;
struct defined_in_b { struct both *owner; char c; };
struct both { struct both *self; struct defined_in_b *b; struct only_declared *never; int n; };
struct differs { int here; int and_there; };
typedef struct { long a; } anonymous_t;
enum shared { SHARED_A, SHARED_B };
struct defined_in_b defined __attribute__((section(".data")));
struct both both_b __attribute__((section(".data")));
struct differs differs_b __attribute__((section(".data")));
anonymous_t anonymous_b __attribute__((section(".data")));
enum shared shared_b __attribute__((section(".data")));
int function(struct both *b) { return b->n; }
