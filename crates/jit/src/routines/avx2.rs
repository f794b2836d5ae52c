//! The routines with AVX2: 32 bytes at a time, what is left in plain code.
//!
//! Called only where the processor has AVX2 (`super::vectors`).

use super::{Pair, plain};
use std::arch::x86_64::*;

/// See [`super::fill`].
#[target_feature(enable = "avx2")]
pub(super) unsafe extern "C" fn fill(to: *mut u8, len: usize, a: u64, b: u64) {
    let v = _mm256_set_epi64x(b as i64, a as i64, b as i64, a as i64);
    let whole = len & !31;
    for at in (0..whole).step_by(32) {
        // SAFETY: `at + 32 <= len`, the caller's promise.
        unsafe { _mm256_storeu_si256(to.add(at).cast(), v) };
    }
    // SAFETY: the bytes behind the whole vectors, which begin at a multiple of the pattern.
    unsafe { plain::fill(to.add(whole), len - whole, a, b) }
}

/// Adds up the four 64-bit lanes.
#[target_feature(enable = "avx2")]
fn lanes(v: __m256i) -> u64 {
    let v = _mm_add_epi64(_mm256_castsi256_si128(v), _mm256_extracti128_si256::<1>(v));
    (_mm_cvtsi128_si64(v) as u64).wrapping_add(_mm_extract_epi64::<1>(v) as u64)
}

/// Two vectors a turn, so that additions need not wait for each other: `$add` gives four 64-bit lanes of a vector's sum.
macro_rules! sums {
    ($($name:ident $bytes:literal $add:ident),*) => {$(
        /// See [`super::sum`].
        #[target_feature(enable = "avx2")]
        pub(super) unsafe extern "C" fn $name(from: *const u8, elements: usize) -> u64 {
            let len = elements * $bytes;
            let whole = len & !63;
            let (mut x, mut y) = (_mm256_setzero_si256(), _mm256_setzero_si256());
            for at in (0..whole).step_by(64) {
                // SAFETY: `at + 64 <= len`, the caller's promise.
                let (a, b) = unsafe {
                    (_mm256_loadu_si256(from.add(at).cast()), _mm256_loadu_si256(from.add(at + 32).cast()))
                };
                x = _mm256_add_epi64(x, $add(a));
                y = _mm256_add_epi64(y, $add(b));
            }
            let sum = lanes(_mm256_add_epi64(x, y));
            // SAFETY: the elements behind the whole vectors.
            sum.wrapping_add(unsafe { plain::$name(from.add(whole), (len - whole) / $bytes) })
        }
    )*};
}

sums!(sum8 1 add8, sum16 2 add16, sum32 4 add32, sum64 8 add64);

#[target_feature(enable = "avx2")]
fn add8(v: __m256i) -> __m256i {
    _mm256_sad_epu8(v, _mm256_setzero_si256())
}

/// The low bytes and the high bytes of the elements, added up apart.
#[target_feature(enable = "avx2")]
fn add16(v: __m256i) -> __m256i {
    let zero = _mm256_setzero_si256();
    let low = _mm256_sad_epu8(_mm256_and_si256(v, _mm256_set1_epi16(0xff)), zero);
    let high = _mm256_sad_epu8(_mm256_srli_epi16::<8>(v), zero);
    _mm256_add_epi64(low, _mm256_slli_epi64::<8>(high))
}

#[target_feature(enable = "avx2")]
fn add32(v: __m256i) -> __m256i {
    let low = _mm256_and_si256(v, _mm256_set1_epi64x(0xffff_ffff));
    _mm256_add_epi64(low, _mm256_srli_epi64::<32>(v))
}

#[target_feature(enable = "avx2")]
fn add64(v: __m256i) -> __m256i {
    v
}

/// See [`super::classify`].
#[target_feature(enable = "avx2,popcnt,lzcnt")]
pub(super) unsafe extern "C" fn classify(
    from: *const u8,
    len: usize,
    a: u64,
    b: u64,
    c: u64,
    d: u64,
) -> Pair {
    let low = _mm256_set_epi64x(b as i64, a as i64, b as i64, a as i64);
    let high = _mm256_set_epi64x(d as i64, c as i64, d as i64, c as i64);
    let bits = _mm256_set1_epi64x(0x8040_2010_0804_0201_u64 as i64);
    let nibble = _mm256_set1_epi8(15);
    let whole = len & !31;
    let (mut count, mut last) = (0u64, 0u64);
    for at in (0..whole).step_by(32) {
        // SAFETY: `at + 32 <= len`, the caller's promise.
        let v = unsafe { _mm256_loadu_si256(from.add(at).cast()) };
        let l = _mm256_and_si256(v, nibble);
        let h = _mm256_and_si256(_mm256_srli_epi16::<4>(v), nibble);
        let row = _mm256_blendv_epi8(_mm256_shuffle_epi8(low, l), _mm256_shuffle_epi8(high, l), v);
        let bit = _mm256_shuffle_epi8(bits, h);
        let hits = _mm256_movemask_epi8(_mm256_cmpeq_epi8(_mm256_and_si256(row, bit), bit)) as u32;
        if hits != 0 {
            count += u64::from(hits.count_ones());
            last = (at + 32) as u64 - u64::from(hits.leading_zeros());
        }
    }
    // SAFETY: the bytes behind the whole vectors.
    let rest = unsafe { plain::classify(from.add(whole), len - whole, a, b, c, d) };
    Pair(count + rest.0, if rest.1 == 0 { last } else { rest.1 + whole as u64 })
}
