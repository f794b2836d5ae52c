//! What a helper is: the row that the verifier, the engines, the disassembler and the documentation read.
//!
//! One helper, one [`Helper`] entry, written next to its body in `skep-helpers`. Where the kernel has several
//! prototypes of one helper by program type (`bpf_perf_event_output`, `bpf_sk_lookup_tcp`), the row has several [`Proto`]s.

use crate::env::{Ask, Env, Fault, Ret};
use crate::map::MapOp;
use crate::uapi::{AttachType, ProgType};
use std::fmt;

/// A Linux version, `Version(6, 12)`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Version(pub u16, pub u16);

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

/// One helper. Every field is written out in every row.
#[derive(Debug)]
pub struct Helper {
    /// Number in `enum bpf_func_id`.
    pub id: u32,
    /// UAPI name, `bpf_map_lookup_elem`.
    pub name: &'static str,
    /// C prototype as the UAPI documents it.
    pub signature: &'static str,
    /// One line of what it does.
    pub doc: &'static str,
    /// First Linux version that has it.
    pub since: Version,
    /// Prototypes by program type; no program type stands in two of them unless their `attach` conditions differ.
    pub protos: &'static [Proto],
    /// After the call every packet pointer is invalid (`bpf_helper_changes_pkt_data`).
    pub invalidates_packet: bool,
    /// The result is a reference that must be released (`is_acquire_function`); `AcquiresWhen` says when.
    pub acquires: Acquires,
    /// Takes or releases the lock in its argument.
    pub lock: LockEffect,
    /// Calls back into the program.
    pub callback: Callback,
    /// Never returns to the caller when it succeeds (`bpf_tail_call`).
    pub tail_call: bool,
    /// Map types that its map argument may have (`check_map_func_compatibility`, from the helper's side; the map
    /// type's row has the other side); empty: any.
    pub map_types: &'static [crate::uapi::MapType],
    /// What else holds of a call, beyond the prototype.
    pub rule: Rule,
    /// How compiled code may do without the body. The body stays the measure: both mean the same.
    pub fast: Fast,
    /// Its implementation in the user engine.
    pub body: Body,
}

/// What a helper does, for compilers that have a shorter way than a call of the engine. Locks, loops and tail calls are told by the
/// fields that the verifier reads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fast {
    /// Nothing known.
    None,
    /// An operation on the map in argument 0.
    Map(MapOp),
    /// An operation on the record in argument 0, which some ring buffer holds.
    Record(MapOp),
    /// Gives what the host answers.
    Host(Ask),
    /// Gives the CPU that the program believes to be on.
    Cpu,
}

/// What holds of a helper's calls that its prototype does not say. Arguments are counted from 0.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rule {
    /// Nothing.
    None,
    /// This argument must be the constant 0, because the helper cannot fail.
    ZeroArg(u8),
    /// `r0` is an error number or at most the size in this argument (`do_refine_retval_range`).
    AtMostSize(u8),
    /// `r0` is a CPU number. For these program types Linux on x86-64 puts instructions in the call's place that leave the
    /// other registers alone (`verifier_inlines_helper_call` and the types' `get_func_proto`).
    Cpu {
        /// The program types.
        inlined: &'static [ProgType],
    },
    /// `r0` is argument 0 as another type, and the same reference (`is_ptr_cast_function`).
    Cast,
    /// Formats by a constant string, which is checked with the program.
    Format {
        /// The string.
        fmt: u8,
        /// The array of arguments.
        data: u8,
        /// Its size in bytes.
        size: u8,
    },
    /// Writes through a dynptr: where that is over a packet, packet pointers are invalid afterwards.
    WritesDynptr,
    /// Changes the map: not for maps that programs may only read.
    WritesMap,
    /// Looks a key up; where the map type has every key (arrays), a constant key that exists makes the result certain.
    LooksUp,
    /// Sets the return value of the hooked function: within the hook's range.
    SetsRetval,
    /// Only in iterators, at security hooks that may sleep, and in programs that trace one of these functions
    /// (`allowed` of the kernel's prototype).
    Places(&'static [&'static str]),
    /// Not in programs that trace a function whose name begins so.
    NotInside(&'static str),
    /// Not in this member of a structure of functions (`STRUCT/MEMBER`).
    NotMember(&'static str),
    /// This argument points into a map's value, whatever else its type would take.
    MapValueArg(u8),
    /// Only in kernels that are built with this option (without `CONFIG_`).
    Built(&'static str),
    /// Copies kernel memory at any address (argument 2) into argument 0, failing instead of faulting.
    ReadsKernel,
    /// Not in kernels that are locked down (kernel_lockdown(7)) for their integrity.
    NotLockedDown,
}

/// One prototype of a helper.
#[derive(Debug)]
pub struct Proto {
    /// Program types that may call it.
    pub prog_types: &'static [ProgType],
    /// Attach types it is limited to; empty: all of the program type.
    pub attach_types: &'static [AttachType],
    /// struct_ops it is limited to (`tcp_congestion_ops`, …) when `prog_types` has `StructOps`; empty: none. Of iterators,
    /// what they walk (`tcp`, …); empty: anything.
    pub struct_ops: &'static [&'static str],
    /// Arguments in `r1`…; at most five.
    pub args: &'static [Arg],
    /// What `r0` holds afterwards.
    pub ret: RetType,
    /// Only for programs with a GPL-compatible licence.
    pub gpl_only: bool,
    /// Memory arguments may point into the packet (`pkt_access`).
    pub pkt_access: bool,
    /// May sleep: only in sleepable programs, outside critical sections.
    pub might_sleep: bool,
    /// Whether it stands for sleepable programs, for the others, or (`None`) for both.
    pub sleepable: Option<bool>,
    /// First Linux version in which these programs have it.
    pub since: Version,
    /// Capability that the loader must have, beside those that the program type asks for.
    pub capability: Option<Capability>,
}

/// What of a program decides whether it may call a helper, and by which prototype.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Caller<'a> {
    /// Program type.
    pub prog_type: ProgType,
    /// Expected attach type.
    pub attach: Option<AttachType>,
    /// Structure it is a member of, for `StructOps` programs: `tcp_congestion_ops`. Of iterators, what they walk.
    pub struct_ops: Option<&'a str>,
    /// Loaded as sleepable.
    pub sleepable: bool,
    /// Linux version whose rules hold.
    pub version: Version,
}

