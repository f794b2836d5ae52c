//! A packet on its way through programs: the bytes with room in front and behind, and the one context structure that
//! both XDP and socket-buffer programs see through their UAPI layouts.
//!
//! ```text
//!  buf: [ headroom | meta | packet bytes … | tailroom ]
//!                  ^data_meta ^data         ^data_end        native addresses, kept in PacketCtx
//! ```
//!
//! Always holds: `data_meta <= data <= data_end`, all inside `buf`. Every method that moves bytes re-establishes it and
//! may move `buf`, so programs must reload packet pointers after the helpers that call them.

use crate::errno::Errno;

/// Bytes in front of a packet (`XDP_PACKET_HEADROOM`).
pub const HEADROOM: usize = 256;
/// Bytes at the start of the headroom that no program gets: the kernel keeps its `struct xdp_frame` there.
pub const FRAME: usize = 40;
/// Bytes kept free behind a packet that does not fit into a page.
pub const TAILROOM: usize = 512;
/// Headroom, packet and tailroom of a packet that fits into a page: 4096 bytes without the kernel's
/// `struct skb_shared_info` (`xdp_data_hard_end`).
pub const PAGE: usize = 4096 - 320;
/// Longest packet.
pub const MAX_PACKET: usize = 256 * 1024;

/// The engine's own context of a packet program: the union of what `struct xdp_md` and `struct __sk_buff` show.
/// Native byte order unless said otherwise. Field offsets are what [`crate::ctx::CtxField::at`] refers to.
#[repr(C)]
#[derive(Clone, Debug, Default)]
#[allow(missing_docs)]
pub struct PacketCtx {
    /// Native address of the first packet byte.
    pub data: u64,
    /// Native address behind the last.
    pub data_end: u64,
    /// Native address of the metadata; equals `data` when there is none.
    pub data_meta: u64,
    pub tstamp: u64,
    pub hwtstamp: u64,
    /// Address of the socket's `bpf_sock` view, 0 when there is none.
    pub sk: u64,
    /// Address of `bpf_flow_keys`, 0 outside flow dissectors.
    pub flow_keys: u64,
    pub len: u32,
    pub pkt_type: u32,
    pub mark: u32,
    pub queue_mapping: u32,
    /// EtherType in network byte order, as in `__sk_buff`.
    pub protocol: u32,
    pub vlan_present: u32,
    pub vlan_tci: u32,
    pub vlan_proto: u32,
    pub priority: u32,
    pub ingress_ifindex: u32,
    pub ifindex: u32,
    pub tc_index: u32,
    pub cb: [u32; 5],
    pub hash: u32,
    pub tc_classid: u32,
    pub napi_id: u32,
    pub family: u32,
    pub remote_ip4: u32,
    pub local_ip4: u32,
    pub remote_ip6: [u32; 4],
    pub local_ip6: [u32; 4],
    pub remote_port: u32,
    pub local_port: u32,
    pub wire_len: u32,
    pub gso_segs: u32,
    pub gso_size: u32,
    pub tstamp_type: u32,
    pub rx_queue_index: u32,
    pub egress_ifindex: u32,
}

/// Where a redirecting helper wants the packet to go.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Redirect {
    /// Interface index, with the helper's flags.
    Interface {
        /// Interface index.
        ifindex: u32,
        /// Flags as given.
        flags: u64,
    },
    /// Entry of a device, CPU or socket map.
    MapEntry {
        /// The map's name.
        map: String,
        /// Key or index.
        index: u64,
        /// Flags as given.
        flags: u64,
    },
}

/// Tunnel metadata (`bpf_skb_get_tunnel_key`): bytes of `struct bpf_tunnel_key` and options.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Tunnel {
    /// `struct bpf_tunnel_key`, whole, with the far end as `remote`; empty when the packet has no tunnel metadata.
    pub key: Vec<u8>,
    /// Tunnel options.
    pub opt: Vec<u8>,
    /// Addresses are IPv6.
    pub ipv6: bool,
    /// Set by the program for sending; otherwise the packet came with it.
    pub set: bool,
}

/// What is known of the packet's transport checksums (`ip_summed`).
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub enum Checksum {
    /// Nothing (`CHECKSUM_NONE`).
    #[default]
    None,
    /// The interface verified this many nested ones, less one (`CHECKSUM_UNNECESSARY`, `csum_level`).
    Unnecessary(u8),
    /// The interface summed the packet from the network header on (`CHECKSUM_COMPLETE`).
    Complete(u32),
}

