//! The data file: a case is a line `PROGRAM PACKET: step; step; …`, its results the line `  = …` behind it.
//!
//! Steps: a helper's name and its arguments without the context, or `field OFF` (a 32-bit load from the context).
//! Arguments: numbers; `h:0102` bytes on the stack; `o:8` a buffer of 8 bytes that the helper fills and whose bytes are a
//! result; `io:0102` both; `s:text` a constant string; `*h:0102` an array with the addresses of buffers.
//! Results: `r0` of every step, every filled buffer in brackets, then the packet.

use std::fmt;

/// Kind of program.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Prog {
    /// `sched_cls`.
    Tc,
    /// The same on packets whose checksum the interface computed.
    TcComplete,
    /// `xdp`.
    Xdp,
}

/// One argument.
#[derive(Clone, Debug)]
pub(crate) enum Arg {
    Number(u64),
    In(Vec<u8>),
    Out(usize),
    InOut(Vec<u8>),
    Text(String),
}

/// One step.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Call(String, Vec<Arg>),
    Field(u32),
}

/// One case.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub text: String,
    pub prog: Prog,
    pub packet: Vec<u8>,
    pub steps: Vec<Step>,
}

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub results: Vec<(u64, Vec<Vec<u8>>)>,
    pub packet: Vec<u8>,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (r0, outs) in &self.results {
            match *r0 as i64 {
                e @ -4096..0 => write!(f, "{e} ")?,
                v => write!(f, "{v:#x} ")?,
            }
            for o in outs {
                write!(f, "[{}] ", hex(o))?;
            }
        }
        write!(f, "| {}", hex(&self.packet))
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.chars().map(|c| c.to_digit(16).expect("hexadecimal digits") as u8).collect();
    digits.chunks(2).map(|d| d[0] << 4 | d[1]).collect()
}

/// A case, or a line to be kept as it is.
pub(crate) struct Block<'a> {
    line: &'a str,
    want: Option<&'a str>,
}

impl Block<'_> {
    pub(crate) fn text(&self) -> String {
        format!("{}\n", self.line)
    }

    pub(crate) fn case(&self) -> Option<(Case, Option<String>)> {
        if self.line.trim().is_empty() || self.line.starts_with('#') {
            return None;
        }
        Some((one(self.line), self.want.map(str::to_owned)))
    }
}

pub(crate) fn blocks(text: &str) -> Vec<Block<'_>> {
    let mut out: Vec<Block<'_>> = Vec::new();
    for line in text.lines() {
        match (line.strip_prefix("  = "), out.last_mut()) {
            (Some(want), Some(last)) => last.want = Some(want),
            _ => out.push(Block { line, want: None }),
        }
    }
    out
}

pub(crate) fn parse(text: &str) -> Vec<(Case, Option<String>)> {
    blocks(text).iter().filter_map(Block::case).collect()
}

/// The case on a line.
pub(crate) fn one(line: &str) -> Case {
    let (head, steps) = line.split_once(':').expect("PROGRAM PACKET: steps");
    let (prog, packet) = head.split_once(' ').expect("PROGRAM PACKET");
    let prog = match prog {
        "tc" => Prog::Tc,
        "tc+complete" => Prog::TcComplete,
        "xdp" => Prog::Xdp,
        other => panic!("no program kind {other}"),
    };
    let steps = steps.split(';').map(|s| step(s.trim())).collect();
    Case { text: line.to_owned(), prog, packet: crate::packets::named(packet), steps }
}

fn step(text: &str) -> Step {
    let mut words = text.split(' ').filter(|w| !w.is_empty());
    let name = words.next().expect("a step");
    if name == "field" {
        let off = words.next().expect("an offset").parse().expect("a number");
        return Step::Field(off);
    }
    Step::Call(format!("bpf_{name}"), words.map(arg).collect())
}

fn arg(word: &str) -> Arg {
    if let Some(h) = word.strip_prefix("io:") {
        Arg::InOut(unhex(h))
    } else if let Some(h) = word.strip_prefix("h:") {
        Arg::In(unhex(h))
    } else if let Some(t) = word.strip_prefix("t:") {
        Arg::In(t.replace('_', " ").into_bytes())
    } else if let Some(n) = word.strip_prefix("o:") {
        Arg::Out(n.parse().expect("a length"))
    } else if let Some(s) = word.strip_prefix("s:") {
        Arg::Text(s.replace('_', " "))
    } else if let Some(h) = word.strip_prefix("0x") {
        Arg::Number(u64::from_str_radix(h, 16).expect("hexadecimal number"))
    } else {
        Arg::Number(word.parse::<i64>().unwrap_or_else(|_| panic!("argument {word}")) as u64)
    }
}
