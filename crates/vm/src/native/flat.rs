//! The interpreter's form of a program: one entry of 16 bytes for each slot, with a dense code for what programs do most, and the
//! loop over them.
//!
//! An entry may do the work of the next one, too ([`fuse`]); the next one stays what it is, since a jump may lead there. What has no
//! code of its own is [`Code::Rare`]: the step of the same slot, done by `interp`.

use super::Run;
use super::interp::{Frame, load, store};
use skep_isa::{AluOp, Callee, Cond, Endian, Op, Operand, Reg, Size, Width, eval};
use skep_jit::Step;
use skep_jit::loops::Found;
use skep_platform::env::Fault;

/// One slot.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flat {
    code: Code,
    dst: u8,
    src: u8,
    /// Register of the second part of a fused entry.
    other: u8,
    /// Displacement of an access, or bytes from the next entry to a jump's target.
    off: i32,
    imm: i64,
}

/// Bytes of an entry. Programs have no more than a million: distances in bytes fit.
const ENTRY: i32 = size_of::<Flat>() as i32;

/// The entries of a lowered program, one more that is never reached, and what is to be done before loops.
pub(super) fn flatten(steps: &[Step], loops: &[Found]) -> Box<[Flat]> {
    let mut all: Vec<Flat> = steps.iter().enumerate().map(|(pc, s)| flat(*s, pc, steps.len())).collect();
    all.push(Flat::RARE);
    let mut moved = Vec::new();
    if !loops.is_empty() {
        let target = |pc: usize| (pc as i64 + 1 + i64::from(all[pc].off / ENTRY)) as usize;
        let jumps = (0..steps.len()).filter(|pc| all[*pc].code.jumps());
        let mut jumps: Vec<(usize, usize)> = jumps.map(|pc| (target(pc), pc)).collect();
        jumps.sort_unstable();
        for (number, l) in loops.iter().enumerate() {
            before(&mut all, &jumps, &mut moved, steps, l, number);
        }
    }
    for at in 0..steps.len().saturating_sub(1) {
        // Those that follow are as they were; a moved one is a jump, which is part of no longer one.
        let behind = &all[at..steps.len()];
        let fused =
            constant_address(behind).or_else(|| rotation(behind)).or_else(|| fuse(behind[0], behind[1]));
        all[at] = fused.unwrap_or(all[at]);
    }
    all.into()
}

/// Lets control come into a loop by way of an entry behind the program that runs many turns at once ([`Code::Turns`]).
/// `jumps`: target and place of every jump, ascending; `moved`: entries that have been moved there.
fn before(
    all: &mut Vec<Flat>,
    jumps: &[(usize, usize)],
    moved: &mut Vec<usize>,
    steps: &[Step],
    l: &Found,
    number: usize,
) {
    let distance = |from: usize, to: usize| (to as i32 - from as i32 - 1) * ENTRY;
    let turns =
        |at: usize| Flat { code: Code::Turns, imm: number as i64, ..Flat::RARE }.at(distance(at, l.head));
    let first = jumps.partition_point(|(to, _)| *to < l.head);
    let into = jumps[first..].iter().take_while(|(to, _)| *to == l.head).map(|(_, pc)| *pc);
    for pc in into.filter(|pc| !l.body.contains(pc)) {
        all[pc].off = distance(pc, all.len());
    }
    all.push(turns(all.len()));
    // The step before the loop, which control falls from into it, moves to the place before such an entry.
    let Some(last) = l.head.checked_sub(1).filter(|_| l.head == l.body.start) else { return };
    let wide = usize::from(steps[last] == Step::Second);
    let at = last - wide;
    let step = all[at];
    if step.code == Code::Rare || step.code == Code::Exit || step.code == Code::Ja {
        return;
    }
    let to = all.len();
    all.push(if step.code.jumps() || step.code == Code::Call {
        step.at(step.off + distance(to, at + 1))
    } else {
        step
    });
    all.extend(vec![Flat::RARE; wide]);
    all.push(turns(all.len()));
    all[at] = Flat { code: Code::Ja, ..Flat::RARE }.at(distance(at, to));
    moved.push(at);
}

