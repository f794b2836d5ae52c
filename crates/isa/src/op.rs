//! The value side of the instruction set: [`Op`] can hold legal instructions only. The view side is [`crate::Insn`].
//!
//! Bytes → [`Insn`] → (`Op::decode`) → `Op` → (`Op::encode`) → `Insn`; both directions round-trip on every legal
//! instruction. Two-slot instructions (`ldimm64`) decode from two views and encode to two.

/// A register: `r0`…`r10` (RFC 9669 section 2.1). Register 11 is refused at decoding.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Reg(u8);

impl Reg {
    /// Return value of calls and programs.
    pub const R0: Reg = Reg(0);
    /// First argument; the context at program entry.
    pub const R1: Reg = Reg(1);
    /// Second argument.
    pub const R2: Reg = Reg(2);
    /// Third argument.
    pub const R3: Reg = Reg(3);
    /// Fourth argument.
    pub const R4: Reg = Reg(4);
    /// Fifth argument.
    pub const R5: Reg = Reg(5);
    /// Callee-saved; holds the context in programs with packet loads.
    pub const R6: Reg = Reg(6);
    /// Callee-saved.
    pub const R7: Reg = Reg(7);
    /// Callee-saved.
    pub const R8: Reg = Reg(8);
    /// Callee-saved.
    pub const R9: Reg = Reg(9);
    /// Frame pointer, read-only: one past the top of the 512-byte frame.
    pub const R10: Reg = Reg(10);

    /// The register with this number, or `None` above 10.
    pub const fn new(n: u8) -> Option<Reg> {
        if n <= 10 { Some(Reg(n)) } else { None }
    }

    /// Its number, 0 to 10.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// Width of an ALU or jump operation: 32-bit forms use the lower halves, and zero the upper half of what they write.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Width {
    /// 32 bits.
    W32,
    /// 64 bits.
    W64,
}

/// Size of a memory access.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Size {
    /// One byte (`BPF_B`).
    B,
    /// Two bytes (`BPF_H`).
    H,
    /// Four bytes (`BPF_W`).
    W,
    /// Eight bytes (`BPF_DW`).
    Dw,
}

impl Size {
    /// In bytes: 1, 2, 4 or 8.
    pub const fn bytes(self) -> usize {
        match self {
            Size::B => 1,
            Size::H => 2,
            Size::W => 4,
            Size::Dw => 8,
        }
    }
}

/// Second operand: a register or a 32-bit immediate, sign-extended for 64-bit operations.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Operand {
    /// A register.
    Reg(Reg),
    /// An immediate.
    Imm(i32),
}

/// Two-operand arithmetic (RFC 9669 section 4.1). Shifts mask their amount to the width; division by zero gives 0,
/// modulo zero leaves the destination (its lower half in 32-bit forms); `INT_MIN / -1` wraps.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[allow(missing_docs)]
pub enum AluOp {
    Add,
    Sub,
    Mul,
    Div,
    Sdiv,
    Or,
    And,
    Lsh,
    Rsh,
    Arsh,
    Mod,
    Smod,
    Xor,
    Mov,
}

/// Comparison of a conditional jump (RFC 9669 section 4.3).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[allow(missing_docs)]
pub enum Cond {
    Eq,
    Ne,
    Gt,
    Ge,
    Lt,
    Le,
    Set,
    Sgt,
    Sge,
    Slt,
    Sle,
}

/// Read-modify-write operation of an atomic instruction (RFC 9669 section 5.3).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[allow(missing_docs)]
pub enum AtomicOp {
    /// `+=`; with `fetch` the old value goes to the source register.
    Add {
        fetch: bool,
    },
    Or {
        fetch: bool,
    },
    And {
        fetch: bool,
    },
    Xor {
        fetch: bool,
    },
    /// Always fetches into the source register.
    Xchg,
    /// Compares with `r0`, which receives the old value.
    Cmpxchg,
}

/// Byte order instruction (RFC 9669 section 4.2); all zero the bits above `bits`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Endian {
    /// `BPF_ALU|BPF_TO_LE`: truncation on little-endian machines.
    ToLe,
    /// `BPF_ALU|BPF_TO_BE`: swap on little-endian machines.
    ToBe,
    /// `BPF_ALU64|BPF_END`: unconditional swap.
    Swap,
}

