//! Runs a case through our bodies, in an environment of regions at made-up addresses.

use crate::case::{Arg, Case, Outcome, Prog, Step};
use skep_helpers::HELPERS;
use skep_platform::ctx::CtxLayout;
use skep_platform::env::{Context, CtxData, Env, Fault, Host, Memory, Region, Ret};
use skep_platform::packet::{Checksum, Packet};
use skep_platform::{ArgKind, Body, Errno, Helper, Map};
use std::collections::BTreeMap;
use std::sync::Arc;

static SKB: CtxLayout = CtxLayout { name: "__sk_buff", size: 192, fields: &[] };
static XDP: CtxLayout = CtxLayout { name: "xdp_md", size: 24, fields: &[] };

/// Memory: regions by address.
#[derive(Default)]
struct Regions(BTreeMap<u64, Vec<u8>>);

impl Regions {
    fn add(&mut self, bytes: Vec<u8>) -> u64 {
        let addr = 0x10_0000 * (self.0.len() as u64 + 1);
        self.0.insert(addr, bytes);
        addr
    }

    fn find(&mut self, addr: u64, len: u64, write: bool) -> Result<&mut [u8], Fault> {
        let outside = Fault::Access { addr, len, write, region: None, why: "outside".into() };
        let Some((base, bytes)) = self.0.range_mut(..=addr).next_back() else { return Err(outside) };
        let at = (addr - base) as usize;
        bytes.get_mut(at..at + len as usize).ok_or(outside)
    }
}

impl Memory for Regions {
    fn read(&mut self, addr: u64, out: &mut [u8]) -> Result<(), Fault> {
        out.copy_from_slice(self.find(addr, out.len() as u64, false)?);
        Ok(())
    }
    fn write(&mut self, addr: u64, data: &[u8]) -> Result<(), Fault> {
        self.find(addr, data.len() as u64, true)?.copy_from_slice(data);
        Ok(())
    }
    fn check(&mut self, addr: u64, len: u64, write: bool) -> Result<(), Fault> {
        self.find(addr, len, write).map(drop)
    }
    fn cmpxchg32(&mut self, addr: u64, old: u32, new: u32) -> Result<u32, Fault> {
        let word = self.find(addr, 4, true)?;
        let seen = u32::from_ne_bytes([word[0], word[1], word[2], word[3]]);
        if seen == old {
            word.copy_from_slice(&new.to_ne_bytes());
        }
        Ok(seen)
    }
    fn xchg64(&mut self, addr: u64, new: u64) -> Result<u64, Fault> {
        let mut old = [0; 8];
        self.read(addr, &mut old)?;
        self.write(addr, &new.to_ne_bytes())?;
        Ok(u64::from_ne_bytes(old))
    }
}

struct World;

impl Host for World {
    fn ktime_ns(&self) -> u64 {
        1
    }
    fn ktime_boot_ns(&self) -> u64 {
        2
    }
    fn ktime_coarse_ns(&self) -> u64 {
        3
    }
    fn ktime_tai_ns(&self) -> u64 {
        4
    }
    fn jiffies64(&self) -> u64 {
        5
    }
    fn prandom_u32(&self) -> u32 {
        6
    }
    fn cpus(&self) -> u32 {
        2
    }
    fn current_cpu(&self) -> u32 {
        0
    }
    fn numa_node(&self) -> u32 {
        0
    }
    fn pid_tgid(&self) -> u64 {
        7
    }
    fn uid_gid(&self) -> u64 {
        8
    }
    fn comm(&self) -> [u8; 16] {
        *b"helpers-test\0\0\0\0"
    }
    fn cgroup_id(&self) -> u64 {
        9
    }
    fn netns_cookie(&self) -> u64 {
        10
    }
    fn probe_read(&self, _: u64, _: &mut [u8]) -> Result<(), Errno> {
        Err(Errno::EFAULT)
    }
    fn probe_write(&self, _: u64, _: &[u8]) -> Result<(), Errno> {
        Err(Errno::EFAULT)
    }
    fn trace(&self, _: &str) {}
    /// The loopback interface, on which the kernel runs test programs.
    fn mtu(&self, ifindex: u32) -> Option<u32> {
        (ifindex <= 1).then_some(65536)
    }
}

struct Run {
    mem: Regions,
    ctx: Context,
}