impl Flat {
    const RARE: Flat = Flat { code: Code::Rare, dst: 0, src: 0, other: 0, off: 0, imm: 0 };

    fn new(code: Code, dst: Reg, src: Operand) -> Flat {
        let (src, imm) = match src {
            Operand::Reg(r) => (r.index() as u8, 0),
            Operand::Imm(i) => (0, i.into()),
        };
        Flat { code, dst: dst.index() as u8, src, other: 0, off: 0, imm }
    }

    fn at(self, off: i32) -> Flat {
        Flat { off, ..self }
    }
}

fn flat(step: Step, pc: usize, slots: usize) -> Flat {
    let target = |off: i32| usize::try_from(pc as i64 + 1 + i64::from(off)).is_ok_and(|t| t < slots);
    let made = match step {
        Step::Op(Op::Alu { op, width, dst, src }) => {
            Code::alu(op, width, is_imm(src)).map(|c| Flat::new(c, dst, src))
        }
        Step::Op(Op::Neg { width: Width::W64, dst }) => Some(Flat::new(Code::Neg, dst, Operand::Imm(0))),
        Step::Op(Op::End { kind, bits, dst }) if kind != Endian::ToLe => Some(match bits {
            16 => Flat::new(Code::Swap16, dst, Operand::Imm(0)),
            32 => Flat::new(Code::Swap32, dst, Operand::Imm(0)),
            _ => Flat::new(Code::Swap64, dst, Operand::Imm(0)),
        }),
        Step::Op(Op::MovSx { width: Width::W64, bits, dst, src }) => {
            Some(Flat { imm: bits.into(), ..Flat::new(Code::MovSx, dst, Operand::Reg(src)) })
        }
        Step::Op(Op::Load { size, sx: false, dst, src, off }) => {
            Some(Flat::new(Code::load(size), dst, Operand::Reg(src)).at(off.into()))
        }
        Step::CtxLoad(l) if l.shift == 0 && l.cut == l.size && !l.sx => {
            Some(Flat::new(Code::load(l.size), l.dst, Operand::Reg(l.src)).at(l.disp))
        }
        Step::Op(Op::Store { size, dst, off, src }) => {
            Some(Flat::new(Code::store(size, is_imm(src)), dst, src).at(off.into()))
        }
        Step::CtxStore { dst, disp, size, src } => {
            Some(Flat::new(Code::store(size, is_imm(src)), dst, src).at(disp))
        }
        Step::Op(Op::JumpIf { cond, width, dst, src, off }) if target(off.into()) => {
            Some(Flat::new(Code::jump(cond, width, is_imm(src)), dst, src).at(i32::from(off) * ENTRY))
        }
        Step::Op(Op::Ja { off, .. }) if target(off) => {
            Some(Flat::new(Code::Ja, Reg::R0, Operand::Imm(0)).at(off * ENTRY))
        }
        Step::Op(Op::Call(Callee::Local(off))) if target(off) => {
            Some(Flat::new(Code::Call, Reg::R0, Operand::Imm(0)).at(off * ENTRY))
        }
        Step::Op(Op::Exit) => Some(Flat { code: Code::Exit, ..Flat::RARE }),
        Step::Wide { dst, bits } if pc + 2 <= slots => {
            Some(Flat { imm: bits as i64, ..Flat::new(Code::Wide, dst, Operand::Imm(0)) })
        }
        _ => None,
    };
    made.unwrap_or(Flat::RARE)
}

fn is_imm(o: Operand) -> bool {
    matches!(o, Operand::Imm(_))
}

