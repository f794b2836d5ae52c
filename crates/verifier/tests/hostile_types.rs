//! Programs whose types are made to cost as much as possible: a million of them, chains, cycles, nests that grow with every
//! level, a million tags. The verdict comes in bounded time and memory, whatever it is, and never by a panic.
//!
//! Sizes are those of the largest BTF that Linux takes (16 MiB, 2^20 types) where the build is optimised; other builds take
//! a tenth.
#![allow(clippy::print_stdout)]

mod support;

use skep_btf::{Btf, BtfBuilder, FuncLinkage, IntEncoding, Kind, Member, Param};
use skep_isa::asm::parse_insns;
use skep_platform::map::MapBtf;
use skep_platform::{Map, MapType, ProgType, Program, Subprog};
use skep_verifier::{Options, verify_full};
use std::sync::Arc;
use std::time::{Duration, Instant};
use support::map::{def, paper};
use support::raw::PLATFORM;

/// Types of a large BTF.
const MANY: u32 = if cfg!(debug_assertions) { 100_000 } else { 1_000_000 };
/// Longest time for one verdict; many times what an idle machine takes.
const SLOWEST: Duration = Duration::from_secs(60);
/// Most memory of the whole test, in KiB.
const LARGEST: u64 = 1_500_000;

fn peak() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|l| l.strip_prefix("VmHWM:"));
    line.and_then(|l| l.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// Types read from the bytes that a loader would get; `None` when they are refused there.
fn read(b: &BtfBuilder) -> Option<Arc<Btf>> {
    let bytes = b.emit();
    println!("  {} bytes of BTF", bytes.len());
    Btf::parse(&bytes).map_err(|e| println!("  refused: {e}")).ok().map(Arc::new)
}

fn judge(name: &str, program: Program) {
    let began = Instant::now();
    let out = verify_full(&Arc::new(program), &PLATFORM, &Options::default());
    let took = began.elapsed();
    let said = out.map_or_else(|e| e.message().to_owned(), |o| format!("accepted, {} walked", o.stats.insns));
    println!("{name}: {said}; {took:?}, {} KiB", peak());
    assert!(took < SLOWEST, "{name} took {took:?}");
    assert!(peak() < LARGEST, "{name}: {} KiB", peak());
}

fn int(b: &mut BtfBuilder) -> u32 {
    b.add_int("int", 4, IntEncoding { signed: true, char: false, bool: false }).expect("room")
}

fn member(type_id: u32, at: u32) -> Member<'static> {
    Member { name: "m", type_id, bit_offset: 8 * at, bitfield_size: 0 }
}

/// A program that calls `calls` global functions whose one parameter has the type.
fn with_functions(mut b: BtfBuilder, parameter: u32, calls: usize, result: u32) -> Option<Program> {
    let params = [Param { name: "p", type_id: parameter }];
    let proto = b.add_func_proto(result, &params).expect("room");
    let func = b.add_func("f", proto, FuncLinkage::Global).expect("room");
    let main = b.add_func("main", proto, FuncLinkage::Static).expect("room");
    let mut text = String::new();
    for i in 0..calls {
        text += &format!("r1 = 0\ncall pc+{}\n", 2 * (calls - i - 1) + 2 + 2 * i);
    }
    text += "r0 = 0\nexit\n";
    text += &"r0 = 0\nexit\n".repeat(calls);
    let mut p = Program::from_insns("main", ProgType::SchedCls, parse_insns(&text).expect("it is assembly"));
    let first = 2 * calls + 2;
    let starts = (0..calls).map(|i| (first + 2 * i, func, true));
    p.subprogs = std::iter::once((0, main, false))
        .chain(starts)
        .map(|(start, btf_id, global)| Subprog { name: "f".into(), start, btf_id, global })
        .collect();
    p.license = "GPL".into();
    p.btf = Some(read(&b)?);
    Some(p)
}

/// A program with a map whose values have the type.
fn with_value(b: &BtfBuilder, value: u32, size: u32) -> Option<Program> {
    let btf = read(b)?;
    let mut d = def("m", MapType::Array, 4, size, 1);
    d.btf = Some(MapBtf { btf, key: 1, value });
    let text = "*(u32 *)(r10 -4) = 0\nr2 = r10\nr2 += -4\nr1 = map[idx:0]\ncall bpf_map_lookup_elem#1\n\
                if r0 == 0 goto +1\nr0 = *(u32 *)(r0 +0)\nr0 = 0\nexit\n";
    let mut p = Program::from_insns("main", ProgType::SchedCls, parse_insns(text).expect("it is assembly"));
    p.maps = vec![paper(d) as Arc<dyn Map>];
    Some(p)
}

