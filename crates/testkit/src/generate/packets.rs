//! Random XDP programs that a verifier accepts, for the comparison of tiers: arithmetic, branches, atomics, loads and stores
//! to the stack, the packet and a map's value, look-ups, subprograms, tail calls, loops over arrays of the kinds that compilers
//! know.
//!
//! `r6` is the context, `r7` the packet ([`PACKET`] bytes of it are checked), `r8` the value of map 0 ([`VALUE`] bytes);
//! `r0` to `r5` and `r9` are numbers whenever a step begins. At the end the numbers and the stack slots are
//! written to the map's value, so that a wrong one shows.

use super::tails::Made;
use super::{ALU, ATOMICS, CONDS, Random, SIZES, WIDTHS, assemble, load, reg, small, value};
use skep_isa::{AluOp, Callee, Cond, Endian, Imm64, Op, Operand, Reg, Size, Width};

/// Bytes of the packet that programs touch.
pub const PACKET: i16 = 64;
/// Bytes of map 0's value: half of it is the programs' own, the other half what they leave there at the end.
pub const VALUE: i16 = 512;
/// Entries of map 1, an array of 16-byte values.
pub const ENTRIES: u32 = 8;

const NUMBERS: [usize; 7] = [0, 1, 2, 3, 4, 5, 9];
/// Stack slots, 8 bytes each, from `r10 - 8` downwards; the one below them is for keys.
const SLOTS: i16 = 8;
const KEY: i16 = -8 * (SLOTS + 1);
pub(super) const R6: usize = 6;
pub(super) const R7: usize = 7;
pub(super) const R8: usize = 8;
/// Functions behind the program.
const FUNCTIONS: usize = 2;

pub(super) struct Maker<'r, R> {
    pub(super) random: &'r mut R,
    pub(super) ops: Vec<Op>,
    /// Calls of functions: place and function.
    calls: Vec<(usize, usize)>,
    /// Jumps to the end.
    pub(super) ends: Vec<usize>,
    /// It makes tail calls, and which of its functions do.
    tails: bool,
    leave: [bool; FUNCTIONS],
}

/// A program of about `len` steps; with tail calls if it is this entry of map 2. Maps: see [`VALUE`], [`ENTRIES`] and
/// [`super::PROGRAMS`].
pub(super) fn packet_program(random: &mut impl Random, len: usize, entry: Option<usize>) -> Made {
    let tails = entry.is_some();
    let leave = [(); FUNCTIONS].map(|()| tails && random.below(3) == 0);
    let mut m = Maker { random, ops: Vec::new(), calls: Vec::new(), ends: Vec::new(), tails, leave };
    m.begin();
    if let Some(entry) = entry {
        m.sign(entry);
        m.numbers(&[3]);
    }
    for _ in 0..len {
        m.step();
    }
    // What no path reaches is refused.
    for f in 0..FUNCTIONS {
        m.call(f);
    }
    if tails {
        m.leave();
    }
    m.finish();
    let mut starts = vec![0];
    for f in 0..FUNCTIONS {
        starts.push(m.ops.len());
        m.function(m.leave[f]);
    }
    for (at, f) in std::mem::take(&mut m.calls) {
        m.ops[at] = Op::Call(Callee::Local((starts[f + 1] - at - 1) as i32));
    }
    let slot = |at: usize| m.ops[..at].iter().map(|o| o.slots()).sum::<usize>();
    let starts = starts.into_iter().map(slot).collect();
    Made { insns: assemble(&m.ops), starts }
}

pub(super) fn mov(dst: usize, src: usize) -> Op {
    Op::Alu { op: AluOp::Mov, width: Width::W64, dst: reg(dst), src: Operand::Reg(reg(src)) }
}

pub(super) fn imm(op: AluOp, dst: usize, i: i32) -> Op {
    Op::Alu { op, width: Width::W64, dst: reg(dst), src: Operand::Imm(i) }
}

pub(super) fn add(dst: usize, src: usize) -> Op {
    Op::Alu { op: AluOp::Add, width: Width::W64, dst: reg(dst), src: Operand::Reg(reg(src)) }
}

pub(super) fn read(size: Size, dst: usize, src: usize, off: i16) -> Op {
    Op::Load { size, sx: false, dst: reg(dst), src: reg(src), off }
}