/// An entry and those behind it when they make an address of a constant and a register, and perhaps load from it.
fn constant_address(of: &[Flat]) -> Option<Flat> {
    let [first, _, add, rest @ ..] = of else { return None };
    let sum =
        first.code == Code::Wide && add.code == Code::Add64 && add.dst == first.dst && add.src != first.dst;
    if !sum {
        return None;
    }
    let (mut made, mut rest) = (Flat { code: Code::WideAdd, src: add.src, other: 2, ..*first }, rest);
    if let [more, behind @ ..] = rest
        && more.code == Code::AddK64
        && more.dst == made.dst
    {
        (made.imm, made.other, rest) = (made.imm.wrapping_add(more.imm), 3, behind);
    }
    if let [load, ..] = rest
        && (load.dst, load.src) == (made.dst, made.dst)
        && let Some(code) = load.code.at_constant()
    {
        (made.code, made.off, made.other) = (code, load.off, made.other + 1);
    }
    Some(made)
}

/// An entry and those behind it when they rotate a register, or take two parts of it together.
fn rotation(of: &[Flat]) -> Option<Flat> {
    let [low, right, rest @ ..] = of else { return None };
    let kinds = [
        (Code::Mov64, Code::RshK64, Code::LshK64, Code::Or64, Code::Rotate64),
        (Code::Mov32, Code::RshK32, Code::LshK32, Code::Or32, Code::Rotate32),
    ];
    let (mov, _, lsh, or, code) = kinds.into_iter().find(|k| (low.code, right.code) == (k.0, k.1))?;
    let source = low.src;
    // Into another register, or in place.
    let (high, left, join, more) = match rest {
        [high, left, join, ..] if high.code == mov && high.src == source => (high.dst, left, join, 4),
        [left, join, ..] if code == Code::Rotate64 => (source, left, join, 3),
        _ => return None,
    };
    let whole =
        right.dst == low.dst && left.code == lsh && left.dst == high && join.code == or && join.dst == high;
    if !whole || join.src != low.dst || low.dst == source || low.dst == high {
        return None;
    }
    let mask = if code == Code::Rotate64 { 63 } else { 31 };
    let imm = right.imm & mask | (left.imm & mask) << 8;
    Some(Flat { code, dst: high, src: source, other: low.dst, off: more, imm })
}

/// Two entries that often follow each other, as one.
fn fuse(a: Flat, b: Flat) -> Option<Flat> {
    let same = a.dst == b.dst;
    let code = match (a.code, b.code) {
        (Code::Mov64, Code::AddK64) if same => return Some(Flat { code: Code::Lea, imm: b.imm, ..a }),
        (Code::Mov64, Code::Add64) if same && b.src != a.dst => Code::Add3,
        (Code::Mov64, Code::RshK64) if same => return Some(Flat { code: Code::RshD3, imm: b.imm, ..a }),
        (Code::Mov64, Code::LshK64) if same => return Some(Flat { code: Code::Lsh3, imm: b.imm, ..a }),
        (Code::Mov32, Code::RshK32) if same => return Some(Flat { code: Code::Rsh3, imm: b.imm, ..a }),
        (Code::Mov32, Code::LshK32) if same => return Some(Flat { code: Code::LshW3, imm: b.imm, ..a }),
        (Code::Mov32, Code::AndK32) if same => return Some(Flat { code: Code::And3, imm: b.imm, ..a }),
        // An address that is made and used.
        (Code::Add64, Code::LoadB) if b.src == a.dst => {
            return Some(Flat { code: Code::AddLoadB, other: b.dst, off: b.off, ..a });
        }
        (Code::Add64, Code::LoadW) if b.src == a.dst => {
            return Some(Flat { code: Code::AddLoadW, other: b.dst, off: b.off, ..a });
        }
        (Code::Add64, Code::LoadDw) if b.src == a.dst => {
            return Some(Flat { code: Code::AddLoadDw, other: b.dst, off: b.off, ..a });
        }
        (Code::AddK64, Code::JneK64 | Code::JeqK64) if same => {
            let Ok(step) = i32::try_from(a.imm) else { return None };
            let imm = i64::from(step) << 32 | i64::from(b.imm as i32 as u32);
            let code = if b.code == Code::JneK64 { Code::AddJne } else { Code::AddJeq };
            return Some(Flat { code, imm, off: b.off, ..a });
        }
        (Code::AddK64, Code::Ja) => Code::AddJa,
        _ => return None,
    };
    match code {
        Code::Add3 => Some(Flat { code, other: b.src, ..a }),
        _ => Some(Flat { code, off: b.off, ..a }),
    }
}

