//! What a register or a spilled slot holds: its type with flags, offset, number, and the ids that tie it to others.
//!
//! A [`Reg`] is a plain value of about a hundred bytes; states hold it by a handle (`held`). For scalars `val` is the number itself; for
//! pointers it is the variable part of the offset (`off` is the fixed one). `id` ties registers that came from one
//! another: scalars of one id are equal (or, with [`ADD_CONST`], differ by `off`), pointers of one id are the same
//! "maybe NULL" or packet base. `ref_id` names the reference that keeps the thing alive.

use crate::scalar::Scalar;
use skep_platform::helper::DynptrKind;
use std::fmt;

/// Index into the verifier's maps: the program's, then inner maps.
pub type MapId = u16;

/// Set in the id of a scalar that a 64-bit addition made differ from its origin by a constant.
pub const ADD_CONST64: u32 = 1 << 31;
/// Set in the id of a scalar that a 32-bit addition made differ from its origin by a constant, modulo 2^32. Both have
/// no upper half.
pub const ADD_CONST32: u32 = 1 << 30;
/// Either.
pub const ADD_CONST: u32 = ADD_CONST64 | ADD_CONST32;

/// Packet pointer compared beyond the packet's end (`BEYOND_PKT_END`).
pub const BEYOND_END: i32 = -2;
/// Packet pointer compared at the packet's end (`AT_PKT_END`).
pub const AT_END: i32 = -1;

/// A type in one of the two BTFs that a program knows.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct BtfType {
    /// In the program's own BTF, not the kernel's.
    pub own: bool,
    /// Type id, modifiers skipped.
    pub id: u32,
}

/// Kinds of memory behind a dynptr.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[allow(missing_docs)]
pub enum Dynptr {
    Local,
    Ringbuf,
    Skb,
    Xdp,
    SkbMeta,
}

impl Dynptr {
    /// What a helper or kernel function makes.
    pub fn of(kind: DynptrKind) -> Dynptr {
        match kind {
            DynptrKind::Ringbuf => Dynptr::Ringbuf,
            DynptrKind::Skb => Dynptr::Skb,
            DynptrKind::Xdp => Dynptr::Xdp,
            DynptrKind::SkbMeta => Dynptr::SkbMeta,
            DynptrKind::Local | DynptrKind::Any => Dynptr::Local,
        }
    }

    /// It must be released.
    pub fn counted(self) -> bool {
        self == Dynptr::Ringbuf
    }
}

/// Base types of registers (`enum bpf_reg_type`), and of what only stack slots hold.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[allow(missing_docs)]
pub enum Base {
    NotInit,
    Scalar,
    Ctx,
    MapPtr(MapId),
    MapValue(MapId),
    MapKey(MapId),
    /// Into the stack of this frame.
    Stack(u8),
    PacketMeta,
    Packet,
    PacketEnd,
    FlowKeys,
    Socket,
    SockCommon,
    TcpSock,
    XdpSock,
    TpBuffer,
    Btf(BtfType),
    /// Memory of this size.
    Mem(u32),
    Buf,
    /// Address of a subprogram.
    Func(u32),
    /// Dynptr that a callback was given.
    ConstDynptr(Dynptr),
    Arena,
    /// Stack slot of a dynptr: which half.
    DynptrSlot(Dynptr, bool),
    /// Stack slot of an iterator: its type in the kernel's BTF, whether it still runs, whether this is the first slot.
    IterSlot {
        ty: u32,
        active: bool,
        first: bool,
        /// Steps taken on this path: not compared.
        depth: u32,
    },
    /// Stack slot of saved interrupt flags: by a resilient lock, or on their own.
    IrqSlot {
        /// By a lock.
        lock: bool,
    },
}

