//! The opcode table: one [`Row`] for each legal shape of an instruction, and nothing else in the crate knows an
//! opcode. Decoding, encoding, the assembler, the disassembler, the conformance dialect and the documents read it.
//!
//! Source: RFC 9669 (groups are those of its section 2.4), and for [`Group::Linux`] the kernel's
//! `include/uapi/linux/bpf.h` and `kernel/bpf/verifier.c`. The families ([`ALU_OPS`], [`CONDS`], [`ATOMICS`], …) carry
//! the number and the spelling of each operation once; [`ROWS`] is their product with widths, sizes and operand kinds.
//!
//! Always holds (tested): rows of one opcode stand together, no two rows match the same bytes, and every [`Kind`] has
//! exactly one row.

use crate::insn::{ABS, ALU, ALU64, ATOMIC, IMM, IND, JMP, JMP32, K, LD, LDX, MEM, MEMSX, ST, STX, X};
use crate::op::{AluOp, AtomicOp, Cond, Endian, Size, Width};

/// Conformance group of RFC 9669 section 2.4; `Linux` is what the kernel has beyond it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[allow(missing_docs)]
pub enum Group {
    Base32,
    Base64,
    Atomic32,
    Atomic64,
    Divmul32,
    Divmul64,
    Callx,
    Packet,
    Linux,
}

impl Group {
    /// The RFC's name of the group.
    pub const fn name(self) -> &'static str {
        match self {
            Group::Base32 => "base32",
            Group::Base64 => "base64",
            Group::Atomic32 => "atomic32",
            Group::Atomic64 => "atomic64",
            Group::Divmul32 => "divmul32",
            Group::Divmul64 => "divmul64",
            Group::Callx => "callx",
            Group::Packet => "packet",
            Group::Linux => "linux",
        }
    }
}

/// What a field of the instruction may hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Field {
    /// Reserved: must be zero.
    Zero,
    /// Exactly this number: it tells rows of one opcode apart.
    Is(i32),
    /// Free: a register number (dst, src) or any number (off, imm).
    Free,
}

/// Which operand kind the second operand is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Src {
    /// Immediate (`BPF_K`).
    Imm,
    /// Register (`BPF_X`).
    Reg,
}

/// Pseudo source of `ldimm64` (its `src` field; `BPF_PSEUDO_*` in the UAPI).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[allow(missing_docs)]
pub enum Pseudo {
    Value,
    MapFd,
    MapFdValue,
    BtfId,
    Func,
    MapIdx,
    MapIdxValue,
}

/// Kind of callee (the `src` field of `call`), or `callx`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[allow(missing_docs)]
pub enum CallKind {
    Helper,
    Local,
    Kfunc,
    Reg,
}

/// The shape of an instruction: an [`crate::Op`] without its operands.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[allow(missing_docs)]
pub enum Kind {
    Alu(AluOp, Width, Src),
    Neg(Width),
    MovSx(Width, u8),
    End(Endian, u8),
    AddrSpaceCast,
    LoadImm64(Pseudo),
    Load(Size, bool),
    Store(Size, Src),
    Atomic(AtomicOp, Width),
    LoadAcquire(Size),
    StoreRelease(Size),
    LoadAbs(Size),
    LoadInd(Size),
    Ja(bool),
    JumpIf(Cond, Width, Src),
    MayGoto,
    Call(CallKind),
    Exit,
}

/// A Linux version, major and minor; `(0, 0)`: none has it.
pub type Since = (u8, u8);

/// One legal shape of an instruction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Row {
    /// The opcode byte.
    pub opcode: u8,
    /// What it is.
    pub kind: Kind,
    /// Rule for the destination field.
    pub dst: Field,
    /// Rule for the source field.
    pub src: Field,
    /// Rule for the offset.
    pub off: Field,
    /// Rule for the immediate.
    pub imm: Field,
    /// Rule for the immediate of the second slot; `None`: there is no second slot.
    pub next_imm: Option<Field>,
    /// Conformance group.
    pub group: Group,
    /// First Linux version with it.
    pub since: Since,
}

