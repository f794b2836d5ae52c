//! The routines against the loops that they stand for, at every alignment and length around a vector's.

use super::{Pair, plain, rows};

fn bytes(n: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_u32;
    (0..n)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .collect()
}

#[test]
fn copies_as_a_loop_does_it() {
    for (to, from, size) in [(0, 300, 1), (300, 0, 8), (8, 0, 1), (8, 0, 8), (4, 0, 8), (0, 4, 4), (1, 0, 1)]
    {
        let (mut want, mut got) = (bytes(600), bytes(600));
        let elements = 200 / size;
        for i in 0..elements {
            let element = want[from + i * size..from + (i + 1) * size].to_vec();
            want[to + i * size..to + (i + 1) * size].copy_from_slice(&element);
        }
        let base = got.as_mut_ptr();
        // SAFETY: both ranges lie in the 600 bytes.
        unsafe { plain::copy(base.add(to), base.add(from), elements, size) };
        assert_eq!(got, want, "{size} bytes from {from} to {to}");
    }
}

#[test]
#[cfg(target_arch = "x86_64")]
fn vectors_and_plain_code_agree() {
    use super::avx2;
    if !super::vectors() {
        return;
    }
    let data = bytes(400);
    let set: [bool; 256] = std::array::from_fn(|b| b % 7 == 3 || b > 250);
    let [a, b, c, d] = rows(&set);
    for (start, len) in (0..40).flat_map(|s| [0, 1, 31, 32, 33, 63, 64, 65, 130, 300].map(|l| (s, l))) {
        let at = data[start..].as_ptr();
        // SAFETY: `start + len` is less than 400.
        unsafe {
            assert_eq!(avx2::sum8(at, len), plain::sum8(at, len));
            assert_eq!(avx2::sum16(at, len / 2), plain::sum16(at, len / 2));
            assert_eq!(avx2::sum32(at, len / 4), plain::sum32(at, len / 4));
            assert_eq!(avx2::sum64(at, len / 8), plain::sum64(at, len / 8));
            assert_eq!(avx2::classify(at, len, a, b, c, d), plain::classify(at, len, a, b, c, d));
        }
        let hits: Vec<usize> = (0..len).filter(|i| set[usize::from(data[start + i])]).collect();
        // SAFETY: as above.
        let Pair(count, last) = unsafe { avx2::classify(at, len, a, b, c, d) };
        assert_eq!((count, last), (hits.len() as u64, hits.last().map_or(0, |i| *i as u64 + 1)));
        let (mut x, mut y) = (data.clone(), data.clone());
        // SAFETY: as above.
        unsafe {
            avx2::fill(x[start..].as_mut_ptr(), len, 0x0102_0304_0506_0708, 9);
            plain::fill(y[start..].as_mut_ptr(), len, 0x0102_0304_0506_0708, 9);
        }
        assert_eq!(x, y);
    }
}
