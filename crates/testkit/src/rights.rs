//! Less than root: the capabilities of a thread that loads programs, and whether processes without any may load some.
//!
//! Capabilities belong to a thread. [`with`] runs its work on a thread of its own that ends with it, so that nobody else
//! loses any.

use crate::raw;
use std::io;

/// What a loader may hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rights {
    /// Everything that this process has.
    All,
    /// `CAP_BPF` and `CAP_NET_ADMIN`.
    Bpf,
    /// Nothing.
    None,
}

const CAP_NET_ADMIN: u32 = 12;
const CAP_BPF: u32 = 39;

impl Rights {
    /// `root`, `cap-bpf`, `unprivileged`.
    pub fn from_name(name: &str) -> Option<Rights> {
        match name {
            "root" => Some(Rights::All),
            "cap-bpf" => Some(Rights::Bpf),
            "unprivileged" => Some(Rights::None),
            _ => None,
        }
    }

    /// Those that the variable `SKEP_AS` asks for; without it all.
    ///
    /// # Panics
    /// On a word that is none of [`Rights::from_name`]: a test that cannot do what it was asked for.
    pub fn asked() -> Rights {
        let word = std::env::var("SKEP_AS").unwrap_or_else(|_| "root".into());
        Rights::from_name(&word).expect("SKEP_AS is root, cap-bpf or unprivileged")
    }

    fn kept(self) -> u64 {
        match self {
            Rights::All => u64::MAX,
            Rights::Bpf => 1 << CAP_BPF | 1 << CAP_NET_ADMIN,
            Rights::None => 0,
        }
    }
}

/// Runs `work` with no more than these rights. Cost: a thread, unless they are all.
///
/// # Errors
/// The kernel's, when it does not let capabilities go.
pub fn with<T: Send>(rights: Rights, work: impl FnOnce() -> T + Send) -> io::Result<T> {
    if rights == Rights::All {
        return Ok(work());
    }
    let reduced = || raw::keep_capabilities(rights.kept()).map(|()| work());
    std::thread::scope(|s| s.spawn(reduced).join().unwrap_or_else(|e| std::panic::resume_unwind(e)))
}

const SWITCH: &str = "/proc/sys/kernel/unprivileged_bpf_disabled";

/// Processes without capabilities may load programs as long as this lives; what was set before is set again at its end.
#[derive(Debug)]
pub struct Opened(Option<String>);

impl Opened {
    /// Opens the kernel to them, if it is not open.
    ///
    /// # Errors
    /// Without root, or where the switch is locked (1).
    pub fn new() -> io::Result<Opened> {
        let before = std::fs::read_to_string(SWITCH)?;
        if before.trim() == "0" {
            return Ok(Opened(None));
        }
        std::fs::write(SWITCH, "0")?;
        Ok(Opened(Some(before)))
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            std::fs::write(SWITCH, before.trim()).expect("what could be set can be set back");
        }
    }
}
