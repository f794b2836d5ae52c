//! Classic to extended: every instruction becomes a few eBPF ones with the same meaning (the kernel's
//! `bpf_convert_filter` is the model).
//!
//! ```text
//!  A = r0   X = r7   context = r6   M[k] = *(u32 *)(r10 - 4(k + 1))   r1..r5 between two instructions: nothing
//!  r8, r9 = data, data_end in XDP programs, free for ancillary loads elsewhere
//! ```
//!
//! Packet loads: where a failing load may end the program with 0 they are the legacy loads of eBPF; other programs on
//! socket buffers call `bpf_skb_load_bytes`, and XDP programs read the packet directly.
//!
//! Always holds: the upper halves of r0 and r7 are zero; jumps go where the classic ones go.
//!
//! What the result does otherwise than [`Program::run`]: behind XDP, and behind `bpf_skb_load_bytes`, an offset that is
//! negative only because of X is outside the packet; XDP reads nothing behind the first 65,528 bytes.

use crate::ancillary::{Ancillary, LL_OFF, NET_OFF};
use crate::check::{Program, target};
use crate::insn::{self, Op, Register, Size, Source};
use skep_isa::asm::parse_insns;
use skep_isa::{
    AluOp, Callee, Cond, DecodeError, Endian, Insn, Op as Ebpf, Operand, Reg, Size as Width8, Width,
};
use std::fmt;

/// Where the translated program will run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Target {
    /// Its context.
    pub hook: Hook,
    /// What it returns.
    pub verdict: Verdict,
    /// Offset of the network header, for loads relative to it where the context does not tell, and for the payload
    /// offset: 14 on Ethernet.
    pub network: u32,
}

/// Program types that filters are translated for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Hook {
    /// `BPF_PROG_TYPE_SOCKET_FILTER`: `struct __sk_buff`.
    SocketFilter,
    /// `BPF_PROG_TYPE_SCHED_CLS`: `struct __sk_buff`.
    SchedCls,
    /// `BPF_PROG_TYPE_XDP`: `struct xdp_md`.
    Xdp,
}

/// What becomes of the classic result.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It is returned as it is.
    Value,
    /// One value for packets that the filter accepts (not 0), another for the rest.
    Choose {
        /// For accepted packets.
        accept: i32,
        /// For the others.
        reject: i32,
    },
}

impl Target {
    /// A socket filter on Ethernet, returning what the classic program returns.
    pub const SOCKET_FILTER: Target =
        Target { hook: Hook::SocketFilter, verdict: Verdict::Value, network: 14 };
    /// An XDP program that passes (`XDP_PASS`) what the filter accepts and drops (`XDP_DROP`) the rest.
    pub const XDP: Target =
        Target { hook: Hook::Xdp, verdict: Verdict::Choose { accept: 2, reject: 1 }, network: 14 };
    /// A traffic control program that lets pass (`TC_ACT_OK`) what the filter accepts and drops (`TC_ACT_SHOT`) the rest.
    pub const SCHED_CLS: Target =
        Target { hook: Hook::SchedCls, verdict: Verdict::Choose { accept: 0, reject: 2 }, network: 14 };

    /// A failing load may end the program by itself, with 0.
    fn legacy_loads(&self) -> bool {
        self.hook != Hook::Xdp && matches!(self.verdict, Verdict::Value | Verdict::Choose { reject: 0, .. })
    }
}

/// Why a program cannot be translated.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TranslateError {
    /// The context of the hook does not have this.
    NotInContext {
        /// Classic instruction.
        insn: usize,
        /// What it loads.
        what: Ancillary,
        /// Hook.
        hook: Hook,
    },
    /// A jump would be longer than 32,767 eBPF instructions.
    TooFar {
        /// Classic instruction that jumps.
        insn: usize,
    },
    /// A sequence of this crate's own is not legal: a fault of the crate.
    Internal(String),
}