/// Arithmetic: operation, number (upper four opcode bits), offset field, spelling, conformance mnemonic.
pub static ALU_OPS: [(AluOp, u8, i32, &str, &str); 14] = [
    (AluOp::Add, 0x00, 0, "+=", "add"),
    (AluOp::Sub, 0x10, 0, "-=", "sub"),
    (AluOp::Mul, 0x20, 0, "*=", "mul"),
    (AluOp::Div, 0x30, 0, "/=", "div"),
    (AluOp::Sdiv, 0x30, 1, "s/=", "sdiv"),
    (AluOp::Or, 0x40, 0, "|=", "or"),
    (AluOp::And, 0x50, 0, "&=", "and"),
    (AluOp::Lsh, 0x60, 0, "<<=", "lsh"),
    (AluOp::Rsh, 0x70, 0, ">>=", "rsh"),
    (AluOp::Mod, 0x90, 0, "%=", "mod"),
    (AluOp::Smod, 0x90, 1, "s%=", "smod"),
    (AluOp::Xor, 0xa0, 0, "^=", "xor"),
    (AluOp::Mov, 0xb0, 0, "=", "mov"),
    (AluOp::Arsh, 0xc0, 0, "s>>=", "arsh"),
];
const NEG: u8 = 0x80;
const MOV: u8 = 0xb0;
const END: u8 = 0xd0;

/// Conditions: condition, number (upper four opcode bits), spelling, conformance mnemonic.
pub static CONDS: [(Cond, u8, &str, &str); 11] = [
    (Cond::Eq, 0x10, "==", "jeq"),
    (Cond::Gt, 0x20, ">", "jgt"),
    (Cond::Ge, 0x30, ">=", "jge"),
    (Cond::Set, 0x40, "&", "jset"),
    (Cond::Ne, 0x50, "!=", "jne"),
    (Cond::Sgt, 0x60, "s>", "jsgt"),
    (Cond::Sge, 0x70, "s>=", "jsge"),
    (Cond::Lt, 0xa0, "<", "jlt"),
    (Cond::Le, 0xb0, "<=", "jle"),
    (Cond::Slt, 0xc0, "s<", "jslt"),
    (Cond::Sle, 0xd0, "s<=", "jsle"),
];
const JA: u8 = 0x00;
const CALL: u8 = 0x80;
const EXIT: u8 = 0x90;
const JCOND: u8 = 0xe0;

/// Atomic read-modify-write: operation, immediate, name in `atomic_NAME` and the conformance dialect.
pub static ATOMICS: [(AtomicOp, i32, &str); 10] = [
    (AtomicOp::Add { fetch: false }, 0x00, "add"),
    (AtomicOp::Add { fetch: true }, 0x01, "fetch_add"),
    (AtomicOp::Or { fetch: false }, 0x40, "or"),
    (AtomicOp::Or { fetch: true }, 0x41, "fetch_or"),
    (AtomicOp::And { fetch: false }, 0x50, "and"),
    (AtomicOp::And { fetch: true }, 0x51, "fetch_and"),
    (AtomicOp::Xor { fetch: false }, 0xa0, "xor"),
    (AtomicOp::Xor { fetch: true }, 0xa1, "fetch_xor"),
    (AtomicOp::Xchg, 0xe1, "xchg"),
    (AtomicOp::Cmpxchg, 0xf1, "cmpxchg"),
];
const LOAD_ACQUIRE: i32 = 0x100;
const STORE_RELEASE: i32 = 0x110;

/// Sizes: size, opcode bits, letter suffix of the conformance dialect (`ldxb`), C name without sign (`8` of `u8`).
pub static SIZES: [(Size, u8, &str, &str); 4] = [
    (Size::W, 0x00, "w", "32"),
    (Size::H, 0x08, "h", "16"),
    (Size::B, 0x10, "b", "8"),
    (Size::Dw, 0x18, "dw", "64"),
];

/// Pseudo sources of `ldimm64`: which, source field, is the second immediate used, kernel version.
pub static PSEUDOS: [(Pseudo, i32, bool, Since); 7] = [
    (Pseudo::Value, 0, true, (3, 18)),
    (Pseudo::MapFd, 1, false, (3, 18)),
    (Pseudo::MapFdValue, 2, true, (5, 2)),
    (Pseudo::BtfId, 3, true, (5, 9)),
    (Pseudo::Func, 4, false, (5, 13)),
    (Pseudo::MapIdx, 5, false, (5, 14)),
    (Pseudo::MapIdxValue, 6, true, (5, 14)),
];

/// Byte order: kind, class, source bit, spelling (followed by the bits), kernel version.
pub static ENDIANS: [(Endian, u8, u8, &str, Since); 3] = [
    (Endian::ToLe, ALU, K, "le", (3, 18)),
    (Endian::ToBe, ALU, X, "be", (3, 18)),
    (Endian::Swap, ALU64, K, "bswap", (6, 6)),
];

