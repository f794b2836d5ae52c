//! A program on its road: [`Program`] (bound, not judged) and [`Verified`] (judged, with facts for the compilers).

use crate::facts::Facts;
use crate::map::Map;
use crate::uapi::{AttachType, ProgType};
use skep_btf::Btf;
use skep_isa::Insn;
use std::fmt;
use std::sync::Arc;

/// One program with its subprograms linked in, CO-RE relocations applied and maps bound. Not judged.
#[derive(Clone, Debug)]
pub struct Program {
    /// Name of its function.
    pub name: String,
    /// ELF section it came from.
    pub section: String,
    /// Type.
    pub prog_type: ProgType,
    /// Expected attach type, where the section says one.
    pub attach_type: Option<AttachType>,
    /// What the section says it attaches to (`sys_enter_openat`, `kprobe` function, …).
    pub attach_target: Option<String>,
    /// May sleep (`BPF_F_SLEEPABLE`).
    pub sleepable: bool,
    /// Takes packets in fragments (`BPF_F_XDP_HAS_FRAGS`).
    pub xdp_frags: bool,
    /// Licence string.
    pub license: String,
    /// Instructions: the main program first, subprograms after it. Maps are referenced as `Imm64::MapIdx` and
    /// `Imm64::MapIdxValue`, indexes into `maps`; kfuncs as `Callee::Kfunc` with ids of `kernel_btf`.
    pub insns: Vec<Insn>,
    /// Functions, ascending by start; the first is the main program.
    pub subprogs: Vec<Subprog>,
    /// Maps it refers to.
    pub maps: Vec<Arc<dyn Map>>,
    /// Source lines, ascending by instruction.
    pub lines: Vec<LineInfo>,
    /// The object's own BTF.
    pub btf: Option<Arc<Btf>>,
    /// BTF that kfunc and ksym ids refer to: the target's.
    pub kernel_btf: Option<Arc<Btf>>,
    /// Instructions that a failed CO-RE relocation or a missing weak extern has poisoned, with the reason.
    pub poisoned: Vec<(usize, String)>,
}

/// One function of a program.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Subprog {
    /// Symbol name.
    pub name: String,
    /// First instruction.
    pub start: usize,
    /// BTF id of its FUNC in the object's BTF, 0 when not known.
    pub btf_id: u32,
    /// Global linkage: verified on its own.
    pub global: bool,
}

/// Source position of an instruction.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LineInfo {
    /// Instruction it starts at.
    pub insn: usize,
    /// File name as compiled.
    pub file: Arc<str>,
    /// Line text, trimmed of nothing.
    pub text: Arc<str>,
    /// 1-based line.
    pub line: u32,
    /// 1-based column, 0 when not known.
    pub col: u32,
}

impl Program {
    /// A program of nothing but instructions: no maps, no types, no source.
    pub fn from_insns(name: &str, prog_type: ProgType, insns: Vec<Insn>) -> Program {
        Program {
            name: name.into(),
            section: String::new(),
            prog_type,
            attach_type: None,
            attach_target: None,
            sleepable: false,
            xdp_frags: false,
            license: String::new(),
            insns,
            subprogs: vec![Subprog { name: name.into(), start: 0, btf_id: 0, global: true }],
            maps: Vec::new(),
            lines: Vec::new(),
            btf: None,
            kernel_btf: None,
            poisoned: Vec::new(),
        }
    }

    /// Source position that covers an instruction.
    pub fn line_at(&self, insn: usize) -> Option<&LineInfo> {
        let after = self.lines.partition_point(|l| l.insn <= insn);
        let line = self.lines.get(after.checked_sub(1)?)?;
        (self.subprog_at(insn)?.start <= line.insn).then_some(line)
    }

    /// Function that an instruction belongs to.
    pub fn subprog_at(&self, insn: usize) -> Option<&Subprog> {
        let after = self.subprogs.partition_point(|s| s.start <= insn);
        self.subprogs.get(after.checked_sub(1)?)
    }

    /// GPL-compatible licence (`license_is_gpl_compatible`, include/linux/license.h).
    pub fn gpl_compatible(&self) -> bool {
        const GPL: &[&str] =
            &["GPL", "GPL v2", "GPL and additional rights", "Dual BSD/GPL", "Dual MIT/GPL", "Dual MPL/GPL"];
        GPL.contains(&self.license.as_str())
    }
}

/// A program that the verifier accepted. Only the verifier makes one.
#[derive(Clone)]
pub struct Verified {
    program: Arc<Program>,
    facts: Facts,
}

impl Verified {
    /// Declares a program verified.
    ///
    /// # Safety
    /// Compiled tiers run it without checks: every path through `program` must be memory-safe and end, and `facts`
    /// must be true of every run. `skep-verifier` establishes that; nobody else should call this.
    pub unsafe fn assume(program: Arc<Program>, facts: Facts) -> Verified {
        Verified { program, facts }
    }

    /// The program.
    pub fn program(&self) -> &Arc<Program> {
        &self.program
    }

    /// What was proved about it.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }
}

impl fmt::Debug for Verified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Verified({})", self.program.name)
    }
}