/// When a call's result must be released.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Acquires {
    /// Never.
    No,
    /// Whenever it is not NULL.
    Yes,
    /// Only for these map types of the map argument (`bpf_map_lookup_elem` on a socket map).
    ForMapTypes(&'static [crate::uapi::MapType]),
}

/// Effect on `struct bpf_spin_lock`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum LockEffect {
    None,
    Lock,
    Unlock,
}

/// Calls back into the program: which argument (0-based) holds the function, and when it runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Callback {
    /// Does not.
    None,
    /// Before the helper returns.
    Sync {
        /// Argument index.
        arg: u8,
        /// What the callback's parameters are.
        params: CallbackParams,
    },
    /// Later (`bpf_timer_set_callback`).
    Async {
        /// Argument index.
        arg: u8,
        /// What the callback's parameters are.
        params: CallbackParams,
    },
}

/// Parameters that a callback receives in `r1`….
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CallbackParams {
    /// `(u32 index, void *ctx)`: `bpf_loop`.
    Index,
    /// `(map, key, value, void *ctx)`: `bpf_for_each_map_elem`.
    MapElem,
    /// `(task, vma, void *ctx)`: `bpf_find_vma`.
    TaskVma,
    /// `(dynptr, void *ctx)`: `bpf_user_ringbuf_drain`.
    Dynptr,
    /// `(map, key, value)`: timers.
    Timer,
}

/// A Linux capability that gates a helper or a program type.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum Capability {
    Bpf,
    NetAdmin,
    Perfmon,
}

/// The user engine's implementation of a helper, or the reason why there is none.
#[derive(Clone, Copy)]
pub enum Body {
    /// Runs it. `args` are `r1`…`r5` as the program left them; guest addresses among them are allegations and are
    /// reached through [`Env::mem`] alone.
    Fn(HelperFn),
    /// Not in the user engine; the text says why and, where there is one, what to use.
    Absent(&'static str),
}

/// Signature of a body.
pub type HelperFn = for<'e, 'r> fn(&'e mut (dyn Env<'r> + 'e), [u64; 5]) -> Result<Ret, Fault>;

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Body::Fn(_) => f.write_str("Fn"),
            Body::Absent(why) => write!(f, "Absent({why:?})"),
        }
    }
}

/// One argument (`enum bpf_arg_type` with its flags).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Arg {
    /// What it must be.
    pub kind: ArgKind,
    /// NULL is allowed (`PTR_MAYBE_NULL`).
    pub nullable: bool,
    /// The helper only reads through it (`MEM_RDONLY`).
    pub rdonly: bool,
    /// The memory need not be initialised (`MEM_UNINIT`).
    pub uninit: bool,
    /// The helper writes through it (`MEM_WRITE`).
    pub write: bool,
    /// Must be aligned to its size (`MEM_ALIGNED`).
    pub aligned: bool,
    /// The call releases the reference (`OBJ_RELEASE`).
    pub release: bool,
}

