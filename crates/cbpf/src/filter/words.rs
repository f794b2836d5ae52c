//! The reserved words of the filter language: keywords, protocol names, and names of numbers. One row each.

/// Protocols and layers that qualify a primitive.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[allow(missing_docs)]
pub enum Proto {
    Default,
    Link,
    Ip,
    Arp,
    Rarp,
    Sctp,
    Tcp,
    Udp,
    Icmp,
    Igmp,
    Igrp,
    Pim,
    Vrrp,
    Carp,
    Radio,
    Ip6,
    Icmp6,
    Ah,
    Esp,
    Atalk,
    Aarp,
    Decnet,
    Lat,
    Sca,
    Moprc,
    Mopdl,
    Iso,
    Esis,
    Isis,
    Clnp,
    Stp,
    Ipx,
    Netbeui,
    L1,
    L2,
    Iih,
    Lsp,
    Snp,
    Csnp,
    Psnp,
}

/// A protocol by its word in the language; the first word of a protocol is its name in messages.
pub(super) const PROTOS: &[(&str, Proto)] = &[
    ("link", Proto::Link),
    ("ip", Proto::Ip),
    ("arp", Proto::Arp),
    ("rarp", Proto::Rarp),
    ("sctp", Proto::Sctp),
    ("tcp", Proto::Tcp),
    ("udp", Proto::Udp),
    ("icmp", Proto::Icmp),
    ("igmp", Proto::Igmp),
    ("igrp", Proto::Igrp),
    ("pim", Proto::Pim),
    ("vrrp", Proto::Vrrp),
    ("carp", Proto::Carp),
    ("radio", Proto::Radio),
    ("ip6", Proto::Ip6),
    ("icmp6", Proto::Icmp6),
    ("ah", Proto::Ah),
    ("esp", Proto::Esp),
    ("atalk", Proto::Atalk),
    ("aarp", Proto::Aarp),
    ("decnet", Proto::Decnet),
    ("lat", Proto::Lat),
    ("sca", Proto::Sca),
    ("moprc", Proto::Moprc),
    ("mopdl", Proto::Mopdl),
    ("iso", Proto::Iso),
    ("esis", Proto::Esis),
    ("isis", Proto::Isis),
    ("clnp", Proto::Clnp),
    ("stp", Proto::Stp),
    ("ipx", Proto::Ipx),
    ("netbeui", Proto::Netbeui),
    ("l1", Proto::L1),
    ("l2", Proto::L2),
    ("iih", Proto::Iih),
    ("lsp", Proto::Lsp),
    ("snp", Proto::Snp),
    ("csnp", Proto::Csnp),
    ("psnp", Proto::Psnp),
];

/// Other keywords, and the words that mean them.
const KEYS: &[(&str, &str)] = &[
    ("ether", "link"),
    ("ppp", "link"),
    ("slip", "link"),
    ("fddi", "link"),
    ("tr", "link"),
    ("wlan", "link"),
    ("es-is", "esis"),
    ("is-is", "isis"),
    ("src", "src"),
    ("dst", "dst"),
    ("host", "host"),
    ("net", "net"),
    ("mask", "mask"),
    ("port", "port"),
    ("portrange", "portrange"),
    ("proto", "proto"),
    ("protochain", "protochain"),
    ("gateway", "gateway"),
    ("type", "type"),
    ("subtype", "subtype"),
    ("direction", "dir"),
    ("dir", "dir"),
    ("address1", "addr1"),
    ("addr1", "addr1"),
    ("address2", "addr2"),
    ("addr2", "addr2"),
    ("address3", "addr3"),
    ("addr3", "addr3"),
    ("address4", "addr4"),
    ("addr4", "addr4"),
    ("ra", "ra"),
    ("ta", "ta"),
    ("less", "less"),
    ("greater", "greater"),
    ("byte", "byte"),
    ("broadcast", "broadcast"),
    ("multicast", "multicast"),
    ("and", "and"),
    ("or", "or"),
    ("not", "not"),
    ("len", "len"),
    ("length", "len"),
    ("inbound", "inbound"),
    ("outbound", "outbound"),
    ("ifindex", "ifindex"),
    ("vlan", "vlan"),
    ("mpls", "mpls"),
    ("pppoed", "pppoed"),
    ("pppoes", "pppoes"),
    ("geneve", "geneve"),
    ("vxlan", "vxlan"),
    ("llc", "llc"),
    ("on", "ifname"),
    ("ifname", "ifname"),
    ("rnr", "rnum"),
    ("rulenum", "rnum"),
    ("rset", "ruleset"),
    ("ruleset", "ruleset"),
    ("srnr", "subrulenum"),
    ("subrulenum", "subrulenum"),
    ("reason", "reason"),
    ("action", "action"),
    ("lane", "lane"),
    ("vpi", "vpi"),
    ("vci", "vci"),
    ("oam", "oam"),
    ("oamf4", "oamf4"),
    ("metac", "metac"),
    ("bcc", "bcc"),
    ("oamf4ec", "oamf4ec"),
    ("oamf4sc", "oamf4sc"),
    ("sc", "sc"),
    ("ilmic", "ilmic"),
    ("connectmsg", "connectmsg"),
    ("metaconnect", "metaconnect"),
    ("fisu", "fisu"),
    ("lssu", "lssu"),
    ("lsu", "lssu"),
    ("msu", "msu"),
    ("hfisu", "hfisu"),
    ("hlssu", "hlssu"),
    ("hmsu", "hmsu"),
    ("sio", "sio"),
    ("opc", "opc"),
    ("dpc", "dpc"),
    ("sls", "sls"),
    ("hsio", "hsio"),
    ("hopc", "hopc"),
    ("hdpc", "hdpc"),
    ("hsls", "hsls"),
];

