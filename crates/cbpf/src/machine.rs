//! The interpreter: a [`Program`] over a [`Packet`].
//!
//! The meaning is the kernel's: A and X begin as 0; a load outside the packet and a division by a zero X end the program
//! with 0; shifts by X count modulo 32; negative offsets reach the headers (`SKF_NET_OFF`, `SKF_LL_OFF`) and the
//! ancillary loads. libpcap's own interpreter knows no negative offsets, and that is the only difference that a filter
//! of its compiler can see.

use crate::ancillary::{Ancillary, LL_OFF, NET_OFF};
use crate::check::Program;
use crate::insn::{AluOp, Cond, Op, Register, Size, Source};
use crate::payload;

/// What Linux knows of a packet besides its bytes. Numbers in native byte order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Meta {
    /// EtherType.
    pub protocol: u16,
    /// `PACKET_HOST` (0) and so on.
    pub pkt_type: u8,
    /// Index of the interface; with `None` a load of it, or of `hatype`, ends the program with A.
    pub ifindex: Option<u32>,
    /// `ARPHRD_*` of the interface.
    pub hatype: u16,
    /// Mark.
    pub mark: u32,
    /// Queue.
    pub queue: u16,
    /// Flow hash.
    pub hash: u32,
    /// CPU that the program runs on.
    pub cpu: u32,
    /// VLAN tag taken off by the interface: its EtherType and TCI.
    pub vlan: Option<(u16, u16)>,
    /// Offset of the network header; the link-layer header begins at 0.
    pub network: u32,
    /// Where random loads begin; each takes the next number.
    pub random: u64,
}

impl Default for Meta {
    /// A packet on Ethernet of which nothing else is known.
    fn default() -> Meta {
        Meta {
            protocol: 0,
            pkt_type: 0,
            ifindex: Some(0),
            hatype: 1,
            mark: 0,
            queue: 0,
            hash: 0,
            cpu: 0,
            vlan: None,
            network: 14,
            random: 0,
        }
    }
}

/// A packet: the bytes at hand, its length on the wire, and the rest.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    /// Bytes that can be loaded.
    pub bytes: &'a [u8],
    /// Length, which may be more than the bytes captured.
    pub len: u32,
    /// What else is known.
    pub meta: &'a Meta,
}

impl<'a> Packet<'a> {
    /// A packet that was captured whole. Lengths beyond 32 bits are cut to 32 bits.
    pub fn new(bytes: &'a [u8], meta: &'a Meta) -> Packet<'a> {
        Packet { bytes, len: bytes.len() as u32, meta }
    }

    /// Bytes of a big-endian number, where all of them are there.
    pub(crate) fn load(&self, size: Size, at: u32) -> Option<u32> {
        let at = self.position(at)?;
        let field = self.bytes.get(at..at.checked_add(size.bytes() as usize)?)?;
        Some(field.iter().fold(0, |v, b| v << 8 | u32::from(*b)))
    }

    /// Offset from the first byte, negative ones resolved (`bpf_skb_load_helper_convert_offset`).
    fn position(&self, at: u32) -> Option<usize> {
        let base = match at {
            0..=0x7fff_ffff => return usize::try_from(at).ok(),
            NET_OFF.. => (at - NET_OFF).checked_add(self.meta.network)?,
            LL_OFF.. => at - LL_OFF,
            _ => return None,
        };
        usize::try_from(base).ok()
    }
}

/// Why the run goes on or ends.
type Step = Result<usize, u32>;

struct State<'a> {
    a: u32,
    x: u32,
    mem: [u32; 16],
    packet: Packet<'a>,
    random: u64,
}

impl Program {
    /// What it returns for a packet: a socket keeps that many bytes of it. No allocation; at most one step an
    /// instruction.
    pub fn run(&self, packet: &Packet<'_>) -> u32 {
        self.each_step(packet, || ())
    }

    /// What it returns for a packet, and how many instructions it executed for that.
    pub fn run_counting(&self, packet: &Packet<'_>) -> (u32, usize) {
        let mut steps = 0;
        (self.each_step(packet, || steps += 1), steps)
    }

    fn each_step(&self, packet: &Packet<'_>, mut executed: impl FnMut()) -> u32 {
        let mut s = State { a: 0, x: 0, mem: [0; 16], packet: *packet, random: packet.meta.random };
        let mut pc = 0;
        // A checked program ends by a return; the loop's own end is for the type.
        while let Some(op) = self.ops().get(pc) {
            executed();
            match s.step(op) {
                Ok(skip) => pc = (pc + 1).wrapping_add(skip),
                Err(result) => return result,
            }
        }
        0
    }
}