/// Widths: width, class of arithmetic, class of jumps, opcode bits of an atomic, register letter.
const WIDTHS: [(Width, u8, u8, u8); 2] = [(Width::W32, ALU, JMP32, 0x00), (Width::W64, ALU64, JMP, 0x18)];
const SRCS: [(Src, u8); 2] = [(Src::Imm, K), (Src::Reg, X)];

/// Number of rows.
pub const ROW_COUNT: usize = 181;

/// Every legal shape, in the order of the opcode byte.
pub static ROWS: [Row; ROW_COUNT] = build();

/// Rows with this opcode byte: none, one, or several that [`Field::Is`] tells apart. Constant time.
pub fn rows_of(opcode: u8) -> &'static [Row] {
    ROWS.get(row_numbers(opcode)).unwrap_or(&[])
}

/// Their numbers in [`ROWS`].
#[inline]
pub(crate) fn row_numbers(opcode: u8) -> core::ops::Range<usize> {
    FIRST[opcode as usize] as usize..FIRST[opcode as usize + 1] as usize
}

/// The row of a shape. Constant time.
pub fn row_of(kind: Kind) -> &'static Row {
    &ROWS[ROW_OF_KEY[kind.key()] as usize]
}

impl Kind {
    /// A dense number, distinct for distinct legal kinds.
    pub(crate) const fn key(self) -> usize {
        match self {
            Kind::Alu(op, w, s) => op as usize * 4 + w as usize * 2 + s as usize,
            Kind::Neg(w) => 56 + w as usize,
            Kind::MovSx(w, bits) => 58 + (bits / 16) as usize * 2 + w as usize,
            Kind::End(e, bits) => 64 + e as usize * 3 + (bits / 32) as usize,
            Kind::AddrSpaceCast => 73,
            Kind::LoadImm64(p) => 74 + p as usize,
            Kind::Load(s, sx) => 81 + s as usize * 2 + sx as usize,
            Kind::Store(s, src) => 89 + s as usize * 2 + src as usize,
            Kind::Atomic(op, w) => 97 + op.key() * 2 + w as usize,
            Kind::LoadAcquire(s) => 117 + s as usize,
            Kind::StoreRelease(s) => 121 + s as usize,
            Kind::LoadAbs(s) => 125 + s as usize,
            Kind::LoadInd(s) => 129 + s as usize,
            Kind::Ja(long) => 133 + long as usize,
            Kind::JumpIf(c, w, s) => 135 + c as usize * 4 + w as usize * 2 + s as usize,
            Kind::MayGoto => 179,
            Kind::Call(c) => 180 + c as usize,
            Kind::Exit => 184,
        }
    }
}

impl AtomicOp {
    const fn key(self) -> usize {
        match self {
            AtomicOp::Add { fetch } => fetch as usize,
            AtomicOp::Or { fetch } => 2 + fetch as usize,
            AtomicOp::And { fetch } => 4 + fetch as usize,
            AtomicOp::Xor { fetch } => 6 + fetch as usize,
            AtomicOp::Xchg => 8,
            AtomicOp::Cmpxchg => 9,
        }
    }
}

/// Keys go up to here (three of them belong to no legal kind).
const KEY_COUNT: usize = 185;
static ROW_OF_KEY: [u8; KEY_COUNT] = index_keys(&build());
static FIRST: [u8; 257] = index_opcodes(&build());

const fn index_keys(rows: &[Row; ROW_COUNT]) -> [u8; KEY_COUNT] {
    let mut index = [0; KEY_COUNT];
    let mut i = 0;
    while i < ROW_COUNT {
        index[rows[i].kind.key()] = i as u8;
        i += 1;
    }
    index
}

const fn index_opcodes(rows: &[Row; ROW_COUNT]) -> [u8; 257] {
    let mut first = [0; 257];
    let mut opcode = 0;
    let mut i = 0;
    while opcode < 257 {
        while i < ROW_COUNT && (rows[i].opcode as usize) < opcode {
            i += 1;
        }
        first[opcode] = i as u8;
        opcode += 1;
    }
    first
}

struct Builder {
    rows: [Row; ROW_COUNT],
    n: usize,
}

/// A row with everything reserved, for the families to fill in.
const fn row(opcode: u8, kind: Kind, group: Group, since: Since) -> Row {
    let z = Field::Zero;
    Row { opcode, kind, dst: z, src: z, off: z, imm: z, next_imm: None, group, since }
}

const fn either(width: Width, narrow: Group, wide: Group) -> Group {
    match width {
        Width::W32 => narrow,
        Width::W64 => wide,
    }
}

