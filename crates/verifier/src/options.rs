//! What the caller asks for and what is counted for him.

use skep_platform::Version;
use std::sync::Arc;
use std::time::Duration;

/// Who loads the program.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Mode {
    /// Root, or `CAP_BPF` with `CAP_PERFMON`.
    #[default]
    Privileged,
    /// `CAP_BPF` alone.
    Bpf,
    /// No capability.
    Unprivileged,
}

impl Mode {
    /// Addresses are no secret to him.
    pub fn trusted(self) -> bool {
        self == Mode::Privileged
    }
}

/// Bounds of the work.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Instructions walked.
    pub insns: u64,
    /// Branches waiting at once.
    pub branches: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { insns: 1_000_000, branches: 8_192 }
    }
}

/// How to judge.
#[derive(Clone, Debug)]
pub struct Options {
    /// For whom.
    pub mode: Mode,
    /// By the rules of this Linux; `None`: of the platform's.
    pub as_kernel: Option<Version>,
    /// 0: no log; 1: the failing path; 2: every path.
    pub log_level: u8,
    /// Bounds of the work.
    pub limits: Limits,
    /// Refuse unaligned accesses everywhere (`BPF_F_STRICT_ALIGNMENT`).
    pub strict_alignment: bool,
    /// Keep a state at every chance (`BPF_F_TEST_STATE_FREQ`).
    pub test_state_freq: bool,
    /// Configuration of the kernel (the text of `/proc/config.gz`), where it is known; without it every helper that a
    /// version has counts as built in.
    pub config: Option<Arc<str>>,
    /// CPUs that the program may find itself on: bound of `bpf_get_smp_processor_id`; 0: not known.
    pub cpus: u32,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            mode: Mode::Privileged,
            as_kernel: None,
            log_level: 0,
            limits: Limits::default(),
            strict_alignment: false,
            test_state_freq: false,
            config: None,
            cpus: 0,
        }
    }
}

impl Options {
    /// Is the option (without `CONFIG_`) set in the kernel's configuration? `None`: no configuration is known. Cost: a scan.
    pub fn config_has(&self, option: &str) -> Option<bool> {
        let set = |l: &str| {
            let name = l.strip_prefix("CONFIG_").and_then(|l| l.strip_prefix(option));
            matches!(name, Some("=y" | "=m"))
        };
        self.config.as_ref().map(|text| text.lines().any(set))
    }

    /// Does the configuration lock the kernel down?
    pub fn locked_down(&self) -> bool {
        ["INTEGRITY", "CONFIDENTIALITY"]
            .iter()
            .any(|how| self.config_has(&format!("LOCK_DOWN_KERNEL_FORCE_{how}")) == Some(true))
    }
}

/// What the work was.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Stats {
    /// Instructions walked.
    pub insns: u64,
    /// States kept over all time.
    pub total_states: u64,
    /// Most states kept at once.
    pub peak_states: u64,
    /// Most states at one instruction.
    pub max_states_per_insn: u64,
    /// Deepest stack in bytes.
    pub stack_depth: u32,
    /// Time it took.
    pub time: Duration,
}
