/* Made from a verified program by `skep build --native`; loaded by `skep run --tier aot`. */
#include <stdint.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int8_t s8;
typedef int16_t s16;
typedef int32_t s32;
typedef int64_t s64;

/* Memory of any type, aligned and not. */
typedef u8 u8m __attribute__((may_alias));
typedef u16 u16m __attribute__((may_alias));
typedef u32 u32m __attribute__((may_alias));
typedef u64 u64m __attribute__((may_alias));
typedef u8 u8a __attribute__((may_alias, aligned(1)));
typedef u16 u16a __attribute__((may_alias, aligned(1)));
typedef u32 u32a __attribute__((may_alias, aligned(1)));
typedef u64 u64a __attribute__((may_alias, aligned(1)));

/* What a call of the engine gives back. */
struct outcome {
	u64 r0, next;
};

typedef u64 entry_fn(u64, u64, u64, u64, u64, void *);
typedef u64 routine_fn(u64, u64, u64, u64, u64, u64);
typedef struct outcome call_fn(u64, u64, u64, u64, u64, void *);
typedef struct outcome packet_fn(void *, s32, u32);
typedef struct outcome any_fn(void *, u64, u32, u64);
typedef void trap_fn(void *, u32);

/* What the library shows. */
struct skep_function {
	u64 slot;
	entry_fn *entry;
};
struct skep_program {
	const char *name;
	u64 hash[2];
	u64 functions_len;
	const struct skep_function *functions;
	u64 words_len;
	u64 *words;
};
struct skep_library {
	u64 magic, count;
	const struct skep_program *programs;
};

#if defined(__has_attribute)
#if __has_attribute(musttail)
#define TAIL __attribute__((musttail))
#endif
#endif
#ifndef TAIL
#define TAIL
#endif

#define INLINE static inline __attribute__((always_inline, unused))

INLINE u64 ld8(const char *p) { return *(const u8a *)p; }
INLINE u64 ld16(const char *p) { return *(const u16a *)p; }
INLINE u64 ld32(const char *p) { return *(const u32a *)p; }
INLINE u64 ld64(const char *p) { return *(const u64a *)p; }
INLINE u64 lds8(const char *p) { return (u64)(s64)(s8)ld8(p); }
INLINE u64 lds16(const char *p) { return (u64)(s64)(s16)ld16(p); }
INLINE u64 lds32(const char *p) { return (u64)(s64)(s32)ld32(p); }
/* Loads that happen once, whatever else could be known of the memory. */
INLINE u64 once8(const char *p) { return *(const volatile u8a *)p; }
INLINE u64 once16(const char *p) { return *(const volatile u16a *)p; }
INLINE u64 once32(const char *p) { return *(const volatile u32a *)p; }
INLINE u64 once64(const char *p) { return *(const volatile u64a *)p; }
INLINE u64 onces8(const char *p) { return (u64)(s64)(s8)once8(p); }
INLINE u64 onces16(const char *p) { return (u64)(s64)(s16)once16(p); }
INLINE u64 onces32(const char *p) { return (u64)(s64)(s32)once32(p); }
INLINE void st8(char *p, u64 v) { *(u8a *)p = (u8)v; }
INLINE void st16(char *p, u64 v) { *(u16a *)p = (u16)v; }
INLINE void st32(char *p, u64 v) { *(u32a *)p = (u32)v; }
INLINE void st64(char *p, u64 v) { *(u64a *)p = v; }

/* By 0 a division gives 0 and leaves the dividend; by -1 it wraps. */
INLINE u64 div64(u64 a, u64 b) { return b ? a / b : 0; }
INLINE u64 mod64(u64 a, u64 b) { return b ? a % b : a; }
INLINE u32 div32(u32 a, u32 b) { return b ? a / b : 0; }
INLINE u32 mod32(u32 a, u32 b) { return b ? a % b : a; }
INLINE u64 sdiv64(u64 a, u64 b) { return b + 1 < 2 ? (b ? -a : 0) : (u64)((s64)a / (s64)b); }
INLINE u64 smod64(u64 a, u64 b) { return b + 1 < 2 ? (b ? 0 : a) : (u64)((s64)a % (s64)b); }
INLINE u32 sdiv32(u32 a, u32 b) { return b + 1 < 2 ? (b ? -a : 0) : (u32)((s32)a / (s32)b); }
INLINE u32 smod32(u32 a, u32 b) { return b + 1 < 2 ? (b ? 0 : a) : (u32)((s32)a % (s32)b); }

INLINE u64 swap16(u16 v) { return __builtin_bswap16(v); }
INLINE u64 swap32(u32 v) { return __builtin_bswap32(v); }
INLINE u64 swap64(u64 v) { return __builtin_bswap64(v); }
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define le16(v) (u64)(v)
#define le32(v) (u64)(v)
#define le64(v) (u64)(v)
#define be8(v) (u64)(v)
#define be16(v) swap16(v)
#define be32(v) swap32(v)
#define be64(v) swap64(v)
#else
#define le16(v) swap16(v)
#define le32(v) swap32(v)
#define le64(v) swap64(v)
#define be8(v) (u64)(v)
#define be16(v) (u64)(v)
#define be32(v) (u64)(v)
#define be64(v) (u64)(v)
#endif

INLINE int take(u32m *lock)
{
	u32 free = 0;
	return __atomic_compare_exchange_n(lock, &free, 1, 0, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED);
}
INLINE u32 exchange32(u32m *at, u32 expected, u32 v)
{
	__atomic_compare_exchange_n(at, &expected, v, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
	return expected;
}
INLINE u64 exchange64(u64m *at, u64 expected, u64 v)
{
	__atomic_compare_exchange_n(at, &expected, v, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
	return expected;
}

/* The run, as the engine has it. */
