//! Link types: where their headers keep what, one row each. Offsets count from the first byte of the packet.

use crate::insn::Size;

/// How a link type says what protocol follows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Follows {
    /// EtherType, or a length and LLC.
    Ethernet,
    /// EtherType, with LLC under a number of its own.
    Cooked,
    /// EtherType alone.
    EtherType,
    /// EtherType, with OSI under a number of its own.
    Hdlc,
    /// LLC, with EtherTypes in SNAP.
    Llc,
    /// LLC in the data frames of 802.11.
    Wlan,
    /// LLC in the packets of ATM that say so.
    Atm,
    /// PPP protocol number.
    Ppp,
    /// The same, where compressed TCP headers have numbers of their own.
    PppCompressed,
    /// An address family, four bytes in network byte order.
    Family,
    /// An address family, four bytes in the byte order of the host that captured.
    HostFamily,
    /// One of these bytes, or half words, for an EtherType.
    Table(Size, &'static [(u32, u32)]),
    /// IPv4 or IPv6 by the version in the header.
    Version,
    /// Always this EtherType.
    Only(u16),
    /// Not told: what begins with these bytes may be anything.
    Magic(u32, u32),
    /// Not known.
    Unknown,
}

/// Addresses of the link layer, and their offsets behind [`Link::header`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Addresses {
    None,
    /// Six bytes.
    Mac {
        src: u32,
        dst: u32,
    },
    /// One byte, and what it is for broadcasts; multicasts may use it, too.
    Byte {
        src: u32,
        dst: u32,
        broadcast: u32,
        multicast: bool,
    },
    /// In places that the frame control field tells.
    Wlan,
}

/// Lengths that are not the same in all packets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Variable {
    /// None.
    No,
    /// 802.11 headers.
    Wlan,
    /// A radiotap header, then 802.11.
    Radiotap,
    /// A PPI header, then 802.11.
    Ppi,
    /// A header of the AVS kind, then 802.11.
    Avs,
    /// A header of the Prism or the AVS kind, then 802.11.
    Prism,
    /// The first byte is the header's length, which is padded to four bytes.
    Pflog,
}

/// A field that says whether a packet came or went, and what it holds then: `field & mask == value`, or not.
#[derive(Clone, Copy, Debug)]
pub(super) struct Direction {
    pub at: u32,
    pub size: Size,
    pub inbound: (u32, u32, bool),
    pub outbound: (u32, u32, bool),
}

/// A link type.
#[derive(Clone, Copy, Debug)]
pub(super) struct Link {
    /// Name without `DLT_`.
    pub name: &'static str,
    /// Its number in capture files.
    pub number: u32,
    pub follows: Follows,
    /// Offset of the header behind what precedes it.
    pub header: u32,
    /// Offset of the field that says what follows.
    pub type_at: u32,
    /// Offset of what follows.
    pub payload_at: u32,
    /// Bytes of LLC and SNAP in front of the network header.
    pub snap: u32,
    /// Bytes in front of an OSI header.
    pub osi: u32,
    pub variable: Variable,
    pub addresses: Addresses,
    /// EtherType, or number of the protocol, that MPLS has.
    pub mpls: Option<u32>,
    pub vlan: bool,
    pub llc: bool,
    pub direction: Option<Direction>,
    /// Offset of the signal unit behind MTP2's length indicator, less 3.
    pub ss7: Option<u32>,
}

/// No such place. Sums wrap round, as those of the offsets in instructions do.
const NOWHERE: u32 = u32::MAX;

const MPLS: Option<u32> = Some(0x8847);
const PPP_MPLS: Option<u32> = Some(0x0281);
const ETHERNET: Addresses = Addresses::Mac { src: 6, dst: 0 };

