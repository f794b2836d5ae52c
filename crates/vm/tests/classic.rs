//! Classic programs and their translations agree: whatever the program and the packet, the checked tier returns what the
//! classic machine returns, for socket filters as it is, for traffic control and XDP as a verdict.

use arbtest::arbitrary::{Result, Unstructured};
use skep_cbpf::{
    AluOp, Ancillary, Cond, Insn, Meta, Op, Packet, Program, Register, Size, Source, Target, translate,
};
use skep_platform::engine::{Engine, Loadable};
use skep_platform::env::{Context, CtxData};
use skep_platform::uapi::ProgType;
use skep_testkit::programs;
use skep_vm::{FixedHost, Tier, User, report};
use std::sync::Arc;

const SIZES: [Size; 3] = [Size::W, Size::H, Size::B];
const ALUS: [AluOp; 10] = [
    AluOp::Add,
    AluOp::Sub,
    AluOp::Mul,
    AluOp::Div,
    AluOp::Or,
    AluOp::And,
    AluOp::Lsh,
    AluOp::Rsh,
    AluOp::Mod,
    AluOp::Xor,
];
const CONDS: [Cond; 4] = [Cond::Eq, Cond::Gt, Cond::Ge, Cond::Set];
/// Ancillary loads that socket buffers have, and those that every context has.
const OF_SKB: [Ancillary; 8] = [
    Ancillary::Mark,
    Ancillary::Protocol,
    Ancillary::PktType,
    Ancillary::VlanTagPresent,
    Ancillary::PayOffset,
    Ancillary::Nlattr,
    Ancillary::NlattrNest,
    Ancillary::AluXorX,
];

/// Mostly small numbers, as offsets are.
fn number(u: &mut Unstructured<'_>) -> Result<u32> {
    Ok(match u.int_in_range(0..=9)? {
        0 => u.arbitrary()?,
        1 => *u.choose(&[0, 1, u32::MAX, 0x8000_0000, 0x7fff_ffff, 0xffff])?,
        _ => u.int_in_range(0..=90)?,
    })
}

fn operand(u: &mut Unstructured<'_>) -> Result<Source> {
    Ok(if u.arbitrary()? { Source::X } else { Source::K(number(u)?) })
}

/// One instruction with `left` behind it.
fn op(u: &mut Unstructured<'_>, left: u8, skb: bool) -> Result<Op> {
    let reg = if u.arbitrary()? { Register::A } else { Register::X };
    let size = *u.choose(&SIZES)?;
    Ok(match u.int_in_range(0..=15)? {
        0 | 1 => Op::Abs(size, u.int_in_range(0..=90)?),
        2 | 3 => Op::Ind(size, u.int_in_range(0..=60)?),
        4 => Op::Msh(u.int_in_range(0..=60)?),
        5 if skb => Op::Ancillary(size, *u.choose(&OF_SKB)?),
        5 => Op::Ancillary(size, Ancillary::AluXorX),
        6 => Op::Imm(reg, number(u)?),
        7 => Op::Len(reg),
        8 => Op::Store(reg, u.int_in_range(0..=15)?),
        9 => Op::Mem(reg, u.int_in_range(0..=15)?),
        10 => Op::Alu(*u.choose(&ALUS)?, operand(u)?),
        11 => Op::Jump(*u.choose(&CONDS)?, operand(u)?, u.int_in_range(0..=left)?, u.int_in_range(0..=left)?),
        12 => *u.choose(&[Op::Tax, Op::Txa, Op::Neg])?,
        13 => Op::Ja(u.int_in_range(0..=left.into())?),
        14 => Op::RetA,
        _ => Op::RetK(number(u)?),
    })
}

/// A program that passes the checker, if the draw is one.
fn program(u: &mut Unstructured<'_>, skb: bool) -> Result<Option<Program>> {
    let n: u8 = u.int_in_range(1..=24)?;
    // Scratch memory is written first, so that most draws pass.
    let mut ops: Vec<Op> = (0..16).map(|k| Op::Store(Register::A, k)).collect();
    for i in 0..n {
        ops.push(op(u, n - i - 1, skb)?);
    }
    ops.push(Op::RetA);
    Ok(Program::new(ops.into_iter().map(Op::encode).collect::<Vec<Insn>>()).ok())
}

/// Headers that the payload offset is found behind, more or less.
fn bytes(u: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    let mut out: Vec<u8> = u.arbitrary_iter::<u8>()?.take(120).collect::<Result<_>>()?;
    if out.len() > 34 {
        out[14] = if u.arbitrary()? { 0x45 } else { out[14] };
        out[23] = *u.choose(&[6, 17, 4, 41, 47])?;
        out[20] = 0;
    }
    Ok(out)
}

fn context(prog_type: ProgType, bytes: &[u8], meta: &Meta) -> Context {
    let row = skep::platform().prog_type(prog_type).and_then(|r| r.layout(None));
    let mut ctx = programs::packet(row.expect("packet programs have a context"), bytes);
    if let CtxData::Packet(p) = &mut ctx.data {
        (p.ctx.mark, p.ctx.pkt_type) = (meta.mark, meta.pkt_type.into());
        p.ctx.protocol = u32::from(meta.protocol.to_be());
    }
    ctx
}

fn agree(prog_type: ProgType, target: &Target, skb: bool, want: impl Fn(u32) -> u32) {
    let engine = User::new(*skep::platform(), Arc::new(FixedHost::new(1))).with_tier(Tier::Checked);
    arbtest::arbtest(|u| {
        let Some(program) = program(u, skb)? else { return Ok(()) };
        let protocol = *u.choose(&[0x0800u16, 0x86dd, 0x8100, 0x8847, 0x0806, 0x1234])?;
        let (bytes, meta) = (bytes(u)?, Meta { mark: 0xabcd, pkt_type: 3, protocol, ..Meta::default() });
        let insns = translate(&program, target).expect("translates");
        let loaded =
            engine.load(Loadable::Unverified(Arc::new(programs::program(prog_type, insns)))).expect("loads");
        let mut ctx = context(prog_type, &bytes, &meta);
        let r0 = engine.test_run(&*loaded, &mut ctx).unwrap_or_else(|e| panic!("{}", report(&e)));
        let classic = program.run(&Packet::new(&bytes, &meta));
        assert_eq!(r0 as u32, want(classic), "{}", skep_cbpf::text::listing(program.insns()));
        Ok(())
    });
}

#[test]
fn socket_filters() {
    agree(ProgType::SocketFilter, &Target::SOCKET_FILTER, true, |n| n);
}

#[test]
fn traffic_control() {
    agree(ProgType::SchedCls, &Target::SCHED_CLS, true, |n| if n == 0 { 2 } else { 0 });
}

#[test]
fn xdp() {
    agree(ProgType::Xdp, &Target::XDP, false, |n| if n == 0 { 1 } else { 2 });
}
