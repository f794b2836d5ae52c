//! Routines in the place of loops over arrays. With the vector instructions of this processor where it has them.
//!
//! They get addresses that the program's own loop would have accessed, every byte of them, and are as safe as that.

#[cfg(target_arch = "x86_64")]
mod avx2;
mod plain;
#[cfg(test)]
mod tests;

/// Two results.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Pair(pub(crate) u64, pub(crate) u64);

pub(crate) type Copy4 = unsafe extern "C" fn(*mut u8, *const u8, usize, usize);
pub(crate) type Fill4 = unsafe extern "C" fn(*mut u8, usize, u64, u64);
pub(crate) type Sum2 = unsafe extern "C" fn(*const u8, usize) -> u64;
pub(crate) type Classify6 = unsafe extern "C" fn(*const u8, usize, u64, u64, u64, u64) -> Pair;

fn vectors() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::arch::is_x86_feature_detected!("avx2");
    #[cfg(not(target_arch = "x86_64"))]
    false
}

macro_rules! best {
    ($ty:ty, $name:ident) => {{
        let plain: $ty = plain::$name;
        #[cfg(target_arch = "x86_64")]
        let vector: $ty = avx2::$name;
        #[cfg(not(target_arch = "x86_64"))]
        let vector = plain;
        if vectors() { vector } else { plain }
    }};
}

/// `(to, from, elements, bytes of an element)`: copies one element after the other, lowest address first, so that
/// overlapping arrays end up as the loop leaves them.
pub(crate) fn copy() -> Copy4 {
    plain::copy
}

/// `(to, bytes, pattern, pattern)`: repeats 16 bytes.
pub(crate) fn fill() -> Fill4 {
    best!(Fill4, fill)
}

/// `(from, elements)`: the sum of elements of so many bytes.
pub(crate) fn sum(bytes: u8) -> Sum2 {
    match bytes {
        1 => best!(Sum2, sum8),
        2 => best!(Sum2, sum16),
        4 => best!(Sum2, sum32),
        _ => best!(Sum2, sum64),
    }
}

/// `(from, bytes, rows…)`: how many bytes are in the set, and the place behind the last one that is.
pub(crate) fn classify() -> Classify6 {
    best!(Classify6, classify)
}

/// A set of bytes as rows: byte `l` of the first two words says, bit by bit, which bytes `h << 4 | l` with `h < 8` are in
/// it; of the last two words those with `h >= 8`.
pub(crate) fn rows(set: &[bool; 256]) -> [u64; 4] {
    let mut rows = [0u8; 32];
    for (high, bytes) in set.chunks_exact(16).enumerate() {
        let half = if high < 8 { &mut rows[..16] } else { &mut rows[16..] };
        half.iter_mut().zip(bytes).for_each(|(row, is)| *row |= u8::from(*is) << (high & 7));
    }
    std::array::from_fn(|i| {
        let mut word = [0; 8];
        word.copy_from_slice(&rows[i * 8..i * 8 + 8]);
        u64::from_le_bytes(word)
    })
}