macro_rules! flags {
    ($($(#[$m:meta])* $name:ident = $bit:expr;)*) => {
        /// Modifiers of a base type (`enum bpf_type_flag`), a set of bits.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
        pub struct Flags(pub u16);
        impl Flags {
            $($(#[$m])* pub const $name: Flags = Flags(1 << $bit);)*
        }
    };
}

flags! {
    /// May be NULL.
    MAYBE_NULL = 0;
    /// Read-only memory.
    RDONLY = 1;
    /// Ring buffer record.
    RINGBUF = 2;
    /// User memory.
    USER = 3;
    /// Per-CPU variable.
    PERCPU = 4;
    /// Protected by RCU.
    RCU = 5;
    /// Not to be trusted: reads are checked at run time.
    UNTRUSTED = 6;
    /// Trusted argument.
    TRUSTED = 7;
    /// Object that the program allocated.
    ALLOC = 8;
    /// Reference that the program does not own.
    NON_OWN = 9;
    /// Slice of an skb dynptr.
    DYN_SKB = 10;
    /// Slice of an xdp dynptr.
    DYN_XDP = 11;
}

impl Flags {
    /// No flag.
    pub const NONE: Flags = Flags(0);

    /// All of `other`?
    #[inline]
    pub const fn has(self, other: Flags) -> bool {
        self.0 & other.0 == other.0
    }

    /// Any of `other`?
    #[inline]
    pub const fn any(self, other: Flags) -> bool {
        self.0 & other.0 != 0
    }

    /// Both.
    #[must_use]
    #[inline]
    pub const fn with(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }

    /// Without `other`.
    #[must_use]
    #[inline]
    pub const fn without(self, other: Flags) -> Flags {
        Flags(self.0 & !other.0)
    }
}

/// Names of base types as the kernel's log writes them.
pub fn base_name(base: Base) -> &'static str {
    match base {
        Base::NotInit => "?",
        Base::Scalar => "scalar",
        Base::Ctx => "ctx",
        Base::MapPtr(_) => "map_ptr",
        Base::MapValue(_) => "map_value",
        Base::MapKey(_) => "map_key",
        Base::Stack(_) => "fp",
        Base::PacketMeta => "pkt_meta",
        Base::Packet => "pkt",
        Base::PacketEnd => "pkt_end",
        Base::FlowKeys => "flow_keys",
        Base::Socket => "sock",
        Base::SockCommon => "sock_common",
        Base::TcpSock => "tcp_sock",
        Base::XdpSock => "xdp_sock",
        Base::TpBuffer => "tp_buffer",
        Base::Btf(_) => "ptr_",
        Base::Mem(_) => "mem",
        Base::Buf => "buf",
        Base::Func(_) => "func",
        Base::ConstDynptr(_) | Base::DynptrSlot(..) => "dynptr_ptr",
        Base::Arena => "arena",
        Base::IterSlot { .. } | Base::IrqSlot { .. } => "fp",
    }
}

/// Prefixes of type names by flag, in the order in which the log writes them (`reg_type_str`, kernel/bpf/log.c).
const PREFIXES: [(Flags, &str); 8] = [
    (Flags::RDONLY, "rdonly_"),
    (Flags::RINGBUF, "ringbuf_"),
    (Flags::USER, "user_"),
    (Flags::PERCPU, "percpu_"),
    (Flags::RCU, "rcu_"),
    (Flags::UNTRUSTED, "untrusted_"),
    (Flags::TRUSTED, "trusted_"),
    (Flags::NONE, ""),
];

/// Name of a type with its flags: `rdonly_mem_or_null`, `trusted_ptr_`.
pub fn type_name(base: Base, flags: Flags) -> String {
    let mut s = String::new();
    for (f, p) in PREFIXES {
        if f != Flags::NONE && flags.has(f) {
            s.push_str(p);
        }
    }
    s.push_str(base_name(base));
    if flags.has(Flags::MAYBE_NULL) {
        s.push_str(if matches!(base, Base::Btf(_)) { "or_null_" } else { "_or_null" });
    }
    s
}

/// What is known of a register.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reg {
    /// Type.
    pub base: Base,
    /// Its modifiers.
    pub flags: Flags,
    /// Fixed offset of a pointer; distance to the linked scalar.
    pub off: i32,
    /// Bytes of packet known to follow the base, for packet pointers; [`AT_END`], [`BEYOND_END`].
    pub range: i32,
    /// The number, or the variable offset.
    pub val: Scalar,
    /// What it is tied to; 0: nothing.
    pub id: u32,
    /// Reference it belongs to; 0: none.
    pub ref_id: u32,
    /// Which inner map, or which dynptr it is a slice of.
    pub origin: u32,
}

impl Reg {
    /// Nothing was written.
    pub const NOT_INIT: Reg = Reg::of(Base::NotInit, Scalar::UNKNOWN);
    /// Some number.
    pub const UNKNOWN: Reg = Reg::of(Base::Scalar, Scalar::UNKNOWN);

    const fn of(base: Base, val: Scalar) -> Reg {
        Reg { base, flags: Flags::NONE, off: 0, range: 0, val, id: 0, ref_id: 0, origin: 0 }
    }

    /// A number.
    pub const fn scalar(val: Scalar) -> Reg {
        Reg::of(Base::Scalar, val)
    }

    /// Exactly this number.
    pub const fn known(v: u64) -> Reg {
        Reg::of(Base::Scalar, Scalar::constant(v))
    }

    /// Pointer to the start of something.
    pub const fn pointer(base: Base) -> Reg {
        Reg::of(base, Scalar::constant(0))
    }

    /// Pointer with flags.
    pub const fn flagged(base: Base, flags: Flags) -> Reg {
        let mut r = Reg::pointer(base);
        r.flags = flags;
        r
    }

    /// Registers with different marks differ in value or type, ids apart.
    #[inline]
    pub(crate) fn mark(&self) -> u64 {
        let r = &self.val.r;
        let fixed = u64::from(self.off as u32) << 32 | u64::from(self.range as u32);
        r.umin ^ r.umax.rotate_left(17) ^ (r.smin as u64).rotate_left(34) ^ fixed.rotate_left(11)
    }

    /// Is it a number?
    #[inline]
    pub fn is_scalar(&self) -> bool {
        matches!(self.base, Base::Scalar)
    }

    /// Is it a pointer (anything but a number or nothing)?
    #[inline]
    pub fn is_pointer(&self) -> bool {
        !matches!(self.base, Base::Scalar | Base::NotInit)
    }

    /// Is it a number that can only be zero?
    #[inline]
    pub fn is_null(&self) -> bool {
        self.is_scalar() && self.val.as_const() == Some(0)
    }

    /// May it be NULL?
    #[inline]
    pub fn maybe_null(&self) -> bool {
        self.flags.has(Flags::MAYBE_NULL)
    }

    /// Packet or packet metadata pointer.
    #[inline]
    pub fn is_packet(&self) -> bool {
        matches!(self.base, Base::Packet | Base::PacketMeta)
    }

    /// Any pointer into or to the end of the packet.
    #[inline]
    pub fn is_packet_any(&self) -> bool {
        self.is_packet() || matches!(self.base, Base::PacketEnd)
    }

    /// A socket pointer.
    #[inline]
    pub fn is_socket(&self) -> bool {
        matches!(self.base, Base::Socket | Base::SockCommon | Base::TcpSock | Base::XdpSock)
    }

    /// Its type's name.
    pub fn type_name(&self) -> String {
        type_name(self.base, self.flags)
    }

    /// Bits that its number needs, unsigned.
    #[inline]
    pub fn bits(&self) -> u32 {
        64 - self.val.r.umax.leading_zeros()
    }

    /// Certainly not NULL (`reg_not_null`).
    pub fn not_null(&self) -> bool {
        if self.maybe_null() {
            return false;
        }
        // Far enough from its base a pointer could wrap to zero.
        if self.val.r.smin <= -(1 << 29) || self.val.r.smax >= 1 << 29 {
            return false;
        }
        match self.base {
            Base::Socket
            | Base::TcpSock
            | Base::XdpSock
            | Base::Buf
            | Base::MapValue(_)
            | Base::MapKey(_)
            | Base::SockCommon
            | Base::MapPtr(_)
            | Base::Mem(_) => true,
            Base::Btf(_) => {
                let doubtful = Flags::UNTRUSTED.with(Flags::USER).with(Flags::PERCPU);
                let marked = self.flags.any(Flags::TRUSTED.with(Flags::ALLOC)) && !self.flags.any(doubtful);
                self.ref_id != 0 || marked
            }
            _ => false,
        }
    }
}

impl fmt::Display for Reg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.type_name())
    }
}
