//! `skep verify --insns FILE`: raw programs, one JSON object a line, in the format of suite `test_verifier`.
//!
//! Read of each line: `descr`, `insns` (hexadecimal), `prog_type`, `attach_type`, `prog_flags`, `attach_func`, `fixups`
//! (`{map kind: [instruction, …]}`), `kfuncs` (`[[instruction, name], …]`), `has_btf`, `unpriv`; everything but `insns`
//! may be missing.

use super::Sink;
use super::report::Subject;
use crate::failure::Failure;
use crate::input;
use clap::ArgMatches;
use flate2::read::MultiGzDecoder;
use serde_json::Value;
use skep::cases::Case;
use skep::isa::Insn;
use skep::verifier::Options;
use skep::verify::{Refusal, Verdict};
use std::io::Read;
use std::path::Path;

/// Most bytes of text that a packed file may hold.
const LONGEST: u64 = 1 << 30;

/// First bytes of a gzip file.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// Judges every line of the file.
pub(super) fn verify(m: &ArgMatches, path: &Path, how: &Options, sink: &mut Sink<'_>) -> Result<(), Failure> {
    let text = text(path)?;
    let kernel = super::super::target::all_types(m.get_one("btf"))?;
    let file = path.display().to_string();
    for (n, line) in text.lines().enumerate().filter(|(_, l)| !l.trim().is_empty()) {
        let wrong = |e: &dyn std::fmt::Display| Failure::Input(format!("{file}, line {}: {e}", n + 1));
        let judged = case(line).map_err(|e| wrong(&e)).and_then(|case| {
            let judged = case.verify(kernel.as_ref(), how).map_err(|e| wrong(&e))?;
            Ok((case, judged))
        });
        match judged {
            Err(e) => sink.trouble(&e),
            Ok((case, (program, outcome))) => {
                let verdict = Verdict {
                    name: case.descr,
                    prog_type: program.prog_type,
                    program: Some(program),
                    outcome: outcome.map(Box::new).map_err(Refusal::Verifier),
                };
                sink.put(&Subject { file: &file, key: "descr" }, &verdict)?;
            }
        }
    }
    Ok(())
}

fn text(path: &Path) -> Result<String, Failure> {
    let bytes = input::file(path)?;
    let plain = if bytes.starts_with(&GZIP) {
        let mut plain = Vec::new();
        let read = MultiGzDecoder::new(&*bytes).take(LONGEST).read_to_end(&mut plain);
        read.map_err(|e| Failure::malformed(path, format!("cannot be unpacked: {e}")))?;
        plain
    } else {
        bytes
    };
    String::from_utf8(plain).map_err(|_| Failure::malformed(path, "not text: JSON lines are expected"))
}

/// A line as a case.
fn case(line: &str) -> Result<Case, String> {
    let row: Value = serde_json::from_str(line).map_err(|e| format!("not JSON: {e}"))?;
    let number = |key: &str| match &row[key] {
        Value::Null => Ok(0),
        v => v
            .as_u64()
            .and_then(|n| u32::try_from(n).ok())
            .ok_or_else(|| format!("{key}: a number is expected, not {v}")),
    };
    let word = |key: &str| row[key].as_str().unwrap_or_default().to_string();
    let flag = |key: &str| row[key].as_bool().unwrap_or(false);
    let hex = row["insns"].as_str().ok_or("insns: the instructions as hexadecimal digits are expected")?;
    let bytes = super::super::conformance::hex(hex).map_err(|e| format!("insns: {e}"))?;
    let insns = Insn::slice_from_bytes(&bytes)
        .map_err(|_| format!("insns: {} bytes; an instruction has 8", bytes.len()))?;
    Ok(Case {
        descr: word("descr"),
        prog_type: number("prog_type")?,
        attach_type: number("attach_type")?,
        prog_flags: number("prog_flags")?,
        attach_func: word("attach_func"),
        unprivileged: flag("unpriv"),
        has_btf: flag("has_btf"),
        insns,
        fixups: fixups(&row["fixups"]).ok_or("fixups: {kind of map: [instruction, …]} is expected")?,
        kfuncs: kfuncs(&row["kfuncs"]).ok_or("kfuncs: [[instruction, name], …] is expected")?,
    })
}

fn place(v: &Value) -> Option<usize> {
    v.as_u64().and_then(|n| usize::try_from(n).ok())
}

fn fixups(v: &Value) -> Option<Vec<(String, Vec<usize>)>> {
    if v.is_null() {
        return Some(Vec::new());
    }
    let places = |v: &Value| v.as_array()?.iter().map(place).collect::<Option<Vec<usize>>>();
    v.as_object()?.iter().map(|(kind, at)| Some((kind.clone(), places(at)?))).collect()
}

fn kfuncs(v: &Value) -> Option<Vec<(usize, String)>> {
    if v.is_null() {
        return Some(Vec::new());
    }
    let pair = |v: &Value| Some((place(v.get(0)?)?, v.get(1)?.as_str()?.to_string()));
    v.as_array()?.iter().map(pair).collect()
}
