//! Raw programs to be judged: instructions, the kinds of the maps and the names of the kernel functions that they refer
//! to, as the kernel's test_verifier has them.

use crate::definition::Definition;
use skep_btf::{Btf, BtfBuilder, BuildError, FuncLinkage, IntEncoding, Kind};
use skep_isa::Insn;
use skep_maps::fixtures;
use skep_platform::{AttachType, Map, ProgType, Program, Subprog};
use skep_verifier::{Mode, Options, Outcome, Rejection};
use std::fmt;
use std::sync::Arc;

/// `BPF_F_STRICT_ALIGNMENT` and the other flags of a load (`BPF_F_*`, include/uapi/linux/bpf.h).
mod flag {
    pub(super) const STRICT_ALIGNMENT: u32 = 1;
    pub(super) const ANY_ALIGNMENT: u32 = 2;
    pub(super) const TEST_STATE_FREQ: u32 = 8;
    pub(super) const SLEEPABLE: u32 = 16;
    pub(super) const XDP_HAS_FRAGS: u32 = 32;
}

/// One raw program.
#[derive(Clone, Debug, Default)]
pub struct Case {
    /// What it is about.
    pub descr: String,
    /// `BPF_PROG_TYPE_*`; 0 is a socket filter.
    pub prog_type: u32,
    /// Expected attach type.
    pub attach_type: u32,
    /// `BPF_F_*` of the load.
    pub prog_flags: u32,
    /// Function that it attaches to.
    pub attach_func: String,
    /// It is loaded by a process without capabilities.
    pub unprivileged: bool,
    /// Functions come with types.
    pub has_btf: bool,
    /// Instructions.
    pub insns: Vec<Insn>,
    /// Kinds of maps ([`fixtures::FIXTURES`]), each with the 64-bit loads that take such a map.
    pub fixups: Vec<(String, Vec<usize>)>,
    /// Calls of kernel functions, by name.
    pub kfuncs: Vec<(usize, String)>,
}

/// Why a case is not a program.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CaseError {
    /// No such program type.
    ProgType(u32),
    /// No map of this kind.
    MapKind(String),
    /// Something is said of an instruction that is not there.
    Insn(usize),
}

impl fmt::Display for CaseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CaseError::ProgType(t) => write!(f, "there is no program type {t}"),
            CaseError::MapKind(k) => {
                let kinds: Vec<&str> = fixtures::FIXTURES.iter().map(|f| f.kind).collect();
                write!(f, "there are no maps of kind {k:?}; kinds are {}", kinds.join(", "))
            }
            CaseError::Insn(at) => write!(f, "a fixup refers to instruction {at}, which is not there"),
        }
    }
}

impl std::error::Error for CaseError {}

impl Case {
    /// The program, bound to maps that are definitions only and to the functions of `kernel`.
    ///
    /// # Errors
    /// Program types and kinds of maps that do not exist, fixups of instructions that are not there.
    pub fn program(&self, kernel: Option<&Arc<Btf>>) -> Result<Program, CaseError> {
        let id = if self.prog_type == 0 { ProgType::SocketFilter.id() } else { self.prog_type };
        let prog_type = ProgType::from_id(id).ok_or(CaseError::ProgType(id))?;
        let mut insns = self.insns.clone();
        let maps = self.bind_maps(&mut insns)?;
        for (at, name) in &self.kfuncs {
            let insn = insns.get_mut(*at).ok_or(CaseError::Insn(*at))?;
            let id = kernel.and_then(|k| k.find_by_name_kind(name, Kind::Func)).unwrap_or(0);
            *insn = insn.with_imm(id as i32);
        }
        // Types whose attach type is looked at have one even when it is number 0.
        let zero_counts = matches!(prog_type, ProgType::CgroupSkb | ProgType::CgroupSock);
        let types = self.has_btf.then(|| function_types(&insns)).flatten();
        let (btf, subprogs) = types.map_or((None, Vec::new()), |(b, s)| (Some(b), s));
        Ok(Program {
            attach_type: (self.attach_type != 0 || zero_counts)
                .then(|| AttachType::from_id(self.attach_type))
                .flatten(),
            attach_target: (!self.attach_func.is_empty()).then(|| self.attach_func.clone()),
            sleepable: self.prog_flags & flag::SLEEPABLE != 0,
            xdp_frags: self.prog_flags & flag::XDP_HAS_FRAGS != 0,
            license: "GPL".into(),
            subprogs,
            maps,
            btf,
            kernel_btf: kernel.cloned(),
            ..Program::from_insns("test", prog_type, insns)
        })
    }

