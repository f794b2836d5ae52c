//! Routes and MTUs.

use crate::row::*;
use crate::skb::{ETH_LEN, is_gso, is_xdp};
use skep_platform::env::FibResult;

/// The rows of this family.
pub(crate) const ROWS: &[&Helper] = &[&bpf_fib_lookup, &bpf_check_mtu];

helper! { bpf_fib_lookup = 69, since: (4, 18),
    signature: "long bpf_fib_lookup(void *ctx, struct bpf_fib_lookup *params, int plen, u32 flags)",
    doc: "Looks the route of a packet up, with the next hop's hardware address.",
    protos: [
        { who: TC_XDP, since: (4, 18),
          args: [CTX, OUT_MEM, SIZE, ANY], ret: ret::INTEGER,
          gpl_only: true, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::None,
    body: Body::Fn(fib_lookup),
}

/// The route table is the host's ([`skep_platform::Host::fib`]); without one, forwarding counts as off.
fn fib_lookup(env: &mut dyn Env<'_>, a: [u64; 5]) -> Outcome {
    let [_, addr, len, flags, _] = a;
    let flags = flags as u32;
    if (len as i32) < PARAMS_LEN as i32 || flags & !FLAGS != 0 {
        return Ok(Errno::EINVAL.into());
    }
    let mut params = Params([0; PARAMS_LEN]);
    env.mem().read(addr, &mut params.0)?;
    let ipv6 = match params.0[0] {
        AF_INET => false,
        AF_INET6 => true,
        _ => return Ok(Errno::EAFNOSUPPORT.into()),
    };
    let Some(fib) = env.host().fib() else { return Ok(Ret::Scalar(FWD_DISABLED)) };
    if ipv6 && (strict(params.at(SRC, 16)) || strict(params.at(DST, 16))) {
        return Ok(Ret::Scalar(NOT_FWDED));
    }
    let dst = params.at(DST, if ipv6 { 16 } else { 4 }).to_vec();
    let hop = match fib.route(&dst, params.u32(IFINDEX), flags & OUTPUT != 0) {
        FibResult::Hop { ifindex, gateway, mtu, mac, src } => Hop { ifindex, gateway, mtu, mac, src },
        FibResult::Refused(code) => return Ok(Ret::Scalar(code as u64)),
    };
    let total = params.u16(TOT_LEN);
    let by_params = is_xdp(env) || total != 0;
    let code = follow(&mut params, &hop, ipv6, flags, by_params);
    let code = match code {
        SUCCESS if !by_params => by_packet(env, &mut params, hop.mtu)?,
        code => code,
    };
    env.mem().write(addr, &params.0)?;
    Ok(Ret::Scalar(code))
}

/// A route's next hop, as [`FibResult::Hop`] has it.
struct Hop {
    ifindex: u32,
    gateway: Vec<u8>,
    mtu: u32,
    mac: Option<([u8; 6], [u8; 6])>,
    src: Vec<u8>,
}

/// `struct bpf_fib_lookup`: 64 bytes; addresses and ports in network byte order.
struct Params([u8; PARAMS_LEN]);

const PARAMS_LEN: usize = 64;
const TOT_LEN: usize = 6;
const IFINDEX: usize = 8;
const METRIC: usize = 12;
const SRC: usize = 16;
const DST: usize = 32;
const VLAN: usize = 48;
const SMAC: usize = 52;
const DMAC: usize = 58;

impl Params {
    fn at(&self, off: usize, n: usize) -> &[u8] {
        &self.0[off..off + n]
    }

    fn set(&mut self, off: usize, bytes: &[u8]) {
        self.0[off..off + bytes.len()].copy_from_slice(bytes);
    }

    fn u16(&self, off: usize) -> u16 {
        u16::from_ne_bytes([self.0[off], self.0[off + 1]])
    }

    fn u32(&self, off: usize) -> u32 {
        u32::from_ne_bytes([self.0[off], self.0[off + 1], self.0[off + 2], self.0[off + 3]])
    }
}

const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const OUTPUT: u32 = 1 << 1;
const SKIP_NEIGH: u32 = 1 << 2;
const WANT_SRC: u32 = 1 << 4;
/// `DIRECT`, `OUTPUT`, `SKIP_NEIGH`, `TBID`, `SRC`, `MARK`; one table serves them all here.
const FLAGS: u32 = 0x3f;

const SUCCESS: u64 = 0;
const NOT_FWDED: u64 = 4;
const FWD_DISABLED: u64 = 5;
const NO_NEIGH: u64 = 7;
const FRAG_NEEDED: u64 = 8;
const NO_SRC_ADDR: u64 = 9;

/// Link-local, loopback and multicast addresses are never forwarded (`rt6_need_strict`).
fn strict(addr: &[u8]) -> bool {
    let Some(bytes) = addr.first_chunk::<16>() else { return false };
    let addr = std::net::Ipv6Addr::from(*bytes);
    addr.is_multicast() || addr.is_loopback() || addr.is_unicast_link_local()
}

/// Fills the parameters from the next hop; the return code.
fn follow(p: &mut Params, hop: &Hop, ipv6: bool, flags: u32, check_mtu: bool) -> u64 {
    let mtu = hop.mtu.min(u32::from(u16::MAX)) as u16;
    if check_mtu && mtu != 0 && p.u16(TOT_LEN) > mtu {
        p.set(TOT_LEN, &mtu.to_ne_bytes());
        return FRAG_NEEDED;
    }
    p.set(METRIC, &[0; 4]);
    p.set(IFINDEX, &hop.ifindex.to_ne_bytes());
    if flags & WANT_SRC != 0 {
        if hop.src.is_empty() && ipv6 {
            return NO_SRC_ADDR;
        }
        p.set(SRC, &hop.src);
    }
    if !ipv6 && hop.gateway.len() == 16 {
        p.0[0] = AF_INET6;
    }
    p.set(DST, &hop.gateway);
    if flags & SKIP_NEIGH == 0 {
        let Some((src, dst)) = hop.mac else { return NO_NEIGH };
        p.set(SMAC, &src);
        p.set(DMAC, &dst);
    }
    p.set(VLAN, &[0; 4]);
    if check_mtu && mtu != 0 {
        p.set(TOT_LEN, &mtu.to_ne_bytes());
    }
    SUCCESS
}

/// Without a length in the parameters the packet itself must fit the interface, a VLAN tag on top allowed.
fn by_packet(env: &mut dyn Env<'_>, params: &mut Params, mtu: u32) -> Result<u64, Fault> {
    let mtu = match mtu {
        0 => env.host().mtu(params.u32(IFINDEX)).or(env.host().mtu(0)).unwrap_or(1500),
        mtu => mtu,
    };
    params.set(TOT_LEN, &(mtu as u16).to_ne_bytes());
    let p = env.packet()?;
    let fits = is_gso(p) || p.len() <= mtu as usize + ETH_LEN + 4;
    Ok(if fits { SUCCESS } else { FRAG_NEEDED })
}

helper! { bpf_check_mtu = 163, since: (5, 12),
    signature: "long bpf_check_mtu(void *ctx, u32 ifindex, u32 *mtu_len, s32 len_diff, u64 flags)",
    doc: "Compares the packet's length, maybe changed, with an interface's or route's MTU.",
    protos: [
        { who: TC_XDP, since: (5, 12),
          args: [CTX, ANY, fixed_inout(4), ANY, ANY], ret: ret::INTEGER,
          gpl_only: true, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::None,
    body: Body::Fn(check_mtu),
}

fn check_mtu(env: &mut dyn Env<'_>, a: [u64; 5]) -> Outcome {
    let [_, ifindex, mtu_len, diff, flags] = a;
    let (xdp, diff) = (is_xdp(env), diff as i32);
    let mut given = [0; 4];
    env.mem().read(mtu_len, &mut given)?;
    let given = u32::from_ne_bytes(given);
    let segments = !xdp && flags == CHECK_SEGMENTS;
    if (flags != 0 && !segments) || (segments && (diff != 0 || given != 0)) {
        return Ok(Errno::EINVAL.into());
    }
    let Some(mtu) = env.host().mtu(ifindex as u32) else { return Ok(Errno::ENODEV.into()) };
    let p = env.packet()?;
    let hard_header = if xdp || p.mac_len > 0 { ETH_LEN as i32 } else { 0 };
    let len = match given {
        0 => p.len() as i32,
        l3 => (l3 as i32).wrapping_add(hard_header),
    };
    let fits = len.wrapping_add(diff) <= (mtu as i32).wrapping_add(hard_header);
    let code = match (fits, !xdp && is_gso(p)) {
        (true, _) => MTU_OK,
        (false, true) if segments && p.ctx.gso_size > mtu => MTU_SEGS_TOOBIG,
        (false, true) => MTU_OK,
        (false, false) => MTU_FRAG_NEEDED,
    };
    env.mem().write(mtu_len, &mtu.to_ne_bytes())?;
    Ok(Ret::Scalar(code))
}

const CHECK_SEGMENTS: u64 = 1;
const MTU_OK: u64 = 0;
const MTU_FRAG_NEEDED: u64 = 1;
const MTU_SEGS_TOOBIG: u64 = 2;