const fn link(name: &'static str, number: u32, follows: Follows, type_at: u32, payload_at: u32) -> Link {
    Link {
        name,
        number,
        follows,
        header: 0,
        type_at,
        payload_at,
        snap: 0,
        osi: 0,
        variable: Variable::No,
        addresses: Addresses::None,
        mpls: None,
        vlan: false,
        llc: false,
        direction: None,
        ss7: None,
    }
}

/// Ethernet behind a few bytes of another kind.
const fn ethernet(name: &'static str, number: u32, header: u32, tag: u32) -> Link {
    let mut row = link(name, number, Follows::Ethernet, header + 12 + tag, header + 14 + tag);
    (row.header, row.osi, row.addresses, row.mpls, row.vlan) = (header, 3, ETHERNET, MPLS, true);
    row
}

/// LLC behind a header of fixed length.
const fn llc(name: &'static str, number: u32, at: u32, addresses: Addresses) -> Link {
    let mut row = link(name, number, Follows::Llc, at, at);
    (row.snap, row.osi, row.addresses) = (8, 3, addresses);
    row
}

const fn wlan(name: &'static str, number: u32, variable: Variable) -> Link {
    let mut row = link(name, number, Follows::Wlan, 24, 0);
    (row.snap, row.osi, row.addresses, row.variable) = (8, 3, Addresses::Wlan, variable);
    (row.vlan, row.llc) = (true, true);
    row
}

/// A Juniper router's own header: it begins with a number, and a byte of flags.
const fn juniper(name: &'static str, number: u32, payload_at: u32) -> Link {
    let mut row = link(name, number, Follows::Magic(0x4d47_4300, 0xffff_ff00), 0, payload_at);
    row.direction = Some(Direction { at: 3, size: Size::B, inbound: (1, 1, false), outbound: (1, 0, false) });
    row
}

impl Link {
    const fn mpls(mut self, number: Option<u32>) -> Link {
        self.mpls = number;
        self
    }

    const fn osi(mut self, osi: u32) -> Link {
        self.osi = osi;
        self
    }

    const fn llc(mut self) -> Link {
        self.llc = true;
        self
    }

    const fn addresses(mut self, addresses: Addresses) -> Link {
        self.addresses = addresses;
        self
    }

    const fn ss7(mut self, at: u32) -> Link {
        self.ss7 = Some(at);
        self
    }

    /// Inbound and outbound packets have one number each in a field.
    const fn numbers(self, at: u32, size: Size, inbound: u32, outbound: u32) -> Link {
        self.masked(at, size, (u32::MAX, inbound, false), (u32::MAX, outbound, false))
    }

    /// Outbound packets have a number in a field, all others are inbound.
    const fn marked(self, at: u32, size: Size, outbound: u32) -> Link {
        self.masked(at, size, (u32::MAX, outbound, true), (u32::MAX, outbound, false))
    }

    const fn masked(
        mut self,
        at: u32,
        size: Size,
        inbound: (u32, u32, bool),
        outbound: (u32, u32, bool),
    ) -> Link {
        self.direction = Some(Direction { at, size, inbound, outbound });
        self
    }

    const fn snap(mut self) -> Link {
        (self.snap, self.osi) = (8, 3);
        self
    }

    const fn variable(mut self, variable: Variable) -> Link {
        self.variable = variable;
        self
    }
}

/// Packet types of ARCnet by EtherType.
const ARCNET: Follows = Follows::Table(
    Size::B,
    &[(0x0800, 0xd4), (0x0806, 0xd5), (0x8035, 0xd6), (0x86dd, 0xc4), (0x809b, 0xdd)],
);
/// Control byte of LLC and network layer protocol identifier behind two bytes of Frame Relay.
const FRAME_RELAY: Follows = Follows::Table(
    Size::H,
    &[(0x0800, 0x03cc), (0x86dd, 0x038e), (0xfe, 0x0381), (0xfe, 0x0382), (0xfe, 0x0383)],
);
/// Address families of Solaris.
const IPNET: Follows = Follows::Table(Size::B, &[(0x0800, 2), (0x86dd, 26)]);
/// Address families of Linux, which the packet filter's log is read on.
const PFLOG: Follows = Follows::Table(Size::B, &[(0x0800, 2), (0x86dd, 10)]);
const ARCNET_ADDRESSES: Addresses = Addresses::Byte { src: 0, dst: 1, broadcast: 0, multicast: true };
const MSTP_ADDRESSES: Addresses = Addresses::Byte { src: 4, dst: 3, broadcast: 0xff, multicast: false };

