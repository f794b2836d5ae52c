//! The reserved words of the filter language: keywords, protocol names, and names of numbers. One row each.

/// Names of an enum's variants, in one list.
macro_rules! named {
    ($(#[$doc:meta])* $vis:vis enum $name:ident { $($variant:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        #[allow(missing_docs)]
        $vis enum $name {
            $($variant,)*
        }

        impl $name {
            /// Its word.
            $vis fn name(self) -> &'static str {
                const NAMES: &[&str] = &[$($word,)*];
                NAMES[self as usize]
            }
        }
    };
}

named! {
    /// Protocols and layers that qualify a primitive.
    pub enum Proto {
        Default = "default",
        Link = "link",
        Ip = "ip",
        Arp = "arp",
        Rarp = "rarp",
        Sctp = "sctp",
        Tcp = "tcp",
        Udp = "udp",
        Icmp = "icmp",
        Igmp = "igmp",
        Igrp = "igrp",
        Pim = "pim",
        Vrrp = "vrrp",
        Carp = "carp",
        Radio = "radio",
        Ip6 = "ip6",
        Icmp6 = "icmp6",
        Ah = "ah",
        Esp = "esp",
        Atalk = "atalk",
        Aarp = "aarp",
        Decnet = "decnet",
        Lat = "lat",
        Sca = "sca",
        Moprc = "moprc",
        Mopdl = "mopdl",
        Iso = "iso",
        Esis = "esis",
        Isis = "isis",
        Clnp = "clnp",
        Stp = "stp",
        Ipx = "ipx",
        Netbeui = "netbeui",
        L1 = "l1",
        L2 = "l2",
        Iih = "iih",
        Lsp = "lsp",
        Snp = "snp",
        Csnp = "csnp",
        Psnp = "psnp",
    }
}

named! {
    /// Keywords that are neither protocols nor words of the telephone network.
    pub(super) enum Key {
        Src = "src",
        Dst = "dst",
        Host = "host",
        Net = "net",
        Mask = "mask",
        Port = "port",
        PortRange = "portrange",
        Proto = "proto",
        ProtoChain = "protochain",
        Gateway = "gateway",
        Type = "type",
        Subtype = "subtype",
        Dir = "dir",
        Addr1 = "addr1",
        Addr2 = "addr2",
        Addr3 = "addr3",
        Addr4 = "addr4",
        Ra = "ra",
        Ta = "ta",
        Less = "less",
        Greater = "greater",
        Byte = "byte",
        Broadcast = "broadcast",
        Multicast = "multicast",
        And = "and",
        Or = "or",
        Not = "not",
        Len = "len",
        Inbound = "inbound",
        Outbound = "outbound",
        Ifindex = "ifindex",
        Vlan = "vlan",
        Mpls = "mpls",
        Pppoed = "pppoed",
        Pppoes = "pppoes",
        Geneve = "geneve",
        Vxlan = "vxlan",
        Llc = "llc",
        Ifname = "ifname",
        Rulenum = "rnr",
        Ruleset = "ruleset",
        Subrulenum = "srnr",
        Reason = "reason",
        Action = "action",
        Lane = "lane",
    }
}

named! {
    /// Circuits of ATM, and messages on them.
    pub(super) enum Atm {
        Metac = "metac",
        Bcc = "bcc",
        Oamf4ec = "oamf4ec",
        Oamf4sc = "oamf4sc",
        Sc = "sc",
        Ilmic = "ilmic",
        Oam = "oam",
        Oamf4 = "oamf4",
        Connectmsg = "connectmsg",
        Metaconnect = "metaconnect",
    }
}

named! {
    /// Kinds of MTP2 signal units.
    pub(super) enum Mtp2 {
        Fisu = "fisu",
        Lssu = "lssu",
        Msu = "msu",
        Hfisu = "hfisu",
        Hlssu = "hlssu",
        Hmsu = "hmsu",
    }
}

