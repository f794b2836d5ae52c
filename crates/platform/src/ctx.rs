//! What a program type is: its context as the UAPI shows it, where each field is kept by the engine, and what the
//! program may return.
//!
//! A context access in the program names a UAPI offset (`struct xdp_md`, `struct __sk_buff`); a [`CtxLayout`] says which
//! field that is and where the engine keeps it. The checked tier looks it up on every access; `vm::lower` rewrites
//! verified programs once.

use crate::helper::Version;
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
    /// What the return values mean.
    pub verdicts: &'static [Verdict],
    /// The packet may be read and written directly (`may_access_direct_pkt_data`).
    pub packet_access: PacketAccess,
    /// Legacy packet loads (`BPF_ABS`, `BPF_IND`) are allowed (`may_access_skb`).
    pub legacy_loads: bool,
    /// Can be sleepable (`can_be_sleepable`).
    pub sleepable: bool,
    /// How the user engine runs it, or why it does not.
    pub user: UserRun,
}

/// How packets may be accessed through pointers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum PacketAccess {
    None,
    Read,
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
#[derive(Clone, Copy, Debug)]
pub struct CtxField {
    /// UAPI name.
    pub name: &'static str,
    /// Offset in the UAPI structure.
    pub off: u16,
    /// Bytes in the UAPI structure (of the whole array, for arrays).
    pub size: u16,
    /// What a load yields.
    pub kind: FieldKind,
    /// Who may read and write it.
    pub access: Access,
    /// Smallest access in bytes: narrow loads are allowed down to it; equal to the field's size when none are.
    pub narrow: u8,
    /// Offset in the engine's own context ([`crate::packet::PacketCtx`] for packets, the same as `off` for plain ones).
    pub at: u16,
    /// Bytes in the engine's own context.
    pub at_size: u8,
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
    /// `struct bpf_flow_keys`.
    FlowKeys,
    /// Pointer to this kernel type.
    BtfPtr(&'static str),
    /// Start of a buffer that ends at the field of kind `BufferEnd` (`bpf_sockopt`).
    Buffer,
    /// End of that buffer.
    BufferEnd,
}

/// Access rights of a context field.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum Access {
    Read,
    ReadWrite,
    Write,
    None,
}

impl CtxLayout {
    /// The field that an access of `size` bytes at `off` falls into as a whole.
    pub fn field(&self, off: u32, size: u32) -> Option<&'static CtxField> {
        let fields = self.fields;
        fields.iter().find(|f| off >= f.off as u32 && off + size <= f.off as u32 + f.size as u32)
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