impl State<'_> {
    /// Executes one instruction: how many to skip (modulo 2^64, so that going back is possible), or the program's result.
    fn step(&mut self, op: &Op) -> Step {
        match *op {
            Op::Abs(size, k) => self.a = self.packet.load(size, k).ok_or(0u32)?,
            Op::Ind(size, k) => self.a = self.packet.load(size, self.x.wrapping_add(k)).ok_or(0u32)?,
            Op::Msh(k) => self.x = (self.packet.load(Size::B, k).ok_or(0u32)? & 0xf) << 2,
            Op::Ancillary(_, which) => self.a = self.ancillary(which)?,
            Op::Imm(reg, k) => *self.reg(reg) = k,
            Op::Mem(reg, k) => *self.reg(reg) = self.mem[k as usize & 15],
            Op::Len(reg) => *self.reg(reg) = self.packet.len,
            Op::Store(reg, k) => self.mem[k as usize & 15] = *self.reg(reg),
            Op::Alu(op, src) => self.a = alu(op, self.a, self.value(src)).ok_or(0u32)?,
            Op::Neg => self.a = self.a.wrapping_neg(),
            Op::Ja(k) => return Ok(k as i32 as usize),
            Op::Jump(cond, src, jt, jf) => {
                return Ok(if holds(cond, self.a, self.value(src)) { jt } else { jf }.into());
            }
            Op::RetK(k) => return Err(k),
            Op::RetA => return Err(self.a),
            Op::Tax => self.x = self.a,
            Op::Txa => self.a = self.x,
        }
        Ok(0)
    }

    fn reg(&mut self, reg: Register) -> &mut u32 {
        match reg {
            Register::A => &mut self.a,
            Register::X => &mut self.x,
        }
    }

    fn value(&self, src: Source) -> u32 {
        match src {
            Source::K(k) => k,
            Source::X => self.x,
        }
    }

    /// What an ancillary load yields, or the result it ends the program with.
    fn ancillary(&mut self, which: Ancillary) -> Result<u32, u32> {
        let meta = self.packet.meta;
        Ok(match which {
            Ancillary::Protocol => meta.protocol.into(),
            Ancillary::PktType => u32::from(meta.pkt_type & 7),
            Ancillary::Ifindex => meta.ifindex.ok_or(self.a)?,
            Ancillary::Hatype => meta.ifindex.map(|_| meta.hatype.into()).ok_or(self.a)?,
            Ancillary::Nlattr => payload::attribute(&self.packet, self.a, self.x),
            Ancillary::NlattrNest => payload::nested_attribute(&self.packet, self.a, self.x),
            Ancillary::Mark => meta.mark,
            Ancillary::Queue => meta.queue.into(),
            Ancillary::RxHash => meta.hash,
            Ancillary::Cpu => meta.cpu,
            Ancillary::AluXorX => self.a ^ self.x,
            Ancillary::VlanTag => meta.vlan.map_or(0, |(_, tci)| tci.into()),
            Ancillary::VlanTagPresent => meta.vlan.is_some().into(),
            Ancillary::VlanTpid => meta.vlan.map_or(0, |(tpid, _)| tpid.into()),
            Ancillary::PayOffset => payload::offset(&self.packet),
            Ancillary::Random => self.next_random(),
        })
    }

    /// The next number of a sequence that is the same for the same seed (splitmix64).
    fn next_random(&mut self) -> u32 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.random ^ self.random >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z >> 32) as u32
    }
}

/// The result, or `None` for a division by zero.
pub(crate) fn alu(op: AluOp, a: u32, b: u32) -> Option<u32> {
    Some(match op {
        AluOp::Add => a.wrapping_add(b),
        AluOp::Sub => a.wrapping_sub(b),
        AluOp::Mul => a.wrapping_mul(b),
        AluOp::Div => a.checked_div(b)?,
        AluOp::Mod => a.checked_rem(b)?,
        AluOp::Or => a | b,
        AluOp::And => a & b,
        AluOp::Xor => a ^ b,
        AluOp::Lsh => a.wrapping_shl(b),
        AluOp::Rsh => a.wrapping_shr(b),
    })
}

pub(crate) fn holds(cond: Cond, a: u32, b: u32) -> bool {
    match cond {
        Cond::Eq => a == b,
        Cond::Gt => a > b,
        Cond::Ge => a >= b,
        Cond::Set => a & b != 0,
    }
}
