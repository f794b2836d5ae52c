//! rtnetlink(7) messages: what is asked of network devices, and what they answer. Bytes only; the door sends them.

use crate::door::{Door, NetError};
use crate::link::XdpMode;
use std::os::fd::{AsRawFd, BorrowedFd};

/// A message's payload as it is written: words, then attributes, each padded to four bytes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Message(Vec<u8>);

impl Message {
    pub(crate) fn u32(&mut self, n: u32) {
        self.0.extend_from_slice(&n.to_ne_bytes());
    }

    pub(crate) fn attr(&mut self, kind: u16, value: &[u8]) {
        let len = (value.len() + 4) as u16;
        self.0.extend_from_slice(&len.to_ne_bytes());
        self.0.extend_from_slice(&kind.to_ne_bytes());
        self.0.extend_from_slice(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Attributes of a payload, one after the other; a damaged one ends them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attrs<'a>(pub(crate) &'a [u8]);

impl<'a> Iterator for Attrs<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (len, kind) = match *self.0 {
            [a, b, c, d, ..] => (usize::from(u16::from_ne_bytes([a, b])), u16::from_ne_bytes([c, d])),
            _ => return None,
        };
        let value = self.0.get(4..len)?;
        self.0 = self.0.get((len + 3) & !3..).unwrap_or_default();
        // The upper bits say "nested" and "network order".
        Some((kind & 0x3fff, value))
    }
}

impl<'a> Attrs<'a> {
    pub(crate) fn find(self, kind: u16) -> Option<&'a [u8]> {
        { self }.find_map(|(k, v)| (k == kind).then_some(v))
    }
}

pub(crate) fn word(bytes: &[u8]) -> u32 {
    bytes.get(..4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_ne_bytes)
}

fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

/// A network device.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Device {
    /// Index.
    pub ifindex: u32,
    /// Name.
    pub name: String,
    /// Its XDP programs.
    pub xdp: XdpState,
}

/// XDP programs of a device, by their ids.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct XdpState {
    /// Behind the driver.
    pub generic: Option<u32>,
    /// In the driver.
    pub native: Option<u32>,
    /// On the card.
    pub offload: Option<u32>,
}

impl XdpState {
    /// The first there is.
    pub fn any(&self) -> Option<(u32, XdpMode)> {
        self.all().next()
    }

    /// All there are.
    pub fn all(&self) -> impl Iterator<Item = (u32, XdpMode)> {
        let of = |id: Option<u32>, mode| id.map(|id| (id, mode));
        [
            of(self.native, XdpMode::Native),
            of(self.generic, XdpMode::Generic),
            of(self.offload, XdpMode::Offload),
        ]
        .into_iter()
        .flatten()
    }
}

/// A classifier or action of a device's queues that is a program.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Filter {
    /// Device.
    pub ifindex: u32,
    /// Its parent: [`CLSACT_INGRESS`], [`CLSACT_EGRESS`] or a queue.
    pub parent: u32,
    /// Its handle.
    pub handle: u32,
    /// Its priority.
    pub prio: u32,
    /// Name that it was made with, often the program's file and section.
    pub name: String,
    /// Id of the program.
    pub prog: u32,
    /// What the program returns is what happens.
    pub direct: bool,
}

/// Parent of classifiers for packets that come in.
pub const CLSACT_INGRESS: u32 = 0xffff_fff2;
/// Parent of classifiers for packets that leave.
pub const CLSACT_EGRESS: u32 = 0xffff_fff3;

const NEW_LINK: u16 = 16;
const GET_LINK: u16 = 18;
const SET_LINK: u16 = 19;
/// `NLA_F_NESTED`.
const NESTED: u16 = 0x8000;
const NEW_FILTER: u16 = 44;
const GET_FILTER: u16 = 46;
const GET_QDISC: u16 = 38;
const NEW_QDISC: u16 = 36;
const DUMP: u16 = 0x300;
/// `struct ifinfomsg`, `struct tcmsg`.
const IFINFO: usize = 16;
const TCMSG: usize = 20;
const IFLA_IFNAME: u16 = 3;
const IFLA_XDP: u16 = 43;

/// All devices of this network namespace.
///
/// # Errors
/// The kernel's.
pub fn devices(door: &dyn Door) -> Result<Vec<Device>, NetError> {
    let answers = door.netlink(GET_LINK, DUMP, &[0; IFINFO])?;
    Ok(answers.iter().filter(|(kind, _)| *kind == NEW_LINK).map(|(_, b)| device(b)).collect())
}

/// XDP programs of one device.
///
/// # Errors
/// `ENODEV` when there is none of this index.
pub fn xdp(door: &dyn Door, ifindex: u32) -> Result<XdpState, NetError> {
    let mut m = Message::default();
    for word in [0, ifindex, 0, 0] {
        m.u32(word);
    }
    let answers = door.netlink(GET_LINK, 0, m.bytes())?;
    Ok(answers.first().map(|(_, b)| device(b).xdp).unwrap_or_default())
}

/// Puts a program on a device without a link, or takes it off (`fd` -1). It stays until somebody takes it off.
///
/// # Errors
/// The kernel's; `EBUSY` when a program is there and `overwrite` is false, or when it has a link.
pub fn set_xdp(
    door: &dyn Door,
    ifindex: u32,
    fd: i32,
    mode: XdpMode,
    overwrite: bool,
) -> Result<(), NetError> {
    // XDP_FLAGS_UPDATE_IF_NOEXIST.
    xdp_message(door, ifindex, fd, mode.flags() | u32::from(!overwrite), None)
}