/// Kinds of argument (`enum bpf_arg_type` base types).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ArgKind {
    /// Any initialised value.
    Anything,
    /// A scalar.
    Scalar,
    /// The program's context.
    Ctx,
    /// A constant map.
    ConstMapPtr,
    /// Pointer to a key of the map argument before it.
    MapKey,
    /// Pointer to a value of the map argument before it.
    MapValue,
    /// Pointer to memory; the next argument is its size.
    Mem,
    /// Pointer to memory of this many bytes.
    FixedMem(u32),
    /// Size of the memory argument before it, not zero.
    Size,
    /// Size of the memory argument before it.
    SizeOrZero,
    /// Constant number of bytes to allocate.
    AllocSizeOrZero,
    /// `PTR_TO_SOCK_COMMON` or better.
    SockCommon,
    /// A BTF-typed or plain socket.
    BtfIdSockCommon,
    /// `PTR_TO_SOCKET`.
    Socket,
    /// Pointer to one of these kernel types.
    BtfId(&'static [&'static str]),
    /// Per-CPU kernel variable.
    PercpuBtfId,
    /// `struct bpf_spin_lock` in a map value or object.
    SpinLock,
    /// `struct bpf_timer` in a map value.
    Timer,
    /// A subprogram of this program.
    Func,
    /// Pointer into the stack.
    Stack,
    /// What `bpf_ringbuf_reserve` returned.
    RingbufMem,
    /// A dynptr on the stack, of this kind.
    Dynptr(DynptrKind),
    /// NUL-terminated constant string in a read-only map.
    ConstStr,
    /// Slot of a kptr in a map value or object.
    KptrXchgDest,
}

/// Kinds of dynptr an argument takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum DynptrKind {
    Any,
    Local,
    Ringbuf,
    Skb,
    Xdp,
    SkbMeta,
}

impl Arg {
    /// An argument of this kind, no flag set.
    pub const fn new(kind: ArgKind) -> Arg {
        Arg {
            kind,
            nullable: false,
            rdonly: false,
            uninit: false,
            write: false,
            aligned: false,
            release: false,
        }
    }
    /// NULL allowed.
    pub const fn nullable(mut self) -> Arg {
        self.nullable = true;
        self
    }
    /// Only read.
    pub const fn rdonly(mut self) -> Arg {
        self.rdonly = true;
        self
    }
    /// Need not be initialised; implies that the helper writes it.
    pub const fn uninit(mut self) -> Arg {
        self.uninit = true;
        self.write = true;
        self
    }
    /// Written by the helper.
    pub const fn write(mut self) -> Arg {
        self.write = true;
        self
    }
    /// Aligned to its size.
    pub const fn aligned(mut self) -> Arg {
        self.aligned = true;
        self
    }
    /// Released by the call.
    pub const fn release(mut self) -> Arg {
        self.release = true;
        self
    }
}

/// What a helper leaves in `r0` (`enum bpf_return_type`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RetType {
    /// A number.
    Integer,
    /// Nothing; `r0` is not readable.
    Void,
    /// A value of the map argument.
    MapValue {
        /// May be NULL.
        nullable: bool,
    },
    /// `PTR_TO_SOCKET`, may be NULL.
    SocketOrNull,
    /// `PTR_TO_SOCK_COMMON`, may be NULL.
    SockCommonOrNull,
    /// `PTR_TO_TCP_SOCK`, may be NULL.
    TcpSockOrNull,
    /// Memory of the constant size argument in a ring buffer, may be NULL.
    RingbufMemOrNull,
    /// Memory inside a dynptr of the constant size argument, may be NULL.
    DynptrMemOrNull,
    /// Per-CPU variable's memory or BTF object.
    MemOrBtfId {
        /// May be NULL.
        nullable: bool,
    },
    /// Pointer to this kernel type.
    BtfId {
        /// Type name without `struct`; empty: type of the argument (`bpf_kptr_xchg`).
        name: &'static str,
        /// May be NULL.
        nullable: bool,
        /// Trusted (`PTR_TRUSTED`).
        trusted: bool,
    },
}

impl Proto {
    /// Whether a program of this type and attach type may have it, in the newest Linux known.
    fn stands_for(&self, prog: ProgType, attach: Option<AttachType>) -> bool {
        self.prog_types.contains(&prog)
            && (self.attach_types.is_empty() || attach.is_some_and(|a| self.attach_types.contains(&a)))
    }

    /// Whether the list of holders counts for this program.
    fn names_holders(&self, c: &Caller<'_>) -> bool {
        let ops = self.prog_types.contains(&ProgType::StructOps);
        c.prog_type == ProgType::StructOps || (!ops && !self.struct_ops.is_empty())
    }

    /// Whether this program may have it.
    fn serves(&self, c: &Caller<'_>) -> bool {
        self.since <= c.version
            && self.sleepable.is_none_or(|s| s == c.sleepable)
            && self.stands_for(c.prog_type, c.attach)
            && (!self.names_holders(c) || c.struct_ops.is_some_and(|name| self.struct_ops.contains(&name)))
    }
}

impl Helper {
    /// The prototype for a program of this type in the newest Linux known, or `None` if it may not call the helper.
    /// [`Helper::proto_for`] goes by all that decides.
    pub fn proto(&self, prog: ProgType, attach: Option<AttachType>) -> Option<&'static Proto> {
        self.protos.iter().find(|p| p.stands_for(prog, attach))
    }

    /// The prototype that this program calls it by, or `None` if it may not call the helper.
    pub fn proto_for(&self, caller: &Caller<'_>) -> Option<&'static Proto> {
        self.protos.iter().find(|p| p.serves(caller))
    }
}
