//! What a program type is: its context as the UAPI shows it, where each field is kept by the engine, and what the
//! program may return.
//!
//! A context access in the program names a UAPI offset (`struct xdp_md`, `struct __sk_buff`); a [`CtxLayout`] says which
//! field that is and where the engine keeps it. The checked tier looks it up on every access; `vm::lower` rewrites
//! verified programs once.

use crate::helper::{Capability, Version};
use crate::name::Name;
use crate::uapi::{AttachType, ProgType};

/// One program type: the row that hooks, verifier and command line read.
#[derive(Debug)]
pub struct ProgTypeDesc {
    /// Which.
    pub prog_type: ProgType,
    /// One line of what it is for.
    pub doc: &'static str,
    /// First Linux version that has it.
    pub since: Version,
    /// Context layouts by attach type; the first that matches counts.
    pub layouts: &'static [(&'static [AttachType], &'static CtxLayout)],
    /// Range a program must return, if the kernel checks one (`check_return_code`), by attach type.
    pub returns: &'static [(&'static [AttachType], RetRange)],
    /// Expected attach types that may be given at load (`bpf_prog_load_check_attach`); empty: the kernel does not look.
    pub attach_types: &'static [AttachType],
    /// Capabilities that loading asks for (`is_net_admin_prog_type`, `is_perfmon_prog_type`); empty: an unprivileged
    /// process may load it where the system allows that.
    pub needs: &'static [Capability],
    /// What the return values mean.
    pub verdicts: &'static [Verdict],
    /// What becomes of a packet when the return value stands in none of `verdicts`.
    pub other: Fate,
    /// The packet may be read and written directly (`may_access_direct_pkt_data`).
    pub packet_access: PacketAccess,
    /// Legacy packet loads (`BPF_ABS`, `BPF_IND`) are allowed (`may_access_skb`).
    pub legacy_loads: bool,
    /// Can be sleepable (`can_be_sleepable`).
    pub sleepable: Sleepable,
    /// How the user engine runs it, or why it does not.
    pub user: UserRun,
}

/// Whether a program may be loaded with `BPF_F_SLEEPABLE`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sleepable {
    /// Never.
    Never,
    /// With any attach type.
    May,
    /// With these attach types.
    MayFor(&'static [AttachType]),
    /// With any attach type but these.
    MayExcept(&'static [AttachType]),
    /// It must be: the flag has to be given.
    Must,
}

/// How packets may be accessed through pointers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PacketAccess {
    /// There are no packet pointers, or nothing may be done with them.
    None,
    /// Loads alone: helpers do not take its packet pointers either (`sock_ops`).
    Load,
    /// Reading, directly and by helpers.
    Read,
    /// Reading and writing.
    ReadWrite,
}

/// What the user engine does with a program type.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UserRun {
    /// Runs on packets.
    Packets,
    /// Runs on a context given as plain bytes.
    Plain,
    /// Not at all, for this reason.
    No(&'static str),
}

/// A closed range of return values.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RetRange {
    /// Least.
    pub min: i32,
    /// Greatest.
    pub max: i32,
}

/// A return value's name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Verdict {
    /// Value of the lower 32 bits of `r0`.
    pub value: i32,
    /// UAPI name, `XDP_DROP`.
    pub name: &'static str,
    /// What becomes of a packet.
    pub fate: Fate,
}

/// What a verdict does to a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// Goes on: written to `--pcap-out`.
    Pass,
    /// Sent out again, here or elsewhere: written to `--pcap-out`.
    Send,
    /// Gone.
    Drop,
}

/// A context structure.
#[derive(Debug)]
pub struct CtxLayout {
    /// UAPI name, `xdp_md`.
    pub name: &'static str,
    /// Bytes as the UAPI declares it.
    pub size: u16,
    /// Fields, ascending by offset.
    pub fields: &'static [CtxField],
}

/// One field of a context.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CtxField {
    /// UAPI name.
    pub name: Name,
    /// Offset in the UAPI structure.
    pub off: u16,
    /// Bytes in the UAPI structure (of the whole array, for arrays).
    pub size: u16,
    /// What a load yields.
    pub kind: FieldKind,
    /// Loads that are allowed.
    pub read: Rights,
    /// Stores that are allowed.
    pub write: Rights,
    /// What a program without `CAP_BPF` may not do with it.
    pub unprivileged: Unprivileged,
    /// Offset in the engine's own context ([`crate::packet::PacketCtx`] for packets, the same as `off` for plain ones).
    pub at: u16,
    /// Bytes in the engine's own context.
    pub at_size: u16,
}

/// Access sizes that are allowed in a field, each a sum of 1, 2, 4 and 8. Every access to a context is naturally aligned,
/// counted from the start of the structure.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rights {
    /// At every aligned offset inside the field, as long as the access ends inside it.
    pub any: u8,
    /// At the field's first byte; such an access may reach over the field's end into padding.
    pub start: u8,
}

impl Rights {
    /// No access.
    pub const NONE: Rights = Rights { any: 0, start: 0 };

    /// These sizes anywhere in the field.
    pub const fn any(sizes: u8) -> Rights {
        Rights { any: sizes, start: 0 }
    }

    /// These sizes at its start alone.
    pub const fn start(sizes: u8) -> Rights {
        Rights { any: 0, start: sizes }
    }
}

