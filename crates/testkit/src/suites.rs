//! Other people's suites: in `$SKEP_SUITES`, else in `../shared/suites` beside the repository. Where neither exists the
//! tests that want them say so and pass.

use flate2::read::GzDecoder;
use serde_json::Value;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

/// A suite's folder, or why it is not there (printed by the caller).
pub fn dir(name: &str) -> Result<PathBuf, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let suites = std::env::var_os("SKEP_SUITES").map_or(root.join("../shared/suites"), PathBuf::from);
    let dir = suites.join(name);
    if dir.is_dir() {
        Ok(dir)
    } else {
        Err(format!("skipped: suite {name} is not there ({})", dir.display()))
    }
}

/// The lines of a gzipped file of JSON values.
pub fn jsonl(path: &Path) -> Result<Vec<Value>, String> {
    let file = File::open(path).map_err(|e| format!("{}: {e}", path.display()))?;
    let lines = BufReader::new(GzDecoder::new(file)).lines();
    let value = |(n, line): (usize, std::io::Result<String>)| {
        let line = line.map_err(|e| e.to_string());
        line.and_then(|l| serde_json::from_str(&l).map_err(|e| e.to_string()))
            .map_err(|e| format!("{}, line {}: {e}", path.display(), n + 1))
    };
    lines.enumerate().map(value).collect()
}

/// Bytes from hexadecimal digits.
pub fn hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    digits.chunks(2).map(byte).collect()
}

/// Packets of a gzipped file of `[u32le captured][u32le length][bytes]` records; nothing from where it is not readable.
pub fn packets(path: &Path) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    let read = File::open(path).and_then(|f| GzDecoder::new(f).read_to_end(&mut all));
    let (mut out, mut rest) = (Vec::new(), all.as_slice());
    while let (Ok(_), Some((head, tail))) = (&read, rest.split_first_chunk::<8>()) {
        let [c0, c1, c2, c3, ..] = *head;
        let Some((bytes, next)) = tail.split_at_checked(u32::from_le_bytes([c0, c1, c2, c3]) as usize) else {
            break;
        };
        out.push(bytes.to_vec());
        rest = next;
    }
    out
}
