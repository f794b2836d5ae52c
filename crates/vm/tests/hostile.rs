//! Whatever bytes are run, the outcome is a value or a report: no panic, no access outside of live regions (a stray one
//! would end the test process), no run without end.

#![allow(clippy::print_stdout)]

use arbtest::arbitrary::{Result, Unstructured};
use skep_isa::table::ROWS;
use skep_isa::{Insn, Op, Operand, Reg, Size};
use skep_platform::ctx::UserRun;
use skep_platform::engine::{Engine, Loadable, Platform};
use skep_platform::env::{Context, Host};
use skep_platform::helper::Version;
use skep_platform::map::{Map, MapDef};
use skep_platform::program::{Program, Subprog};
use skep_platform::uapi::{MapType, ProgType};
use skep_testkit::{fixtures, programs, suites};
use skep_vm::{FixedHost, Options, Tier, User, report};
use std::sync::Arc;

const PLATFORM: Platform = Platform {
    version: Version(6, 18),
    helpers: skep_helpers::HELPERS,
    kfuncs: skep_helpers::KFUNCS,
    prog_types: &[],
    map_types: skep_maps::MAP_TYPES,
};

/// `lenient`: registers and stack need not be written before they are read, so programs get further.
fn engine(lenient: bool) -> User {
    let host: Arc<dyn Host> = Arc::new(FixedHost::new(2));
    let options = Options { budget: 20_000, unset_stack: lenient, unset_registers: lenient };
    User::new(PLATFORM, host).with_tier(Tier::Checked).with_options(options)
}

fn maps(engine: &User) -> Vec<Arc<dyn Map>> {
    let def = |name: &str, map_type, key_size, value_size, max_entries| MapDef {
        name: name.into(),
        map_type,
        key_size,
        value_size,
        max_entries,
        flags: 0,
        map_extra: 0,
        numa_node: 0,
        pin_by_name: false,
        inner: None,
        btf: None,
    };
    let defs = [
        def("array", MapType::Array, 4, 16, 4),
        def("hash", MapType::Hash, 8, 24, 8),
        def("ring", MapType::Ringbuf, 0, 0, 4096),
        def("programs", MapType::ProgArray, 4, 4, 2),
    ];
    defs.iter().filter_map(|d| engine.create_map(d).ok()).collect()
}

/// An instruction: mostly of a legal shape with operands that mean something, sometimes any eight bytes.
fn insn(u: &mut Unstructured<'_>) -> Result<Vec<Insn>> {
    if u.ratio(1, 40)? {
        return Ok(vec![Insn::from_bytes(u.arbitrary()?)]);
    }
    if u.ratio(1, 3)? {
        return memory(u);
    }
    let row = u.choose(ROWS.as_slice())?;
    let off = if u.ratio(3, 4)? { u.int_in_range(-8..=8)? } else { u.arbitrary()? };
    let imm = match u.int_in_range(0..=3)? {
        0 => u.int_in_range(0..=212)?,
        1 => u.int_in_range(-16..=16)?,
        _ => u.arbitrary()?,
    };
    let field = |f: skep_isa::table::Field, n: i32| match f {
        skep_isa::table::Field::Zero => 0,
        skep_isa::table::Field::Is(n) => n,
        skep_isa::table::Field::Free => n,
    };
    let (dst, src) = (u.int_in_range(0..=10)?, u.int_in_range(0..=10)?);
    let first = Insn::new(
        row.opcode,
        field(row.dst, dst) as u8,
        field(row.src, src) as u8,
        field(row.off, off) as i16,
        field(row.imm, imm),
    );
    let mut out = vec![first];
    if let Some(next) = row.next_imm {
        out.push(Insn::new(0, 0, 0, 0, field(next, u.int_in_range(0..=20)?)));
    }
    Ok(out)
}

/// Stack traffic, so that pointers get spilled, and addresses get made.
fn memory(u: &mut Unstructured<'_>) -> Result<Vec<Insn>> {
    let reg = |u: &mut Unstructured<'_>| Ok(Reg::new(u.int_in_range(0..=10)?).unwrap_or(Reg::R0));
    let size = *u.choose(&[Size::B, Size::H, Size::W, Size::Dw])?;
    let off = -8 * u.int_in_range(0..=5)?;
    let base = if u.ratio(2, 3)? { Reg::R10 } else { reg(u)? };
    let op = match u.int_in_range(0..=3)? {
        0 => Op::Store { size, dst: base, off, src: Operand::Reg(reg(u)?) },
        1 => Op::Store { size: Size::Dw, dst: base, off, src: Operand::Imm(u.int_in_range(0..=4)?) },
        2 => Op::Load { size, sx: false, dst: reg(u)?, src: base, off },
        _ => Op::Alu {
            op: skep_isa::AluOp::Mov,
            width: skep_isa::Width::W64,
            dst: reg(u)?,
            src: Operand::Reg(reg(u)?),
        },
    };
    Ok(op.encode().to_vec())
}