/// As [`set_xdp`], if the program of the descriptor `old` is there and no other (Linux 5.7).
///
/// # Errors
/// The kernel's; `EEXIST` when it is another one.
pub fn replace_xdp(
    door: &dyn Door,
    ifindex: u32,
    fd: i32,
    mode: XdpMode,
    old: BorrowedFd<'_>,
) -> Result<(), NetError> {
    // XDP_FLAGS_REPLACE.
    xdp_message(door, ifindex, fd, mode.flags() | 1 << 4, Some(old))
}

fn xdp_message(
    door: &dyn Door,
    ifindex: u32,
    fd: i32,
    flags: u32,
    old: Option<BorrowedFd<'_>>,
) -> Result<(), NetError> {
    let mut m = Message::default();
    for word in [0, ifindex, 0, 0] {
        m.u32(word);
    }
    let mut nested = Message::default();
    nested.attr(1, &fd.to_ne_bytes());
    nested.attr(3, &flags.to_ne_bytes());
    if let Some(old) = old {
        nested.attr(8, &old.as_raw_fd().to_ne_bytes());
    }
    m.attr(IFLA_XDP | NESTED, nested.bytes());
    door.netlink(SET_LINK, 0, m.bytes()).map(drop)
}

fn device(body: &[u8]) -> Device {
    let attrs = Attrs(body.get(IFINFO..).unwrap_or_default());
    let xdp = attrs.find(IFLA_XDP).map(|nested| xdp_state(Attrs(nested))).unwrap_or_default();
    Device {
        ifindex: word(body.get(4..).unwrap_or_default()),
        name: attrs.find(IFLA_IFNAME).map(text).unwrap_or_default(),
        xdp,
    }
}

fn xdp_state(attrs: Attrs<'_>) -> XdpState {
    let id = |kind| attrs.find(kind).map(word).filter(|id| *id != 0);
    let mut state = XdpState { generic: id(6), native: id(5), offload: id(7) };
    // With one program only, its id stands in IFLA_XDP_PROG_ID and the mode in IFLA_XDP_ATTACHED.
    if state.any().is_none() {
        match attrs.find(2).and_then(|b| b.first().copied()) {
            Some(1) => state.native = id(4),
            Some(2) => state.generic = id(4),
            Some(3) => state.offload = id(4),
            _ => {}
        }
    }
    state
}

/// Queues of a device that can have classifiers, as parents.
fn queues(door: &dyn Door, ifindex: u32) -> Result<Vec<u32>, NetError> {
    let mut m = Message::default();
    for word in [0, ifindex, 0, 0, 0] {
        m.u32(word);
    }
    let mut parents = Vec::new();
    for (kind, body) in door.netlink(GET_QDISC, DUMP, m.bytes())? {
        if kind != NEW_QDISC || word(body.get(4..).unwrap_or_default()) != ifindex {
            continue;
        }
        let name = Attrs(body.get(TCMSG..).unwrap_or_default()).find(1).map(text).unwrap_or_default();
        match name.as_str() {
            "clsact" => parents.extend([CLSACT_INGRESS, CLSACT_EGRESS]),
            "ingress" => parents.push(0xffff_0000),
            _ => parents.push(word(body.get(8..).unwrap_or_default())),
        }
    }
    Ok(parents)
}

/// Programs in the queues of a device: classifiers by `bpf`. Cost: a request for each queue.
///
/// # Errors
/// The kernel's.
pub fn filters(door: &dyn Door, ifindex: u32) -> Result<Vec<Filter>, NetError> {
    let mut out = Vec::new();
    for parent in queues(door, ifindex)? {
        let mut m = Message::default();
        for word in [0, ifindex, 0, parent, 0] {
            m.u32(word);
        }
        let Ok(answers) = door.netlink(GET_FILTER, DUMP, m.bytes()) else { continue };
        out.extend(answers.iter().filter(|(k, _)| *k == NEW_FILTER).filter_map(|(_, b)| filter(b)));
    }
    Ok(out)
}

fn filter(body: &[u8]) -> Option<Filter> {
    let at = |i: usize| word(body.get(i..).unwrap_or_default());
    let attrs = Attrs(body.get(TCMSG..)?);
    if attrs.find(1).map(text)? != "bpf" {
        return None;
    }
    let options = Attrs(attrs.find(2)?);
    Some(Filter {
        ifindex: at(4),
        handle: at(8),
        parent: at(12),
        prio: at(16) >> 16,
        name: options.find(7).map(text).unwrap_or_default(),
        prog: options.find(11).map(word).filter(|id| *id != 0)?,
        direct: options.find(8).map(word).unwrap_or(0) & 1 == 1,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_padded_and_read_back() {
        let mut m = Message::default();
        m.attr(3, b"veth0\0");
        let mut nested = Message::default();
        nested.attr(2, &[2]);
        nested.attr(4, &77u32.to_ne_bytes());
        m.attr(IFLA_XDP | 0x8000, nested.bytes());
        let mut body = vec![0u8; IFINFO];
        body[4..8].copy_from_slice(&9u32.to_ne_bytes());
        body.extend_from_slice(m.bytes());
        let d = device(&body);
        assert_eq!((d.ifindex, d.name.as_str()), (9, "veth0"));
        assert_eq!(d.xdp.any(), Some((77, XdpMode::Generic)));
        for cut in 0..body.len() {
            device(&body[..cut]);
            filter(&body[..cut]);
        }
    }
}