/// A packet and its context.
#[derive(Debug)]
pub struct Packet {
    buf: Vec<u8>,
    meta: usize,
    data: usize,
    end: usize,
    /// Context that programs read and write; the three addresses are kept by the methods of this type.
    pub ctx: Box<PacketCtx>,
    /// Bytes of link-layer header in front of the network header.
    pub mac_len: usize,
    /// Last redirection asked for.
    pub redirect: Option<Redirect>,
    /// Copies sent by `bpf_clone_redirect`.
    pub clones: Vec<(u32, Vec<u8>)>,
    /// Tunnel metadata received or set.
    pub tunnel: Tunnel,
    /// What is known of the transport checksums.
    pub checksum: Checksum,
    /// An outer header was added in front of an inner one (`skb->encapsulation`).
    pub encapsulated: bool,
    /// `ctx.hash` is the packet's flow hash.
    pub hash_known: bool,
    /// Where the tail may grow to, as an offset into `buf`.
    hard_end: usize,
}

impl Default for Packet {
    fn default() -> Packet {
        Packet::new()
    }
}

impl Packet {
    /// An empty packet with room for an Ethernet frame. Reuse it: [`Packet::set`] does not allocate for packets that fit.
    pub fn new() -> Packet {
        let mut p = Packet {
            buf: vec![0; PAGE],
            meta: HEADROOM,
            data: HEADROOM,
            end: HEADROOM,
            ctx: Box::default(),
            mac_len: 14,
            redirect: None,
            clones: Vec::new(),
            tunnel: Tunnel::default(),
            checksum: Checksum::None,
            encapsulated: false,
            hash_known: false,
            hard_end: PAGE,
        };
        p.sync();
        p
    }

    /// Replaces the bytes; context fields, redirection and metadata start anew. Cost: one copy.
    pub fn set(&mut self, bytes: &[u8]) {
        let need = HEADROOM + bytes.len();
        self.hard_end = if need <= PAGE { PAGE } else { need + TAILROOM };
        if self.buf.len() < self.hard_end {
            self.buf.resize(self.hard_end, 0);
        }
        self.buf[HEADROOM..HEADROOM + bytes.len()].copy_from_slice(bytes);
        (self.meta, self.data, self.end) = (HEADROOM, HEADROOM, HEADROOM + bytes.len());
        *self.ctx =
            PacketCtx { len: bytes.len() as u32, wire_len: bytes.len() as u32, ..PacketCtx::default() };
        self.redirect = None;
        self.clones.clear();
        self.tunnel = Tunnel::default();
        self.checksum = Checksum::None;
        self.encapsulated = false;
        self.hash_known = false;
        self.sync();
    }

    /// The packet.
    pub fn bytes(&self) -> &[u8] {
        &self.buf[self.data..self.end]
    }

