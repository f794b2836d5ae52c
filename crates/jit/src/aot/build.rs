//! Calls the C compiler.

use std::ffi::OsStr;
use std::fmt;
use std::io::{self, Write};
use std::path::Path;
use std::process::{Command, Stdio};

/// Compilers that are looked for, in this order, where none is named.
const COMPILERS: [&str; 9] =
    ["clang", "clang-21", "clang-20", "clang-19", "clang-18", "clang-17", "clang-16", "gcc", "cc"];

/// What a compiler is called with, beside input and output. Numbers and pointers wrap, and memory has no types.
const FLAGS: [&str; 8] = [
    "-O2",
    "-march=native",
    "-fPIC",
    "-shared",
    "-fno-strict-aliasing",
    "-fno-strict-overflow",
    "-fno-delete-null-pointer-checks",
    "-w",
];

/// Why there is no library.
#[derive(Debug)]
pub enum BuildError {
    /// None of the compilers that were looked for is installed.
    NoCompiler(Vec<String>),
    /// A compiler could not be run.
    Run(String, io::Error),
    /// A compiler failed, with what it said.
    Failed(String, String),
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BuildError::NoCompiler(names) => {
                write!(
                    f,
                    "no C compiler is installed (looked for {}): install clang or gcc",
                    names.join(", ")
                )
            }
            BuildError::Run(name, e) => write!(f, "cannot run {name}: {e}"),
            BuildError::Failed(name, said) => write!(f, "{name} failed: {}", said.trim_end()),
        }
    }
}

impl std::error::Error for BuildError {}

/// Makes a shared object at `out` of the text of [`super::library`], with this compiler or the first of clang, gcc and cc that is
/// installed; the compiler's name. Cost: seconds for large programs.
///
/// # Errors
/// No compiler, or what it said.
pub fn build(text: &str, out: &Path, compiler: Option<&str>) -> Result<String, BuildError> {
    let names: Vec<&str> = compiler.map_or(COMPILERS.to_vec(), |c| vec![c]);
    for name in &names {
        let args = FLAGS.map(OsStr::new).into_iter().chain(["-x", "c", "-", "-o"].map(OsStr::new));
        let mut command = Command::new(name);
        command.args(args).arg(out).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = match command.spawn() {
            Ok(child) => child,
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            Err(e) => return Err(BuildError::Run((*name).into(), e)),
        };
        // A compiler that ends early says why.
        let _ = child.stdin.take().map(|mut stdin| stdin.write_all(text.as_bytes()));
        let ended = child.wait_with_output().map_err(|e| BuildError::Run((*name).into(), e))?;
        return match ended.status.success() {
            true => Ok((*name).into()),
            false => {
                let said = String::from_utf8_lossy(&ended.stderr).into_owned();
                Err(BuildError::Failed((*name).into(), said))
            }
        };
    }
    Err(BuildError::NoCompiler(names.into_iter().map(String::from).collect()))
}
