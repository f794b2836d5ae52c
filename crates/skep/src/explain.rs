//! A refusal in full: what the verifier can explain, and an input on which the checked tier comes to the same fault.
//!
//! Inputs are tried, not proved: packets of telling lengths and kinds, contexts of zeros and of ones, each with maps that
//! are empty and with maps that hold an entry of zeros. The maps are the search's own; the program's stay as they are.

use skep_hooks::input::{Input, context};
use skep_platform::ctx::UserRun;
use skep_platform::map::Side;
use skep_platform::{Engine, Fault, Loadable, Map, MapType, ProgTypeDesc, Program};
use skep_verifier::Rejection;
use skep_verifier::explain::{Diagnosis, Explanation};
use skep_vm::{Options, SystemHost, Tier, User};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Longest time that inputs are tried for one program.
const LONGEST: Duration = Duration::from_millis(300);

/// Steps of one trial.
const STEPS: u64 = 100_000;

/// An explanation, with an input for each refusal that one was found for.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// What the verifier says.
    pub explanation: Explanation,
    /// By refusal.
    pub inputs: Vec<Option<Reached>>,
}

/// An input that reaches a fault.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reached {
    /// The input in words.
    pub words: String,
    /// The packet, or the context.
    pub data: Vec<u8>,
    /// What the checked tier says.
    pub fault: String,
}

/// Explains a refusal. Cost: that of [`Rejection::explain`], and at most a third of a second for inputs.
pub fn explain(rejection: &Rejection) -> Report {
    let explanation = rejection.explain(crate::platform());
    let inputs = Search::new(&rejection.program)
        .map_or_else(|| vec![None; explanation.diagnoses.len()], |s| s.all(&explanation.diagnoses));
    Report { explanation, inputs }
}

/// Codes of faults by which the user engine says that it has no such thing.
const LACKS: [&str; 4] = ["kfunc", "kernel-variable", "map-fd", "tail-call-engine"];

struct Search {
    engine: User,
    program: Arc<Program>,
    row: &'static ProgTypeDesc,
    until: Instant,
}

/// How the maps are before a trial.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Filled {
    Empty,
    Zeros,
}

impl Search {
    fn new(program: &Arc<Program>) -> Option<Search> {
        let row = crate::platform().prog_type(program.prog_type)?;
        if matches!(row.user, UserRun::No(_)) {
            return None;
        }
        let limits = Options { budget: STEPS, ..Options::default() };
        let engine = User::new(*crate::platform(), Arc::new(SystemHost::new()))
            .with_tier(Tier::Checked)
            .with_options(limits);
        Some(Search { engine, program: program.clone(), row, until: Instant::now() + LONGEST })
    }

    fn all(&self, diagnoses: &[Diagnosis]) -> Vec<Option<Reached>> {
        let mut found = vec![None; diagnoses.len()];
        for filled in [Filled::Empty, Filled::Zeros] {
            for (words, data) in self.inputs() {
                if Instant::now() > self.until || found.iter().all(Option::is_some) {
                    return found;
                }
                let Some((insn, fault)) = self.fault(&data, filled) else { continue };
                for (d, f) in diagnoses.iter().zip(&mut found) {
                    if f.is_none() && d.insn == Some(insn) {
                        let maps = match filled {
                            Filled::Zeros => ", with an entry of zeros in each map",
                            Filled::Empty if self.program.maps.is_empty() => "",
                            Filled::Empty => ", with empty maps",
                        };
                        let words = format!("{words}{maps}");
                        *f = Some(Reached { words, data: data.clone(), fault: fault.clone() });
                    }
                }
            }
        }
        found
    }

    /// The instruction that the checked tier stops at, and why.
    fn fault(&self, data: &[u8], filled: Filled) -> Option<(usize, String)> {
        let maps = self.program.maps.iter().map(|m| self.fresh(m, filled)).collect::<Option<Vec<_>>>()?;
        let program = Arc::new(Program { maps, ..(*self.program).clone() });
        let loaded = self.engine.load_program(&Loadable::Unverified(program)).ok()?;
        let packets = self.row.user == UserRun::Packets;
        let input = Input { data: packets.then_some(data), ctx: (!packets).then_some(data) };
        let mut ctx = context(self.row, self.program.attach_type, &input).ok()?;
        let e = self.engine.runner().run(&loaded, &mut ctx).err()?;
        if is_ours(&e.fault) {
            return None;
        }
        Some((e.insn, without_addresses(&e.fault.to_string())))
    }