    /// The packet, to be changed in place.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.buf[self.data..self.end]
    }

    /// The metadata in front of the packet.
    pub fn metadata(&self) -> &[u8] {
        &self.buf[self.meta..self.data]
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.end - self.data
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Moves the start by `delta` bytes: negative grows into the headroom. Bounds are the kernel's
    /// (`bpf_xdp_adjust_head`): metadata moves along, at least an Ethernet header stays.
    pub fn adjust_head(&mut self, delta: i64) -> Result<(), Errno> {
        let meta_len = self.data - self.meta;
        let data = self.data as i64 + delta;
        if data < (FRAME + meta_len) as i64 || data > self.end as i64 - 14 {
            return Err(Errno::EINVAL);
        }
        let data = data as usize;
        self.buf.copy_within(self.meta..self.data, data - meta_len);
        (self.meta, self.data) = (data - meta_len, data);
        self.sync();
        Ok(())
    }

    /// Moves the end by `delta`; new bytes are zero.
    pub fn adjust_tail(&mut self, delta: i64) -> Result<(), Errno> {
        let end = self.end as i64 + delta;
        if end < self.data as i64 + 14 || end > self.hard_end as i64 {
            return Err(Errno::EINVAL);
        }
        let end = end as usize;
        if end > self.end {
            self.buf[self.end..end].fill(0);
        }
        self.end = end;
        self.sync();
        Ok(())
    }

    /// Moves the start of the metadata (`bpf_xdp_adjust_meta`): at most 255 bytes, a multiple of four.
    pub fn adjust_meta(&mut self, delta: i64) -> Result<(), Errno> {
        let meta = self.meta as i64 + delta;
        if meta < FRAME as i64 || meta > self.data as i64 {
            return Err(Errno::EINVAL);
        }
        let len = self.data - meta as usize;
        if len > 255 || !len.is_multiple_of(4) {
            return Err(Errno::EACCES);
        }
        self.meta = meta as usize;
        self.sync();
        Ok(())
    }

    /// Opens a gap of `n` zero bytes at `at`, counted from the packet's start. May move the buffer. Metadata is dropped.
    pub fn insert(&mut self, at: usize, n: usize) -> Result<(), Errno> {
        if at > self.len() || self.len() + n > MAX_PACKET {
            return Err(Errno::EINVAL);
        }
        if self.data >= n {
            self.buf.copy_within(self.data..self.data + at, self.data - n);
            self.data -= n;
        } else {
            let pos = self.data + at;
            self.buf.splice(pos..pos, std::iter::repeat_n(0, n));
            self.end += n;
            self.hard_end += n;
        }
        self.meta = self.data;
        let pos = self.data + at;
        self.buf[pos..pos + n].fill(0);
        self.sync();
        Ok(())
    }

    /// Removes `n` bytes at `at`.
    pub fn remove(&mut self, at: usize, n: usize) -> Result<(), Errno> {
        if at + n > self.len() {
            return Err(Errno::EINVAL);
        }
        self.buf.copy_within(self.data..self.data + at, self.data + n);
        self.data += n;
        self.meta = self.data;
        self.sync();
        Ok(())
    }

    /// Sets the length, cutting or padding with zeros at the end; may move the buffer.
    pub fn resize(&mut self, len: usize) -> Result<(), Errno> {
        if len > MAX_PACKET {
            return Err(Errno::EINVAL);
        }
        if self.data + len > self.buf.len() {
            self.buf.resize(self.data + len + TAILROOM, 0);
            self.hard_end = self.buf.len();
        }
        if self.data + len > self.end {
            self.buf[self.end..self.data + len].fill(0);
        }
        self.end = self.data + len;
        self.sync();
        Ok(())
    }

    /// Makes addresses and length in the context true again.
    fn sync(&mut self) {
        let base = self.buf.as_mut_ptr().expose_provenance() as u64;
        self.ctx.data = base + self.data as u64;
        self.ctx.data_end = base + self.end as u64;
        self.ctx.data_meta = base + self.meta as u64;
        self.ctx.len = (self.end - self.data) as u32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever the moves, the three addresses stay ordered and the bytes survive in order.
    #[test]
    fn moves_keep_the_bytes() {
        arbtest::arbtest(|u| {
            let original: Vec<u8> = (0..u.int_in_range(14..=200)?).map(|i| i as u8).collect();
            let mut p = Packet::new();
            p.set(&original);
            let mut model = original;
            for _ in 0..u.int_in_range(0..=12)? {
                match u.int_in_range(0..=4)? {
                    0 => {
                        let d: i64 = u.int_in_range(-300..=60)?;
                        if p.adjust_head(d).is_ok() {
                            if d >= 0 {
                                model.drain(..d as usize);
                            } else {
                                let fresh = p.bytes()[..(-d) as usize].to_vec();
                                model.splice(0..0, fresh);
                            }
                        }
                    }
                    1 => {
                        let d: i64 = u.int_in_range(-60..=60)?;
                        if p.adjust_tail(d).is_ok() {
                            model.resize((model.len() as i64 + d) as usize, 0);
                        }
                    }
                    2 => {
                        let at = u.int_in_range(0..=model.len())?;
                        let n = u.int_in_range(0..=300)?;
                        if p.insert(at, n).is_ok() {
                            model.splice(at..at, std::iter::repeat_n(0, n));
                        }
                    }
                    3 => {
                        let at = u.int_in_range(0..=model.len())?;
                        let n = u.int_in_range(0..=40)?;
                        if p.remove(at, n).is_ok() {
                            model.drain(at..at + n);
                        }
                    }
                    _ => {
                        let _ = p.adjust_meta(u.int_in_range(-64..=64)?);
                    }
                }
                assert_eq!(p.bytes(), model);
                assert!(p.ctx.data_meta <= p.ctx.data && p.ctx.data <= p.ctx.data_end);
                assert_eq!(p.ctx.data_end - p.ctx.data, model.len() as u64);
            }
            Ok(())
        });
    }
}