named! {
    /// Fields of ATM and MTP3 headers.
    pub(super) enum Field {
        Vpi = "vpi",
        Vci = "vci",
        Sio = "sio",
        Opc = "opc",
        Dpc = "dpc",
        Sls = "sls",
        Hsio = "hsio",
        Hopc = "hopc",
        Hdpc = "hdpc",
        Hsls = "hsls",
    }
}

/// What a reserved word is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Word {
    Proto(Proto),
    Key(Key),
    Atm(Atm),
    Mtp2(Mtp2),
    Field(Field),
    /// A name of a number.
    Num(u32),
}

use Key as K;
use Proto as P;
use Word::{Atm as A, Field as F, Key as W, Mtp2 as M, Num, Proto as Pr};

/// All reserved words, ascending. Numbers are offsets of fields, and values of them (pcap-filter(7)).
const WORDS: &[(&str, Word)] = &[
    ("aarp", Pr(P::Aarp)),
    ("action", W(K::Action)),
    ("addr1", W(K::Addr1)),
    ("addr2", W(K::Addr2)),
    ("addr3", W(K::Addr3)),
    ("addr4", W(K::Addr4)),
    ("address1", W(K::Addr1)),
    ("address2", W(K::Addr2)),
    ("address3", W(K::Addr3)),
    ("address4", W(K::Addr4)),
    ("ah", Pr(P::Ah)),
    ("and", W(K::And)),
    ("arp", Pr(P::Arp)),
    ("atalk", Pr(P::Atalk)),
    ("bcc", A(Atm::Bcc)),
    ("broadcast", W(K::Broadcast)),
    ("byte", W(K::Byte)),
    ("carp", Pr(P::Carp)),
    ("clnp", Pr(P::Clnp)),
    ("connectmsg", A(Atm::Connectmsg)),
    ("csnp", Pr(P::Csnp)),
    ("decnet", Pr(P::Decnet)),
    ("dir", W(K::Dir)),
    ("direction", W(K::Dir)),
    ("dpc", F(Field::Dpc)),
    ("dst", W(K::Dst)),
    ("es-is", Pr(P::Esis)),
    ("esis", Pr(P::Esis)),
    ("esp", Pr(P::Esp)),
    ("ether", Pr(P::Link)),
    ("fddi", Pr(P::Link)),
    ("fisu", M(Mtp2::Fisu)),
    ("gateway", W(K::Gateway)),
    ("geneve", W(K::Geneve)),
    ("greater", W(K::Greater)),
    ("hdpc", F(Field::Hdpc)),
    ("hfisu", M(Mtp2::Hfisu)),
    ("hlssu", M(Mtp2::Hlssu)),
    ("hmsu", M(Mtp2::Hmsu)),
    ("hopc", F(Field::Hopc)),
    ("host", W(K::Host)),
    ("hsio", F(Field::Hsio)),
    ("hsls", F(Field::Hsls)),
    ("icmp", Pr(P::Icmp)),
    ("icmp-echo", Num(8)),
    ("icmp-echoreply", Num(0)),
    ("icmp-ireq", Num(15)),
    ("icmp-ireqreply", Num(16)),
    ("icmp-maskreply", Num(18)),
    ("icmp-maskreq", Num(17)),
    ("icmp-paramprob", Num(12)),
    ("icmp-redirect", Num(5)),
    ("icmp-routeradvert", Num(9)),
    ("icmp-routersolicit", Num(10)),
    ("icmp-sourcequench", Num(4)),
    ("icmp-timxceed", Num(11)),
    ("icmp-tstamp", Num(13)),
    ("icmp-tstampreply", Num(14)),
    ("icmp-unreach", Num(3)),
    ("icmp6", Pr(P::Icmp6)),
    ("icmp6-certpathadvert", Num(149)),
    ("icmp6-certpathsolicit", Num(148)),
    ("icmp6-destinationunreach", Num(1)),
    ("icmp6-echo", Num(128)),
    ("icmp6-echoreply", Num(129)),
    ("icmp6-homeagentdiscoveryreply", Num(145)),
    ("icmp6-homeagentdiscoveryrequest", Num(144)),
    ("icmp6-ineighbordiscoveryadvert", Num(142)),
    ("icmp6-ineighbordiscoverysolicit", Num(141)),
    ("icmp6-mobileprefixadvert", Num(147)),
    ("icmp6-mobileprefixsolicit", Num(146)),
    ("icmp6-multicastlistenerdone", Num(132)),
    ("icmp6-multicastlistenerquery", Num(130)),
    ("icmp6-multicastlistenerreportv1", Num(131)),
    ("icmp6-multicastlistenerreportv2", Num(143)),
    ("icmp6-multicastrouteradvert", Num(151)),
    ("icmp6-multicastroutersolicit", Num(152)),
    ("icmp6-multicastrouterterm", Num(153)),
    ("icmp6-multicastroutertermination", Num(153)),
    ("icmp6-neighboradvert", Num(136)),
    ("icmp6-neighborsolicit", Num(135)),
    ("icmp6-nodeinformationquery", Num(139)),
    ("icmp6-nodeinformationresponse", Num(140)),
    ("icmp6-packettoobig", Num(2)),
    ("icmp6-parameterproblem", Num(4)),
    ("icmp6-redirect", Num(137)),
    ("icmp6-routeradvert", Num(134)),
    ("icmp6-routerrenum", Num(138)),
    ("icmp6-routersolicit", Num(133)),
    ("icmp6-timeexceeded", Num(3)),
    ("icmp6code", Num(1)),
    ("icmp6type", Num(0)),
    ("icmpcode", Num(1)),
    ("icmptype", Num(0)),
    ("ifindex", W(K::Ifindex)),
    ("ifname", W(K::Ifname)),
    ("igmp", Pr(P::Igmp)),
    ("igrp", Pr(P::Igrp)),
    ("iih", Pr(P::Iih)),
    ("ilmic", A(Atm::Ilmic)),
    ("inbound", W(K::Inbound)),
    ("ip", Pr(P::Ip)),
    ("ip6", Pr(P::Ip6)),
    ("ipx", Pr(P::Ipx)),
    ("is-is", Pr(P::Isis)),
    ("isis", Pr(P::Isis)),
    ("iso", Pr(P::Iso)),
    ("l1", Pr(P::L1)),
    ("l2", Pr(P::L2)),
    ("lane", W(K::Lane)),
    ("lat", Pr(P::Lat)),
    ("len", W(K::Len)),
    ("length", W(K::Len)),
    ("less", W(K::Less)),
    ("link", Pr(P::Link)),
    ("llc", W(K::Llc)),
    ("lsp", Pr(P::Lsp)),
    ("lssu", M(Mtp2::Lssu)),
    ("lsu", M(Mtp2::Lssu)),
    ("mask", W(K::Mask)),
    ("metac", A(Atm::Metac)),
    ("metaconnect", A(Atm::Metaconnect)),
    ("mopdl", Pr(P::Mopdl)),
    ("moprc", Pr(P::Moprc)),
    ("mpls", W(K::Mpls)),
    ("msu", M(Mtp2::Msu)),
    ("multicast", W(K::Multicast)),
    ("net", W(K::Net)),
    ("netbeui", Pr(P::Netbeui)),
    ("not", W(K::Not)),
    ("oam", A(Atm::Oam)),
    ("oamf4", A(Atm::Oamf4)),
    ("oamf4ec", A(Atm::Oamf4ec)),
    ("oamf4sc", A(Atm::Oamf4sc)),
    ("on", W(K::Ifname)),
    ("opc", F(Field::Opc)),
    ("or", W(K::Or)),
    ("outbound", W(K::Outbound)),
    ("pim", Pr(P::Pim)),
    ("port", W(K::Port)),
    ("portrange", W(K::PortRange)),
    ("ppp", Pr(P::Link)),
    ("pppoed", W(K::Pppoed)),
    ("pppoes", W(K::Pppoes)),
    ("proto", W(K::Proto)),
    ("protochain", W(K::ProtoChain)),
    ("psnp", Pr(P::Psnp)),
    ("ra", W(K::Ra)),
    ("radio", Pr(P::Radio)),
    ("rarp", Pr(P::Rarp)),
    ("reason", W(K::Reason)),
    ("rnr", W(K::Rulenum)),
    ("rset", W(K::Ruleset)),
    ("rulenum", W(K::Rulenum)),
    ("ruleset", W(K::Ruleset)),
    ("sc", A(Atm::Sc)),
    ("sca", Pr(P::Sca)),
    ("sctp", Pr(P::Sctp)),
    ("sio", F(Field::Sio)),
    ("slip", Pr(P::Link)),
    ("sls", F(Field::Sls)),
    ("snp", Pr(P::Snp)),
    ("src", W(K::Src)),
    ("srnr", W(K::Subrulenum)),
    ("stp", Pr(P::Stp)),
    ("subrulenum", W(K::Subrulenum)),
    ("subtype", W(K::Subtype)),
    ("ta", W(K::Ta)),
    ("tcp", Pr(P::Tcp)),
    ("tcp-ack", Num(16)),
    ("tcp-cwr", Num(128)),
    ("tcp-ece", Num(64)),
    ("tcp-fin", Num(1)),
    ("tcp-push", Num(8)),
    ("tcp-rst", Num(4)),
    ("tcp-syn", Num(2)),
    ("tcp-urg", Num(32)),
    ("tcpflags", Num(13)),
    ("tr", Pr(P::Link)),
    ("type", W(K::Type)),
    ("udp", Pr(P::Udp)),
    ("vci", F(Field::Vci)),
    ("vlan", W(K::Vlan)),
    ("vpi", F(Field::Vpi)),
    ("vrrp", Pr(P::Vrrp)),
    ("vxlan", W(K::Vxlan)),
    ("wlan", Pr(P::Link)),
];

