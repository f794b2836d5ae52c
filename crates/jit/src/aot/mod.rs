//! Ahead of time: a verified program as C, for an installed compiler, and the shared object that comes of it.
//!
//! ```text
//! Code ── emit.rs ──► Source (C text, addresses) ── cc -shared ──► library.so
//!   └───── emit.rs ──► the same Source ── equal hash? ── library.rs ──► Compiled
//! ```
//!
//! What changes from one loading to the next is not in the text: addresses of maps, of their values and of the engine's
//! routines are words of a table, which is filled in when the library is loaded. The text has a hash, which the library
//! keeps: a library fits a program when that program's text has the same one. So no library is ever taken for another program,
//! another set of maps, or code that another version made.

mod build;
mod emit;
mod library;
mod once;
mod types;

pub use build::{BuildError, build};
pub use library::Library;
pub(crate) use library::Program;

use crate::code::Code;
use skep_platform::facts::Facts;

/// A program as C.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Source {
    /// The functions, without the parts that all programs share.
    text: String,
    /// Words of the table, in the order of the text.
    addresses: Vec<u64>,
    /// First slots of the functions.
    functions: Vec<usize>,
}

impl Source {
    /// Writes a program. Cost: some passes over the steps.
    ///
    /// # Errors
    /// The slot of an instruction that cannot be expressed, which is a fault of this module.
    pub fn of(code: &Code, facts: &Facts) -> Result<Source, usize> {
        emit::source(code, facts)
    }

    /// Hash of the text: 128-bit FNV-1a.
    pub fn hash(&self) -> u128 {
        const OFFSET: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
        const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
        self.text.bytes().fold(OFFSET, |h, b| (h ^ u128::from(b)).wrapping_mul(PRIME))
    }
}

/// C text of a library of these programs, by name. For [`build`].
pub fn library(programs: &[(&str, &Source)]) -> String {
    let mut out = emit::preamble();
    let mut rows = String::new();
    for (i, (name, source)) in programs.iter().enumerate() {
        let functions: String =
            source.functions.iter().map(|slot| format!("{{ {slot}, p{i}_f{slot} }}, ")).collect();
        let hash = source.hash();
        out += &format!(
            "\n/* {} */\n#define NAME(x) p{i}_##x\nstatic u64 p{i}_words[{}];\n{}#undef NAME\n",
            comment(name),
            source.addresses.len().max(1),
            source.text,
        );
        out += &format!("static const struct skep_function p{i}_functions[] = {{ {functions}}};\n");
        rows += &format!(
            "\t{{ {:?}, {{ {:#x}u, {:#x}u }}, {}, p{i}_functions, {}, p{i}_words }},\n",
            c_string(name),
            hash as u64,
            (hash >> 64) as u64,
            source.functions.len(),
            source.addresses.len(),
        );
    }
    out += &format!("\nstatic const struct skep_program programs[] = {{\n{rows}}};\n");
    out += &format!(
        "const struct skep_library skep_library = {{ {:#x}u, {}, programs }};\n",
        library::MAGIC,
        programs.len()
    );
    out
}

/// A name inside of a comment.
fn comment(name: &str) -> String {
    name.replace("*/", "* /")
}

/// A name that is the same in C's and Rust's notation of strings.
fn c_string(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_graphic() && c != '?' { c } else { '_' }).collect()
}
