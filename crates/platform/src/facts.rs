//! What a verifier proved of a program, for the compilers: [`Facts`].
//!
//! Every fact holds on every run of the program, whichever path it takes: it is the join of what was seen on all walked
//! paths, and rests only on what the verifier compares when it lets a path end at a state that it has kept. Asking for
//! a fact that nobody has found gives the answer "nothing known", so that a compiler needs no second way for programs
//! that come without facts ([`Facts::default`]).

/// What the verifier proved. All questions are by instruction slot of [`crate::Program::insns`] and cost an index.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Deepest stack use in bytes over all call chains as Linux counts it: each frame rounded up to 16 bytes, without
    /// spills that Linux takes out of the code. What a frame itself needs is [`SubprogFacts::stack`].
    pub stack_depth: u32,
    /// Functions, ascending by start, with the stack that each uses; empty: not known.
    pub subprogs: Vec<SubprogFacts>,
    /// Instructions never reached on any path; empty: not known. The second slot of a wide load is dead with the first.
    pub dead: Vec<bool>,
    /// By instruction; empty: not known.
    pub insns: Vec<InsnFact>,
    /// What [`InsnFact::Call`] refers to.
    pub calls: Vec<CallFacts>,
    /// Loads that always give the same number, since they go to one place of a map that neither programs nor users may write
    /// any more (`BPF_F_RDONLY_PROG`, and frozen): instruction and number, extended to 64 bits as the load does; ascending.
    pub constants: Vec<(usize, u64)>,
}

/// One function of the program.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SubprogFacts {
    /// First instruction.
    pub start: usize,
    /// Bytes of its own frame that are ever touched: `r10-stack` is the lowest address. Not rounded.
    pub stack: u32,
}

/// What is known of one instruction.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum InsnFact {
    /// Nothing, or there is nothing to know.
    #[default]
    Nothing,
    /// A load, store or atomic instruction.
    Access(Access),
    /// A conditional jump.
    Branch(Ways),
    /// A helper call: index into [`Facts::calls`].
    Call(u32),
}

/// Where a memory access goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Access {
    /// What the base register points into.
    pub region: Region,
    /// Offset of the access from the region's start, the instruction's own offset included, when it is the same on all
    /// paths. For [`Region::Stack`] from the frame's `r10` (negative); for the packet from `data`; for the context as in
    /// the UAPI layout.
    pub off: Option<i32>,
}

/// What a pointer points into.
///
/// The context never shares an instruction with another region: the kernel's rule that one instruction accesses one
/// kind of pointer. So [`Region::Mixed`] is never the context.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Region {
    /// A frame of the program's stack: 0 is the running function's own, 1 its caller's, …; `None`: not always the same.
    Stack(Option<u8>),
    /// The context.
    Ctx,
    /// The packet: between `data` and `data_end`.
    Packet,
    /// The packet's metadata: between `data_meta` and `data`.
    PacketMeta,
    /// A value of a map: index into [`crate::Program::maps`]; `None`: not always the same, or of an inner map.
    MapValue(Option<u16>),
    /// A key that a callback was given: of this map.
    MapKey(Option<u16>),
    /// The map itself, as helpers take it: of this index; `None`: not always the same, or an inner map.
    Map(Option<u16>),
    /// Other memory of a size that the verifier knows: ring buffer records, dynptr slices, arguments of global functions.
    Memory,
    /// A buffer that the engine checks (tracepoint and iterator buffers).
    Buffer,
    /// Flow keys of a flow dissector.
    FlowKeys,
    /// A socket structure of the UAPI.
    Socket,
    /// A structure described by BTF.
    Btf,
    /// An arena.
    Arena,
    /// More than one of these, or none of them.
    Mixed,
}

impl Access {
    /// Nothing known.
    pub const UNKNOWN: Access = Access { region: Region::Mixed, off: None };

    /// What holds of both.
    #[must_use]
    pub fn join(self, other: Access) -> Access {
        let region = self.region.join(other.region);
        let same = region != Region::Mixed && self.off == other.off;
        Access { region, off: if same { self.off } else { None } }
    }
}

impl Region {
    /// What holds of both.
    #[must_use]
    pub fn join(self, other: Region) -> Region {
        use Region as R;
        match (self, other) {
            (a, b) if a == b => a,
            (R::Stack(_), R::Stack(_)) => R::Stack(None),
            (R::MapValue(_), R::MapValue(_)) => R::MapValue(None),
            (R::MapKey(_), R::MapKey(_)) => R::MapKey(None),
            (R::Map(_), R::Map(_)) => R::Map(None),
            _ => R::Mixed,
        }
    }
}