const fn build() -> [Row; ROW_COUNT] {
    let mut b = Builder { rows: [row(0, Kind::Exit, Group::Base32, (0, 0)); ROW_COUNT], n: 0 };
    b.alu();
    b.moves();
    b.endian();
    b.loads();
    b.packet();
    b.atomics();
    b.jumps();
    b.calls();
    assert!(b.n == ROW_COUNT);
    b.sort();
    b.rows
}

impl Builder {
    const fn push(&mut self, row: Row) {
        self.rows[self.n] = row;
        self.n += 1;
    }

    /// Stable insertion sort by opcode.
    const fn sort(&mut self) {
        let mut i = 1;
        while i < self.n {
            let mut j = i;
            while j > 0 && self.rows[j - 1].opcode > self.rows[j].opcode {
                let t = self.rows[j];
                self.rows[j] = self.rows[j - 1];
                self.rows[j - 1] = t;
                j -= 1;
            }
            i += 1;
        }
    }

    const fn alu(&mut self) {
        let mut i = 0;
        while i < ALU_OPS.len() * 4 {
            let (op, number, off, _, _) = ALU_OPS[i / 4];
            let ((width, class, _, _), (src, bit)) = (WIDTHS[i / 2 % 2], SRCS[i % 2]);
            let mut r = row(class | number | bit, Kind::Alu(op, width, src), alu_group(op, width), (3, 18));
            r.dst = Field::Free;
            r.since = if off == 1 { (6, 6) } else { (3, 18) };
            r.off = if number == 0x30 || number == 0x90 || number == MOV && bit == X {
                Field::Is(off)
            } else {
                r.off
            };
            match src {
                Src::Imm => r.imm = Field::Free,
                Src::Reg => r.src = Field::Free,
            }
            self.push(r);
            i += 1;
        }
    }

    const fn moves(&mut self) {
        let mut i = 0;
        while i < 2 {
            let (width, class, _, _) = WIDTHS[i];
            let group = either(width, Group::Base32, Group::Base64);
            let mut r = row(class | NEG, Kind::Neg(width), group, (3, 18));
            r.dst = Field::Free;
            self.push(r);
            let mut bits = 8;
            while bits <= 16 << i {
                let mut r = row(class | MOV | X, Kind::MovSx(width, bits), group, (6, 6));
                (r.dst, r.src, r.off) = (Field::Free, Field::Free, Field::Is(bits as i32));
                self.push(r);
                bits *= 2;
            }
            i += 1;
        }
        let mut r = row(ALU64 | MOV | X, Kind::AddrSpaceCast, Group::Linux, (6, 9));
        (r.dst, r.src, r.off, r.imm) = (Field::Free, Field::Free, Field::Is(1), Field::Free);
        self.push(r);
    }

    const fn endian(&mut self) {
        let mut i = 0;
        while i < 9 {
            let (kind, class, bit, _, since) = ENDIANS[i / 3];
            let bits = 16 << (i % 3);
            let group = if bits == 64 { Group::Base64 } else { Group::Base32 };
            let mut r = row(class | END | bit, Kind::End(kind, bits), group, since);
            (r.dst, r.imm) = (Field::Free, Field::Is(bits as i32));
            self.push(r);
            i += 1;
        }
    }

    const fn loads(&mut self) {
        let mut i = 0;
        while i < PSEUDOS.len() {
            let (pseudo, src, wide, since) = PSEUDOS[i];
            let mut r = row(LD | IMM | 0x18, Kind::LoadImm64(pseudo), Group::Base64, since);
            (r.dst, r.src, r.imm) = (Field::Free, Field::Is(src), Field::Free);
            r.next_imm = Some(if wide { Field::Free } else { Field::Zero });
            self.push(r);
            i += 1;
        }
        let mut i = 0;
        while i < SIZES.len() {
            let (size, bits, _, _) = SIZES[i];
            let group = if bits == 0x18 { Group::Base64 } else { Group::Base32 };
            let mut r = row(LDX | MEM | bits, Kind::Load(size, false), group, (3, 18));
            (r.dst, r.src, r.off) = (Field::Free, Field::Free, Field::Free);
            self.push(r);
            r.opcode = STX | MEM | bits;
            r.kind = Kind::Store(size, Src::Reg);
            self.push(r);
            (r.src, r.imm) = (Field::Zero, Field::Free);
            r.opcode = ST | MEM | bits;
            r.kind = Kind::Store(size, Src::Imm);
            self.push(r);
            if bits != 0x18 {
                let mut r = row(LDX | MEMSX | bits, Kind::Load(size, true), Group::Base32, (6, 6));
                (r.dst, r.src, r.off) = (Field::Free, Field::Free, Field::Free);
                self.push(r);
            }
            i += 1;
        }
    }

