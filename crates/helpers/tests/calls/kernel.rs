//! Runs a case in the running kernel: a program is put together from the steps, loaded, and run once by
//! `BPF_PROG_TEST_RUN`. Results come back in the value of an array map; nothing is attached or pinned.

use crate::case::{Arg, Case, Outcome, Prog, Step};
use crate::env::first_arg;
use skep_helpers::HELPERS;
use skep_isa::Insn;
use skep_platform::{MapType, ProgType};
use skep_testkit::kernel_oracle::{Load, Oracle};

/// Bytes for results, and for constant strings.
const VALUE: usize = 4096;

/// A program being put together.
struct Code {
    insns: Vec<Insn>,
    /// Next free byte of the results.
    at: usize,
    /// Where each step's results are: `r0`, and filled buffers with their length.
    places: Vec<(usize, Vec<(usize, usize)>)>,
    text: Vec<u8>,
    /// Lowest stack offset in use.
    stack: i16,
}

/// `BPF_PSEUDO_MAP_IDX_VALUE`, and the two maps' indexes.
const MAP_VALUE: u8 = 6;
const RESULTS: u32 = 0;
const STRINGS: u32 = 1;

const R0: u8 = 0;
const R1: u8 = 1;
const R6: u8 = 6;
const R7: u8 = 7;
const FP: u8 = 10;

impl Code {
    fn insn(&mut self, code: u8, dst: u8, src: u8, off: i16, imm: i32) {
        self.insns.push(Insn::new(code, dst, src, off, imm));
    }

    fn imm64(&mut self, dst: u8, src: u8, low: u32, high: u32) {
        self.insn(0x18, dst, src, 0, low as i32);
        self.insn(0, 0, 0, 0, high as i32);
    }

    /// Puts bytes on the stack, padded to eight; offset from the frame pointer.
    fn push(&mut self, bytes: &[u8]) -> i16 {
        let padded = bytes.len().next_multiple_of(8);
        self.stack -= padded as i16;
        let at = self.stack;
        for (i, chunk) in bytes.chunks(8).enumerate() {
            let mut w = [0; 8];
            w[..chunk.len()].copy_from_slice(chunk);
            let w = u64::from_le_bytes(w);
            self.imm64(R0, 0, w as u32, (w >> 32) as u32);
            self.insn(0x7b, FP, R0, at + i as i16 * 8, 0);
        }
        at
    }

    fn step(&mut self, step: &Step) {
        let outs = match step {
            Step::Field(off) => {
                self.insn(0x61, R0, R6, *off as i16, 0);
                Vec::new()
            }
            Step::Call(name, args) => self.call(name, args),
        };
        self.imm64(R7, MAP_VALUE, RESULTS, self.at as u32);
        self.insn(0x7b, R7, R0, 0, 0);
        let r0 = self.at;
        self.at += 8;
        let mut places = Vec::new();
        for (stack, len) in outs {
            places.push((self.at, len));
            for i in 0..len.div_ceil(8) {
                self.insn(0x79, R0, FP, stack + i as i16 * 8, 0);
                self.insn(0x7b, R7, R0, (self.at - r0 + i * 8) as i16, 0);
            }
            self.at += len.next_multiple_of(8);
        }
        self.places.push((r0, places));
    }

    fn call(&mut self, name: &str, args: &[Arg]) -> Vec<(i16, usize)> {
        let h = HELPERS.iter().find(|h| h.name == name).unwrap_or_else(|| panic!("no helper {name}"));
        let first = first_arg(h);
        let mut outs = Vec::new();
        let mut loads = Vec::new();
        for (reg, a) in (R1 + first as u8..).zip(args) {
            match a {
                Arg::Number(_) | Arg::Text(_) => loads.push((reg, 0)),
                Arg::In(b) => loads.push((reg, self.push(b))),
                Arg::Out(n) => {
                    let at = self.push(&vec![0xee; *n]);
                    loads.push((reg, at));
                    outs.push((at, *n));
                }
                Arg::InOut(b) => {
                    let at = self.push(b);
                    loads.push((reg, at));
                    outs.push((at, b.len()));
                }
            }
        }
        if first == 1 {
            self.insn(0xbf, R1, R6, 0, 0);
        }
        for ((reg, at), a) in loads.into_iter().zip(args) {
            match a {
                Arg::Number(n) => self.imm64(reg, 0, *n as u32, (n >> 32) as u32),
                Arg::Text(t) => {
                    self.imm64(reg, MAP_VALUE, STRINGS, self.text.len() as u32);
                    self.text.extend(t.bytes());
                    self.text.push(0);
                }
                _ => {
                    self.insn(0xbf, reg, FP, 0, 0);
                    self.insn(0x07, reg, 0, 0, at.into());
                }
            }
        }
        self.insn(0x85, 0, 0, 0, h.id as i32);
        outs
    }
}

/// Runs a case.
pub(crate) fn run(oracle: &Oracle, case: &Case) -> Result<Outcome, String> {
    const RDONLY_PROG: u32 = 1 << 7;
    const CHECKSUM_COMPLETE: u32 = 1 << 2;
    let array =
        |flags| oracle.create_map(MapType::Array, 4, VALUE as u32, 1, flags).map_err(|e| e.to_string());
    let (results, strings) = (array(0)?, array(RDONLY_PROG)?);
    let mut code = Code { insns: Vec::new(), at: 0, places: Vec::new(), text: Vec::new(), stack: 0 };
    code.insn(0xbf, R6, R1, 0, 0);
    for step in &case.steps {
        code.step(step);
    }
    code.insn(0xb7, R0, 0, 0, if case.prog == Prog::Xdp { 2 } else { 0 });
    code.insn(0x95, 0, 0, 0, 0);
    code.text.resize(VALUE, 0);
    strings.update(&[0; 4], &code.text, 0).and_then(|()| strings.freeze()).map_err(|e| e.to_string())?;
    let prog_type = if case.prog == Prog::Xdp { ProgType::Xdp } else { ProgType::SchedCls };
    let maps = [&results, &strings];
    let load = Load { maps: &maps, log_level: 1, ..Load::new(prog_type, &code.insns) };
    let prog = oracle.load(&load).map_err(|e| format!("error {}: {}", e.errno, e.log))?;
    let flags = if case.prog == Prog::TcComplete { CHECKSUM_COMPLETE } else { 0 };
    let ran = prog.test_run_flags(&case.packet, &[], 1, flags).map_err(|e| e.to_string())?;
    let got = results.lookup(&[0; 4]).map_err(|e| e.to_string())?;
    let word = |at: usize| got[at..at + 8].iter().rev().fold(0u64, |v, b| v << 8 | u64::from(*b));
    let one = |(r0, outs): &(usize, Vec<(usize, usize)>)| {
        (word(*r0), outs.iter().map(|(at, n)| got[*at..at + n].to_vec()).collect())
    };
    Ok(Outcome { results: code.places.iter().map(one).collect(), packet: ran.data })
}