/// Which sides of a conditional jump are ever taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ways {
    /// Never jumps.
    Falls,
    /// Always jumps.
    Jumps,
    /// Either, or not known.
    Both,
}

impl Ways {
    /// What holds of both.
    #[must_use]
    pub fn join(self, other: Ways) -> Ways {
        if self == other { self } else { Ways::Both }
    }
}

/// What a helper call gets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CallFacts {
    /// The map that it works on, when that is one of the program's and the same on all paths: index into
    /// [`crate::Program::maps`].
    pub map: Option<u16>,
    /// Key of a look-up in an array: a constant below the array's number of entries, the same on all paths. The
    /// look-up then cannot fail, and the program may use the result without comparing it with NULL.
    pub key: Option<u32>,
    /// `r1` to `r5`.
    pub args: [Value; 5],
}

/// An argument of a helper.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Value {
    /// This number. Only where the verifier's verdict rests on it (sizes, the slot of a tail call, flags that must be
    /// zero, NULL for an argument that may be): a number that is constant but does not matter is [`Value::Any`].
    Const(u64),
    /// A pointer, never NULL.
    Pointer {
        /// Into this.
        region: Region,
        /// Bytes from its start, as [`Access::off`].
        off: Option<i32>,
        /// Most bytes that the helper reads or writes there; `None`: not known, or not a memory argument.
        len: Option<u32>,
    },
    /// Not an argument of this helper, or nothing known.
    Any,
}

impl Value {
    /// What holds of both.
    #[must_use]
    pub fn join(self, other: Value) -> Value {
        match (self, other) {
            (a, b) if a == b => a,
            (
                Value::Pointer { region, off, len },
                Value::Pointer { region: region_b, off: off_b, len: len_b },
            ) => {
                let a = Access { region, off }.join(Access { region: region_b, off: off_b });
                let len = len.zip(len_b).map(|(a, b)| a.max(b));
                Value::Pointer { region: a.region, off: a.off, len }
            }
            _ => Value::Any,
        }
    }
}

impl CallFacts {
    /// Nothing known.
    pub const UNKNOWN: CallFacts = CallFacts { map: None, key: None, args: [Value::Any; 5] };

    /// What holds of both.
    #[must_use]
    pub fn join(mut self, other: &CallFacts) -> CallFacts {
        let same = |a: bool| a.then_some(());
        self.map = same(self.map == other.map).and(self.map);
        self.key = same(self.key == other.key).and(self.key);
        for (a, b) in self.args.iter_mut().zip(other.args) {
            *a = a.join(b);
        }
        self
    }
}

impl Facts {
    /// Is the instruction never reached?
    pub fn is_dead(&self, insn: usize) -> bool {
        self.dead.get(insn).copied().unwrap_or(false)
    }

    /// Where a load, store or atomic instruction goes.
    pub fn access(&self, insn: usize) -> Access {
        match self.insns.get(insn) {
            Some(InsnFact::Access(a)) => *a,
            _ => Access::UNKNOWN,
        }
    }

    /// The number that a load always gives.
    pub fn constant(&self, insn: usize) -> Option<u64> {
        let i = self.constants.binary_search_by_key(&insn, |(at, _)| *at).ok()?;
        Some(self.constants[i].1)
    }

    /// Which sides of a conditional jump are ever taken.
    pub fn ways(&self, insn: usize) -> Ways {
        match self.insns.get(insn) {
            Some(InsnFact::Branch(w)) => *w,
            _ => Ways::Both,
        }
    }

    /// What a helper call gets.
    pub fn call(&self, insn: usize) -> CallFacts {
        match self.insns.get(insn) {
            Some(InsnFact::Call(i)) => self.calls.get(*i as usize).copied().unwrap_or(CallFacts::UNKNOWN),
            _ => CallFacts::UNKNOWN,
        }
    }

    /// Bytes of stack that the function starting at `start` uses; `None`: not known.
    pub fn stack_of(&self, start: usize) -> Option<u32> {
        let i = self.subprogs.binary_search_by_key(&start, |s| s.start).ok()?;
        Some(self.subprogs[i].stack)
    }
}
