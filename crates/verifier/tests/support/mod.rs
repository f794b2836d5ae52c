//! What the suites' tests share: finding the suites, reading them, maps without storage.
#![allow(dead_code, clippy::print_stdout)]

pub(crate) mod json;
pub(crate) mod map;
pub(crate) mod objects;
pub(crate) mod raw;

use std::io::Read;
use std::path::PathBuf;

/// Text of a suite's file, unpacked; `None`, and a word about it, where there is none.
pub(crate) fn suite(file: &str) -> Option<String> {
    let folder = std::env::var_os("SKEP_SUITES").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/suites"),
        PathBuf::from,
    );
    let path = folder.join(file);
    let Ok(packed) = std::fs::File::open(&path) else {
        println!("{} is not there: nothing was checked", path.display());
        return None;
    };
    let mut text = String::new();
    flate2::read::GzDecoder::new(packed).read_to_string(&mut text).expect("the suite unpacks");
    Some(text)
}