/// Names of numbers: offsets of fields, and values of them (pcap-filter(7)).
const CONSTANTS: &[(&str, u32)] = &[
    ("icmptype", 0),
    ("icmpcode", 1),
    ("icmp-echoreply", 0),
    ("icmp-unreach", 3),
    ("icmp-sourcequench", 4),
    ("icmp-redirect", 5),
    ("icmp-echo", 8),
    ("icmp-routeradvert", 9),
    ("icmp-routersolicit", 10),
    ("icmp-timxceed", 11),
    ("icmp-paramprob", 12),
    ("icmp-tstamp", 13),
    ("icmp-tstampreply", 14),
    ("icmp-ireq", 15),
    ("icmp-ireqreply", 16),
    ("icmp-maskreq", 17),
    ("icmp-maskreply", 18),
    ("icmp6type", 0),
    ("icmp6code", 1),
    ("icmp6-destinationunreach", 1),
    ("icmp6-packettoobig", 2),
    ("icmp6-timeexceeded", 3),
    ("icmp6-parameterproblem", 4),
    ("icmp6-echo", 128),
    ("icmp6-echoreply", 129),
    ("icmp6-multicastlistenerquery", 130),
    ("icmp6-multicastlistenerreportv1", 131),
    ("icmp6-multicastlistenerdone", 132),
    ("icmp6-routersolicit", 133),
    ("icmp6-routeradvert", 134),
    ("icmp6-neighborsolicit", 135),
    ("icmp6-neighboradvert", 136),
    ("icmp6-redirect", 137),
    ("icmp6-routerrenum", 138),
    ("icmp6-nodeinformationquery", 139),
    ("icmp6-nodeinformationresponse", 140),
    ("icmp6-ineighbordiscoverysolicit", 141),
    ("icmp6-ineighbordiscoveryadvert", 142),
    ("icmp6-multicastlistenerreportv2", 143),
    ("icmp6-homeagentdiscoveryrequest", 144),
    ("icmp6-homeagentdiscoveryreply", 145),
    ("icmp6-mobileprefixsolicit", 146),
    ("icmp6-mobileprefixadvert", 147),
    ("icmp6-certpathsolicit", 148),
    ("icmp6-certpathadvert", 149),
    ("icmp6-multicastrouteradvert", 151),
    ("icmp6-multicastroutersolicit", 152),
    ("icmp6-multicastroutertermination", 153),
    ("icmp6-multicastrouterterm", 153),
    ("tcpflags", 13),
    ("tcp-fin", 1),
    ("tcp-syn", 2),
    ("tcp-rst", 4),
    ("tcp-push", 8),
    ("tcp-ack", 16),
    ("tcp-urg", 32),
    ("tcp-ece", 64),
    ("tcp-cwr", 128),
];

/// The keyword that a word is.
pub(super) fn keyword(word: &str) -> Option<&'static str> {
    let proto = PROTOS.iter().map(|(w, _)| (*w, *w));
    proto.chain(KEYS.iter().copied()).find(|(w, _)| *w == word).map(|(_, key)| key)
}

/// The number that a word stands for.
pub(super) fn constant(word: &str) -> Option<u32> {
    CONSTANTS.iter().find(|(w, _)| *w == word).map(|(_, n)| *n)
}

impl Proto {
    /// The protocol that a keyword is.
    pub(super) fn by_key(key: &str) -> Option<Proto> {
        PROTOS.iter().find(|(w, _)| *w == key).map(|(_, p)| *p)
    }

    /// Its word.
    pub fn name(self) -> &'static str {
        PROTOS.iter().find(|(_, p)| *p == self).map_or("default", |(w, _)| w)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_rows_of_one_table() {
        let protos = PROTOS.iter().map(|r| r.0);
        let mut all: Vec<&str> =
            protos.chain(KEYS.iter().map(|r| r.0)).chain(CONSTANTS.iter().map(|r| r.0)).collect();
        let n = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(n, all.len(), "each word stands once");
        assert!(KEYS.iter().all(|(_, key)| keyword(key).is_none_or(|k| k == *key)));
    }
}