/// Link types whose headers are known.
pub(super) static LINKS: &[Link] = {
    use Addresses::Mac;
    use Follows::*;
    use Size::{B, H};
    &[
        link("NULL", 0, HostFamily, 0, 4),
        ethernet("EN10MB", 1, 0, 0).llc(),
        llc("IEEE802", 6, 14, Mac { src: 8, dst: 2 }).llc(),
        link("ARCNET", 7, ARCNET, 2, 6).addresses(ARCNET_ADDRESSES),
        link("SLIP", 8, Version, 0, 16).numbers(0, B, 0, 1),
        link("PPP", 9, Ppp, 2, 4).mpls(PPP_MPLS),
        llc("FDDI", 10, 13, Mac { src: 7, dst: 1 }).llc(),
        link("PPP_SERIAL", 50, Ppp, 2, 4).mpls(PPP_MPLS),
        link("PPP_ETHER", 51, Ppp, 6, 8),
        link("SYMANTEC_FIREWALL", 99, EtherType, 6, 44),
        llc("ATM_RFC1483", 100, 0, Addresses::None).llc(),
        link("RAW", 101, Version, 0, 0),
        link("SLIP_BSDOS", 102, Version, 0, 24),
        link("PPP_BSDOS", 103, PppCompressed, 5, 24).mpls(PPP_MPLS),
        link("C_HDLC", 104, Hdlc, 2, 4).mpls(MPLS).osi(1),
        wlan("IEEE802_11", 105, Variable::Wlan),
        llc("ATM_CLIP", 106, 0, Addresses::None),
        link("FRELAY", 107, FRAME_RELAY, 2, 0),
        link("LOOP", 108, Family, 0, 4),
        link("ENC", 109, HostFamily, 0, 12),
        link("LINUX_SLL", 113, Cooked, 14, 16).marked(0, H, 4),
        link("LTALK", 114, Only(0x809b), 0, 0),
        link("PFLOG", 117, PFLOG, 1, 0).variable(Variable::Pflog).numbers(60, B, 1, 2),
        wlan("PRISM_HEADER", 119, Variable::Prism),
        llc("IP_OVER_FC", 122, 16, Mac { src: 10, dst: 2 }),
        link("SUNATM", 123, Atm, 4, 4).snap().llc(),
        wlan("IEEE802_11_RADIO", 127, Variable::Radiotap),
        link("ARCNET_LINUX", 129, ARCNET, 4, 8).addresses(ARCNET_ADDRESSES),
        juniper("JUNIPER_MLPPP", 130, 4),
        juniper("JUNIPER_MLFR", 131, 4),
        juniper("JUNIPER_ES", 132, NOWHERE),
        juniper("JUNIPER_GGSN", 133, 12),
        juniper("JUNIPER_MFR", 134, 4),
        juniper("JUNIPER_ATM2", 135, 8).osi(10),
        juniper("JUNIPER_SERVICES", 136, NOWHERE),
        juniper("JUNIPER_ATM1", 137, 4).osi(10),
        link("APPLE_IP_OVER_IEEE1394", 138, EtherType, 16, 18),
        link("MTP2_WITH_PHDR", 139, Unknown, NOWHERE, NOWHERE).ss7(4),
        link("MTP2", 140, Unknown, NOWHERE, NOWHERE).ss7(0),
        wlan("IEEE802_11_RADIO_AVS", 163, Variable::Avs),
        juniper("JUNIPER_MONITOR", 164, 12),
        link("BACNET_MS_TP", 165, Magic(0x55ff_0000, 0xffff_0000), 0, NOWHERE).addresses(MSTP_ADDRESSES),
        link("PPP_PPPD", 166, Ppp, 2, 4).mpls(PPP_MPLS).numbers(0, B, 0, 1),
        juniper("JUNIPER_PPPOE", 167, 32).osi(21 - 18),
        juniper("JUNIPER_PPPOE_ATM", 168, 6),
        juniper("JUNIPER_ETHER", 178, 32).osi(21 - 18),
        juniper("JUNIPER_PPP", 179, 4),
        juniper("JUNIPER_FRELAY", 180, 4),
        juniper("JUNIPER_CHDLC", 181, 4),
        juniper("JUNIPER_VP", 183, NOWHERE),
        wlan("PPI", 192, Variable::Ppi),
        juniper("JUNIPER_ISM", 194, NOWHERE),
        link("ERF", 197, Unknown, NOWHERE, NOWHERE).ss7(20),
        juniper("JUNIPER_ST", 200, NOWHERE),
        link("IPNET", 226, IPNET, 1, 24).numbers(2, H, 2, 1),
        link("IPV4", 228, Only(0x0800), 0, 0),
        link("IPV6", 229, Only(0x86dd), 0, 0),
        juniper("JUNIPER_VS", 232, NOWHERE),
        juniper("JUNIPER_SRX_E2E", 233, NOWHERE),
        juniper("JUNIPER_FIBRECHANNEL", 234, NOWHERE),
        juniper("JUNIPER_ATM_CEMIC", 238, NOWHERE),
        ethernet("NETANALYZER", 240, 4, 0),
        ethernet("NETANALYZER_TRANSPARENT", 241, 12, 0),
        link("LINUX_SLL2", 276, EtherType, 0, 20).marked(10, B, 4),
        ethernet("DSA_TAG_BRCM", 281, 0, 4).llc().masked(12, B, (0xe0, 0, false), (0xe0, 0x20, false)),
        ethernet("DSA_TAG_DSA", 284, 0, 4).llc().masked(12, B, (0x40, 0, false), (0xc0, 0x40, false)),
    ]
};

