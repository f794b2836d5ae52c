//! What filters mean on every link type: over packets that were made to reach all branches of libpcap's unoptimised
//! programs (suite `filters`), ours accept what those accept, optimised or not.

#![allow(clippy::print_stdout)]

use skep_cbpf::{AluOp, Cond, Filter, Insn, Meta, Op, Packet, Register, Size, Source};
use skep_testkit::suites;
use std::collections::BTreeMap;

mod suite_names;

use suite_names::options_of;

/// Packets for a program.
const PACKETS: usize = 60;
/// Steps after which a program that loops is given up.
const MAX_STEPS: usize = 10_000;

#[test]
fn verdicts_are_those_of_libpcaps_programs() {
    let dir = match suites::dir("filters") {
        Ok(dir) => dir,
        Err(why) => return println!("{why}"),
    };
    let cases = suites::jsonl(&dir.join("libpcap_dev.jsonl.gz")).expect("the suite is readable");
    let mut random = Random(1);
    let (mut programs, mut packets, mut accepted) = (0, 0, 0);
    let mut wrong: BTreeMap<String, usize> = BTreeMap::new();
    for case in cases.iter().filter(|c| c["func"] == "run_filter_accept_test" && c["optimize"] == 0) {
        let text = |key: &str| case[key].as_str().unwrap_or_default();
        let theirs = assemble(text("expected"));
        let ours = [false, true].map(|optimize| {
            let options = skep_cbpf::FilterOptions { optimize, ..options_of(case) };
            Filter::compile(text("expr"), &options).map_err(|e| e.to_string())
        });
        programs += 1;
        for _ in 0..PACKETS {
            let packet = packet_for(&theirs, &mut random);
            let Some(want) = Run::new(&theirs, &packet).finish() else { continue };
            packets += 1;
            accepted += usize::from(want != 0);
            for (filter, how) in ours.iter().zip(["plain", "optimised"]) {
                let got = match filter {
                    Ok(f) => f.program().run(&Packet::new(&packet, &Meta::default())),
                    // What no packet passes is refused when it is optimised.
                    Err(e) if e.contains("rejects all") => 0,
                    Err(_) => continue,
                };
                if got != want {
                    *wrong.entry(format!("{} {} ({how})", text("DLT"), text("expr"))).or_default() += 1;
                }
            }
        }
    }
    println!(
        "filters' meaning: {programs} programs, {packets} packets, {accepted} accepted, {} wrong",
        wrong.len()
    );
    let excepted = |what: &str| EXCEPTIONS.iter().any(|(e, _)| what.starts_with(e));
    let bad: Vec<String> =
        wrong.iter().filter(|(w, _)| !excepted(w)).map(|(w, n)| format!("{w}: {n}")).collect();
    assert!(bad.is_empty(), "{}", bad.join("\n"));
    for (what, why) in EXCEPTIONS {
        assert!(wrong.keys().any(|w| w.starts_with(what)), "{what} is no exception any more ({why})");
    }
}

/// Where ours mean something else on purpose, and why.
const EXCEPTIONS: &[(&str, &str)] = &[];

/// Instructions of a listing, whose jumps may go back.
fn assemble(listing: &str) -> Vec<Op> {
    let insns = skep_cbpf::asm::parse(listing);
    let insns: Vec<Insn> = insns.unwrap_or_else(|e| panic!("{e}\n{listing}"));
    insns.into_iter().map(|i| Op::decode(i).expect("a legal instruction")).collect()
}

/// A packet that takes the program's branches by chance, not by what random bytes make of them: conditions on bytes loaded
/// are made true or false by writing the bytes.
fn packet_for(ops: &[Op], random: &mut Random) -> Vec<u8> {
    let len = [0, 3, 20, 60, 200, 300][random.below(6)] + random.below(40);
    let mut packet: Vec<u8> = (0..len).map(|_| random.byte()).collect();
    for _ in 0..40 {
        let mut run = Run::new(ops, &packet);
        let mut patch = None;
        let mut branches = 0;
        while run.step() {
            if let Some(p) = run.wish.take() {
                branches += 1;
                // Later branches replace earlier ones, so that the whole path has a chance.
                if random.below(branches) == 0 && random.below(4) != 0 {
                    patch = Some(p);
                }
            }
        }
        let Some((at, size, value)) = patch else { break };
        let bytes = value.to_be_bytes();
        let size = size.bytes() as usize;
        if let Some(field) = packet.get_mut(at..at + size) {
            field.copy_from_slice(&bytes[4 - size..]);
        }
    }
    packet
}

/// What would make a condition hold: a number at an offset.
type Wish = (usize, Size, u32);

/// A run that knows where A comes from.
struct Run<'a> {
    ops: &'a [Op],
    packet: &'a [u8],
    pc: usize,
    steps: usize,
    a: u32,
    x: u32,
    mem: [u32; 16],
    /// A is the number there, under a mask.
    from: Option<(usize, Size, u32)>,
    stored: [Option<(usize, Size, u32)>; 16],
    wish: Option<Wish>,
    result: Option<u32>,
}