macro_rules! machine {
    (
        alu { $($op:ident $r64:ident $k64:ident $r32:ident $k32:ident |$a:ident, $b:ident| $wide:expr, $narrow:expr;)* }
        jumps { $($cond:ident $j64:ident $jk64:ident $j32:ident $jk32:ident |$x:ident, $y:ident| $taken:expr, $taken32:expr;)* }
    ) => {
        /// What an entry does. `K`: with a constant.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[repr(u8)]
        enum Code {
            $($r64, $k64, $r32, $k32,)*
            $($j64, $jk64, $j32, $jk32,)*
            LoadB, LoadH, LoadW, LoadDw,
            StoreB, StoreH, StoreW, StoreDw,
            StoreKB, StoreKH, StoreKW, StoreKDw,
            Neg, Swap16, Swap32, Swap64, MovSx,
            Ja, Exit, Wide,
            /// `dst = src + imm`
            Lea,
            /// `dst = src + other`
            Add3,
            /// `dst = src << imm`
            Lsh3,
            /// The same of 32 bits, and to the right.
            LshW3, Rsh3,
            /// `dst = src & imm` of 32 bits.
            And3,
            /// `dst += src`, `other = *(dst + off)`
            AddLoadB, AddLoadW, AddLoadDw,
            /// `dst += imm >> 32`, then a jump unless `dst` is the lower half.
            AddJne,
            /// The same, if it is.
            AddJeq,
            /// `dst += imm`, then a jump.
            AddJa,
            /// `dst = src >> imm`
            RshD3,
            /// `dst = imm + src`; `other` entries behind it are done.
            WideAdd,
            /// The same, with `dst` loaded from there plus `off`.
            WideLoadB, WideLoadH, WideLoadW, WideLoadDw,
            /// `other = src >> imm`, `dst = src << (imm >> 8) | other`; `off` entries behind it are done.
            Rotate64, Rotate32,
            /// Calls a function of the program.
            Call,
            /// Runs many turns of loop `imm` at once, then a jump.
            Turns,
            Rare,
        }

        impl Code {
            fn alu(op: AluOp, width: Width, imm: bool) -> Option<Code> {
                Some(match (op, width, imm) {
                    $((AluOp::$op, Width::W64, false) => Code::$r64,
                      (AluOp::$op, Width::W64, true) => Code::$k64,
                      (AluOp::$op, Width::W32, false) => Code::$r32,
                      (AluOp::$op, Width::W32, true) => Code::$k32,)*
                    _ => return None,
                })
            }

            /// Does it go on elsewhere, by [`Flat::off`]?
            fn jumps(self) -> bool {
                matches!(self, Code::Ja $(| Code::$j64 | Code::$jk64 | Code::$j32 | Code::$jk32)*)
            }

            fn jump(cond: Cond, width: Width, imm: bool) -> Code {
                match (cond, width, imm) {
                    $((Cond::$cond, Width::W64, false) => Code::$j64,
                      (Cond::$cond, Width::W64, true) => Code::$jk64,
                      (Cond::$cond, Width::W32, false) => Code::$j32,
                      (Cond::$cond, Width::W32, true) => Code::$jk32,)*
                }
            }
        }

        impl<'r> Run<'r, '_> {
            /// Runs until the function returns.
            pub(super) fn steps(&mut self, f: &mut Frame<'r>) -> Result<(), Fault> {
                let mut callers = Vec::new();
                // SAFETY: where control is, the program is.
                let mut ip = unsafe { f.code.flat.as_ptr().add(f.next) };
                let mut regs = f.regs.0.as_mut_ptr();
                loop {
                    // SAFETY: the verifier has seen that control stays inside of the program; `flatten` has checked the targets of
                    // jumps, and there is an entry behind the last one.
                    let i = unsafe { &*ip };
                    // SAFETY: as above; the entry behind the last one is never left.
                    ip = unsafe { ip.add(1) };
                    // SAFETY: numbers of registers are less than 11, and there are 16 places.
                    let (d, s, o) = unsafe {
                        (&mut *regs.add(i.dst.into()), *regs.add(i.src.into()), *regs.add(i.other.into()))
                    };
                    macro_rules! leave {
                        () => {{
                            let Some(caller) = callers.pop() else { return Ok(()) };
                            ip = self.back(f, caller);
                            regs = f.regs.0.as_mut_ptr();
                        }};
                    }
                    macro_rules! go {
                        ($when:expr) => { if $when { ip = ip.wrapping_byte_offset(i.off as isize) } };
                    }
                    let k = i.imm as u64;
                    let at = |base: u64| base.wrapping_add(i64::from(i.off) as u64);
                    match i.code {
                        $(Code::$r64 => { let ($a, $b) = (*d, s); *d = $wide; }
                          Code::$k64 => { let ($a, $b) = (*d, k); *d = $wide; }
                          Code::$r32 => { let ($a, $b) = (*d as u32, s as u32); *d = u64::from($narrow); }
                          Code::$k32 => { let ($a, $b) = (*d as u32, k as u32); *d = u64::from($narrow); })*
                        $(Code::$j64 => { let ($x, $y) = (*d, s); go!($taken) }
                          Code::$jk64 => { let ($x, $y) = (*d, k); go!($taken) }
                          Code::$j32 => { let ($x, $y) = (*d as u32, s as u32); go!($taken32) }
                          Code::$jk32 => { let ($x, $y) = (*d as u32, k as u32); go!($taken32) })*
                        Code::LoadB => *d = load(at(s), Size::B),
                        Code::LoadH => *d = load(at(s), Size::H),
                        Code::LoadW => *d = load(at(s), Size::W),
                        Code::LoadDw => *d = load(at(s), Size::Dw),
                        Code::StoreB => store(at(*d), Size::B, s),
                        Code::StoreH => store(at(*d), Size::H, s),
                        Code::StoreW => store(at(*d), Size::W, s),
                        Code::StoreDw => store(at(*d), Size::Dw, s),
                        Code::StoreKB => store(at(*d), Size::B, k),
                        Code::StoreKH => store(at(*d), Size::H, k),
                        Code::StoreKW => store(at(*d), Size::W, k),
                        Code::StoreKDw => store(at(*d), Size::Dw, k),
                        Code::Neg => *d = d.wrapping_neg(),
                        Code::Swap16 => *d = (*d as u16).swap_bytes().into(),
                        Code::Swap32 => *d = (*d as u32).swap_bytes().into(),
                        Code::Swap64 => *d = d.swap_bytes(),
                        Code::MovSx => *d = eval::sign_extend(i.imm as u8, s),
                        Code::Ja => go!(true),
                        Code::Exit => leave!(),
                        Code::Call => {
                            callers.push(self.call_in_place(f, ip)?);
                            regs = f.regs.0.as_mut_ptr();
                            go!(true)
                        }
                        Code::Wide => {
                            *d = k;
                            ip = ip.wrapping_add(1);
                        }
                        Code::Lea => {
                            *d = s.wrapping_add(k);
                            ip = ip.wrapping_add(1);
                        }
                        Code::Add3 => {
                            *d = s.wrapping_add(o);
                            ip = ip.wrapping_add(1);
                        }
                        Code::Lsh3 => {
                            *d = s << (k & 63);
                            ip = ip.wrapping_add(1);
                        }
                        Code::LshW3 => {
                            *d = u64::from((s as u32) << (k & 31));
                            ip = ip.wrapping_add(1);
                        }
                        Code::Rsh3 => {
                            *d = u64::from(s as u32 >> (k & 31));
                            ip = ip.wrapping_add(1);
                        }
                        Code::And3 => {
                            *d = u64::from(s as u32 & k as u32);
                            ip = ip.wrapping_add(1);
                        }
                        Code::AddLoadB | Code::AddLoadW | Code::AddLoadDw => {
                            let addr = d.wrapping_add(s);
                            *d = addr;
                            let v = match i.code {
                                Code::AddLoadB => load(at(addr), Size::B),
                                Code::AddLoadW => load(at(addr), Size::W),
                                _ => load(at(addr), Size::Dw),
                            };
                            // SAFETY: as above.
                            unsafe { *regs.add(i.other.into()) = v };
                            ip = ip.wrapping_add(1);
                        }
                        Code::AddJne => {
                            *d = d.wrapping_add((i.imm >> 32) as u64);
                            ip = ip.wrapping_add(1);
                            go!(*d != i64::from(i.imm as i32) as u64)
                        }
                        Code::AddJeq => {
                            *d = d.wrapping_add((i.imm >> 32) as u64);
                            ip = ip.wrapping_add(1);
                            go!(*d == i64::from(i.imm as i32) as u64)
                        }
                        Code::RshD3 => {
                            *d = s >> (k & 63);
                            ip = ip.wrapping_add(1);
                        }
                        Code::WideAdd => {
                            *d = s.wrapping_add(k);
                            ip = ip.wrapping_add(i.other.into());
                        }
                        Code::WideLoadB | Code::WideLoadH | Code::WideLoadW | Code::WideLoadDw => {
                            let addr = at(s.wrapping_add(k));
                            *d = match i.code {
                                Code::WideLoadB => load(addr, Size::B),
                                Code::WideLoadH => load(addr, Size::H),
                                Code::WideLoadW => load(addr, Size::W),
                                _ => load(addr, Size::Dw),
                            };
                            ip = ip.wrapping_add(i.other.into());
                        }
                        Code::Rotate64 => {
                            let low = s >> (k & 63);
                            *d = s << (k >> 8 & 63) | low;
                            // SAFETY: as above.
                            unsafe { *regs.add(i.other.into()) = low };
                            ip = ip.wrapping_add(i.off as usize);
                        }
                        Code::Rotate32 => {
                            let low = s as u32 >> (k & 31);
                            *d = u64::from((s as u32) << (k >> 8 & 31) | low);
                            // SAFETY: as above.
                            unsafe { *regs.add(i.other.into()) = low.into() };
                            ip = ip.wrapping_add(i.off as usize);
                        }
                        Code::AddJa => {
                            *d = d.wrapping_add(k);
                            ip = ip.wrapping_add(1);
                            go!(true)
                        }
                        Code::Turns => {
                            f.turns(i.imm as usize);
                            regs = f.regs.0.as_mut_ptr();
                            go!(true)
                        }
                        Code::Rare => {
                            // SAFETY: both are in the program, or right behind it.
                            f.next = unsafe { ip.offset_from(f.code.flat.as_ptr()) } as usize;
                            if self.rare(f)? {
                                // SAFETY: as at the beginning.
                                ip = unsafe { f.code.flat.as_ptr().add(f.next) };
                                regs = f.regs.0.as_mut_ptr();
                            } else {
                                leave!()
                            }
                        }
                    }
                }
            }
        }
    };
}