impl fmt::Display for TranslateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TranslateError::NotInContext { insn, what, hook } => write!(
                f,
                "instruction {insn} loads {}, which the context of {} programs does not have",
                what.row().uapi,
                hook.name()
            ),
            TranslateError::TooFar { insn } => {
                write!(
                    f,
                    "instruction {insn} jumps over more than 32,767 eBPF instructions; make the filter shorter"
                )
            }
            TranslateError::Internal(why) => write!(f, "fault in the translation: {why}"),
        }
    }
}

impl std::error::Error for TranslateError {}

impl Hook {
    /// Name as in `skep feature`.
    pub fn name(self) -> &'static str {
        match self {
            Hook::SocketFilter => "socket_filter",
            Hook::SchedCls => "sched_cls",
            Hook::Xdp => "xdp",
        }
    }

    /// Section of such programs in object files.
    pub fn section(self) -> &'static str {
        match self {
            Hook::SocketFilter => "socket",
            Hook::SchedCls => "tc",
            Hook::Xdp => "xdp",
        }
    }

    /// Offset of a 32-bit context field that an ancillary load is, if the context has it.
    fn field(self, what: Ancillary) -> Option<i16> {
        let fields: &[(Ancillary, i16)] = if self == Hook::Xdp { XDP_MD } else { SK_BUFF };
        fields.iter().find(|(a, _)| *a == what).map(|(_, off)| *off)
    }
}

/// Fields of `struct __sk_buff`.
const SK_BUFF: &[(Ancillary, i16)] = &[
    (Ancillary::PktType, 4),
    (Ancillary::Mark, 8),
    (Ancillary::Queue, 12),
    (Ancillary::Protocol, 16),
    (Ancillary::VlanTagPresent, 20),
    (Ancillary::VlanTag, 24),
    (Ancillary::VlanTpid, 28),
    (Ancillary::Ifindex, 40),
    (Ancillary::RxHash, 68),
];
/// Fields of `struct xdp_md`.
const XDP_MD: &[(Ancillary, i16)] = &[(Ancillary::Ifindex, 12), (Ancillary::Queue, 16)];

const GET_PRANDOM_U32: i32 = 7;
const GET_SMP_PROCESSOR_ID: i32 = 8;
const SKB_LOAD_BYTES: i32 = 26;
const SKB_LOAD_BYTES_RELATIVE: i32 = 68;
/// Bytes that may be read of an XDP packet (`MAX_PACKET_OFF` less the longest load, and rounded).
const XDP_MAX: u32 = 65_528;

const A: Reg = Reg::R0;
const X: Reg = Reg::R7;
const CTX: Reg = Reg::R6;
const DATA: Reg = Reg::R8;
const DATA_END: Reg = Reg::R9;
/// Place on the stack for the number of times that the program may still go back: eight bytes, which verifiers follow.
const ROUNDS_LEFT: i16 = -80;
/// How often a program with a loop goes back before it rejects the packet: the verifier wants to see an end. A walk over
/// extension headers advances by 8 bytes a round, at least.
const MAX_ROUNDS: i32 = 256;
/// Place on the stack for bytes that a helper loads, below M.
const SCRATCH: i16 = -72;

/// Translates a program. Cost: one pass; an ancillary load that walks over headers assembles its sequence anew.
pub fn translate(program: &Program, target: &Target) -> Result<Vec<Insn>, TranslateError> {
    let mut t = Translator { target, out: Vec::new(), starts: Vec::new(), fixups: Vec::new(), insn: 0 };
    t.prologue();
    if program.has_loops() {
        let src = Operand::Imm(MAX_ROUNDS);
        t.out.push(Ebpf::Store { size: Width8::Dw, dst: Reg::R10, off: ROUNDS_LEFT, src });
    }
    for (pc, op) in program.ops().iter().enumerate() {
        t.insn = pc;
        t.starts.push(t.out.len());
        t.op(op)?;
    }
    t.finish()
}

