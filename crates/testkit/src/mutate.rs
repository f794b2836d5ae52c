//! Small changes to programs that leave most of them legal.

use crate::generate::Random;
use skep_isa::Insn;

/// Changes one instruction: a register, an offset, an immediate, an operation, its width; or copies another over it.
pub fn mutate(code: &mut [Insn], random: &mut impl Random) {
    if code.is_empty() {
        return;
    }
    let (at, other) = (random.below(code.len()), random.below(code.len()));
    let mut b = code[at].to_bytes();
    match random.below(10) {
        0 => b[1] = b[1] & 0xf0 | random.below(11) as u8,
        1 => b[1] = b[1] & 0x0f | (random.below(11) as u8) << 4,
        2 => b[4] = b[4].wrapping_add(random.below(5) as u8).wrapping_sub(2),
        3 => b[2] = b[2].wrapping_add(random.below(17) as u8).wrapping_sub(8),
        4 => b[4..8].copy_from_slice(&(random.bits() as u32).to_le_bytes()),
        // Another condition; another operation; the other width.
        5 if b[0] & 7 == 5 || b[0] & 7 == 6 => b[0] = b[0] & 0x0f | (random.below(14) as u8) << 4,
        6 if b[0] & 7 == 7 || b[0] & 7 == 4 => b[0] ^= 3,
        6 if b[0] & 7 == 5 || b[0] & 7 == 6 => b[0] ^= 3,
        // Another size of a load or store; the register instead of the immediate.
        7 if b[0] & 7 < 4 => b[0] = b[0] & !0x18 | (random.below(4) as u8) << 3,
        7 => b[0] ^= 8,
        5 | 6 => b[0] = b[0] & 0x0f | (random.below(14) as u8) << 4,
        8 => {
            let edges = [0u32, 1, 7, 8, 31, 32, 63, 64, 255, 256, 0x7fff_ffff, 0x8000_0000, u32::MAX];
            b[4..8].copy_from_slice(&random.pick(&edges).to_le_bytes());
        }
        _ => b = code[other].to_bytes(),
    }
    code[at] = Insn::from_bytes(b);
}
