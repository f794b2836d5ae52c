//! Ancillary loads: negative offsets of absolute loads by which a filter asks Linux for something other than packet
//! bytes (`SKF_AD_*`, include/uapi/linux/filter.h). One row each.

/// First of the offsets (`SKF_AD_OFF`), as the unsigned number in an instruction.
pub const AD_OFF: u32 = -0x1000i32 as u32;
/// Offsets from here on count from the network header (`SKF_NET_OFF`).
pub const NET_OFF: u32 = -0x10_0000i32 as u32;
/// Offsets from here on count from the link-layer header (`SKF_LL_OFF`).
pub const LL_OFF: u32 = -0x20_0000i32 as u32;

/// What is loaded into A (or, for [`Ancillary::AluXorX`], done to it).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[allow(missing_docs)]
pub enum Ancillary {
    Protocol,
    PktType,
    Ifindex,
    Nlattr,
    NlattrNest,
    Mark,
    Queue,
    Hatype,
    RxHash,
    Cpu,
    AluXorX,
    VlanTag,
    VlanTagPresent,
    PayOffset,
    Random,
    VlanTpid,
}

/// One ancillary load.
#[derive(Debug)]
pub struct Row {
    /// Which.
    pub which: Ancillary,
    /// Offset from [`AD_OFF`].
    pub off: u32,
    /// Name in listings, `ldb [vlanp]`.
    pub name: &'static str,
    /// UAPI name.
    pub uapi: &'static str,
    /// What it yields.
    pub doc: &'static str,
}

const fn row(which: Ancillary, off: u32, name: &'static str, uapi: &'static str, doc: &'static str) -> Row {
    Row { which, off, name, uapi, doc }
}

/// All of them, ascending by offset.
pub static ROWS: &[Row] = &[
    row(Ancillary::Protocol, 0, "proto", "SKF_AD_PROTOCOL", "EtherType"),
    row(Ancillary::PktType, 4, "type", "SKF_AD_PKTTYPE", "to whom it was sent (PACKET_HOST, …)"),
    row(Ancillary::Ifindex, 8, "ifidx", "SKF_AD_IFINDEX", "index of the interface"),
    row(
        Ancillary::Nlattr,
        12,
        "nla",
        "SKF_AD_NLATTR",
        "offset of the netlink attribute of type X from A on, or 0",
    ),
    row(Ancillary::NlattrNest, 16, "nlan", "SKF_AD_NLATTR_NEST", "the same inside the attribute at A"),
    row(Ancillary::Mark, 20, "mark", "SKF_AD_MARK", "the packet's mark"),
    row(Ancillary::Queue, 24, "queue", "SKF_AD_QUEUE", "queue it came on"),
    row(Ancillary::Hatype, 28, "hatype", "SKF_AD_HATYPE", "hardware type of the interface (ARPHRD_*)"),
    row(Ancillary::RxHash, 32, "rxhash", "SKF_AD_RXHASH", "flow hash"),
    row(Ancillary::Cpu, 36, "cpu", "SKF_AD_CPU", "CPU the filter runs on"),
    row(Ancillary::AluXorX, 40, "xor_x", "SKF_AD_ALU_XOR_X", "A ^ X"),
    row(Ancillary::VlanTag, 44, "vlan_tci", "SKF_AD_VLAN_TAG", "tag that the interface took off"),
    row(
        Ancillary::VlanTagPresent,
        48,
        "vlanp",
        "SKF_AD_VLAN_TAG_PRESENT",
        "1 if the interface took a tag off, else 0",
    ),
    row(Ancillary::PayOffset, 52, "poff", "SKF_AD_PAY_OFFSET", "offset of the payload behind the headers"),
    row(Ancillary::Random, 56, "rand", "SKF_AD_RANDOM", "a random number"),
    row(Ancillary::VlanTpid, 60, "vlan_tpid", "SKF_AD_VLAN_TPID", "EtherType of the tag taken off"),
];

impl Ancillary {
    /// The load that an absolute load at `k` is, if it is one.
    pub fn at(k: u32) -> Option<Ancillary> {
        let off = k.checked_sub(AD_OFF)?;
        ROWS.iter().find(|r| r.off == off).map(|r| r.which)
    }

    /// By its name in listings.
    pub fn by_name(name: &str) -> Option<Ancillary> {
        ROWS.iter().find(|r| r.name == name).map(|r| r.which)
    }

    /// Its row.
    pub fn row(self) -> &'static Row {
        &ROWS[self as usize]
    }

    /// The offset in the instruction.
    pub fn k(self) -> u32 {
        AD_OFF + self.row().off
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_stand_at_their_place_and_have_own_names() {
        for (i, row) in ROWS.iter().enumerate() {
            assert_eq!(row.which as usize, i);
            assert_eq!(Ancillary::at(row.which.k()), Some(row.which));
            assert_eq!(Ancillary::by_name(row.name), Some(row.which));
            assert!(row.uapi.starts_with("SKF_AD_") && !row.doc.is_empty());
            assert!(i == 0 || ROWS[i - 1].off < row.off);
        }
        assert_eq!(Ancillary::at(AD_OFF - 1), None);
        assert_eq!(Ancillary::at(AD_OFF + 64), None);
    }
}
