//! What the compilers take: a verified program after lowering. One [`Step`] for each instruction slot, so that jump
//! offsets mean what they mean in the program.
//!
//! Lowering (`skep-vm`) has resolved what depends on the platform: addresses of maps and functions are numbers, a context
//! access names the place where the engine keeps the field, a helper call is an index into the engine's table.

use skep_isa::{Callee, Op, Operand, Reg, Size};

/// One instruction slot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// An instruction that means the same in every program: neither a call of a helper or kernel function, nor a 64-bit
    /// load, nor a packet load.
    Op(Op),
    /// `ldimm64`, resolved; the next step is [`Step::Second`].
    Wide {
        /// Register.
        dst: Reg,
        /// Value.
        bits: u64,
    },
    /// Second half of a 64-bit load: never reached.
    Second,
    /// A helper call.
    Helper {
        /// Index into the engine's table of call sites.
        site: u32,
        /// May continue in another program.
        tail: bool,
    },
    /// A look-up in an array, without a call: `r0` is the address of the value whose index `r2` points to, or 0.
    Index(Index),
    /// `r0` is the address of a value: this, plus so many bytes for each CPU before the one that the program believes to be on.
    Value {
        /// Address of the first CPU's.
        addr: u64,
        /// Bytes from one CPU's to the next one's; 0 where all share it.
        percpu: u64,
    },
    /// A call of a routine that cannot fail and needs no engine: `r0` of `r1` to `r5` and a sixth argument.
    Direct(Direct),
    /// `r0` is the CPU that the program believes to be on ([`crate::Head::cpu`]).
    Cpu,
    /// Takes the lock at `r1`; the helper does it where somebody has it.
    Lock {
        /// Call site of the helper.
        site: u32,
    },
    /// A tail call by a program array that is known; the helper does it for programs that the run does not know yet.
    Tail {
        /// Address of the 32-bit words that number the array's programs, 0 where there is none.
        ids: u64,
        /// Number of entries.
        entries: u32,
        /// Call site of the helper.
        site: u32,
    },
    /// Gives the lock at `r1` back, which the program has.
    Unlock {
        /// Call site of the helper.
        site: u32,
    },
    /// Calls a function of the program `r1` times, or until it returns another value than 0 (`bpf_loop`).
    Loop {
        /// Its first slot.
        func: usize,
        /// Call site of the helper.
        site: u32,
    },
    /// A load from the context, at the place where the engine keeps the field.
    CtxLoad(CtxLoad),
    /// A store into the context.
    CtxStore {
        /// Register that holds the context pointer.
        dst: Reg,
        /// Displacement from it.
        disp: i32,
        /// Bytes that are written.
        size: Size,
        /// What is written.
        src: Operand,
    },
    /// A load that may or may not be one from the context: decided by the address.
    AnyLoad {
        /// Bytes as the program asks for them.
        size: Size,
        /// Sign-extending.
        sx: bool,
        /// Register.
        dst: Reg,
        /// Pointer.
        src: Reg,
        /// Displacement.
        off: i16,
    },
    /// A store that may or may not be one into the context.
    AnyStore {
        /// Bytes as the program asks for them.
        size: Size,
        /// Pointer.
        dst: Reg,
        /// Displacement.
        off: i16,
        /// What is written.
        src: Operand,
    },
    /// A legacy packet load into `r0`; one outside the packet ends the function with 0.
    PacketLoad {
        /// Bytes.
        size: Size,
        /// Offset.
        imm: i32,
        /// Register whose value is added to it.
        index: Option<Reg>,
    },
    /// Stops the run when it is reached: what cannot run here.
    Trap {
        /// Index into the engine's table of reasons.
        reason: u32,
    },
}

/// A load from the context: `size` bytes at `src + disp`, then `>> shift`, then cut to `cut` bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CtxLoad {
    /// Register.
    pub dst: Reg,
    /// Register that holds the context pointer.
    pub src: Reg,
    /// Displacement from it.
    pub disp: i32,
    /// Bytes that are read.
    pub size: Size,
    /// Bits that the value is shifted right by.
    pub shift: u8,
    /// Bytes that the program asked for; no more than `size`.
    pub cut: Size,
    /// Sign-extended from `cut`.
    pub sx: bool,
}

/// An array that is looked up in place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Index {
    /// Address of the first value.
    pub base: u64,
    /// Bytes from value to value.
    pub stride: u32,
    /// Number of values.
    pub entries: u32,
    /// Bytes from one CPU's values to the next one's; 0 where all share them.
    pub percpu: u64,
}

/// A routine that is called directly.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Direct {
    /// Address of an `extern "C" fn(u64, u64, u64, u64, u64, u64) -> u64`, or of one that takes fewer.
    pub call: u64,
    /// Its sixth argument.
    pub last: Last,
}

/// The sixth argument of a [`Direct`] call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Last {
    /// None.
    Nothing,
    /// [`crate::Head::cpu`].
    Cpu,
    /// This.
    Value(u64),
}

/// A lowered program.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Code {
    /// One for each instruction slot.
    pub steps: Vec<Step>,
    /// First slot of every function, ascending; the first is 0, the program itself.
    pub functions: Vec<usize>,
    /// Slots of [`Step::Wide`] that load an address: of a map, a map's value or a function; ascending.
    pub addresses: Vec<usize>,
    /// Those of them that load the address of a map's value.
    pub values: Vec<usize>,
    /// Slots of jumps, conditional or not, ascending.
    pub jumps: Vec<u32>,
    /// Those among the functions whose address is taken: the engine may call them, too.
    pub callbacks: Vec<usize>,
    /// Whether a step reads [`crate::Head::cpu`].
    pub cpu: bool,
    /// Bytes of the context as the program sees it: what [`Step::AnyLoad`] tells contexts by.
    pub ctx_size: u32,
    /// Where the context keeps the addresses of the packet's first byte and of the byte behind its last; `None` where packet
    /// loads are the engine's alone.
    pub packet: Option<[i32; 2]>,
}

impl Code {
    /// Whether the packet is the same, in the same place, throughout a run: nothing is called that may move it.
    pub fn packet_stays(&self) -> bool {
        let calls = |s: &Step| {
            matches!(s, Step::Helper { .. } | Step::Tail { .. } | Step::Op(Op::Call(Callee::Reg(_))))
        };
        !self.steps.iter().any(calls)
    }
}