    const fn packet(&mut self) {
        let mut i = 0;
        while i < 3 {
            let (size, bits, _, _) = SIZES[i];
            let mut r = row(LD | ABS | bits, Kind::LoadAbs(size), Group::Packet, (3, 18));
            r.imm = Field::Free;
            self.push(r);
            r.opcode = LD | IND | bits;
            r.kind = Kind::LoadInd(size);
            r.src = Field::Free;
            self.push(r);
            i += 1;
        }
    }

    const fn atomics(&mut self) {
        let mut i = 0;
        while i < ATOMICS.len() * 2 {
            let ((op, imm, _), (width, _, _, bits)) = (ATOMICS[i / 2], WIDTHS[i % 2]);
            let since = if imm == 0 { (3, 18) } else { (5, 12) };
            let kind = Kind::Atomic(op, width);
            let mut r =
                row(STX | ATOMIC | bits, kind, either(width, Group::Atomic32, Group::Atomic64), since);
            (r.dst, r.src, r.off, r.imm) = (Field::Free, Field::Free, Field::Free, Field::Is(imm));
            self.push(r);
            i += 1;
        }
        let mut i = 0;
        while i < SIZES.len() {
            let (size, bits, _, _) = SIZES[i];
            let mut r = row(STX | ATOMIC | bits, Kind::LoadAcquire(size), Group::Linux, (6, 15));
            (r.dst, r.src, r.off, r.imm) = (Field::Free, Field::Free, Field::Free, Field::Is(LOAD_ACQUIRE));
            self.push(r);
            r.kind = Kind::StoreRelease(size);
            r.imm = Field::Is(STORE_RELEASE);
            self.push(r);
            i += 1;
        }
    }

    const fn jumps(&mut self) {
        let mut i = 0;
        while i < CONDS.len() * 4 {
            let (cond, number, _, _) = CONDS[i / 4];
            let ((width, _, class, _), (src, bit)) = (WIDTHS[i / 2 % 2], SRCS[i % 2]);
            let group = either(width, Group::Base32, Group::Base64);
            let since = if class == JMP32 {
                (5, 1)
            } else if number >= 0xa0 {
                (4, 14)
            } else {
                (3, 18)
            };
            let mut r = row(class | number | bit, Kind::JumpIf(cond, width, src), group, since);
            (r.dst, r.off) = (Field::Free, Field::Free);
            match src {
                Src::Imm => r.imm = Field::Free,
                Src::Reg => r.src = Field::Free,
            }
            self.push(r);
            i += 1;
        }
        let mut r = row(JMP | JA, Kind::Ja(false), Group::Base32, (3, 18));
        r.off = Field::Free;
        self.push(r);
        r.kind = Kind::MayGoto;
        (r.opcode, r.group, r.since) = (JMP | JCOND, Group::Linux, (6, 9));
        self.push(r);
        let mut r = row(JMP32 | JA, Kind::Ja(true), Group::Base32, (6, 6));
        r.imm = Field::Free;
        self.push(r);
    }

    const fn calls(&mut self) {
        let mut r = row(JMP | CALL, Kind::Call(CallKind::Helper), Group::Base32, (3, 18));
        (r.src, r.imm) = (Field::Is(0), Field::Free);
        self.push(r);
        (r.kind, r.src, r.since) = (Kind::Call(CallKind::Local), Field::Is(1), (4, 16));
        self.push(r);
        (r.kind, r.src, r.since) = (Kind::Call(CallKind::Kfunc), Field::Is(2), (5, 13));
        r.off = Field::Free;
        self.push(r);
        // The register stands in `dst`, or (clang before 19) in `imm`: decoding takes both.
        let mut r = row(JMP | CALL | X, Kind::Call(CallKind::Reg), Group::Callx, (0, 0));
        (r.dst, r.imm) = (Field::Free, Field::Free);
        self.push(r);
        self.push(row(JMP | EXIT, Kind::Exit, Group::Base32, (3, 18)));
    }
}

const fn alu_group(op: AluOp, width: Width) -> Group {
    match op {
        AluOp::Mul | AluOp::Div | AluOp::Sdiv | AluOp::Mod | AluOp::Smod => {
            either(width, Group::Divmul32, Group::Divmul64)
        }
        _ => either(width, Group::Base32, Group::Base64),
    }
}
