//! Structures that programs see without BTF: sockets. Which fields may be read at which sizes
//! (`bpf_sock_is_valid_access` and its neighbours in net/core/filter.c).

use crate::value::Base;

/// Fields that may be read in parts: offset, bytes, widest load.
const SOCK_NARROW: [(i64, i64); 9] =
    [(4, 4), (8, 4), (12, 4), (24, 4), (28, 16), (44, 4), (52, 4), (56, 16), (72, 4)];
const SOCK_SIZE: i64 = 80;
const TCP_SIZE: i64 = 112;
const XDP_SIZE: i64 = 8;

/// May `size` bytes at `off` of such a socket be read?
pub(crate) fn socket_field(base: Base, off: i64, size: u32) -> bool {
    let size = size as i64;
    let bounded = |len: i64| off >= 0 && off < len && off % size == 0;
    match base {
        Base::SockCommon if (8..24).contains(&off) => false,
        Base::Socket | Base::SockCommon => bounded(SOCK_SIZE) && sock_field(off, size),
        Base::TcpSock if (80..96).contains(&off) => bounded(TCP_SIZE) && size == 8,
        Base::TcpSock => bounded(TCP_SIZE) && size == 4,
        Base::XdpSock => bounded(XDP_SIZE) && size == 4,
        _ => false,
    }
}

fn sock_field(off: i64, size: i64) -> bool {
    if SOCK_NARROW.iter().any(|(at, len)| (*at..at + len).contains(&off)) {
        return size <= 4;
    }
    match off {
        // dst_port was four bytes once: a load of four bytes at its start is still let through.
        48..50 => size <= 2 || (off == 48 && size == 4),
        50..52 => false,
        76..80 => size <= 4,
        _ => size == 4,
    }
}
