//! From a captured packet to the context that a packet program runs on, and back to a frame.
//!
//! A [`Feeder`] is made once for a program type; [`Feeder::feed`] then turns one [`Record`] after the other into a
//! [`Context`] without allocating. What a program sees depends on how the packet reaches it ([`Arrival`]):
//!
//! | | `Receive` (captures) | `TestRun` (`BPF_PROG_TEST_RUN`, `--data-in`) |
//! |---|---|---|
//! | outer VLAN tag, all but XDP | beside the packet: `vlan_tci`, `vlan_proto`, `vlan_present` | in the packet |
//! | socket filter sees | the Ethernet header, as a packet socket's | from the network header on |
//! | `pkt_type` of unicast | `PACKET_HOST` (or by the device's address, if one is given) | by the loopback's address, zero |
//! | `ingress_ifindex` of skbs | the interface's | 0 |
//! | `tstamp`, `wire_len` | the capture's | 0, the length |
//!
//! Always: interface `n` of the capture has index `n + 1` (the first is the loopback's 1); cgroup and tunnel programs see
//! the packet from the network header on; addresses of the socket fields come from the packet.

use crate::capture::{Direction, Record};
use crate::frame::{
    self, ETH_LEN, ETH_P_IP, ETH_P_IPV6, Link, PACKET_BROADCAST, PACKET_HOST, PACKET_MULTICAST,
    PACKET_OTHERHOST, PACKET_OUTGOING, TAG_LEN, Unfit,
};
use skep_platform::ctx::UserRun;
use skep_platform::env::CtxData;
use skep_platform::{AttachType, Context, CtxLayout, Packet, ProgType, ProgTypeDesc};

/// How packets reach the program.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Arrival {
    /// As the kernel receives them from a device.
    Receive {
        /// The device's address: unicast to others is then `PACKET_OTHERHOST`.
        mac: Option<[u8; 6]>,
    },
    /// As `BPF_PROG_TEST_RUN` gives them to programs.
    TestRun,
}

impl Default for Arrival {
    fn default() -> Arrival {
        Arrival::Receive { mac: None }
    }
}

/// Makes contexts of packets for one program type.
#[derive(Clone, Copy, Debug)]
pub struct Feeder {
    prog_type: ProgType,
    layout: &'static CtxLayout,
    arrival: Arrival,
}

/// What is needed to make a frame of the packet again.
#[derive(Clone, Copy, Debug)]
pub struct Envelope {
    link: Link,
    has_ethernet: bool,
    /// The VLAN tag in front of the network header of a program that sees none of it.
    taken: Option<[u8; TAG_LEN]>,
}

