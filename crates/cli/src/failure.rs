//! A command's failure: which exit code, what went wrong, where, and what to do next.

use skep::descriptors::{EngineError, Refusal};
use std::fmt;
use std::path::Path;

/// Why a command ended without success. The variant decides the exit code; the text is for a person.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The work was done and its outcome is negative (1).
    Failed(String),
    /// The arguments make no sense together (2).
    Usage(String),
    /// Something named is not there, or input is malformed (3).
    Input(String),
    /// The system refused (4).
    Permission(String),
    /// The verifier refused the program (5).
    Refused(String),
    /// Legal, but not supported here (6).
    Unsupported(String),
    /// A command that was run ended so: its exit code, and what is to be said, if anything.
    Command(u8, String),
    /// Somebody ended it; everything was tidied up (130).
    Interrupted,
    /// The reader of standard output went away: not an error worth a word.
    BrokenPipe,
}

impl Failure {
    /// Exit code of the command-line contract.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Failure::Failed(_) => 1,
            Failure::Usage(_) => 2,
            Failure::Input(_) => 3,
            Failure::Permission(_) => 4,
            Failure::Refused(_) => 5,
            Failure::Unsupported(_) => 6,
            Failure::Command(code, _) => *code,
            Failure::Interrupted => 130,
            Failure::BrokenPipe => 0,
        }
    }

    /// A failed file operation: what was tried, on which file, what to do.
    pub(crate) fn io(what: &str, path: &Path, e: &std::io::Error) -> Failure {
        let path = path.display();
        match e.kind() {
            std::io::ErrorKind::NotFound if what.starts_with("write") => Failure::Input(format!(
                "cannot {what} {path}: its folder does not exist; create it or name another place"
            )),
            std::io::ErrorKind::NotFound => {
                Failure::Input(format!("cannot {what} {path}: no such file; check the spelling of the path"))
            }
            std::io::ErrorKind::PermissionDenied => Failure::Permission(format!(
                "cannot {what} {path}: permission denied; change its mode or the user"
            )),
            std::io::ErrorKind::IsADirectory => {
                Failure::Input(format!("cannot {what} {path}: it is a folder; name a file in it"))
            }
            std::io::ErrorKind::BrokenPipe => Failure::BrokenPipe,
            _ => Failure::Failed(format!("cannot {what} {path}: {e}")),
        }
    }

    /// An object that could not be opened in an engine.
    pub(crate) fn open(path: &Path, e: &skep::Error) -> Failure {
        match e {
            skep::Error::Engine(e) => Failure::engine(path, e),
            skep::Error::Refused(r) => Failure::refused(path, &[(&r.program.name, r)]),
            skep::Error::RefusedByKernel(k) if k.same => {
                Failure::refused(path, &[(&k.rejection.program.name, &k.rejection)])
            }
            skep::Error::RefusedByKernel(k) => Failure::Refused(format!(
                "{}: {}: {}{}",
                path.display(),
                k.rejection.program.name,
                crate::cmd::verify::refusal(&k.rejection, None),
                log(&k.refusal)
            )),
            e => Failure::malformed(path, e),
        }
    }

    /// Programs that the verifier refuses: its reports.
    pub(crate) fn refused(path: &Path, programs: &[(&str, &skep::verifier::Rejection)]) -> Failure {
        let report = |&(name, r): &(&str, &skep::verifier::Rejection)| {
            format!(
                "{}: {name}: {}",
                path.display(),
                crate::cmd::verify::refusal(r, Some(&skep::explain::explain(r))).trim_end()
            )
        };
        Failure::Refused(programs.iter().map(report).collect::<Vec<_>>().join("\n"))
    }

    /// An engine's refusal of what stands in a file.
    pub(crate) fn engine(path: &Path, e: &EngineError) -> Failure {
        let text = format!("{}: {e}", path.display());
        match e {
            EngineError::Permission { .. } => Failure::Permission(text),
            EngineError::Unsupported { .. } => Failure::Unsupported(text),
            EngineError::Refused(r) => Failure::Refused(format!("{text}\n{}", log(r))),
            _ => Failure::Input(text),
        }
    }

    /// A malformed file: where it is and what the reader says.
    pub(crate) fn malformed(path: &Path, e: impl fmt::Display) -> Failure {
        Failure::Input(format!("{}: {e}", path.display()))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Failed(t)
            | Failure::Usage(t)
            | Failure::Input(t)
            | Failure::Permission(t)
            | Failure::Refused(t)
            | Failure::Command(_, t)
            | Failure::Unsupported(t) => f.write_str(t),
            Failure::Interrupted | Failure::BrokenPipe => Ok(()),
        }
    }
}

/// Lines of the log that are shown.
const LOG_LINES: usize = 12;

/// The end of the kernel's log.
fn log(r: &Refusal) -> String {
    let mut out = String::new();
    let hidden = r.log.lines().count().saturating_sub(LOG_LINES);
    out.push_str("  the kernel's log");
    if hidden > 0 {
        out.push_str(&format!(", after {hidden} lines more"));
    }
    r.tail(LOG_LINES).for_each(|l| out.push_str(&format!("\n    {}", l.trim_end())));
    out
}
