//! What the socket-buffer families share: EtherTypes as `__sk_buff` shows them, limits, and clearing a buffer on failure.

use crate::guest;
use crate::row::Outcome;
use skep_platform::{Checksum, Env, Errno, Packet};

/// `ETH_P_IP` in network byte order.
pub(crate) const IPV4: u32 = 0x0800u16.to_be() as u32;
/// `ETH_P_IPV6` in network byte order.
pub(crate) const IPV6: u32 = 0x86ddu16.to_be() as u32;
/// `ETH_P_8021Q` in network byte order.
pub(crate) const VLAN: u32 = 0x8100u16.to_be() as u32;
/// `ETH_P_8021AD` in network byte order.
pub(crate) const VLAN_AD: u32 = 0x88a8u16.to_be() as u32;

/// Bytes of an Ethernet header.
pub(crate) const ETH_LEN: usize = 14;
/// Bytes of an IPv4 header without options.
pub(crate) const IPV4_LEN: usize = 20;
/// Bytes of an IPv6 header.
pub(crate) const IPV6_LEN: usize = 40;
/// Longest packet that helpers make (`BPF_SKB_MAX_LEN`): 16 KiB without the kernel's `struct skb_shared_info`.
pub(crate) const MAX_LEN: usize = 16 * 1024 - 320;

/// Whether the program runs on XDP packets.
pub(crate) fn is_xdp(env: &mut dyn Env<'_>) -> bool {
    env.ctx().layout.name == "xdp_md"
}

/// Zeroes the program's buffer and returns the error, as helpers do that fill one.
pub(crate) fn clear(env: &mut dyn Env<'_>, to: u64, len: u64, e: Errno) -> Outcome {
    if len > 0 {
        guest::zero(env, to, len)?;
    }
    Ok(e.into())
}

/// Forgets the flow hash (`skb_clear_hash`).
pub(crate) fn clear_hash(p: &mut Packet) {
    p.ctx.hash = 0;
    p.hash_known = false;
}

/// Interface checksums no longer hold (`__skb_reset_checksum_unnecessary`).
pub(crate) fn reset_unnecessary(p: &mut Packet) {
    if let Checksum::Unnecessary(_) = p.checksum {
        p.checksum = Checksum::None;
    }
}

/// Whether it is to be segmented (`skb_is_gso`).
pub(crate) fn is_gso(p: &Packet) -> bool {
    p.ctx.gso_size != 0
}
