//! Internet checksum arithmetic (RFC 1071), small and pure.
//!
//! A sum is 32 bits, added with end-around carry, over bytes taken as 16-bit words in memory order; it stands for its
//! value modulo 65,535. The functions keep the kernel's results bit for bit, the two zeros (`0` and `0xffff`)
//! included, because programs compare them.

use skep_platform::Checksum;

/// `csum_add`.
pub(crate) fn add(a: u32, b: u32) -> u32 {
    let (sum, carry) = a.overflowing_add(b);
    sum + u32::from(carry)
}

/// `csum_sub`.
pub(crate) fn sub(a: u32, b: u32) -> u32 {
    add(a, !b)
}

/// Sum of the bytes on top of `seed` (`csum_partial`); an odd last byte counts as if a zero followed.
pub(crate) fn partial(bytes: &[u8], seed: u32) -> u32 {
    let words = bytes.chunks(4).map(|c| {
        let mut w = [0; 4];
        w[..c.len()].copy_from_slice(c);
        u64::from(u32::from_ne_bytes(w))
    });
    // At most 2^32 words of 32 bits fit into 64 bits.
    let mut sum = words.fold(u64::from(seed), |a, w| a + w);
    while sum >> 32 != 0 {
        sum = (sum & 0xffff_ffff) + (sum >> 32);
    }
    sum as u32
}

/// 16 bits of a sum (`csum_from32to16`).
pub(crate) fn narrow(sum: u32) -> u16 {
    (sum.wrapping_add(sum.rotate_left(16)) >> 16) as u16
}

/// The complement of the 16 bits of a sum: what stands in a header (`csum_fold`).
pub(crate) fn fold(sum: u32) -> u16 {
    let once = (sum & 0xffff) + (sum >> 16);
    let twice = (once & 0xffff) + (once >> 16);
    !(twice as u16)
}

/// The header checksum `field` after a change whose sum is `diff` (`csum_replace_by_diff`).
pub(crate) fn replace_by_diff(field: u16, diff: u32) -> u16 {
    fold(add(diff, !u32::from(field)))
}

/// After a 32-bit field changed (`csum_replace4`).
pub(crate) fn replace4(field: u16, from: u32, to: u32) -> u16 {
    fold(add(sub(!u32::from(field), from), to))
}

/// After a 16-bit field changed (`csum_replace2`).
pub(crate) fn replace2(field: u16, from: u16, to: u16) -> u16 {
    !add16(add16(!field, !from), to)
}

/// `csum16_add`.
pub(crate) fn add16(a: u16, b: u16) -> u16 {
    let (sum, carry) = a.overflowing_add(b);
    sum + u16::from(carry)
}

/// The sum of bytes as it counts from an odd offset on (`csum_shift`).
fn at_offset(sum: u32, offset: usize) -> u32 {
    if offset % 2 == 1 { sum.rotate_right(8) } else { sum }
}

/// The packet's checksum state after the bytes at `offset` from its network header changed.
pub(crate) fn replaced(state: Checksum, offset: usize, old: &[u8], new: &[u8]) -> Checksum {
    let Checksum::Complete(sum) = state else { return state };
    let sum = sub(sum, at_offset(partial(old, 0), offset));
    Checksum::Complete(add(sum, at_offset(partial(new, 0), offset)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition, word by word.
    fn reference(bytes: &[u8]) -> u16 {
        let mut sum = 0u64;
        for pair in bytes.chunks(2) {
            sum += u64::from(u16::from_ne_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
        }
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        sum as u16
    }

    /// Every pair of bytes values at the small widths, against the definition.
    #[test]
    fn sums_are_right_for_all_short_buffers() {
        for v in 0..=u16::MAX {
            let b = v.to_ne_bytes();
            assert_eq!(narrow(partial(&b, 0)), reference(&b));
            assert_eq!(fold(partial(&b, 0)), !reference(&b));
            assert_eq!(narrow(partial(&b[..1], 0)), reference(&b[..1]));
            assert_eq!(narrow(u32::from(v) << 16 | 0xffff), narrow(add(u32::from(v), 0xffff)));
        }
    }

    /// Every 16-bit addition, against wide arithmetic (every 13th by every 17th value).
    #[test]
    fn short_addition_carries_around() {
        for a in (0..=u16::MAX).step_by(13) {
            for b in (0..=u16::MAX).step_by(17) {
                let wide = u32::from(a) + u32::from(b);
                assert_eq!(u32::from(add16(a, b)), (wide & 0xffff) + (wide >> 16));
            }
        }
    }

    /// Changing a field and replacing the checksum equals computing the checksum afresh, up to the sign of zero.
    #[test]
    fn replacement_equals_recomputation() {
        arbtest::arbtest(|u| {
            let mut packet: Vec<u8> = u.arbitrary_iter()?.take(60).collect::<Result<_, _>>()?;
            packet.resize(packet.len().max(8) & !3, 1);
            let check = fold(partial(&packet, 0));
            let at = u.int_in_range(0..=packet.len() / 4 - 1)? * 4;
            let old = [packet[at], packet[at + 1], packet[at + 2], packet[at + 3]];
            let new: [u8; 4] = u.arbitrary()?;
            packet[at..at + 4].copy_from_slice(&new);
            let fresh = fold(partial(&packet, 0));
            let same = |a: u16| a == fresh || (a.is_multiple_of(0xffff) && fresh.is_multiple_of(0xffff));
            let (from, to) = (u32::from_ne_bytes(old), u32::from_ne_bytes(new));
            assert!(same(replace4(check, from, to)));
            assert!(same(replace_by_diff(check, sub(to, from))));
            let half = |b: [u8; 4], i| u16::from_ne_bytes([b[i], b[i + 1]]);
            let first = replace2(check, half(old, 0), half(new, 0));
            assert!(same(replace2(first, half(old, 2), half(new, 2))));
            Ok(())
        });
    }

    /// The sum of a whole packet stays right whatever bytes change wherever.
    #[test]
    fn complete_sums_follow_changes() {
        arbtest::arbtest(|u| {
            let mut packet: Vec<u8> = u.arbitrary_iter()?.take(40).collect::<Result<_, _>>()?;
            packet.push(7);
            let at = u.int_in_range(0..=packet.len() - 1)?;
            let n = u.int_in_range(0..=packet.len() - at)?;
            let old = packet[at..at + n].to_vec();
            let new: Vec<u8> = (0..n).map(|_| u.arbitrary()).collect::<Result<_, _>>()?;
            let state = Checksum::Complete(partial(&packet, 0));
            packet[at..at + n].copy_from_slice(&new);
            let Checksum::Complete(sum) = replaced(state, at, &old, &new) else { panic!("stays complete") };
            assert_eq!(fold(sum) % 0xffff, fold(partial(&packet, 0)) % 0xffff);
            Ok(())
        });
    }
}