/// Places of [`SLOTS`].
const PLACES: usize = 1024;

/// Rows of [`WORDS`] by the hash of their words, and 0 where there is none: the number of the row and one.
static SLOTS: [u16; PLACES] = {
    let mut slots = [0; PLACES];
    let mut row = 0;
    while row < WORDS.len() {
        let mut place = hash(WORDS[row].0.as_bytes());
        while slots[place] != 0 {
            place = (place + 1) % PLACES;
        }
        row += 1;
        slots[place] = row as u16;
    }
    slots
};

const fn hash(word: &[u8]) -> usize {
    let (mut h, mut i) = (word.len() as u32, 0);
    while i < word.len() {
        h = (h ^ word[i] as u32).wrapping_mul(0x9e37_79b1);
        i += 1;
    }
    (h >> 16) as usize % PLACES
}

/// What a word is, when it is reserved: one look, mostly, into a table by hash.
pub(super) fn reserved(word: &str) -> Option<Word> {
    let mut place = hash(word.as_bytes());
    loop {
        let (name, is) = WORDS[usize::from(SLOTS[place].checked_sub(1)?)];
        if name == word {
            return Some(is);
        }
        place = (place + 1) % PLACES;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_ascend_and_are_found() {
        assert!(WORDS.windows(2).all(|w| w[0].0 < w[1].0), "each word stands once, in order");
        assert!(WORDS.iter().all(|(w, word)| reserved(w) == Some(*word)));
    }

    #[test]
    fn protocols_are_found_by_their_names() {
        let mut protos =
            WORDS.iter().filter_map(|(_, w)| if let Word::Proto(p) = w { Some(*p) } else { None });
        assert!(protos.all(|p| reserved(p.name()) == Some(Word::Proto(p))));
    }
}