impl Feeder {
    /// A feeder for a program type, or the reason why it does not run on packets.
    pub fn new(
        row: &'static ProgTypeDesc,
        attach: Option<AttachType>,
        arrival: Arrival,
    ) -> Result<Feeder, &'static str> {
        match (row.user, row.layout(attach)) {
            (UserRun::Packets, Some(layout)) => Ok(Feeder { prog_type: row.prog_type, layout, arrival }),
            (UserRun::No(why), _) => Err(why),
            _ => Err("it does not run on packets; give it a context as a file"),
        }
    }

    /// A context without a packet yet. Reuse it: [`Feeder::feed`] does not allocate for packets that fit.
    pub fn context(&self) -> Context {
        Context { layout: self.layout, data: CtxData::Packet(Packet::new()) }
    }

    /// Puts a captured packet into a context. Cost: one copy of the packet.
    pub fn feed(&self, record: &Record<'_>, ctx: &mut Context) -> Result<Envelope, Unfit> {
        let link = Link::of(record.link, record.data)?;
        if !matches!(ctx.data, CtxData::Packet(_)) {
            *ctx = self.context();
        }
        let mut taken = None;
        if let CtxData::Packet(p) = &mut ctx.data {
            taken = self.fill(p, record, &link);
        }
        Ok(Envelope { link, has_ethernet: self.sees_ethernet(), taken })
    }

    /// Whether the program sees an Ethernet header.
    fn sees_ethernet(&self) -> bool {
        match self.prog_type {
            ProgType::Xdp | ProgType::SchedCls | ProgType::SchedAct => true,
            ProgType::SocketFilter => self.arrival != Arrival::TestRun,
            _ => false,
        }
    }

    /// Fills packet and context; gives back the four bytes of a VLAN tag that was taken out.
    fn fill(&self, p: &mut Packet, record: &Record<'_>, link: &Link) -> Option<[u8; TAG_LEN]> {
        let ethernet = link.ethernet();
        let ifindex = record.interface.saturating_add(1);
        p.set(&record.data[link.len..]);
        p.mac_len = 0;
        if self.prog_type == ProgType::Xdp {
            put_ethernet(p, &ethernet);
            p.ctx.ingress_ifindex = ifindex;
            return None;
        }
        let tag = if self.arrival == Arrival::TestRun { None } else { take_tag(p, &ethernet) };
        // Inwards the queueing layer counts from the network header on, outwards the whole frame.
        let wire_len = match self.kind(&ethernet, record, link) {
            PACKET_OUTGOING => record.orig_len as usize,
            _ => p.len() + (record.orig_len as usize).saturating_sub(record.data.len()),
        };
        let field = tag.map_or(frame::be16(&ethernet, 12), |t| t.inner);
        let protocol = frame::protocol(field, p.bytes());
        if self.sees_ethernet() {
            let mut header = ethernet;
            header[12..].copy_from_slice(&field.to_be_bytes());
            put_ethernet(p, &header);
        }
        p.ctx.protocol = network_order(protocol);
        p.ctx.pkt_type = self.kind(&ethernet, record, link);
        p.ctx.ifindex = ifindex;
        if let Some(t) = tag {
            (p.ctx.vlan_present, p.ctx.vlan_tci) = (1, t.tci as u32);
            p.ctx.vlan_proto = network_order(t.protocol);
        }
        if self.arrival == Arrival::TestRun {
            (p.ctx.wire_len, p.ctx.tstamp) = (p.len() as u32, 0);
        } else {
            p.ctx.ingress_ifindex = ifindex;
            (p.ctx.wire_len, p.ctx.tstamp) = (wire_len as u32, record.time_ns);
        }
        self.socket_fields(p, protocol);
        tag.map(|t| {
            let ([a, b], [c, d]) = (t.tci.to_be_bytes(), t.inner.to_be_bytes());
            [a, b, c, d]
        })
    }

    /// `pkt_type`: what the capture says, else by the destination (`eth_type_trans`).
    fn kind(&self, ethernet: &[u8; ETH_LEN], record: &Record<'_>, link: &Link) -> u32 {
        let to = &ethernet[..6];
        let mac = match self.arrival {
            Arrival::TestRun => Some([0; 6]),
            Arrival::Receive { mac } => mac,
        };
        match (link.kind, mac) {
            (Some(kind), _) => kind,
            _ if record.direction == Direction::Out => PACKET_OUTGOING,
            (_, Some(own)) if to == own => PACKET_HOST,
            // The loopback of test runs has no broadcast address.
            _ if to == [0xff; 6] && self.arrival != Arrival::TestRun => PACKET_BROADCAST,
            _ if to[0] & 1 == 1 => PACKET_MULTICAST,
            (_, None) => PACKET_HOST,
            _ => PACKET_OTHERHOST,
        }
    }

    /// Family, addresses and ports of the socket, as if one stood at the end of the packet: test runs take the source for
    /// the local address, and so do packets on their way out; test runs have no ports.
    fn socket_fields(&self, p: &mut Packet, protocol: u16) {
        let test = self.arrival == Arrival::TestRun;
        let out = test || p.ctx.pkt_type == PACKET_OUTGOING;
        let mut ctx = std::mem::take(&mut *p.ctx);
        let bytes = &p.bytes()[p.mac_len.min(p.len())..];
        match protocol {
            ETH_P_IP if bytes.len() >= 20 => {
                let [source, destination] = [12, 16].map(|i| word(bytes, i));
                ctx.family = 2;
                (ctx.local_ip4, ctx.remote_ip4) = ends(out, source, destination);
            }
            ETH_P_IPV6 if bytes.len() >= 40 => {
                let [source, destination] = [8, 24].map(|i| [0, 4, 8, 12].map(|k| word(bytes, i + k)));
                ctx.family = 10;
                (ctx.local_ip6, ctx.remote_ip6) = ends(out, source, destination);
            }
            _ => {}
        }
        if let Some((source, destination)) = ports(protocol, bytes).filter(|_| !test) {
            let (local, remote) = ends(out, source, destination);
            // The local port in host order, the remote one in network order and in the upper half.
            (ctx.local_port, ctx.remote_port) = (local as u32, network_order(remote) << 16);
        }
        *p.ctx = ctx;
    }
}

