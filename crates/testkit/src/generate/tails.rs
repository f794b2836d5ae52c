//! Sets of programs that continue in each other through map 2, a program array: by indices that are constant or not, from the
//! program and from its functions, to programs that are there and to entries that are empty or do not exist, and in chains
//! that end shortly before or at the limit of 33.

use super::packets::{Maker, R6, R7, R8, VALUE, add, imm, mov, read, write};
use super::{CONDS, Random, WIDTHS, load, reg, small};
use skep_isa::{AluOp, Callee, Cond, Imm64, Insn, Op, Operand, Size, Width};

/// Entries of map 2. The last ones are empty: a set has [`MOST`] programs at most.
pub const PROGRAMS: u32 = 6;
/// Programs of a set.
const MOST: usize = 3;
/// Where in the value of map 0 programs count and mix in who they are, so that the path of a chain shows; 0 before a run.
const COUNT: i16 = VALUE - 16;
const PATH: i16 = VALUE - 8;
/// The chain's limit (`MAX_TAIL_CALL_CNT`).
const LIMIT: i32 = 33;

/// A program with the places where its functions begin, itself being the first.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Made {
    /// The instructions.
    pub insns: Vec<Insn>,
    /// Ascending, from 0.
    pub starts: Vec<usize>,
}

/// A program of about `len` steps, and those that it may continue in: the n-th is for entry n of map 2, the first is where a run
/// begins. Two of three sets are one program without tail calls.
pub fn packet_programs(random: &mut impl Random, len: usize) -> Vec<Made> {
    if random.below(3) != 0 {
        return vec![super::packets::packet_program(random, len, None)];
    }
    let programs = 1 + random.below(MOST);
    let one = |n| super::packets::packet_program(random, if n == 0 { len } else { 4 + len / 4 }, Some(n));
    (0..programs).map(one).collect()
}

impl<R: Random> Maker<'_, R> {
    /// Notes that the program has begun: `count += 1; path = path * 31 + who`.
    pub(super) fn sign(&mut self, who: usize) {
        self.ops.extend([read(Size::Dw, 3, R8, COUNT), imm(AluOp::Add, 3, 1), write(Size::Dw, R8, COUNT, 3)]);
        self.ops.extend([read(Size::Dw, 3, R8, PATH), imm(AluOp::Mul, 3, 31)]);
        self.ops.extend([imm(AluOp::Add, 3, 1 + who as i32), write(Size::Dw, R8, PATH, 3)]);
    }

    /// A tail call, always or if a number or the chain's length says so. In a function (`r8` is the function's own there) the
    /// length is not at hand.
    pub(super) fn tail(&mut self, function: bool) {
        let guard = match self.random.below(if function { 2 } else { 4 }) {
            0 => None,
            1 => {
                let (cond, width) = (self.random.pick(&CONDS), self.random.pick(&WIDTHS));
                Some((cond, width, self.number(), small(self.random)))
            }
            _ => {
                // Programs that began are one more than tail calls made.
                self.ops.extend([read(Size::W, 3, R8, COUNT), imm(AluOp::And, 3, 63)]);
                Some((Cond::Gt, Width::W64, 3, LIMIT - 4 + self.random.below(8) as i32))
            }
        };
        let at = self.ops.len();
        self.ops.extend(guard.map(|_| Op::Exit));
        self.index();
        self.ops.push(mov(1, R6));
        self.ops.push(Op::LoadImm64 { dst: reg(2), imm: Imm64::MapIdx(2) });
        self.ops.push(Op::Call(Callee::Helper(12)));
        if let Some((cond, width, dst, than)) = guard {
            let off = (self.ops.len() - at - 1) as i16;
            self.ops[at] = Op::JumpIf { cond, width, dst: reg(dst), src: Operand::Imm(than), off };
        }
        self.numbers(&[0, 1, 2, 3, 4, 5]);
    }

    /// Puts an index into `r3`: one of the programs most of the time.
    fn index(&mut self) {
        let entry = self.random.below(MOST) as i32;
        match self.random.below(8) {
            0..3 => self.ops.push(load(reg(3), entry as u64)),
            3 => {
                let none = self.random.pick(&[MOST as i32, PROGRAMS as i32 - 1, PROGRAMS as i32, -1]);
                self.ops.push(imm(AluOp::Mov, 3, none));
            }
            n => {
                let from = self.number();
                let mask = self.random.pick(&[1, 3, 7]);
                self.ops.extend([mov(3, from), imm(AluOp::And, 3, mask)]);
                if n == 7 {
                    // The upper half of the register does not count.
                    self.ops.extend([load(reg(4), 5 << 32), add(3, 4)]);
                }
            }
        }
    }

    /// The packet once more: whoever was called may have changed it, for what the verifier knows.
    pub(super) fn packet(&mut self) {
        self.ops.extend([read(Size::W, R7, R6, 0), read(Size::W, 3, R6, 4), mov(4, R7)]);
        self.ops.push(imm(AluOp::Add, 4, super::PACKET.into()));
        self.ops.push(imm(AluOp::Mov, 0, 1));
        self.ends.push(self.ops.len());
        let src = Operand::Reg(reg(3));
        self.ops.push(Op::JumpIf { cond: Cond::Gt, width: Width::W64, dst: reg(4), src, off: 0 });
    }
}