/// Where a jump goes.
#[derive(Clone, Copy)]
enum Dest {
    /// To a classic instruction.
    Insn(usize),
    /// To the end with the result 0.
    Reject,
}

struct Translator<'a> {
    target: &'a Target,
    out: Vec<Ebpf>,
    /// First eBPF instruction of each classic one.
    starts: Vec<usize>,
    /// Jumps whose offsets are not known yet: the jump, the classic instruction it belongs to, where to.
    fixups: Vec<(usize, usize, Dest)>,
    /// Classic instruction at hand.
    insn: usize,
}

impl Translator<'_> {
    fn alu32(&mut self, op: AluOp, dst: Reg, src: Operand) {
        self.out.push(Ebpf::Alu { op, width: Width::W32, dst, src });
    }

    fn alu64(&mut self, op: AluOp, dst: Reg, src: Operand) {
        self.out.push(Ebpf::Alu { op, width: Width::W64, dst, src });
    }

    fn set(&mut self, dst: Reg, k: u32) {
        self.alu32(AluOp::Mov, dst, Operand::Imm(k as i32));
    }

    fn copy(&mut self, dst: Reg, src: Reg) {
        self.alu32(AluOp::Mov, dst, Operand::Reg(src));
    }

    fn address(&mut self, dst: Reg, src: Reg) {
        self.alu64(AluOp::Mov, dst, Operand::Reg(src));
    }

    fn read(&mut self, size: Width8, dst: Reg, src: Reg, off: i16) {
        self.out.push(Ebpf::Load { size, sx: false, dst, src, off });
    }

    fn jump_if(&mut self, cond: Cond, width: Width, dst: Reg, src: Operand, to: Dest) {
        self.fixups.push((self.out.len(), self.insn, to));
        self.out.push(Ebpf::JumpIf { cond, width, dst, src, off: 0 });
    }

    fn jump(&mut self, to: Dest) {
        self.fixups.push((self.out.len(), self.insn, to));
        self.out.push(Ebpf::Ja { off: 0, long: false });
    }

    fn call(&mut self, helper: i32) {
        self.out.push(Ebpf::Call(Callee::Helper(helper)));
    }

    fn host_order(&mut self, size: Size) {
        if size != Size::B {
            let bits = size.bytes() as u8 * 8;
            self.out.push(Ebpf::End { kind: Endian::ToBe, bits, dst: A });
        }
    }

    fn prologue(&mut self) {
        self.address(CTX, Reg::R1);
        self.set(A, 0);
        self.set(X, 0);
        if self.target.hook == Hook::Xdp {
            self.read(Width8::W, DATA, CTX, 0);
            self.read(Width8::W, DATA_END, CTX, 4);
        }
    }

    fn op(&mut self, op: &Op) -> Result<(), TranslateError> {
        match *op {
            Op::Abs(size, k) => self.load_abs(size, k),
            Op::Ind(size, k) => self.load_ind(size, k),
            Op::Msh(k) => self.load_msh(k),
            Op::Ancillary(_, which) => return self.ancillary(which),
            Op::Imm(r, k) => self.set(reg(r), k),
            Op::Mem(r, k) => self.read(Width8::W, reg(r), Reg::R10, slot(k)),
            Op::Store(r, k) => {
                let src = Operand::Reg(reg(r));
                self.out.push(Ebpf::Store { size: Width8::W, dst: Reg::R10, off: slot(k), src });
            }
            Op::Len(r) => self.length(reg(r)),
            Op::Alu(op, src) => self.alu(op, src),
            Op::Neg => self.out.push(Ebpf::Neg { width: Width::W32, dst: A }),
            Op::Ja(k) => self.go(target(self.insn, k)),
            Op::Jump(cond, src, jt, jf) => self.branch(cond, operand(src), jt.into(), jf.into()),
            Op::RetK(k) => self.ret_k(k),
            Op::RetA => self.ret_a(),
            Op::Tax => self.copy(X, A),
            Op::Txa => self.copy(A, X),
        }
        Ok(())
    }

    /// Goes on at a classic instruction; back only so many times.
    fn go(&mut self, to: usize) {
        if to <= self.insn {
            self.read(Width8::Dw, Reg::R1, Reg::R10, ROUNDS_LEFT);
            self.jump_if(Cond::Eq, Width::W64, Reg::R1, Operand::Imm(0), Dest::Reject);
            self.alu64(AluOp::Add, Reg::R1, Operand::Imm(-1));
            let src = Operand::Reg(Reg::R1);
            self.out.push(Ebpf::Store { size: Width8::Dw, dst: Reg::R10, off: ROUNDS_LEFT, src });
        }
        self.jump(Dest::Insn(to));
    }

    fn length(&mut self, dst: Reg) {
        if self.target.hook == Hook::Xdp {
            self.address(dst, DATA_END);
            self.alu64(AluOp::Sub, dst, Operand::Reg(DATA));
        } else {
            self.read(Width8::W, dst, CTX, 0);
        }
    }

    /// Division by a zero X ends the program, where eBPF's own goes on.
    fn alu(&mut self, op: insn::AluOp, src: Source) {
        if matches!(op, insn::AluOp::Div | insn::AluOp::Mod) && src == Source::X {
            self.jump_if(Cond::Eq, Width::W32, X, Operand::Imm(0), Dest::Reject);
        }
        self.alu32(alu_op(op), A, operand(src));
    }

    fn branch(&mut self, cond: insn::Cond, src: Operand, jt: usize, jf: usize) {
        let next = self.insn + 1;
        let (yes, no) = conditions(cond);
        match (jt, jf, no) {
            (jt, jf, _) if jt == jf => self.skip(jt),
            (0, jf, Some(no)) => self.jump_if(no, Width::W32, A, src, Dest::Insn(next + jf)),
            (jt, jf, _) => {
                self.jump_if(yes, Width::W32, A, src, Dest::Insn(next + jt));
                self.skip(jf);
            }
        }
    }

    /// Goes on after `n` classic instructions.
    fn skip(&mut self, n: usize) {
        if n > 0 {
            self.jump(Dest::Insn(self.insn + 1 + n));
        }
    }

    fn ret_k(&mut self, k: u32) {
        match self.target.verdict {
            Verdict::Value => self.set(A, k),
            Verdict::Choose { accept, reject } => self.set(A, if k == 0 { reject } else { accept } as u32),
        }
        self.out.push(Ebpf::Exit);
    }

    fn ret_a(&mut self) {
        if let Verdict::Choose { accept, .. } = self.target.verdict {
            self.jump_if(Cond::Eq, Width::W32, A, Operand::Imm(0), Dest::Reject);
            self.set(A, accept as u32);
        }
        self.out.push(Ebpf::Exit);
    }

    fn load_abs(&mut self, size: Size, k: u32) {
        match self.target.hook {
            _ if self.target.legacy_loads() => {
                self.out.push(Ebpf::LoadAbs { size: width(size), imm: k as i32 });
            }
            Hook::Xdp => self.load_direct_abs(size, k),
            _ => self.load_bytes(size, None, k),
        }
    }

    fn load_ind(&mut self, size: Size, k: u32) {
        match self.target.hook {
            _ if self.target.legacy_loads() => {
                self.out.push(Ebpf::LoadInd { size: width(size), src: X, imm: k as i32 });
            }
            Hook::Xdp => self.load_direct_ind(size, k),
            _ => self.load_bytes(size, Some(X), k),
        }
    }

    /// X becomes the length of an IPv4 header; A is kept in X meanwhile.
    fn load_msh(&mut self, k: u32) {
        self.copy(X, A);
        self.load_abs(Size::B, k);
        self.alu32(AluOp::And, A, Operand::Imm(0xf));
        self.alu32(AluOp::Lsh, A, Operand::Imm(2));
        self.copy(Reg::R1, X);
        self.copy(X, A);
        self.copy(A, Reg::R1);
    }

    /// Through the helper, onto the stack. Negative constants count from a header, as in classic programs.
    fn load_bytes(&mut self, size: Size, index: Option<Reg>, k: u32) {
        let (start, k) = match (index, k) {
            (None, NET_OFF..) => (Some(1), k - NET_OFF),
            (None, LL_OFF..) => (Some(0), k - LL_OFF),
            _ => (None, k),
        };
        self.address(Reg::R1, CTX);
        self.set(Reg::R2, k);
        if let Some(index) = index {
            self.alu32(AluOp::Add, Reg::R2, Operand::Reg(index));
        }
        self.address(Reg::R3, Reg::R10);
        self.alu64(AluOp::Add, Reg::R3, Operand::Imm(SCRATCH.into()));
        self.set(Reg::R4, size.bytes());
        if let Some(start) = start {
            self.set(Reg::R5, start);
        }
        self.call(if start.is_some() { SKB_LOAD_BYTES_RELATIVE } else { SKB_LOAD_BYTES });
        self.jump_if(Cond::Ne, Width::W64, A, Operand::Imm(0), Dest::Reject);
        self.read(width(size), A, Reg::R10, SCRATCH);
        self.host_order(size);
    }

    fn load_direct_abs(&mut self, size: Size, k: u32) {
        let k = match k {
            NET_OFF.. => (k - NET_OFF).saturating_add(self.target.network),
            LL_OFF.. => k - LL_OFF,
            _ => k,
        };
        if k > XDP_MAX {
            return self.jump(Dest::Reject);
        }
        self.address(Reg::R2, DATA);
        self.alu64(AluOp::Add, Reg::R2, Operand::Imm((k + size.bytes()) as i32));
        self.jump_if(Cond::Gt, Width::W64, Reg::R2, Operand::Reg(DATA_END), Dest::Reject);
        match i16::try_from(k) {
            Ok(off) => self.read(width(size), A, DATA, off),
            Err(_) => self.read(width(size), A, Reg::R2, -(size.bytes() as i16)),
        }
        self.host_order(size);
    }

    fn load_direct_ind(&mut self, size: Size, k: u32) {
        self.copy(Reg::R2, X);
        self.alu32(AluOp::Add, Reg::R2, Operand::Imm(k as i32));
        self.jump_if(Cond::Gt, Width::W32, Reg::R2, Operand::Imm(XDP_MAX as i32), Dest::Reject);
        self.address(Reg::R3, DATA);
        self.alu64(AluOp::Add, Reg::R3, Operand::Reg(Reg::R2));
        self.address(Reg::R2, Reg::R3);
        self.alu64(AluOp::Add, Reg::R2, Operand::Imm(size.bytes() as i32));
        self.jump_if(Cond::Gt, Width::W64, Reg::R2, Operand::Reg(DATA_END), Dest::Reject);
        self.read(width(size), A, Reg::R3, 0);
        self.host_order(size);
    }

    fn ancillary(&mut self, what: Ancillary) -> Result<(), TranslateError> {
        let hook = self.target.hook;
        match (what, hook.field(what)) {
            (Ancillary::AluXorX, _) => self.alu32(AluOp::Xor, A, Operand::Reg(X)),
            (Ancillary::Cpu, _) => self.number(GET_SMP_PROCESSOR_ID),
            (Ancillary::Random, _) => self.number(GET_PRANDOM_U32),
            (Ancillary::Protocol | Ancillary::VlanTpid, Some(off)) => {
                self.read(Width8::W, A, CTX, off);
                self.host_order(Size::H);
            }
            (_, Some(off)) => self.read(Width8::W, A, CTX, off),
            (Ancillary::Nlattr, _) if hook != Hook::Xdp => return self.sequence(&attribute("")),
            (Ancillary::NlattrNest, _) if hook != Hook::Xdp => return self.sequence(&attribute(NESTED)),
            (Ancillary::PayOffset, _) if hook != Hook::Xdp => {
                return self.sequence(&PAYLOAD.replace("NETWORK", &self.target.network.to_string()));
            }
            _ => return Err(TranslateError::NotInContext { insn: self.insn, what, hook }),
        }
        Ok(())
    }

    /// A helper without arguments that yields 32 bits.
    fn number(&mut self, helper: i32) {
        self.call(helper);
        self.copy(A, A);
    }

    /// A sequence written as assembly, with jumps inside it alone.
    fn sequence(&mut self, text: &str) -> Result<(), TranslateError> {
        let insns = parse_insns(text).map_err(|e| TranslateError::Internal(e.to_string()))?;
        let mut pc = 0;
        while pc < insns.len() {
            let (op, slots) =
                Ebpf::decode(&insns, pc).map_err(|e: DecodeError| TranslateError::Internal(e.to_string()))?;
            self.out.push(op);
            pc += slots;
        }
        Ok(())
    }

    /// The end for rejected packets, and the distances of all jumps.
    fn finish(mut self) -> Result<Vec<Insn>, TranslateError> {
        let reject = self.out.len();
        if self.fixups.iter().any(|(_, _, to)| matches!(to, Dest::Reject)) {
            self.ret_k(0);
        }
        for (at, insn, to) in self.fixups {
            let start = match to {
                Dest::Insn(pc) => self.starts.get(pc).copied().unwrap_or(reject),
                Dest::Reject => reject,
            };
            let by =
                i16::try_from(start as i64 - at as i64 - 1).map_err(|_| TranslateError::TooFar { insn })?;
            match &mut self.out[at] {
                Ebpf::JumpIf { off, .. } => *off = by,
                Ebpf::Ja { off, .. } => *off = by.into(),
                _ => {}
            }
        }
        Ok(self.out.iter().flat_map(|op| op.encode().to_vec()).collect())
    }
}