    /// A map like the program's, with a data section's contents.
    fn fresh(&self, map: &Arc<dyn Map>, filled: Filled) -> Option<Arc<dyn Map>> {
        let def = map.def();
        let new = self.engine.create_map(def).ok()?;
        let first = 0u32.to_ne_bytes();
        if def.map_type == MapType::Array && def.max_entries == 1 {
            let mut bytes = Vec::new();
            if map.read(&first, &mut bytes).is_ok() {
                new.update(&first, &bytes, 0, Side::User).ok()?;
            }
        } else if filled == Filled::Zeros {
            // Maps that take no such entry stay empty.
            let (key, value) = (vec![0; def.key_size as usize], vec![0; def.value_size as usize]);
            let _ = new.update(&key, &value, 0, Side::User);
        }
        Some(new)
    }

    fn inputs(&self) -> Vec<(String, Vec<u8>)> {
        if self.row.user == UserRun::Packets {
            return packets();
        }
        let size = self.row.layout(self.program.attach_type).map_or(0, |l| l.size as usize);
        vec![
            ("a context of zeros".into(), vec![0; size]),
            ("a context of ones".into(), vec![0xff; size]),
            ("a context of bytes 1".into(), vec![1; size]),
        ]
    }
}

/// Whether a run has stopped for what the user engine lacks, which says nothing about the program.
fn is_ours(fault: &Fault) -> bool {
    match fault {
        Fault::NoHelper { .. } => true,
        Fault::Rule { code, .. } => LACKS.contains(code),
        _ => false,
    }
}

/// A text without addresses of this process, which differ from run to run: `at 0x7f98dbf30004` goes, `at 0x10` stays.
fn without_addresses(text: &str) -> String {
    let digits = |w: &str| w.strip_prefix("0x").map_or(0, |h| h.trim_end_matches([',', ':']).len());
    let mut out: Vec<&str> = Vec::new();
    for word in text.split(' ') {
        match (out.last(), digits(word)) {
            // Programs, and all that is mapped, lie from 0x400000 on.
            (Some(&"at"), 6..) => drop(out.pop()),
            (_, 9..) => {}
            _ => out.push(word),
        }
    }
    out.join(" ")
}

/// Packets of telling lengths and kinds.
fn packets() -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    for len in [14usize, 15, 34, 64, 1514] {
        all.push((format!("a packet of {len} bytes, all zero"), vec![0; len]));
    }
    for (name, ethertype, protocol, length) in [
        ("an IPv4 TCP packet", 0x0800u16, 6u8, 54usize),
        ("an IPv4 UDP packet", 0x0800, 17, 42),
        ("an IPv4 ICMP packet", 0x0800, 1, 42),
        ("an IPv6 TCP packet", 0x86dd, 6, 74),
        ("an IPv6 UDP packet", 0x86dd, 17, 62),
        ("an ARP packet", 0x0806, 0, 42),
    ] {
        for cut in [length, 14, 15, 20, 34] {
            let mut p = vec![0; length];
            p[12..14].copy_from_slice(&ethertype.to_be_bytes());
            match ethertype {
                0x0800 => {
                    (p[14], p[23]) = (0x45, protocol);
                    let total = (length - 14) as u16;
                    p[16..18].copy_from_slice(&total.to_be_bytes());
                }
                0x86dd => (p[14], p[20]) = (0x60, protocol),
                _ => {}
            }
            p.truncate(cut);
            let words = if cut < length {
                format!("{name}, cut after {cut} bytes")
            } else {
                format!("{name} of {length} bytes")
            };
            all.push((words, p));
        }
    }
    for len in [64usize, 256] {
        all.push((format!("a packet of {len} bytes, all 0xff"), vec![0xff; len]));
    }
    all
}
