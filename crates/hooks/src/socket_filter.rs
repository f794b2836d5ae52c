//! Socket filters: what a socket (or a packet socket) keeps of every packet. The return value is the number of bytes.

use crate::skb::{self, SOCK_FIELDS, Skb, SkbRules};
use skep_platform::ctx::{Fate, PacketAccess, Sleepable, UserRun};
use skep_platform::helper::Version;
use skep_platform::{CtxField, CtxLayout, ProgType, ProgTypeDesc, Verdict};

const FIELDS: &[CtxField] = &skb::layout(&SkbRules {
    hidden: &[
        Skb::TcClassid,
        Skb::Data,
        Skb::DataMeta,
        Skb::DataEnd,
        SOCK_FIELDS[0],
        SOCK_FIELDS[1],
        SOCK_FIELDS[2],
        SOCK_FIELDS[3],
        SOCK_FIELDS[4],
        SOCK_FIELDS[5],
        SOCK_FIELDS[6],
        Skb::Tstamp,
        Skb::WireLen,
        Skb::Hwtstamp,
    ],
    writes: &[Skb::Cb],
    capable: &[],
    capable_writes: &[],
    tstamp_type: false,
});

static SK_BUFF: CtxLayout = CtxLayout { name: "__sk_buff", size: skb::SIZE, fields: FIELDS };

/// `BPF_PROG_TYPE_SOCKET_FILTER`.
pub static SOCKET_FILTER: ProgTypeDesc = ProgTypeDesc {
    prog_type: ProgType::SocketFilter,
    doc: "packets a socket receives: how many bytes it keeps",
    since: Version(3, 19),
    layouts: &[(&[], &SK_BUFF)],
    returns: &[],
    attach_types: &[],
    needs: &[],
    verdicts: &[Verdict { value: 0, name: "drop", fate: Fate::Drop }],
    other: Fate::Pass,
    packet_access: PacketAccess::None,
    legacy_loads: true,
    sleepable: Sleepable::Never,
    user: UserRun::Packets,
};