pub(super) fn write(size: Size, dst: usize, off: i16, src: usize) -> Op {
    Op::Store { size, dst: reg(dst), off, src: Operand::Reg(reg(src)) }
}

impl<R: Random> Maker<'_, R> {
    pub(super) fn number(&mut self) -> usize {
        self.random.pick(&NUMBERS)
    }

    fn begin(&mut self) {
        self.ops.push(mov(R6, 1));
        self.packet();
        self.ops.push(Op::LoadImm64 { dst: reg(R8), imm: Imm64::MapIdxValue { idx: 0, off: 0 } });
        self.numbers(&NUMBERS);
        for at in 1..=SLOTS {
            let src = self.number();
            self.ops.push(write(Size::Dw, 10, -8 * at, src));
        }
    }

    pub(super) fn numbers(&mut self, which: &[usize]) {
        for r in which {
            let v = value(self.random);
            self.ops.push(load(reg(*r), v));
        }
    }

    fn step(&mut self) {
        match self.random.below(if self.tails { 26 } else { 24 }) {
            0..9 => self.arithmetic(),
            9 => self.other(),
            10 | 11 => self.branch(),
            12..16 => self.access(),
            16 | 17 => self.indexed(),
            18 => self.atomic(),
            19 => self.lookup(),
            20 => {
                let f = self.random.below(FUNCTIONS);
                self.call(f);
            }
            24.. => self.leave(),
            _ => self.repeat(),
        }
    }

    fn arithmetic(&mut self) {
        let (dst, width, op) = (self.number(), self.random.pick(&WIDTHS), self.random.pick(&ALU));
        let shift = matches!(op, AluOp::Lsh | AluOp::Rsh | AluOp::Arsh);
        let divides = matches!(op, AluOp::Div | AluOp::Sdiv | AluOp::Mod | AluOp::Smod);
        let src = match self.random.below(2) {
            0 => Operand::Reg(reg(self.number())),
            _ if shift => Operand::Imm(self.random.below(width.bits() as usize) as i32),
            _ if divides => Operand::Imm(small(self.random) | 1),
            _ => Operand::Imm(small(self.random)),
        };
        self.ops.push(Op::Alu { op, width, dst: reg(dst), src });
    }

    fn other(&mut self) {
        let (dst, src, width) = (reg(self.number()), reg(self.number()), self.random.pick(&WIDTHS));
        self.ops.push(match self.random.below(3) {
            0 => Op::Neg { width, dst },
            1 => {
                let bits = self.random.pick(if width == Width::W64 { &[8, 16, 32] } else { &[8, 16] });
                Op::MovSx { width, bits, dst, src }
            }
            _ => {
                let kind = self.random.pick(&[Endian::ToLe, Endian::ToBe, Endian::Swap]);
                Op::End { kind, bits: self.random.pick(&[16, 32, 64]), dst }
            }
        });
    }

    /// Over one to three steps of arithmetic, with another one or two where it does not jump.
    fn branch(&mut self) {
        let at = self.ops.len();
        let (cond, width, dst) = (self.random.pick(&CONDS), self.random.pick(&WIDTHS), reg(self.number()));
        let src = match self.random.below(2) {
            0 => Operand::Imm(small(self.random)),
            _ => Operand::Reg(reg(self.number())),
        };
        self.ops.push(Op::Exit);
        for _ in 0..1 + self.random.below(3) {
            self.arithmetic();
        }
        let otherwise = self.random.below(3) == 0;
        let skip = self.ops.len();
        if otherwise {
            self.ops.push(Op::Exit);
        }
        self.ops[at] = Op::JumpIf { cond, width, dst, src, off: (self.ops.len() - at - 1) as i16 };
        if otherwise {
            self.arithmetic();
            self.ops[skip] = Op::Ja { off: (self.ops.len() - skip - 1) as i32, long: false };
        }
    }

    /// A base register and an offset at which `size` bytes may be touched.
    fn place(&mut self, size: Size) -> (usize, i16) {
        let n = size.bytes() as i16;
        match self.random.below(3) {
            0 => (10, -8 * SLOTS + self.random.below((8 * SLOTS / n) as usize) as i16 * n),
            1 => (R7, self.random.below((PACKET - n + 1) as usize) as i16),
            _ => (R8, self.random.below((VALUE / 2 - n + 1) as usize) as i16),
        }
    }

    fn access(&mut self) {
        let size = self.random.pick(&SIZES);
        let (base, off) = self.place(size);
        let r = self.number();
        self.ops.push(match self.random.below(5) {
            0 | 1 => Op::Load {
                size,
                sx: size != Size::Dw && self.random.below(3) == 0,
                dst: reg(r),
                src: reg(base),
                off,
            },
            2 => Op::Store { size, dst: reg(base), off, src: Operand::Imm(small(self.random)) },
            _ => write(size, base, off, r),
        });
    }

    /// An access at an offset that is not known.
    fn indexed(&mut self) {
        let size = self.random.pick(&SIZES);
        let (index, r) = (self.number(), self.number());
        let base = self.random.pick(&[R7, R8]);
        let mask = if base == R7 { 31 } else { 127 };
        let free = |taken: &[usize]| NUMBERS.into_iter().find(|n| !taken.contains(n)).unwrap_or(9);
        let other = free(&[index, r]);
        self.ops.extend([imm(AluOp::And, index, mask), mov(other, base), add(other, index)]);
        let off = self.random.below(16) as i16;
        // Of a packet's place that is not known the end is asked for.
        let (end, last) = (free(&[index, r, other]), free(&[index, r, other, 0, 1, 2, 3]));
        if base == R7 {
            self.ops.extend([read(Size::W, end, R6, 4), mov(last, other), imm(AluOp::Add, last, 24)]);
            let src = Operand::Reg(reg(end));
            self.ops.push(Op::JumpIf { cond: Cond::Gt, width: Width::W64, dst: reg(last), src, off: 1 });
        }
        self.ops.push(match self.random.below(2) {
            0 => read(size, r, other, off),
            _ if r == index || base == R8 => write(size, other, off, index),
            _ => write(size, other, off, r),
        });
        let changed = [other, end, last];
        self.numbers(if base == R7 { &changed } else { &changed[..1] });
    }

    fn atomic(&mut self) {
        let width = self.random.pick(&WIDTHS);
        let n = width.bytes() as i16;
        let (base, low, bytes) = self.random.pick(&[(10, -8 * SLOTS, 8 * SLOTS), (R8, 0, VALUE / 2)]);
        let off = low + self.random.below((bytes / n) as usize) as i16 * n;
        let (op, src) = (self.random.pick(&ATOMICS), reg(self.number()));
        self.ops.push(Op::Atomic { op, width, dst: reg(base), src, off });
    }

    /// Looks a value of map 1 up, and adds to it.
    fn lookup(&mut self) {
        if self.random.below(2) == 0 {
            let key = self.random.below(ENTRIES as usize + 1) as i32;
            self.ops.push(Op::Store { size: Size::W, dst: Reg::R10, off: KEY, src: Operand::Imm(key) });
        } else {
            let r = self.number();
            self.ops.extend([imm(AluOp::And, r, 15), write(Size::W, 10, KEY, r)]);
        }
        self.ops.extend([mov(2, 10), imm(AluOp::Add, 2, KEY.into())]);
        self.ops.push(Op::LoadImm64 { dst: reg(1), imm: Imm64::MapIdx(1) });
        self.ops.push(Op::Call(Callee::Helper(1)));
        let off = self.random.pick(&[0, 8]);
        let (cond, src) = (Cond::Eq, Operand::Imm(0));
        self.ops.push(Op::JumpIf { cond, width: Width::W64, dst: reg(0), src, off: 3 });
        self.ops.extend([read(Size::Dw, 9, 0, off), add(9, 9), write(Size::Dw, 0, off, 9)]);
        self.numbers(&[0, 1, 2, 3, 4, 5]);
    }

    /// Functions that make tail calls get the context.
    fn call(&mut self, f: usize) {
        if self.leave[f] {
            self.ops.push(mov(2, R6));
        }
        self.calls.push((self.ops.len(), f));
        self.ops.push(Op::Exit);
        if self.leave[f] {
            self.ops.push(mov(9, 0));
            self.packet();
            self.numbers(&[0]);
        }
        self.numbers(&[1, 2, 3, 4, 5]);
    }

    fn leave(&mut self) {
        self.tail(false);
        self.packet();
        self.numbers(&[0, 3, 4]);
    }

    /// A loop over an array: `r1` counts, `r2` is the address of the element, `r3` what is read.
    fn repeat(&mut self) {
        let size = self.random.pick(&SIZES);
        let n = size.bytes() as i32;
        let turns = 1 + self.random.below(24) as i32;
        let from = self.random.pick(&[0, 8]);
        let wide = self.random.pick(&WIDTHS);
        self.ops.push(load(reg(1), from as u64));
        let head = self.ops.len();
        self.ops.extend([mov(2, R8), add(2, 1)]);
        match self.random.below(5) {
            0 => {
                self.ops.push(read(size, 3, 2, 0));
                let (dst, src) = (reg(0), Operand::Reg(reg(3)));
                self.ops.push(Op::Alu { op: AluOp::Add, width: wide, dst, src });
            }
            1 => {
                // Towards higher or lower addresses, near enough to overlap or not.
                let off = self.random.pick(&[8, 16, 40]);
                self.ops.extend([read(size, 3, 2, off), write(size, 2, 0, 3)]);
            }
            2 => {
                let off = self.random.pick(&[4, 8, 32]);
                self.ops.extend([read(size, 3, 2, 0), write(size, 2, off, 3)]);
            }
            3 => {
                self.ops.extend([mov(3, 1), imm(AluOp::And, 3, n), imm(AluOp::Add, 3, small(self.random))]);
                let src = if self.random.below(2) == 0 { 3 } else { 9 };
                self.ops.push(write(size, 2, 0, src));
            }
            _ => return self.count(head, from, turns),
        }
        self.again(head, n, from + turns * n);
    }

    /// Counts bytes, and keeps the place of the last one.
    fn count(&mut self, head: usize, from: i32, turns: i32) {
        self.ops.push(read(Size::B, 3, 2, 0));
        let (cond, width) = (self.random.pick(&CONDS), Width::W32);
        let src = Operand::Imm(self.random.below(256) as i32);
        self.ops.push(imm(AluOp::Mov, 4, 1));
        self.ops.push(Op::JumpIf { cond, width, dst: reg(3), src, off: 1 });
        self.ops.push(imm(AluOp::Mov, 4, 0));
        let wide = self.random.pick(&WIDTHS);
        let sum = |op, dst, src| Op::Alu { op, width: wide, dst: reg(dst), src: Operand::Reg(reg(src)) };
        self.ops.push(sum(AluOp::Add, 0, 4));
        if self.random.below(2) == 0 {
            self.ops.push(sum(AluOp::Mov, 5, 1));
            let src = Operand::Imm(0);
            self.ops.push(Op::JumpIf { cond: Cond::Ne, width: Width::W64, dst: reg(4), src, off: 1 });
            self.ops.push(sum(AluOp::Mov, 5, 9));
            self.ops.push(sum(AluOp::Mov, 9, 5));
        }
        self.again(head, 1, from + turns);
    }

    fn again(&mut self, head: usize, step: i32, end: i32) {
        self.ops.push(imm(AluOp::Add, 1, step));
        let cond = self.random.pick(&[Cond::Ne, Cond::Lt]);
        let off = (head as i64 - self.ops.len() as i64 - 1) as i16;
        self.ops.push(Op::JumpIf { cond, width: Width::W64, dst: reg(1), src: Operand::Imm(end), off });
        self.numbers(&[2]);
    }

    fn finish(&mut self) {
        for (i, r) in NUMBERS.into_iter().enumerate() {
            self.ops.push(write(Size::Dw, R8, VALUE / 2 + 8 * i as i16, r));
        }
        for at in 1..=SLOTS {
            self.ops.push(read(Size::Dw, 1, 10, -8 * at));
            self.ops.push(write(Size::Dw, R8, VALUE / 2 + 64 + 8 * at, 1));
        }
        let end = self.ops.len();
        self.ops.push(Op::Exit);
        for at in std::mem::take(&mut self.ends) {
            if let Op::JumpIf { off, .. } = &mut self.ops[at] {
                *off = (end - at - 1) as i16;
            }
        }
    }

    /// A function of two numbers; of one and the context, if it makes a tail call.
    fn function(&mut self, leaves: bool) {
        self.ops.push(mov(0, 1));
        self.numbers(&[3, 4, 5, 9]);
        if leaves {
            self.ops.push(mov(R6, 2));
            self.numbers(&[2]);
            self.tail(true);
        }
        for _ in 0..2 + self.random.below(6) {
            match self.random.below(5) {
                0 => self.branch(),
                _ => self.arithmetic(),
            }
        }
        self.ops.push(Op::Exit);
    }
}