impl Env<'static> for Run {
    fn mem(&mut self) -> &mut dyn Memory {
        &mut self.mem
    }
    fn map(&mut self, handle: u64) -> Result<&'static dyn Map, Fault> {
        Err(Fault::BadArg { arg: 1, why: format!("no map {handle:#x}") })
    }
    fn find_map(&mut self, _: &mut dyn FnMut(&dyn Map) -> bool) -> Option<&'static dyn Map> {
        None
    }
    fn keep_map(&mut self, _: Arc<dyn Map>) -> u64 {
        0
    }
    fn ctx(&mut self) -> &mut Context {
        &mut self.ctx
    }
    fn host(&self) -> &'static dyn Host {
        &World
    }
    fn cpu(&self) -> u32 {
        0
    }
    fn call(&mut self, _: u64, _: [u64; 5]) -> Result<u64, Fault> {
        Err(Fault::BadArg { arg: 2, why: "no function".into() })
    }
    fn lend(&mut self, region: Region) -> Result<u64, Fault> {
        Ok(region.addr)
    }
}

/// The packet as test runs of the kernel begin with it.
fn packet(case: &Case) -> Packet {
    let mut p = Packet::new();
    p.set(&case.packet);
    p.ctx.protocol = u32::from(u16::from_ne_bytes([case.packet[12], case.packet[13]]));
    p.mac_len = 14;
    if case.prog == Prog::TcComplete {
        p.checksum = Checksum::Complete(sum(&case.packet[14..]));
    }
    p.ctx.pkt_type = if case.prog == Prog::Xdp { 0 } else { OTHERHOST };
    p
}

/// `PACKET_OTHERHOST`: the packets' hardware address is not the loopback interface's.
const OTHERHOST: u32 = 3;

/// 32-bit words with end-around carry.
fn sum(bytes: &[u8]) -> u32 {
    bytes.chunks(4).fold(0, |sum: u32, c| {
        let mut w = [0; 4];
        w[..c.len()].copy_from_slice(c);
        let (sum, carry) = sum.overflowing_add(u32::from_ne_bytes(w));
        sum + u32::from(carry)
    })
}

/// Runs a case.
pub(crate) fn run(case: &Case) -> Outcome {
    let layout = if case.prog == Prog::Xdp { &XDP } else { &SKB };
    let ctx = Context { layout, data: CtxData::Packet(packet(case)) };
    let mut run = Run { mem: Regions::default(), ctx };
    let results = case.steps.iter().map(|s| step(&mut run, s)).collect();
    let packet = run.packet().expect("a packet");
    Outcome { results, packet: [packet.metadata(), packet.bytes()].concat() }
}

fn step(run: &mut Run, step: &Step) -> (u64, Vec<Vec<u8>>) {
    match step {
        Step::Field(off) => (field(run, *off), Vec::new()),
        Step::Call(name, args) => call(run, name, args),
    }
}

fn call(run: &mut Run, name: &str, given: &[Arg]) -> (u64, Vec<Vec<u8>>) {
    let h = HELPERS.iter().find(|h| h.name == name).unwrap_or_else(|| panic!("no helper {name}"));
    let Body::Fn(body) = h.body else { panic!("{name} has no body") };
    let mut args = [0; 5];
    let mut outs = Vec::new();
    for (slot, a) in args[first_arg(h)..].iter_mut().zip(given) {
        *slot = match a {
            Arg::Number(n) => *n,
            Arg::In(b) => run.mem.add(b.clone()),
            Arg::Text(t) => run.mem.add([t.as_bytes(), &[0]].concat()),
            Arg::Out(n) => out(run, &mut outs, vec![0xee; *n]),
            Arg::InOut(b) => out(run, &mut outs, b.clone()),
        };
    }
    let r0 = match body(run, args).unwrap_or_else(|e| panic!("{name}: {e}")) {
        Ret::Scalar(v) => v,
        Ret::Null => 0,
        other => panic!("{name} gave {other:?}"),
    };
    let outs = outs.iter().map(|a| run.mem.0[a].clone()).collect();
    (r0, outs)
}

fn out(run: &mut Run, outs: &mut Vec<u64>, bytes: Vec<u8>) -> u64 {
    let addr = run.mem.add(bytes);
    outs.push(addr);
    addr
}

/// 1 for helpers that take the context first.
pub(crate) fn first_arg(h: &Helper) -> usize {
    usize::from(h.protos[0].args.first().is_some_and(|a| a.kind == ArgKind::Ctx))
}

fn field(run: &mut Run, off: u32) -> u64 {
    let c = &run.packet().expect("a packet").ctx;
    u64::from(match off {
        0 => c.len,
        4 => c.pkt_type,
        16 => c.protocol,
        20 => c.vlan_present,
        24 => c.vlan_tci,
        28 => c.vlan_proto,
        68 => c.hash,
        other => panic!("no field at {other}"),
    })
}
