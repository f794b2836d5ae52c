//! The verifier's own cases: one file a program, with what the verifier says of it below a line of dashes.
//!
//! A file: comments (`#`), `type NAME` (program type without prefix, lower case), `map TYPE KEY VALUE ENTRIES` for each
//! map (`map[idx:N]` refers to them; behind that `read-only` and `holds HEX`, which freezes it), `as-kernel VERSION`,
//! `as cap-bpf|unprivileged`, `explain` (refusals with their fixes instead of the log), then assembly. `SKEP_BLESS=1`
//! rewrites what stands below the dashes.
#![allow(clippy::print_stdout)]

mod support;

use skep_isa::asm::parse_insns;
use skep_platform::facts::{InsnFact, Ways};
use skep_platform::map::flags;
use skep_platform::{Facts, Map, MapType, ProgType, Program, Version};
use skep_verifier::{Mode, Options, Rejection, verify_full};
use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;
use support::map::{Paper, def};
use support::raw::PLATFORM;

const LINE: &str = "----";

fn program(text: &str) -> (Program, Options, bool) {
    let mut explain = false;
    let mut options = Options { log_level: 1, ..Options::default() };
    let (mut prog_type, mut maps, mut asm) =
        (ProgType::SocketFilter, Vec::<Arc<dyn Map>>::new(), String::new());
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["type", name] => {
                let uapi = format!("BPF_PROG_TYPE_{}", name.to_uppercase());
                prog_type = ProgType::from_uapi_name(&uapi).expect("the type is known");
            }
            ["map", kind, rest @ ..] => {
                let uapi = format!("BPF_MAP_TYPE_{}", kind.to_uppercase());
                let t = MapType::from_uapi_name(&uapi).expect("the map type is known");
                let n: Vec<u32> = rest.iter().map_while(|w| w.parse().ok()).collect();
                let mut def = def(kind, t, n[0], n[1], n[2]);
                let (mut frozen, mut data) = (false, None);
                match rest[3..] {
                    [] => {}
                    ["read-only"] => def.flags = flags::RDONLY_PROG,
                    ["read-only", "holds", hex] => {
                        def.flags = flags::RDONLY_PROG;
                        (frozen, data) = (true, Some(bytes(hex)));
                    }
                    ref other => panic!("{other:?} behind a map"),
                }
                maps.push(Arc::new(Paper { def, frozen, data }));
            }
            ["as-kernel", version] => {
                let (major, minor) = version.split_once('.').expect("a version");
                let number = |n: &str| n.parse().expect("a number");
                options.as_kernel = Some(Version(number(major), number(minor)));
            }
            ["as", "cap-bpf"] => options.mode = Mode::Bpf,
            ["as", "unprivileged"] => options.mode = Mode::Unprivileged,
            ["explain"] => explain = true,
            _ if line.starts_with('#') => {}
            _ => asm.extend([line, "\n"]),
        }
    }
    let program = Program {
        name: "case".into(),
        section: String::new(),
        prog_type,
        attach_type: None,
        attach_target: None,
        sleepable: false,
        xdp_frags: false,
        license: "GPL".into(),
        insns: parse_insns(&asm).unwrap_or_else(|e| panic!("{e}\n{asm}")),
        subprogs: Vec::new(),
        maps,
        lines: Vec::new(),
        btf: None,
        kernel_btf: None,
        poisoned: Vec::new(),
    };
    (program, options, explain)
}

/// Every refusal that is told, with its fix.
fn explained(why: &Rejection) -> String {
    let mut out = String::new();
    for d in &why.explain(&PLATFORM).diagnoses {
        let at = d.insn.map_or(String::new(), |i| format!(" at instruction {i}"));
        let _ = writeln!(out, "refused: {} [{}]{at}", d.message, d.rule.name());
        let Some(f) = &d.fix else { continue };
        let all = if f.accepted { ", accepted with it" } else { "" };
        let _ = writeln!(out, "  fix at {}{all}: {}", f.insn, f.words);
        f.insns.iter().for_each(|i| {
            let _ = writeln!(out, "    {i}");
        });
    }
    out
}

fn bytes(hex: &str) -> Vec<u8> {
    let byte = |i| u8::from_str_radix(&hex[i..i + 2], 16).expect("two hexadecimal digits");
    (0..hex.len()).step_by(2).map(byte).collect()
}

fn said(text: &str) -> String {
    let (program, options, explain) = program(text);
    match verify_full(&Arc::new(program), &PLATFORM, &options) {
        Ok(o) => format!(
            "accepted: {} instructions walked, {} bytes of stack\n{}",
            o.stats.insns,
            o.stats.stack_depth,
            facts(o.verified.facts())
        ),
        Err(e) if explain => explained(&e),
        Err(e) => format!("refused: {e}\n\n{}", e.log),
    }
}

/// What was proved, one line an instruction.
fn facts(f: &Facts) -> String {
    let mut out = String::new();
    for s in &f.subprogs {
        let _ = writeln!(out, "function at {}: {} bytes of stack", s.start, s.stack);
    }
    for (pc, fact) in f.insns.iter().enumerate() {
        let _ = match fact {
            _ if f.is_dead(pc) => writeln!(out, "{pc}: dead"),
            InsnFact::Nothing | InsnFact::Branch(Ways::Both) => Ok(()),
            InsnFact::Access(a) if f.constant(pc).is_some() => {
                writeln!(out, "{pc}: {:?} {:?} is {:#x}", a.region, a.off, f.constant(pc).unwrap_or(0))
            }
            InsnFact::Access(a) => writeln!(out, "{pc}: {:?} {:?}", a.region, a.off),
            InsnFact::Branch(w) => writeln!(out, "{pc}: {w:?}"),
            InsnFact::Call(_) => writeln!(out, "{pc}: {:?}", f.call(pc)),
        };
    }
    out
}

#[test]
fn cases() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let bless = std::env::var_os("SKEP_BLESS").is_some();
    let mut wrong = Vec::new();
    let mut count = 0;
    for entry in std::fs::read_dir(&folder).expect("the cases are there") {
        let path = entry.expect("an entry").path();
        let text = std::fs::read_to_string(&path).expect("a case is text");
        let (case, expected) = text.split_once(LINE).unwrap_or((&text, ""));
        let now = said(case);
        count += 1;
        if bless {
            std::fs::write(&path, format!("{case}{LINE}\n{now}")).expect("the case is writable");
        } else if expected.trim_start_matches('\n') != now {
            wrong.push(format!("{}\nexpected:{expected}\nsaid:\n{now}", path.display()));
        }
    }
    assert!(count >= 10, "only {count} cases");
    assert!(wrong.is_empty(), "{}\nSKEP_BLESS=1 takes these over", wrong.join("\n"));
}