fn reg(r: Register) -> Reg {
    match r {
        Register::A => A,
        Register::X => X,
    }
}

fn slot(k: u32) -> i16 {
    -4 * (k as i16 + 1)
}

fn operand(src: Source) -> Operand {
    match src {
        Source::K(k) => Operand::Imm(k as i32),
        Source::X => Operand::Reg(X),
    }
}

fn width(size: Size) -> Width8 {
    match size {
        Size::W => Width8::W,
        Size::H => Width8::H,
        Size::B => Width8::B,
    }
}

fn alu_op(op: insn::AluOp) -> AluOp {
    match op {
        insn::AluOp::Add => AluOp::Add,
        insn::AluOp::Sub => AluOp::Sub,
        insn::AluOp::Mul => AluOp::Mul,
        insn::AluOp::Div => AluOp::Div,
        insn::AluOp::Or => AluOp::Or,
        insn::AluOp::And => AluOp::And,
        insn::AluOp::Lsh => AluOp::Lsh,
        insn::AluOp::Rsh => AluOp::Rsh,
        insn::AluOp::Mod => AluOp::Mod,
        insn::AluOp::Xor => AluOp::Xor,
    }
}

/// The condition, and its opposite where eBPF has it.
fn conditions(cond: insn::Cond) -> (Cond, Option<Cond>) {
    match cond {
        insn::Cond::Eq => (Cond::Eq, Some(Cond::Ne)),
        insn::Cond::Gt => (Cond::Gt, Some(Cond::Le)),
        insn::Cond::Ge => (Cond::Ge, Some(Cond::Lt)),
        insn::Cond::Set => (Cond::Set, None),
    }
}

/// Finds a netlink attribute: r8 is the place looked at, r9 the end. Loads never fail: lengths are looked at before.
fn attribute(nested: &str) -> String {
    let header = include_str!("sequences/attribute.s");
    header.replace("NESTED\n", nested)
}

const NESTED: &str = include_str!("sequences/nested.s");
const PAYLOAD: &str = include_str!("sequences/payload.s");
