//! Link types: where their headers keep what follows, one row each. A link type without a row is refused.

use crate::insn::Size;

/// How a link type says what protocol follows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// EtherType, or a length and LLC.
    Ethernet,
    /// EtherType, with LLC under a number of its own.
    Cooked,
    /// EtherType alone.
    EtherType,
    /// EtherType, with OSI under a number of its own.
    Hdlc,
    /// PPP protocol number.
    Ppp,
    /// An address family in network byte order.
    Family,
    /// IPv4 or IPv6 by the version in the header.
    Raw,
    /// Always this EtherType.
    Only(u16),
    /// Not known: whatever looks at a header is refused.
    Unknown,
}

/// A link type.
#[derive(Clone, Copy, Debug)]
pub(super) struct Link {
    /// Name without `DLT_`.
    pub name: &'static str,
    /// libpcap's number.
    pub number: u32,
    pub kind: Kind,
    /// Offset of the field that says what follows.
    pub type_at: u32,
    /// Offset of what follows.
    pub payload_at: u32,
}

const fn link(name: &'static str, number: u32, kind: Kind, type_at: u32, payload_at: u32) -> Link {
    Link { name, number, kind, type_at, payload_at }
}

/// Link types that filters are compiled for.
pub(super) static LINKS: &[Link] = &[
    link("EN10MB", 1, Kind::Ethernet, 12, 14),
    link("PPP", 9, Kind::Ppp, 2, 4),
    link("RAW", 12, Kind::Raw, 0, 0),
    link("PPP_SERIAL", 50, Kind::Ppp, 2, 4),
    link("PPP_ETHER", 51, Kind::Ppp, 6, 8),
    link("SYMANTEC_FIREWALL", 99, Kind::EtherType, 6, 44),
    link("C_HDLC", 104, Kind::Hdlc, 2, 4),
    link("LOOP", 108, Kind::Family, 0, 4),
    link("LINUX_SLL", 113, Kind::Cooked, 14, 16),
    link("PPP_PPPD", 166, Kind::Ppp, 2, 4),
    link("IPV4", 228, Kind::Only(0x0800), 0, 0),
    link("IPV6", 229, Kind::Only(0x86dd), 0, 0),
    link("LINUX_SLL2", 276, Kind::Cooked, 0, 20),
];

/// Any other link type.
pub(super) const UNKNOWN: Link = link("", u32::MAX, Kind::Unknown, 0, 0);

/// A row by name.
pub(super) fn by_name(name: &str) -> Option<&'static Link> {
    LINKS.iter().find(|l| l.name.eq_ignore_ascii_case(name))
}

/// Link types of 802.11.
const WLAN: &[&str] = &["IEEE802_11", "IEEE802_11_RADIO", "IEEE802_11_RADIO_AVS", "PRISM_HEADER", "PPI"];
/// Others with Ethernet addresses.
const ETHER_LIKE: &[&str] = &[
    "DSA_TAG_BRCM",
    "DSA_TAG_DSA",
    "FDDI",
    "IEEE802",
    "IP_OVER_FC",
    "SUNATM",
    "NETANALYZER",
    "NETANALYZER_TRANSPARENT",
];
const ARC: &[&str] = &["ARCNET", "ARCNET_LINUX", "BACNET_MS_TP"];
/// Others whose headers say what follows.
const TYPED: &[&str] = &[
    "APPLE_IP_OVER_IEEE1394",
    "ATM_CLIP",
    "ATM_RFC1483",
    "ENC",
    "FRELAY",
    "IPNET",
    "LTALK",
    "MTP2",
    "NULL",
    "PFLOG",
    "PPP_BSDOS",
    "SLIP",
    "SLIP_BSDOS",
];

/// Parts of the language that link types without a row of their own have: refused as not built yet there, and as not
/// supported everywhere else.
const LATER: &[(&str, &[&[&str]])] = &[
    ("headers", &[WLAN, ETHER_LIKE, ARC, TYPED]),
    ("ether", &[WLAN, ETHER_LIKE]),
    ("arcnet", &[ARC]),
    ("broadcast", &[WLAN, ETHER_LIKE, ARC]),
    ("multicast", &[WLAN, ETHER_LIKE, ARC]),
    ("vlan", &[WLAN, &["DSA_TAG_BRCM", "DSA_TAG_DSA", "NETANALYZER", "NETANALYZER_TRANSPARENT"]]),
    (
        "mpls",
        &[&[
            "DSA_TAG_BRCM",
            "DSA_TAG_DSA",
            "NETANALYZER",
            "NETANALYZER_TRANSPARENT",
            "C_HDLC",
            "PPP_BSDOS",
            "PPP_PPPD",
            "PPP_SERIAL",
        ]],
    ),
    ("llc", &[WLAN, &["DSA_TAG_BRCM", "DSA_TAG_DSA", "FDDI", "IEEE802", "SUNATM"]]),
    ("type/subtype", &[WLAN]),
    ("dir", &[WLAN]),
    (
        "bound",
        &[&[
            "DSA_TAG_BRCM",
            "DSA_TAG_DSA",
            "IPNET",
            "LINUX_SLL",
            "LINUX_SLL2",
            "PFLOG",
            "PPP_PPPD",
            "SLIP",
            "SLIP_BSDOS",
        ]],
    ),
];

/// Whether a part of the language is to come for a link type.
pub(super) fn later(part: &str, name: &str) -> bool {
    let juniper = name.starts_with("JUNIPER_") && matches!(part, "headers" | "bound");
    let lists = LATER.iter().filter(|(p, _)| *p == part).flat_map(|(_, lists)| lists.iter());
    juniper || lists.flat_map(|l| l.iter()).any(|n| n.eq_ignore_ascii_case(name))
}

impl Link {
    /// Bytes of the field that says what follows.
    pub(super) fn type_size(&self) -> Size {
        if self.kind == Kind::Family { Size::W } else { Size::H }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_ascend_and_are_found() {
        assert!(LINKS.windows(2).all(|w| w[0].number < w[1].number));
        assert!(LINKS.iter().all(|l| by_name(&l.name.to_lowercase()).is_some()));
    }
}