/// Source and destination port of a TCP or UDP packet that is not a later fragment. IPv6 extension headers are not
/// followed.
fn ports(protocol: u16, ip: &[u8]) -> Option<(u16, u16)> {
    let at = match protocol {
        ETH_P_IP if ip.len() >= 20 && matches!(ip[9], 6 | 17) && frame::be16(ip, 6) & 0x1fff == 0 => {
            (ip[0] & 15) as usize * 4
        }
        ETH_P_IPV6 if ip.len() >= 40 && matches!(ip[6], 6 | 17) => 40,
        _ => return None,
    };
    let ports = ip.get(at..at + 4)?;
    Some((frame::be16(ports, 0), frame::be16(ports, 2)))
}

impl Envelope {
    /// Appends the frame, in the capture's link type, of `bytes`: the packet, a part of it, or a copy that the program
    /// sent. A VLAN tag beside the packet `p` returns into it.
    pub fn frame(&self, bytes: &[u8], p: &Packet, out: &mut Vec<u8>) {
        if self.has_ethernet {
            self.link.frame_of_ethernet(bytes, tag_of(p), out);
        } else {
            self.link.frame_of_network(bytes, self.taken, out);
        }
    }
}

/// A VLAN tag taken out of a packet.
#[derive(Clone, Copy)]
struct Tag {
    protocol: u16,
    tci: u16,
    /// EtherType field behind it.
    inner: u16,
}

/// Takes the outermost tag out (`skb_vlan_untag`); the packet begins behind the Ethernet header.
fn take_tag(p: &mut Packet, ethernet: &[u8; ETH_LEN]) -> Option<Tag> {
    let protocol = frame::be16(ethernet, 12);
    if !frame::is_vlan(protocol) || p.len() < TAG_LEN {
        return None;
    }
    let tag = Tag { protocol, tci: frame::be16(p.bytes(), 0), inner: frame::be16(p.bytes(), 2) };
    p.remove(0, TAG_LEN).ok().map(|()| tag)
}

fn tag_of(p: &Packet) -> Option<[u8; TAG_LEN]> {
    if p.ctx.vlan_present == 0 {
        return None;
    }
    let protocol = (p.ctx.vlan_proto as u16).to_ne_bytes();
    let tci = (p.ctx.vlan_tci as u16).to_be_bytes();
    Some([protocol[0], protocol[1], tci[0], tci[1]])
}

fn put_ethernet(p: &mut Packet, header: &[u8; ETH_LEN]) {
    if p.insert(0, ETH_LEN).is_ok() {
        p.bytes_mut()[..ETH_LEN].copy_from_slice(header);
        p.mac_len = ETH_LEN;
    }
}

/// A 16-bit number in network order, in a field of 32 bits as `__sk_buff` shows it.
fn network_order(v: u16) -> u32 {
    v.to_be() as u32
}

/// Four bytes as they stand.
fn word(b: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes([b[at], b[at + 1], b[at + 2], b[at + 3]])
}

/// Local and remote end.
fn ends<T>(out: bool, source: T, destination: T) -> (T, T) {
    if out { (source, destination) } else { (destination, source) }
}
