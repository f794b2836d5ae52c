//! The numbers of the engine's packet context by their UAPI names, for reading and writing from outside.

use skep_platform::packet::PacketCtx;

/// Where a number is kept.
#[derive(Debug)]
pub(crate) enum Slot<'c> {
    Word(&'c mut u32),
    Long(&'c mut u64),
    Words(&'c mut [u32]),
}

macro_rules! slots {
    (words: $($word:ident)*; longs: $($long:ident)*; arrays: $($array:ident)*) => {
        /// The slot of a field; `None` for pointers and unknown names.
        pub(crate) fn slot<'c>(ctx: &'c mut PacketCtx, name: &str) -> Option<Slot<'c>> {
            Some(match name {
                $(stringify!($word) => Slot::Word(&mut ctx.$word),)*
                $(stringify!($long) => Slot::Long(&mut ctx.$long),)*
                $(stringify!($array) => Slot::Words(&mut ctx.$array),)*
                _ => return None,
            })
        }
    };
}

slots! {
    words: len pkt_type mark queue_mapping protocol vlan_present vlan_tci vlan_proto priority ingress_ifindex ifindex
        tc_index hash tc_classid napi_id family remote_ip4 local_ip4 remote_port local_port wire_len gso_segs gso_size
        tstamp_type rx_queue_index egress_ifindex;
    longs: tstamp hwtstamp;
    arrays: cb remote_ip6 local_ip6
}

impl Slot<'_> {
    /// The first `out.len()` bytes.
    pub(crate) fn read(&self, out: &mut [u8]) {
        match self {
            Slot::Word(v) => copy(&v.to_ne_bytes(), out),
            Slot::Long(v) => copy(&v.to_ne_bytes(), out),
            Slot::Words(all) => {
                for (v, part) in all.iter().zip(out.chunks_mut(4)) {
                    copy(&v.to_ne_bytes(), part);
                }
            }
        }
    }

    /// Sets it from as many bytes as there are.
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        match self {
            Slot::Word(v) => **v = number(bytes) as u32,
            Slot::Long(v) => **v = number(bytes),
            Slot::Words(all) => {
                for (v, part) in all.iter_mut().zip(bytes.chunks(4)) {
                    *v = number(part) as u32;
                }
            }
        }
    }
}

fn copy(from: &[u8], to: &mut [u8]) {
    let n = from.len().min(to.len());
    to[..n].copy_from_slice(&from[..n]);
}

/// Up to eight bytes in native order.
fn number(bytes: &[u8]) -> u64 {
    let mut all = [0; 8];
    copy(bytes, &mut all);
    u64::from_le_bytes(all)
}