impl<'a> Run<'a> {
    fn new(ops: &'a [Op], packet: &'a [u8]) -> Run<'a> {
        Run {
            ops,
            packet,
            pc: 0,
            steps: 0,
            a: 0,
            x: 0,
            mem: [0; 16],
            from: None,
            stored: [None; 16],
            wish: None,
            result: None,
        }
    }

    /// The result; none for a program that does not end.
    fn finish(mut self) -> Option<u32> {
        while self.step() {}
        self.result
    }

    fn load(&mut self, size: Size, at: u32) -> bool {
        let n = size.bytes() as usize;
        let Some(field) = self.packet.get(at as usize..).and_then(|p| p.get(..n)) else {
            // Ancillary loads: nothing is known of these packets.
            if at >= skep_cbpf::ancillary::AD_OFF {
                (self.a, self.from) = (0, None);
                return true;
            }
            self.result = Some(0);
            return false;
        };
        self.a = field.iter().fold(0, |v, b| v << 8 | u32::from(*b));
        self.from = Some((at as usize, size, u32::MAX));
        true
    }

    fn value(&self, src: Source) -> u32 {
        match src {
            Source::K(k) => k,
            Source::X => self.x,
        }
    }

    fn step(&mut self) -> bool {
        self.steps += 1;
        if self.steps > MAX_STEPS {
            return false;
        }
        let op = self.ops[self.pc];
        self.pc += 1;
        match op {
            Op::Abs(size, k) => return self.load(size, k),
            Op::Ind(size, k) => return self.load(size, self.x.wrapping_add(k)),
            Op::Msh(k) => {
                let Some(b) = self.packet.get(k as usize) else {
                    self.result = Some(0);
                    return false;
                };
                self.x = u32::from(b & 0xf) << 2;
            }
            Op::Ancillary(..) => (self.a, self.from) = (0, None),
            Op::Imm(Register::A, k) => (self.a, self.from) = (k, None),
            Op::Imm(Register::X, k) => self.x = k,
            Op::Mem(Register::A, k) => {
                (self.a, self.from) = (self.mem[k as usize], self.stored[k as usize]);
            }
            Op::Mem(Register::X, k) => self.x = self.mem[k as usize],
            Op::Len(Register::A) => (self.a, self.from) = (self.packet.len() as u32, None),
            Op::Len(Register::X) => self.x = self.packet.len() as u32,
            Op::Store(Register::A, k) => {
                self.mem[k as usize] = self.a;
                self.stored[k as usize] = self.from;
            }
            Op::Store(Register::X, k) => {
                self.mem[k as usize] = self.x;
                self.stored[k as usize] = None;
            }
            Op::Alu(op, src) => return self.alu(op, src),
            Op::Neg => (self.a, self.from) = (self.a.wrapping_neg(), None),
            Op::Ja(k) => self.pc = self.pc.wrapping_add(k as i32 as usize),
            Op::Jump(cond, src, jt, jf) => {
                let k = self.value(src);
                let holds = match cond {
                    Cond::Eq => self.a == k,
                    Cond::Gt => self.a > k,
                    Cond::Ge => self.a >= k,
                    Cond::Set => self.a & k != 0,
                };
                let wanted = match (cond, holds) {
                    (Cond::Eq | Cond::Ge, false) => k,
                    (Cond::Gt, false) => k.wrapping_add(1),
                    (Cond::Set, false) => self.a | k,
                    (Cond::Eq | Cond::Gt, true) => k ^ 1,
                    (Cond::Ge, true) => k.wrapping_sub(1),
                    (Cond::Set, true) => self.a & !k,
                };
                if let Some((at, size, mask)) = self.from {
                    let rest = self.packet.get(at..).and_then(|p| p.get(..size.bytes() as usize));
                    let old = rest.unwrap_or(&[]).iter().fold(0, |v, b| v << 8 | u32::from(*b));
                    self.wish = Some((at, size, old & !mask | wanted & mask));
                }
                self.pc += usize::from(if holds { jt } else { jf });
            }
            Op::RetK(k) => {
                self.result = Some(k);
                return false;
            }
            Op::RetA => {
                self.result = Some(self.a);
                return false;
            }
            Op::Tax => self.x = self.a,
            Op::Txa => (self.a, self.from) = (self.x, None),
        }
        true
    }

    fn alu(&mut self, op: AluOp, src: Source) -> bool {
        let (a, b) = (self.a, self.value(src));
        self.from = match (op, self.from) {
            (AluOp::And, Some((at, size, mask))) => Some((at, size, mask & b)),
            _ => None,
        };
        self.a = match op {
            AluOp::Add => a.wrapping_add(b),
            AluOp::Sub => a.wrapping_sub(b),
            AluOp::Mul => a.wrapping_mul(b),
            AluOp::Or => a | b,
            AluOp::And => a & b,
            AluOp::Xor => a ^ b,
            AluOp::Lsh => a.wrapping_shl(b),
            AluOp::Rsh => a.wrapping_shr(b),
            AluOp::Div | AluOp::Mod if b == 0 => {
                self.result = Some(0);
                return false;
            }
            AluOp::Div => a / b,
            AluOp::Mod => a % b,
        };
        true
    }
}

/// splitmix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    /// Small numbers, as lengths and types are, and any.
    fn byte(&mut self) -> u8 {
        let n = self.next();
        if n & 0x100 == 0 { n as u8 } else { (n & 0xf) as u8 }
    }
}