    fn bind_maps(&self, insns: &mut [Insn]) -> Result<Vec<Arc<dyn Map>>, CaseError> {
        let mut maps: Vec<Arc<dyn Map>> = Vec::new();
        for (kind, places) in &self.fixups {
            let def = fixtures::map_def(kind).ok_or_else(|| CaseError::MapKind(kind.clone()))?;
            for at in places {
                let insn = insns.get_mut(*at).ok_or(CaseError::Insn(*at))?;
                // References by descriptor become references into the program's own table.
                let value = matches!(insn.src(), 2 | 6);
                *insn = insn.with_src(if value { 6 } else { 5 }).with_imm(maps.len() as i32);
            }
            maps.push(Arc::new(Definition(def)));
        }
        Ok(maps)
    }

    /// How it is to be judged: `base`, with what its flags say.
    pub fn options(&self, base: &Options) -> Options {
        let strict = flag::STRICT_ALIGNMENT | flag::ANY_ALIGNMENT;
        let mut o = base.clone();
        o.strict_alignment |= self.prog_flags & strict == flag::STRICT_ALIGNMENT;
        o.test_state_freq |= self.prog_flags & flag::TEST_STATE_FREQ != 0;
        if self.unprivileged {
            o.mode = Mode::Unprivileged;
        }
        o
    }

    /// The verdict on it.
    ///
    /// # Errors
    /// As [`Case::program`].
    #[allow(clippy::type_complexity, reason = "two kinds of failure: no program, and a program refused")]
    pub fn verify(
        &self,
        kernel: Option<&Arc<Btf>>,
        base: &Options,
    ) -> Result<(Arc<Program>, Result<Outcome, Box<Rejection>>), CaseError> {
        let program = Arc::new(self.program(kernel)?);
        let outcome = skep_verifier::verify_full(&program, crate::platform(), &self.options(base));
        Ok((program, outcome))
    }
}

/// Types for the functions of a raw program: `int f(void)`, static, one where something calls or refers to it.
fn function_types(insns: &[Insn]) -> Option<(Arc<Btf>, Vec<Subprog>)> {
    let refers = |i: &Insn| matches!((i.opcode(), i.src()), (0x85, 1) | (0x18, 4));
    let calls = insns.iter().enumerate().filter(|(_, i)| refers(i));
    let targets = calls.map(|(pc, i)| pc as i64 + 1 + i64::from(i.imm()));
    let mut starts: Vec<usize> =
        targets.chain([0]).filter_map(|t| usize::try_from(t).ok().filter(|t| *t < insns.len())).collect();
    starts.sort_unstable();
    starts.dedup();
    let (btf, id) = one_function().ok()?;
    let subprogs =
        starts.iter().map(|s| Subprog { name: "f".into(), start: *s, btf_id: id, global: false }).collect();
    Some((btf, subprogs))
}

fn one_function() -> Result<(Arc<Btf>, u32), BuildError> {
    let mut b = BtfBuilder::new();
    let int = b.add_int("int", 4, IntEncoding { signed: true, char: false, bool: false })?;
    let proto = b.add_func_proto(int, &[])?;
    let id = b.add_func("f", proto, FuncLinkage::Static)?;
    Ok((Arc::new(b.finish().unwrap_or_else(|_| Btf::empty())), id))
}
