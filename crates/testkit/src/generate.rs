//! Random programs that a verifier accepts: arithmetic, byte order, forward jumps, loads, stores and atomics on
//! the stack, subprogram-free. Every register is written before it is read, every stack slot too.
//!
//! The program folds all registers into `r0` at its end, so a wrong intermediate value shows.

mod packets;
mod tails;

pub use packets::{ENTRIES, PACKET, VALUE};
pub use tails::{Made, PROGRAMS, packet_programs};

use skep_isa::{AluOp, AtomicOp, Callee, Cond, Endian, Imm64, Insn, Op, Operand, Reg, Size, Width};

/// A source of random numbers.
pub trait Random {
    /// Any 64 bits.
    fn bits(&mut self) -> u64;

    /// A number below `n`.
    fn below(&mut self, n: usize) -> usize {
        (self.bits() % n.max(1) as u64) as usize
    }

    /// One of these.
    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}

/// splitmix64 from a seed.
#[derive(Clone, Debug)]
pub struct Seed(pub u64);

impl Random for Seed {
    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

const ALU: [AluOp; 14] = [
    AluOp::Add,
    AluOp::Sub,
    AluOp::Mul,
    AluOp::Div,
    AluOp::Sdiv,
    AluOp::Or,
    AluOp::And,
    AluOp::Lsh,
    AluOp::Rsh,
    AluOp::Arsh,
    AluOp::Mod,
    AluOp::Smod,
    AluOp::Xor,
    AluOp::Mov,
];
const CONDS: [Cond; 11] = [
    Cond::Eq,
    Cond::Ne,
    Cond::Gt,
    Cond::Ge,
    Cond::Lt,
    Cond::Le,
    Cond::Set,
    Cond::Sgt,
    Cond::Sge,
    Cond::Slt,
    Cond::Sle,
];
const ATOMICS: [AtomicOp; 10] = [
    AtomicOp::Add { fetch: false },
    AtomicOp::Add { fetch: true },
    AtomicOp::Or { fetch: false },
    AtomicOp::Or { fetch: true },
    AtomicOp::And { fetch: false },
    AtomicOp::And { fetch: true },
    AtomicOp::Xor { fetch: false },
    AtomicOp::Xor { fetch: true },
    AtomicOp::Xchg,
    AtomicOp::Cmpxchg,
];
const SIZES: [Size; 4] = [Size::B, Size::H, Size::W, Size::Dw];
const WIDTHS: [Width; 2] = [Width::W32, Width::W64];
/// Values at which operations change their mind.
const EDGES: [u64; 12] = [
    0,
    1,
    2,
    0x7f,
    0x80,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x1_0000_0000,
    0x7fff_ffff_ffff_ffff,
    0x8000_0000_0000_0000,
    u64::MAX,
];
/// Bytes of stack that programs use, a multiple of 8.
const STACK: i16 = 64;

/// A program of about `len` instructions.
pub fn program(random: &mut impl Random, len: usize) -> Vec<Insn> {
    let mut ops: Vec<Op> = Vec::new();
    for n in 0..10 {
        ops.push(load(reg(n), value(random)));
    }
    for at in 1..=STACK / 8 {
        let src = Operand::Reg(any_reg(random));
        ops.push(Op::Store { size: Size::Dw, dst: Reg::R10, off: -8 * at, src });
    }
    for left in (0..len).rev() {
        ops.push(step(random, left));
    }
    for n in 1..10 {
        ops.push(alu(AluOp::Mul, Operand::Imm(31)));
        ops.push(alu(AluOp::Xor, Operand::Reg(reg(n))));
    }
    for at in 1..=STACK / 8 {
        ops.push(Op::Load { size: Size::Dw, sx: false, dst: Reg::R1, src: Reg::R10, off: -8 * at });
        ops.push(alu(AluOp::Xor, Operand::Reg(Reg::R1)));
    }
    // A test run shows the lower half of r0 only: fold the upper one in.
    ops.push(Op::Alu { op: AluOp::Mov, width: Width::W64, dst: Reg::R1, src: Operand::Reg(Reg::R0) });
    ops.push(Op::Alu { op: AluOp::Rsh, width: Width::W64, dst: Reg::R1, src: Operand::Imm(32) });
    ops.push(alu(AluOp::Xor, Operand::Reg(Reg::R1)));
    ops.push(Op::Exit);
    assemble(&ops)
}

/// Jump offsets are counted in instructions by [`step`]; here they become slots.
fn assemble(ops: &[Op]) -> Vec<Insn> {
    let mut at = Vec::with_capacity(ops.len() + 1);
    let mut slot = 0i64;
    for op in ops {
        at.push(slot);
        slot += op.slots() as i64;
    }
    at.push(slot);
    let target = |i: usize, off: i64| at[(i as i64 + 1 + off) as usize] - at[i] - 1;
    let moved = |(i, op): (usize, &Op)| match *op {
        Op::JumpIf { cond, width, dst, src, off } => {
            Op::JumpIf { cond, width, dst, src, off: target(i, off.into()) as i16 }
        }
        Op::Ja { off, long } => Op::Ja { off: target(i, off.into()) as i32, long },
        Op::Call(Callee::Local(off)) => Op::Call(Callee::Local(target(i, off.into()) as i32)),
        op => op,
    };
    ops.iter().enumerate().map(moved).flat_map(|op| op.encode().to_vec()).collect()
}

fn step(random: &mut impl Random, left: usize) -> Op {
    let (dst, width) = (any_reg(random), random.pick(&WIDTHS));
    match random.below(16) {
        0..7 => arithmetic(random, dst, width),
        7 => Op::Neg { width, dst },
        8 => {
            let bits = random.pick(if width == Width::W64 { &[8, 16, 32] } else { &[8, 16] });
            Op::MovSx { width, bits, dst, src: any_reg(random) }
        }
        9 => {
            let kind = random.pick(&[Endian::ToLe, Endian::ToBe, Endian::Swap]);
            Op::End { kind, bits: random.pick(&[16, 32, 64]), dst }
        }
        10 | 11 => jump(random, dst, width, left),
        12 => load(dst, value(random)),
        13 => {
            let (size, off) = cell(random);
            let sx = size != Size::Dw && random.below(2) == 0;
            Op::Load { size, sx, dst, src: Reg::R10, off }
        }
        14 => {
            let (size, off) = cell(random);
            let src = if random.below(3) == 0 { Operand::Imm(small(random)) } else { Operand::Reg(dst) };
            Op::Store { size, dst: Reg::R10, off, src }
        }
        _ => {
            let step = width.bytes() as i16;
            let off = -STACK + random.below((STACK / step) as usize) as i16 * step;
            Op::Atomic { op: random.pick(&ATOMICS), width, dst: Reg::R10, src: dst, off }
        }
    }
}

fn arithmetic(random: &mut impl Random, dst: Reg, width: Width) -> Op {
    let op = random.pick(&ALU);
    let shift = matches!(op, AluOp::Lsh | AluOp::Rsh | AluOp::Arsh);
    let divides = matches!(op, AluOp::Div | AluOp::Sdiv | AluOp::Mod | AluOp::Smod);
    let src = match random.below(2) {
        0 => Operand::Reg(any_reg(random)),
        _ if shift => Operand::Imm(random.below(width.bits() as usize) as i32),
        _ if divides => Operand::Imm(small(random) | 1),
        _ => Operand::Imm(small(random)),
    };
    Op::Alu { op, width, dst, src }
}

fn jump(random: &mut impl Random, dst: Reg, width: Width, left: usize) -> Op {
    let off = random.below(left.min(6) + 1) as i16;
    if random.below(8) == 0 {
        return Op::Ja { off: 0, long: random.below(2) == 0 };
    }
    let src = if random.below(2) == 0 { Operand::Imm(small(random)) } else { Operand::Reg(any_reg(random)) };
    Op::JumpIf { cond: random.pick(&CONDS), width, dst, src, off }
}

fn cell(random: &mut impl Random) -> (Size, i16) {
    let size = random.pick(&SIZES);
    let step = size.bytes() as i16;
    (size, -STACK + random.below((STACK / step) as usize) as i16 * step)
}

fn value(random: &mut impl Random) -> u64 {
    match random.below(3) {
        0 => random.pick(&EDGES),
        1 => random.pick(&EDGES).wrapping_add(random.below(5) as u64).wrapping_sub(2),
        _ => random.bits(),
    }
}

fn small(random: &mut impl Random) -> i32 {
    value(random) as i32
}

fn any_reg(random: &mut impl Random) -> Reg {
    reg(random.below(10))
}

fn reg(n: usize) -> Reg {
    Reg::new(n as u8).unwrap_or(Reg::R0)
}

fn load(dst: Reg, v: u64) -> Op {
    Op::LoadImm64 { dst, imm: Imm64::Value(v) }
}

fn alu(op: AluOp, src: Operand) -> Op {
    Op::Alu { op, width: Width::W64, dst: Reg::R0, src }
}