fn program(u: &mut Unstructured<'_>, maps: &[Arc<dyn Map>]) -> Result<Program> {
    let mut insns = Vec::new();
    for _ in 0..u.int_in_range(1..=60)? {
        insns.extend(insn(u)?);
    }
    insns.extend(Op::Exit.encode().to_vec());
    let kind = *u.choose(&[ProgType::Unspec, ProgType::Xdp, ProgType::SchedCls, ProgType::Kprobe])?;
    let mut program = programs::program(kind, insns);
    program.maps = maps.to_vec();
    program.subprogs = vec![Subprog { name: "main".into(), start: 0, btf_id: 0, global: true }];
    Ok(program)
}

fn context(u: &mut Unstructured<'_>) -> Result<Context> {
    let bytes: Vec<u8> = u.arbitrary()?;
    Ok(match u.arbitrary()? {
        true => programs::packet(&programs::MEMORY, &bytes),
        false => programs::memory(&bytes),
    })
}

#[test]
fn any_program_ends_with_a_value_or_a_report() {
    let engines = [engine(false), engine(true)];
    let maps = maps(&engines[0]);
    arbtest::arbtest(|u| {
        let engine = u.choose(&engines)?;
        let program = Arc::new(program(u, &maps)?);
        let mut ctx = context(u)?;
        let Ok(loaded) = engine.load(Loadable::Unverified(program)) else { return Ok(()) };
        if let Err(e) = engine.test_run(&*loaded, &mut ctx) {
            assert!(!report(&e).is_empty());
        }
        Ok(())
    })
    .size_min(256)
    .size_max(4096)
    .budget_ms(budget());
}

/// A program of suite `test_verifier`: its type, instructions, and the maps it names.
type Case = (ProgType, Vec<Insn>, Vec<Arc<dyn Map>>);

fn suite(engine: &User) -> std::result::Result<Vec<Case>, String> {
    let cases = suites::jsonl(&suites::dir("test_verifier")?.join("dev.jsonl.gz"))?;
    let map = |kind: &String| engine.create_map(&fixtures::map_def(kind)?).ok();
    let case = |c: &serde_json::Value| {
        let prog_type = ProgType::from_id(c["prog_type"].as_u64()? as u32)?;
        let (insns, kinds) = fixtures::insns(c)?;
        Some((prog_type, insns, kinds.iter().filter_map(map).collect()))
    };
    Ok(cases.iter().filter_map(case).collect())
}

/// A case with up to four instructions changed: fields, or the whole.
fn mutated(u: &mut Unstructured<'_>, cases: &[Case]) -> Result<Program> {
    let (prog_type, insns, maps) = u.choose(cases)?;
    let mut insns = insns.clone();
    for _ in 0..u.int_in_range(0..=4)? {
        let at = u.choose_index(insns.len())?;
        let old = insns[at];
        insns[at] = match u.int_in_range(0..=4)? {
            0 => old.with_imm(u.int_in_range(-64..=64)?),
            1 => old.with_off(u.int_in_range(-32..=32)?),
            2 => Insn::new(old.opcode(), u.int_in_range(0..=10)?, old.src(), old.off(), old.imm()),
            3 => old.with_src(u.int_in_range(0..=10)?),
            _ => *insn(u)?.first().unwrap_or(&old),
        };
    }
    Ok(Program { maps: maps.clone(), ..programs::program(*prog_type, insns) })
}

#[test]
fn changed_programs_of_the_suite_end_too() {
    let options = Options { budget: 20_000, ..Options::default() };
    let engine = User::new(*skep::platform(), Arc::new(FixedHost::new(2)))
        .with_tier(Tier::Checked)
        .with_options(options);
    let cases = match suite(&engine) {
        Ok(cases) => cases,
        Err(why) => return println!("{why}"),
    };
    arbtest::arbtest(|u| {
        let program = mutated(u, &cases)?;
        let row = engine.platform().prog_type(program.prog_type);
        let Some((row, layout)) = row.and_then(|r| Some((r, r.layout(None)?))) else { return Ok(()) };
        let mut ctx = match row.user {
            UserRun::Packets => programs::packet(layout, &[0; 64]),
            _ => programs::plain(layout, &vec![0; layout.size.into()]),
        };
        let Ok(loaded) = engine.load(Loadable::Unverified(Arc::new(program))) else { return Ok(()) };
        if let Err(e) = engine.test_run(&*loaded, &mut ctx) {
            assert!(!report(&e).is_empty());
        }
        Ok(())
    })
    .size_min(128)
    .budget_ms(budget());
}

fn budget() -> u64 {
    std::env::var("SKEP_FUZZ_MS").ok().and_then(|n| n.parse().ok()).unwrap_or(3000)
}