#[test]
fn a_chain_of_a_million_names() {
    let mut b = BtfBuilder::new();
    let int = int(&mut b);
    let mut id = int;
    for i in 0..MANY {
        id = if i % 2 == 0 { b.add_typedef("t", id) } else { b.add_modifier(Kind::Const, id) }.expect("room");
    }
    if let Some(p) = with_value(&b, id, 4) {
        judge("names, value", p);
    }
    if let Some(p) = with_functions(b, id, 200, int) {
        judge("names, parameter", p);
    }
}

#[test]
fn names_that_go_in_circles() {
    let mut b = BtfBuilder::new();
    let int = int(&mut b);
    let next = b.next_id();
    b.add_typedef("a", next + 1).expect("room");
    b.add_typedef("b", next).expect("room");
    let array = b.next_id();
    b.add_array(array, int, 1).expect("room");
    let own = b.next_id();
    b.add_struct("s", 4, &[member(own, 0)]).expect("room");
    for id in [next, array, own] {
        if let Some(p) = with_value(&b, id, 4) {
            judge("circle, value", p);
        }
        if let Some(p) = with_functions(BtfBuilder::from_btf(&b.finish().expect("it is BTF")), id, 2, int) {
            judge("circle, parameter", p);
        }
    }
}

#[test]
fn arrays_of_arrays() {
    let mut b = BtfBuilder::new();
    let int = int(&mut b);
    let (mut one, mut two) = (int, int);
    for _ in 0..MANY / 2 {
        one = b.add_array(one, int, 1).expect("room");
        two = b.add_array(two, int, 2).expect("room");
    }
    let holder = b.add_struct("holder", 8, &[member(one, 0), member(two, 4)]).expect("room");
    for id in [one, two, holder] {
        if let Some(p) = with_value(&b, id, 8) {
            judge("arrays", p);
        }
    }
}

/// Every structure holds many of the one before.
#[test]
fn nests_that_grow_with_every_level() {
    let mut b = BtfBuilder::new();
    let int = int(&mut b);
    let lock = b.add_struct("bpf_spin_lock", 4, &[member(int, 0)]).expect("room");
    let mut id = b.add_struct("s", 8, &[member(int, 0), member(lock, 4)]).expect("room");
    for _ in 0..12 {
        let many: Vec<Member<'_>> = (0..4_000).map(|i| member(id, i)).collect();
        id = b.add_struct("s", 1 << 20, &many).expect("room");
        id = b.add_array(id, int, 64).expect("room");
        id = b.add_struct("t", 1 << 20, &[member(id, 0)]).expect("room");
    }
    if let Some(p) = with_value(&b, id, 1 << 20) {
        judge("nests", p);
    }
}

#[test]
fn a_million_tags() {
    let mut b = BtfBuilder::new();
    let int = int(&mut b);
    let next = b.next_id() + MANY + 1;
    // The function comes after its tags.
    for i in 0..MANY {
        let component = (i % 3 == 0).then_some(0);
        b.add_decl_tag("comment:none", next, component).expect("room");
    }
    let pointer = b.add_ptr(int).expect("room");
    if let Some(p) = with_functions(b, pointer, 200, int) {
        judge("tags", p);
    }
}

/// Lists whose items hold lists, each naming the next, the last the first.
#[test]
fn lists_of_lists() {
    let mut b = BtfBuilder::new();
    let int = int(&mut b);
    let lock = b.add_struct("bpf_spin_lock", 4, &[member(int, 0)]).expect("room");
    let head = b.add_struct("bpf_list_head", 16, &[]).expect("room");
    let node = b.add_struct("bpf_list_node", 24, &[]).expect("room");
    let count = MANY / 20;
    let mut last = 0;
    for i in 0..count {
        let name = format!("item{i}");
        last = b.add_struct(&name, 48, &[member(lock, 0), member(head, 8), member(node, 24)]).expect("room");
        let tag = format!("contains:item{}:m", (i + 1) % count);
        b.add_decl_tag(&tag, last, Some(1)).expect("room");
    }
    if let Some(p) = with_value(&b, last, 48) {
        judge("lists", p);
    }
}