/// What a field denies to programs without `CAP_BPF`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unprivileged {
    /// Nothing more than to others.
    Same,
    /// Stores.
    NoWrite,
    /// All access.
    NoAccess,
}

/// How a context is accessed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CtxAccess {
    /// A zero-extending load.
    Load,
    /// A sign-extending load: pointers cannot be loaded by it.
    LoadSigned,
    /// A store.
    Store,
}

/// What loading a context field yields.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FieldKind {
    /// A number.
    Scalar,
    /// Start of the packet.
    PacketData,
    /// End of the packet.
    PacketEnd,
    /// Start of the metadata before the packet.
    PacketMeta,
    /// A socket, maybe NULL.
    SockCommonOrNull,
    /// A socket.
    Socket,
    /// A full socket, maybe NULL.
    SocketOrNull,
    /// `struct bpf_flow_keys`.
    FlowKeys,
    /// Pointer to this kernel type.
    BtfPtr(&'static str),
    /// Start of a buffer that ends at the field of kind `BufferEnd` (`bpf_sockopt`, `sk_msg_md`, …): a packet pointer to
    /// the verifier, a buffer of the plain context to the engine.
    Buffer,
    /// End of that buffer.
    BufferEnd,
    /// The buffer of a writable raw tracepoint (`PTR_TO_TP_BUFFER`).
    TpBuffer,
    /// An argument whose type, and with it the rights, stand in the BTF of what the program attaches to.
    BtfArg,
}

impl FieldKind {
    /// Loads yield a pointer.
    pub fn is_pointer(self) -> bool {
        !matches!(self, FieldKind::Scalar | FieldKind::BtfArg)
    }
}

impl CtxField {
    /// A field that the engine keeps where the UAPI has it.
    pub const fn plain(
        name: &'static str,
        off: u16,
        size: u16,
        kind: FieldKind,
        read: Rights,
        write: Rights,
    ) -> CtxField {
        let unprivileged = Unprivileged::Same;
        CtxField { name: Name::new(name), off, size, kind, read, write, unprivileged, at: off, at_size: size }
    }

    /// The same field, kept elsewhere by the engine.
    pub const fn kept_at(mut self, at: usize, at_size: u16) -> CtxField {
        (self.at, self.at_size) = (at as u16, at_size);
        self
    }

    /// Whether an access that begins in this field is allowed.
    pub fn allows(&self, off: u32, size: u32, how: CtxAccess) -> bool {
        let rights = if how == CtxAccess::Store { self.write } else { self.read };
        let (start, end) = (self.off as u32, self.off as u32 + self.size as u32);
        let has = |sizes: u8| sizes as u32 & size != 0;
        let signed = how == CtxAccess::LoadSigned && self.kind.is_pointer();
        matches!(size, 1 | 2 | 4 | 8)
            && off.is_multiple_of(size)
            && !signed
            && ((has(rights.any) && off + size <= end) || (has(rights.start) && off == start))
    }
}

impl CtxLayout {
    /// The field that byte `off` belongs to. Cost: a binary search.
    pub fn field(&self, off: u32) -> Option<&'static CtxField> {
        let fields = self.fields;
        let after = fields.partition_point(|f| f.off as u32 <= off);
        let field = fields.get(after.checked_sub(1)?)?;
        (off < field.off as u32 + field.size as u32).then_some(field)
    }

    /// The field that an access goes to, if the access is allowed (`is_valid_access` of the program type).
    pub fn access(&self, off: u32, size: u32, how: CtxAccess) -> Option<&'static CtxField> {
        self.field(off).filter(|f| f.allows(off, size, how))
    }

    /// A field by its name.
    pub fn by_name(&self, name: &str) -> Option<&'static CtxField> {
        self.fields.iter().find(|f| *f.name == *name)
    }
}

impl ProgTypeDesc {
    /// Context layout for an attach type.
    pub fn layout(&self, attach: Option<AttachType>) -> Option<&'static CtxLayout> {
        by_attach(self.layouts, attach).copied()
    }

    /// Range of return values for an attach type, if one is checked.
    pub fn ret_range(&self, attach: Option<AttachType>) -> Option<RetRange> {
        by_attach(self.returns, attach).copied()
    }

    /// Whether it may be sleepable with an attach type.
    pub fn may_sleep(&self, attach: Option<AttachType>) -> bool {
        let given = |list: &[AttachType]| attach.is_some_and(|a| list.contains(&a));
        match self.sleepable {
            Sleepable::Never => false,
            Sleepable::May | Sleepable::Must => true,
            Sleepable::MayFor(list) => given(list),
            Sleepable::MayExcept(list) => !given(list),
        }
    }

    /// What becomes of a packet.
    pub fn fate(&self, r0: u64) -> Fate {
        self.verdict(r0).map_or(self.other, |v| v.fate)
    }

    /// Name and fate of a return value.
    pub fn verdict(&self, r0: u64) -> Option<&'static Verdict> {
        self.verdicts.iter().find(|v| v.value == r0 as u32 as i32)
    }
}

fn by_attach<T>(
    rows: &'static [(&'static [AttachType], T)],
    attach: Option<AttachType>,
) -> Option<&'static T> {
    rows.iter().find(|(a, _)| a.is_empty() || attach.is_some_and(|x| a.contains(&x))).map(|(_, t)| t)
}
