//! Link types of captures: what stands in front of the network header, by the numbers of the LINKTYPE_ registry.

use std::fmt;

/// A number of the LINKTYPE_ registry.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct LinkType(pub u32);

#[allow(missing_docs)]
impl LinkType {
    pub const NULL: LinkType = LinkType(0);
    pub const ETHERNET: LinkType = LinkType(1);
    pub const RAW: LinkType = LinkType(101);
    pub const LOOP: LinkType = LinkType(108);
    pub const LINUX_SLL: LinkType = LinkType(113);
    pub const IPV4: LinkType = LinkType(228);
    pub const IPV6: LinkType = LinkType(229);
    pub const LINUX_SLL2: LinkType = LinkType(276);
}

/// Link types whose packets can be given to programs, with their registry names.
pub const LINK_TYPES: &[(LinkType, &str)] = &[
    (LinkType::NULL, "NULL"),
    (LinkType::ETHERNET, "ETHERNET"),
    (LinkType::RAW, "RAW"),
    (LinkType::LOOP, "LOOP"),
    (LinkType::LINUX_SLL, "LINUX_SLL"),
    (LinkType::IPV4, "IPV4"),
    (LinkType::IPV6, "IPV6"),
    (LinkType::LINUX_SLL2, "LINUX_SLL2"),
];

impl LinkType {
    /// From the number in a file: some systems write raw IP by their own numbers 12 and 14.
    pub fn from_file(number: u32) -> LinkType {
        match number {
            12 | 14 => LinkType::RAW,
            n => LinkType(n),
        }
    }
}

impl fmt::Display for LinkType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match LINK_TYPES.iter().find(|(t, _)| t == self) {
            Some((_, name)) => f.write_str(name),
            None => write!(f, "{}", self.0),
        }
    }
}