/// What a two-slot `ldimm64` loads: the pseudo sources of RFC 9669 section 5.4.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Imm64 {
    /// A plain 64-bit number.
    Value(u64),
    /// `BPF_PSEUDO_MAP_FD` (1): the map with this file descriptor.
    MapFd(i32),
    /// `BPF_PSEUDO_MAP_VALUE` (2): address of the first value of map `fd`, plus `off`.
    MapFdValue {
        /// File descriptor of the map.
        fd: i32,
        /// Bytes from the start of the value.
        off: u32,
    },
    /// `BPF_PSEUDO_BTF_ID` (3): address of a kernel variable; `fd` names the module BTF, 0 for vmlinux.
    BtfId {
        /// BTF type id of the variable.
        id: i32,
        /// BTF object of the module, 0 for vmlinux.
        fd: i32,
    },
    /// `BPF_PSEUDO_FUNC` (4): address of a subprogram, in instructions relative to the next instruction after the
    /// first slot, as calls count.
    Func(i32),
    /// `BPF_PSEUDO_MAP_IDX` (5): map by index into the program's map table.
    MapIdx(i32),
    /// `BPF_PSEUDO_MAP_IDX_VALUE` (6): value address by index.
    MapIdxValue {
        /// Index into the program's map table.
        idx: i32,
        /// Bytes from the start of the value.
        off: u32,
    },
}

/// Whom a call calls.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Callee {
    /// Helper by number (`src = 0`).
    Helper(i32),
    /// Subprogram: target is this instruction's index + 1 + offset (`src = 1`).
    Local(i32),
    /// Kernel function by BTF id (`src = 2`); `off` selects the module's BTF.
    Kfunc {
        /// BTF id of the function.
        id: i32,
        /// Index into the fd array, 0 for vmlinux.
        off: i16,
    },
    /// `callx`: the address is in a register.
    Reg(Reg),
}

/// One legal instruction. Jump offsets count instruction slots from the next instruction.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[allow(missing_docs)]
pub enum Op {
    /// `dst = dst op src`, `dst = src` for [`AluOp::Mov`].
    Alu { op: AluOp, width: Width, dst: Reg, src: Operand },
    /// `dst = -dst`.
    Neg { width: Width, dst: Reg },
    /// `dst = (s8|s16|s32)src`: sign-extending move; `bits` is 8, 16 or (64-bit form only) 32.
    MovSx { width: Width, bits: u8, dst: Reg, src: Reg },
    /// Byte order of the lower `bits` (16, 32, 64).
    End { kind: Endian, bits: u8, dst: Reg },
    /// Converts a pointer between address spaces (`BPF_ADDR_SPACE_CAST`, Linux 6.9): arena.
    AddrSpaceCast { dst: Reg, src: Reg, to: u16, from: u16 },
    /// Two-slot load of 64 bits.
    LoadImm64 { dst: Reg, imm: Imm64 },
    /// `dst = *(size *)(src + off)`, sign-extended when `sx` (never with `Dw`).
    Load { size: Size, sx: bool, dst: Reg, src: Reg, off: i16 },
    /// `*(size *)(dst + off) = src`.
    Store { size: Size, dst: Reg, off: i16, src: Operand },
    /// Atomic read-modify-write of 4 or 8 bytes at `dst + off`.
    Atomic { op: AtomicOp, width: Width, dst: Reg, src: Reg, off: i16 },
    /// `dst = load_acquire((size *)(src + off))` (Linux 6.15).
    LoadAcquire { size: Size, dst: Reg, src: Reg, off: i16 },
    /// `store_release((size *)(dst + off), src)` (Linux 6.15).
    StoreRelease { size: Size, dst: Reg, src: Reg, off: i16 },
    /// Legacy packet load `r0 = ntoh(*(size *)skb[imm])`: absolute.
    LoadAbs { size: Size, imm: i32 },
    /// Legacy packet load `r0 = ntoh(*(size *)skb[src + imm])`: indirect.
    LoadInd { size: Size, src: Reg, imm: i32 },
    /// `goto off`; `long` is the 32-bit-offset form `gotol`.
    Ja { off: i32, long: bool },
    /// `if dst cond src goto off`.
    JumpIf { cond: Cond, width: Width, dst: Reg, src: Operand, off: i16 },
    /// `may_goto off` (Linux 6.9): leaves the loop when the loop budget is used up.
    MayGoto { off: i16 },
    /// Call.
    Call(Callee),
    /// Return from the subprogram or program.
    Exit,
}