machine! {
    alu {
        Mov Mov64 MovK64 Mov32 MovK32 |_a, b| b, b;
        Add Add64 AddK64 Add32 AddK32 |a, b| a.wrapping_add(b), a.wrapping_add(b);
        Sub Sub64 SubK64 Sub32 SubK32 |a, b| a.wrapping_sub(b), a.wrapping_sub(b);
        Mul Mul64 MulK64 Mul32 MulK32 |a, b| a.wrapping_mul(b), a.wrapping_mul(b);
        Or Or64 OrK64 Or32 OrK32 |a, b| a | b, a | b;
        And And64 AndK64 And32 AndK32 |a, b| a & b, a & b;
        Xor Xor64 XorK64 Xor32 XorK32 |a, b| a ^ b, a ^ b;
        Lsh Lsh64 LshK64 Lsh32 LshK32 |a, b| a << (b & 63), a << (b & 31);
        Rsh Rsh64 RshK64 Rsh32 RshK32 |a, b| a >> (b & 63), a >> (b & 31);
        Arsh Arsh64 ArshK64 Arsh32 ArshK32
            |a, b| (a as i64 >> (b & 63)) as u64, (a as i32 >> (b & 31)) as u32;
        Div Div64 DivK64 Div32 DivK32
            |a, b| a.checked_div(b).unwrap_or(0), a.checked_div(b).unwrap_or(0);
        Mod Mod64 ModK64 Mod32 ModK32
            |a, b| a.checked_rem(b).unwrap_or(a), a.checked_rem(b).unwrap_or(a);
    }
    jumps {
        Eq Jeq64 JeqK64 Jeq32 JeqK32 |x, y| x == y, x == y;
        Ne Jne64 JneK64 Jne32 JneK32 |x, y| x != y, x != y;
        Gt Jgt64 JgtK64 Jgt32 JgtK32 |x, y| x > y, x > y;
        Ge Jge64 JgeK64 Jge32 JgeK32 |x, y| x >= y, x >= y;
        Lt Jlt64 JltK64 Jlt32 JltK32 |x, y| x < y, x < y;
        Le Jle64 JleK64 Jle32 JleK32 |x, y| x <= y, x <= y;
        Set Jset64 JsetK64 Jset32 JsetK32 |x, y| x & y != 0, x & y != 0;
        Sgt Jsgt64 JsgtK64 Jsgt32 JsgtK32 |x, y| x as i64 > y as i64, x as i32 > y as i32;
        Sge Jsge64 JsgeK64 Jsge32 JsgeK32 |x, y| x as i64 >= y as i64, x as i32 >= y as i32;
        Slt Jslt64 JsltK64 Jslt32 JsltK32 |x, y| (x as i64) < y as i64, (x as i32) < y as i32;
        Sle Jsle64 JsleK64 Jsle32 JsleK32 |x, y| x as i64 <= y as i64, x as i32 <= y as i32;
    }
}

impl Code {
    /// The load, from a constant and a register.
    fn at_constant(self) -> Option<Code> {
        Some(match self {
            Code::LoadB => Code::WideLoadB,
            Code::LoadH => Code::WideLoadH,
            Code::LoadW => Code::WideLoadW,
            Code::LoadDw => Code::WideLoadDw,
            _ => return None,
        })
    }

    fn load(size: Size) -> Code {
        match size {
            Size::B => Code::LoadB,
            Size::H => Code::LoadH,
            Size::W => Code::LoadW,
            Size::Dw => Code::LoadDw,
        }
    }

    fn store(size: Size, imm: bool) -> Code {
        match (size, imm) {
            (Size::B, false) => Code::StoreB,
            (Size::H, false) => Code::StoreH,
            (Size::W, false) => Code::StoreW,
            (Size::Dw, false) => Code::StoreDw,
            (Size::B, true) => Code::StoreKB,
            (Size::H, true) => Code::StoreKH,
            (Size::W, true) => Code::StoreKW,
            (Size::Dw, true) => Code::StoreKDw,
        }
    }
}