/// Link types of which filters can look at single bytes only: name, and number in capture files.
const OTHERS: &[(&str, u32)] = &[
    ("EN3MB", 2),
    ("AX25", 3),
    ("PRONET", 4),
    ("CHAOS", 5),
    ("REDBACK_SMARTEDGE", 32),
    ("MTP3", 141),
    ("SCCP", 142),
    ("DOCSIS", 143),
    ("LINUX_IRDA", 144),
    ("GPRS_LLC", 169),
    ("GPF_T", 170),
    ("GPF_F", 171),
    ("JUNIPER_PIC_PEER", 174),
    ("ERF_ETH", 175),
    ("ERF_POS", 176),
    ("LINUX_LAPD", 177),
    ("MFR", 182),
    ("A429", 184),
    ("A653_ICM", 185),
    ("USB_FREEBSD", 186),
    ("BLUETOOTH_HCI_H4", 187),
    ("IEEE802_16_MAC_CPS", 188),
    ("USB_LINUX", 189),
    ("CAN20B", 190),
    ("IEEE802_15_4_LINUX", 191),
    ("IEEE802_16_MAC_CPS_RADIO", 193),
    ("IEEE802_15_4", 195),
    ("SITA", 196),
    ("RAIF1", 198),
    ("IPMB_KONTRON", 199),
    ("BLUETOOTH_HCI_H4_WITH_PHDR", 201),
    ("AX25_KISS", 202),
    ("I2C_LINUX", 209),
    ("IEEE802_15_4_NONASK_PHY", 215),
    ("LINUX_EVDEV", 216),
    ("MPLS", 219),
    ("USB_LINUX_MMAPPED", 220),
    ("DECT", 221),
    ("AOS", 222),
    ("WIHART", 223),
    ("FC_2", 224),
    ("FC_2_WITH_FRAME_DELIMS", 225),
    ("CAN_SOCKETCAN", 227),
    ("IEEE802_15_4_NOFCS", 230),
    ("DBUS", 231),
    ("DVB_CI", 235),
    ("MUX27010", 236),
    ("STANAG_5066_D_PDU", 237),
    ("NFLOG", 239),
    ("IPOIB", 242),
    ("MPEG_2_TS", 243),
    ("NG40", 244),
    ("NFC_LLCP", 245),
    ("PFSYNC", 246),
    ("INFINIBAND", 247),
    ("SCTP", 248),
    ("USBPCAP", 249),
    ("RTAC_SERIAL", 250),
    ("BLUETOOTH_LE_LL", 251),
    ("NETLINK", 253),
    ("BLUETOOTH_LINUX_MONITOR", 254),
    ("BLUETOOTH_BREDR_BB", 255),
    ("BLUETOOTH_LE_LL_WITH_PHDR", 256),
    ("PROFIBUS_DL", 257),
    ("PKTAP", 258),
    ("EPON", 259),
    ("IPMI_HPM_2", 260),
    ("ZWAVE_R1_R2", 261),
    ("ZWAVE_R3", 262),
    ("WATTSTOPPER_DLM", 263),
    ("ISO_14443", 264),
    ("RDS", 265),
    ("USB_DARWIN", 266),
    ("OPENFLOW", 267),
    ("SDLC", 268),
    ("TI_LLN_SNIFFER", 269),
    ("VSOCK", 271),
    ("NORDIC_BLE", 272),
    ("DOCSIS31_XRA31", 273),
    ("ETHERNET_MPACKET", 274),
    ("DISPLAYPORT_AUX", 275),
    ("OPENVIZSLA", 278),
    ("EBHSCR", 279),
    ("VPP_DISPATCH", 280),
    ("DSA_TAG_BRCM_PREPEND", 282),
    ("IEEE802_15_4_TAP", 283),
    ("DSA_TAG_EDSA", 285),
    ("ELEE", 286),
    ("Z_WAVE_SERIAL", 287),
    ("USB_2_0", 288),
    ("ATSC_ALP", 289),
    ("ETW", 290),
    ("NETANALYZER_NG", 291),
    ("ZBOSS_NCP", 292),
    ("USB_2_0_LOW_SPEED", 293),
    ("USB_2_0_FULL_SPEED", 294),
    ("USB_2_0_HIGH_SPEED", 295),
    ("AUERSWALD_LOG", 296),
    ("ZWAVE_TAP", 297),
    ("SILABS_DEBUG_CHANNEL", 298),
    ("FIRA_UCI", 299),
    ("MDB", 300),
    ("DECT_NR", 301),
];

/// All link types by name, and their numbers in capture files.
pub(super) fn names() -> impl Iterator<Item = (&'static str, u32)> {
    LINKS.iter().map(|l| (l.name, l.number)).chain(OTHERS.iter().copied())
}

/// A row by name, which may be written in either case.
pub(super) fn by_name(name: &str) -> Option<Link> {
    let found = LINKS.iter().find(|l| l.name.eq_ignore_ascii_case(name)).copied();
    found.or_else(|| {
        let (name, number) = OTHERS.iter().find(|(n, _)| n.eq_ignore_ascii_case(name))?;
        Some(link(name, *number, Follows::Unknown, NOWHERE, NOWHERE))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_ascend_and_are_found() {
        assert!(LINKS.windows(2).all(|w| w[0].number < w[1].number));
        assert!(OTHERS.windows(2).all(|w| w[0].1 < w[1].1));
        assert!(names().all(|(n, _)| by_name(&n.to_lowercase()).is_some()));
        assert!(OTHERS.iter().all(|(n, v)| LINKS.iter().all(|l| l.name != *n && l.number != *v)));
    }
}
