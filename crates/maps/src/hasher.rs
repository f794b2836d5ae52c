//! The hash of a key: 64 bits from 1 to 512 bytes, keyed by a seed that only the map knows.
//!
//! Words are folded in by 64 × 64 → 128 bit multiplication, two at a time, as in the wyhash family; a key of up to 16
//! bytes costs one multiplication. The steps are few and fixed, so that a compiler can put them in line.

use crate::mem::load_word;

const K0: u64 = 0x9e37_79b9_7f4a_7c15;
const K1: u64 = 0xd1b5_4a32_d192_ed03;

/// Seed of a map's hash; zero with `BPF_F_ZERO_SEED`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seed(pub(crate) u64);

#[inline(always)]
pub(crate) fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

impl Seed {
    /// A seed that nobody can guess; from the clock where the system has no randomness to give.
    pub(crate) fn random() -> Seed {
        let mut bytes = [0; 8];
        match rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::NONBLOCK) {
            Ok(8) => Seed(u64::from_ne_bytes(bytes)),
            _ => {
                let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
                Seed(fold(now.tv_nsec as u64 ^ K0, now.tv_sec as u64 ^ K1))
            }
        }
    }

    /// The two words that the hash of a key of `len` bytes begins with.
    #[inline(always)]
    pub(crate) fn start(self, len: usize) -> (u64, u64) {
        (self.0 ^ K0, self.0.rotate_left(32) ^ K1 ^ len as u64)
    }

    /// Hash of `key`.
    #[inline(always)]
    pub(crate) fn hash(self, key: &[u8]) -> u64 {
        let (a, b) = self.start(key.len());
        match key.len() {
            0..=8 => fold(load_word(key) ^ a, b),
            9..=16 => fold(load_word(&key[..8]) ^ a, load_word(&key[8..]) ^ b),
            _ => long(a, b, key),
        }
    }
}

/// Sixteen bytes a step; two chains of multiplications that do not wait for each other.
#[inline]
fn long(a: u64, b: u64, key: &[u8]) -> u64 {
    let (mut left, mut right) = (a, b);
    let mut chunks = key.chunks_exact(32);
    for chunk in &mut chunks {
        left = fold(load_word(&chunk[..8]) ^ left, load_word(&chunk[8..16]) ^ K1);
        right = fold(load_word(&chunk[16..24]) ^ right, load_word(&chunk[24..]) ^ K0);
    }
    let mut rest = chunks.remainder();
    if rest.len() > 16 {
        left = fold(load_word(&rest[..8]) ^ left, load_word(&rest[8..16]) ^ K1);
        rest = &rest[16..];
    }
    let (low, high) = rest.split_at(rest.len().min(8));
    fold(load_word(low) ^ left, load_word(high) ^ right)
}

/// The same over words, the last one padded with zeros, when their number is known to the compiler.
#[inline(always)]
pub(crate) fn long_words<const W: usize>(a: u64, b: u64, key: &[u64; W]) -> u64 {
    let (mut left, mut right) = (a, b);
    let mut at = 0;
    while W - at >= 4 {
        left = fold(key[at] ^ left, key[at + 1] ^ K1);
        right = fold(key[at + 2] ^ right, key[at + 3] ^ K0);
        at += 4;
    }
    if W - at > 2 {
        left = fold(key[at] ^ left, key[at + 1] ^ K1);
        at += 2;
    }
    let word = |at: usize| key.get(at).copied().unwrap_or(0);
    fold(word(at) ^ left, word(at + 1) ^ right)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bit_of_a_key_counts() {
        for len in [1usize, 3, 4, 8, 9, 16, 17, 31, 32, 64, 300] {
            let key = vec![0u8; len];
            let base = Seed(1).hash(&key);
            for bit in 0..len * 8 {
                let mut other = key.clone();
                other[bit / 8] ^= 1 << (bit % 8);
                let flipped = (Seed(1).hash(&other) ^ base).count_ones();
                assert!((8..=56).contains(&flipped), "len {len} bit {bit}: {flipped} bits changed");
            }
        }
    }

    #[test]
    fn dense_keys_spread_over_buckets() {
        let mut load = vec![0u32; 1024];
        for key in 0..4096u32 {
            load[Seed(7).hash(&key.to_ne_bytes()) as usize & 1023] += 1;
        }
        assert!(load.iter().max() < Some(&20));
    }
}
