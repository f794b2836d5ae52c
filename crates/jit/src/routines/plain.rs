//! The routines in plain code. Addresses need not be aligned.

use super::Pair;

/// See [`super::copy`].
pub(super) unsafe extern "C" fn copy(to: *mut u8, from: *const u8, elements: usize, size: usize) {
    let len = elements.wrapping_mul(size);
    let ahead = (to as usize).wrapping_sub(from as usize);
    if ahead == 0 || ahead >= len {
        // SAFETY: the caller's promise; `copy` allows overlap, and where `to` lies below `from` it gives what a copy from
        // the lowest address upwards gives.
        unsafe { std::ptr::copy(from, to, len) };
        return;
    }
    for i in (0..len).step_by(size.max(1)) {
        // SAFETY: the element lies inside of `len`; `copy` reads it whole before it writes.
        unsafe { std::ptr::copy(from.add(i), to.add(i), size) };
    }
}

/// See [`super::fill`].
pub(super) unsafe extern "C" fn fill(to: *mut u8, len: usize, a: u64, b: u64) {
    let pattern = [a.to_le_bytes(), b.to_le_bytes()];
    let pattern = pattern.as_flattened();
    for at in (0..len).step_by(16) {
        let n = (len - at).min(16);
        // SAFETY: `at + n <= len`, the caller's promise for `to`; the pattern has 16 bytes.
        unsafe { std::ptr::copy_nonoverlapping(pattern.as_ptr(), to.add(at), n) };
    }
}

macro_rules! sums {
    ($($name:ident $ty:ty),*) => {$(
        /// See [`super::sum`].
        pub(super) unsafe extern "C" fn $name(from: *const u8, elements: usize) -> u64 {
            let element = |i: usize| {
                // SAFETY: the element is one of those that the caller promises.
                unsafe { from.cast::<$ty>().add(i).read_unaligned() }
            };
            (0..elements).fold(0u64, |sum, i| sum.wrapping_add(u64::from(element(i))))
        }
    )*};
}

sums!(sum8 u8, sum16 u16, sum32 u32, sum64 u64);

/// See [`super::classify`].
pub(super) unsafe extern "C" fn classify(
    from: *const u8,
    len: usize,
    a: u64,
    b: u64,
    c: u64,
    d: u64,
) -> Pair {
    let rows = [a, b, c, d].map(u64::to_le_bytes);
    let rows = rows.as_flattened();
    let mut out = Pair(0, 0);
    for i in 0..len {
        // SAFETY: the caller promises `len` bytes.
        let byte = unsafe { from.add(i).read() };
        let row = rows[usize::from(byte & 15) + usize::from(byte >> 7) * 16];
        if row >> (byte >> 4 & 7) & 1 == 1 {
            out = Pair(out.0 + 1, i as u64 + 1);
        }
    }
    out
}
