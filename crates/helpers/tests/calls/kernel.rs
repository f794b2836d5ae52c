//! Runs a case in the running kernel: a program is put together from the steps, loaded, and run once by
//! `BPF_PROG_TEST_RUN`. Results come back in the value of an array map; nothing is attached or pinned.

use crate::case::{Arg, Case, Outcome, Prog, Step};
use crate::env::first_arg;
use skep_helpers::HELPERS;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

const MAP_CREATE: u32 = 0;
const MAP_LOOKUP: u32 = 1;
const MAP_UPDATE: u32 = 2;
const PROG_LOAD: u32 = 5;
const TEST_RUN: u32 = 10;
const MAP_FREEZE: u32 = 22;

/// Bytes for results, and for constant strings.
const VALUE: usize = 4096;

/// `bpf(2)` with `attr` as 64-bit words.
fn bpf(cmd: u32, attr: &mut [u64; 18]) -> Result<i64, String> {
    // SAFETY: `attr` is a writable buffer of the size given, as large as the commands used here read or write; the
    // addresses inside it point to buffers that their callers keep alive across the call.
    let r = unsafe { libc::syscall(libc::SYS_bpf, cmd, attr.as_mut_ptr(), size_of_val(attr)) };
    if r < 0 { Err(std::io::Error::last_os_error().to_string()) } else { Ok(r) }
}

fn fd(r: i64) -> OwnedFd {
    // SAFETY: the kernel has just given this descriptor to us and nobody else knows it.
    unsafe { OwnedFd::from_raw_fd(r as i32) }
}

fn pair(low: u32, high: u32) -> u64 {
    u64::from(low) | u64::from(high) << 32
}

/// Whether programs can be run, or why not.
pub(crate) fn available() -> Result<(), String> {
    array(0)
        .map(drop)
        .map_err(|e| format!("bpf(2) is not allowed here ({e}); run as root to compare with the kernel"))
}

fn array(flags: u32) -> Result<OwnedFd, String> {
    let mut attr = [0; 18];
    attr[0] = pair(2, 4);
    attr[1] = pair(VALUE as u32, 1);
    attr[2] = pair(flags, 0);
    bpf(MAP_CREATE, &mut attr).map(fd)
}

/// Sets (`MAP_UPDATE`) or gets (`MAP_LOOKUP`) the one value.
fn value(cmd: u32, map: &OwnedFd, bytes: &mut [u8]) -> Result<(), String> {
    let key = 0u32;
    let mut attr = [0; 18];
    attr[0] = map.as_raw_fd() as u64;
    attr[1] = (&raw const key) as u64;
    attr[2] = bytes.as_mut_ptr() as u64;
    bpf(cmd, &mut attr).map(drop)
}

/// A program being put together.
struct Code {
    insns: Vec<u8>,
    results: i32,
    /// Next free byte of the results.
    at: usize,
    /// Where each step's results are: `r0`, and filled buffers with their length.
    places: Vec<(usize, Vec<(usize, usize)>)>,
    strings: i32,
    text: Vec<u8>,
    /// Lowest stack offset in use.
    stack: i16,
}

const R0: u8 = 0;
const R1: u8 = 1;
const R6: u8 = 6;
const R7: u8 = 7;
const FP: u8 = 10;

impl Code {
    fn insn(&mut self, code: u8, dst: u8, src: u8, off: i16, imm: i32) {
        self.insns.extend([code, dst | src << 4]);
        self.insns.extend(off.to_le_bytes());
        self.insns.extend(imm.to_le_bytes());
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
        self.imm64(R7, 2, self.results as u32, self.at as u32);
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
                    self.imm64(reg, 2, self.strings as u32, self.text.len() as u32);
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
pub(crate) fn run(case: &Case) -> Result<Outcome, String> {
    const RDONLY_PROG: u32 = 1 << 7;
    let results = array(0)?;
    let strings = array(RDONLY_PROG)?;
    let mut code = Code {
        insns: Vec::new(),
        results: results.as_raw_fd(),
        at: 0,
        places: Vec::new(),
        strings: strings.as_raw_fd(),
        text: Vec::new(),
        stack: 0,
    };
    code.insn(0xbf, R6, R1, 0, 0);
    for step in &case.steps {
        code.step(step);
    }
    code.insn(0xb7, R0, 0, 0, if case.prog == Prog::Xdp { 2 } else { 0 });
    code.insn(0x95, 0, 0, 0, 0);
    let mut text = code.text.clone();
    text.resize(VALUE, 0);
    value(MAP_UPDATE, &strings, &mut text)?;
    let mut attr = [0; 18];
    attr[0] = strings.as_raw_fd() as u64;
    bpf(MAP_FREEZE, &mut attr)?;
    let prog = load(case.prog, &code.insns)?;
    let packet = test_run(&prog, case)?;
    let mut got = vec![0; VALUE];
    value(MAP_LOOKUP, &results, &mut got)?;
    let word = |at: usize| got[at..at + 8].iter().rev().fold(0u64, |v, b| v << 8 | u64::from(*b));
    let one = |(r0, outs): &(usize, Vec<(usize, usize)>)| {
        (word(*r0), outs.iter().map(|(at, n)| got[*at..at + n].to_vec()).collect())
    };
    Ok(Outcome { results: code.places.iter().map(one).collect(), packet })
}

fn load(prog: Prog, insns: &[u8]) -> Result<OwnedFd, String> {
    let mut log = vec![0u8; 1 << 16];
    let licence = c"GPL";
    let mut attr = [0; 18];
    attr[0] = pair(if prog == Prog::Xdp { 6 } else { 3 }, (insns.len() / 8) as u32);
    attr[1] = insns.as_ptr() as u64;
    attr[2] = licence.as_ptr() as u64;
    attr[3] = pair(1, log.len() as u32);
    attr[4] = log.as_mut_ptr() as u64;
    bpf(PROG_LOAD, &mut attr).map(fd).map_err(|e| {
        let end = log.iter().position(|b| *b == 0).unwrap_or(log.len());
        format!("{e}: {}", String::from_utf8_lossy(&log[..end]))
    })
}

fn test_run(prog: &OwnedFd, case: &Case) -> Result<Vec<u8>, String> {
    const CHECKSUM_COMPLETE: u32 = 1 << 2;
    let mut out = vec![0u8; 1 << 16];
    let mut attr = [0; 18];
    attr[0] = prog.as_raw_fd() as u64;
    attr[1] = pair(case.packet.len() as u32, out.len() as u32);
    attr[2] = case.packet.as_ptr() as u64;
    attr[3] = out.as_mut_ptr() as u64;
    attr[4] = pair(1, 0);
    attr[8] = u64::from(if case.prog == Prog::TcComplete { CHECKSUM_COMPLETE } else { 0 });
    bpf(TEST_RUN, &mut attr)?;
    out.truncate((attr[1] >> 32) as usize);
    Ok(out)
}
