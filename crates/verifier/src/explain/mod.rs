//! Refusals explained: not the first alone but all that are independent, each with the values at fault, the way that led
//! there, and a change that the verifier has been asked about.
//!
//! [`explain`] walks the program again with a record of the path ([`trace`]); a path that is refused goes on where it can
//! ([`further`]), and the others do. At each refusal the record is read backwards ([`chain`]): where the value at fault came from, where its
//! bound was lost, which branches led on. Changes that might help ([`fix`]) are made to the instructions ([`patch`]) and
//! judged; what is shown has removed the refusal and added none.
//!
//! Judging alone ([`crate::verify`]) pays nothing for any of this.

mod chain;
mod fix;
mod further;
mod heat;
mod patch;
mod release;
mod repair;
mod trace;
mod words;

pub(crate) use trace::Trace;

use crate::machine::Vm;
use crate::options::Options;
use crate::reject::{Reject, Rule};
use crate::verify::prepare;
use skep_platform::{LineInfo, Platform, Program};
use std::sync::Arc;

/// Instructions that are walked beyond those that the verdict took.
const BEYOND: u64 = 200_000;

/// Instructions that are walked for all fixes that are tried together.
const PURSE: u64 = 3_000_000;

/// One refusal, explained.
#[derive(Clone, Debug)]
pub struct Diagnosis {
    /// Rule broken.
    pub rule: Rule,
    /// The kernel's main phrase.
    pub message: String,
    /// What the kernel says beside it.
    pub details: Vec<String>,
    /// Instruction, when the refusal belongs to one.
    pub insn: Option<usize>,
    /// The instruction in the kernel's notation.
    pub text: Option<String>,
    /// Source position of it.
    pub line: Option<LineInfo>,
    /// Where the function that the line was inlined from is used: the last line of the function itself before it.
    pub inlined_at: Option<LineInfo>,
    /// Functions open, outermost first.
    pub frames: Vec<Site>,
    /// Values that the instruction works on; the one at fault first.
    pub operands: Vec<Operand>,
    /// How it came about, oldest first.
    pub causes: Vec<Cause>,
    /// A change after which this refusal is gone and no other has come.
    pub fix: Option<Fix>,
    /// Changes not yet tried.
    candidates: Vec<fix::Candidate>,
}

/// A function that is open where a refusal happened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Site {
    /// Its name; empty when not known.
    pub function: String,
    /// Where it stands: the refused instruction, or the call of the next function.
    pub insn: usize,
    /// Source position of that.
    pub line: Option<LineInfo>,
}

/// A value at fault.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Operand {
    /// Register.
    pub reg: u8,
    /// Variable of the source that it holds, where the source says so.
    pub name: Option<String>,
    /// As the kernel's log writes it.
    pub kernel: String,
    /// In words.
    pub words: String,
    /// The number, or the offset of the pointer; `None` where nothing was written.
    pub interval: Option<Interval>,
}

/// What a number may be. All bounds are inclusive.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub struct Interval {
    pub smin: i64,
    pub smax: i64,
    pub umin: u64,
    pub umax: u64,
}

/// What a cause is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CauseKind {
    /// The value was made here.
    Made,
    /// It was computed from another.
    Computed,
    /// It had bounds before and has none after.
    BoundLost,
    /// It was destroyed.
    Destroyed,
    /// A branch that was taken.
    Branch,
    /// Something was acquired.
    Acquired,
    /// Something that is not there.
    Missing,
}

impl CauseKind {
    /// Its name in JSON.
    pub fn name(self) -> &'static str {
        match self {
            CauseKind::Made => "made",
            CauseKind::Computed => "computed",
            CauseKind::BoundLost => "bound-lost",
            CauseKind::Destroyed => "destroyed",
            CauseKind::Branch => "branch",
            CauseKind::Acquired => "acquired",
            CauseKind::Missing => "missing",
        }
    }
}

/// One link of the chain that led to a refusal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cause {
    /// What it is.
    pub kind: CauseKind,
    /// Instruction.
    pub insn: usize,
    /// Source position.
    pub line: Option<LineInfo>,
    /// In words.
    pub words: String,
}

/// A change of the program, judged.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fix {
    /// What to do, in terms of the source.
    pub words: String,
    /// Source line that it concerns.
    pub line: Option<LineInfo>,
    /// Instruction before which something is put, or that is replaced.
    pub insn: usize,
    /// The instructions that were put there, in the kernel's notation.
    pub insns: Vec<String>,
    /// With it the whole program is accepted.
    pub accepted: bool,
}

/// Work at one source line, or at one instruction where there are no lines.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Heat {
    /// First instruction of it.
    pub insn: usize,
    /// Source position.
    pub line: Option<LineInfo>,
    /// Instructions walked.
    pub visits: u64,
    /// States kept.
    pub kept: u64,
    /// Paths that ended at a kept state.
    pub pruned: u64,
    /// Comparisons with kept states that did not.
    pub missed: u64,
    /// The register or stack slot that was in the way most often, in words.
    pub blame: Option<String>,
}

/// All that there is to say.
#[derive(Clone, Debug, Default)]
pub struct Explanation {
    /// Refusals, in the order in which they were met; the first is the verdict's.
    pub diagnoses: Vec<Diagnosis>,
    /// There may be more: the walk did not go to its end.
    pub more: bool,
    /// For refusals by [`Rule::TooComplex`]: where the work went, most first.
    pub heat: Vec<Heat>,
}

impl Diagnosis {
    fn short(why: &Reject, insn: Option<usize>) -> Diagnosis {
        let details = why.before.iter().chain(&why.after).cloned().collect();
        Diagnosis {
            rule: why.rule,
            message: why.message.clone(),
            details,
            insn,
            text: None,
            line: None,
            inlined_at: None,
            frames: Vec::new(),
            operands: Vec::new(),
            causes: Vec::new(),
            fix: None,
            candidates: Vec::new(),
        }
    }
}

/// Explains why a program is refused; nothing to say of one that is accepted. Cost: some times that of the verdict, which
/// took `walked` instructions.
pub fn explain(program: &Arc<Program>, platform: &Platform, options: &Options, walked: u64) -> Explanation {
    let budget = options.limits.insns.min(walked + BEYOND);
    let (mut all, _) = collect(program, platform, options, budget, true);
    let mut purse = PURSE;
    for d in &mut all.diagnoses {
        let candidates = std::mem::take(&mut d.candidates);
        d.fix = fix::best(candidates, d, program, platform, options, budget, &mut purse);
    }
    if !all.diagnoses.iter().any(|d| d.rule == Rule::TooComplex) {
        all.heat.clear();
    }
    all
}

/// Walks the program and collects what is refused; also how many instructions that took.
fn collect(
    program: &Arc<Program>,
    platform: &Platform,
    options: &Options,
    budget: u64,
    in_detail: bool,
) -> (Explanation, u64) {
    let mut options = Options { log_level: 0, ..options.clone() };
    options.limits.insns = budget;
    let mut vm = match prepare(program, platform, &options) {
        Ok(vm) => vm,
        Err(why) => {
            return (Explanation { diagnoses: vec![early(program, &why)], ..Explanation::default() }, 0);
        }
    };
    vm.trace = Some(Box::new(Trace::new(program.insns.len(), in_detail)));
    let late = vm.judge().err();
    let mut out =
        Explanation { heat: if in_detail { vm.heat() } else { Vec::new() }, ..Explanation::default() };
    let known =
        |t: &Trace, why: &Reject| t.found.iter().any(|d| d.rule == why.rule && d.message == why.message);
    if let Some(why) = late
        && !vm.trace.as_ref().is_some_and(|t| known(t, &why))
    {
        // What belongs to no path: stack depth, kernel functions that are not there.
        let d = vm.late(&why, in_detail);
        out.diagnoses.push(d);
    }
    if let Some(t) = vm.trace.take() {
        out.more = !t.whole;
        out.diagnoses.splice(0..0, t.found);
    }
    // Of a budget that is not the loader's own limit the refusal is no news.
    let cut = |d: &Diagnosis| {
        d.rule == Rule::TooComplex && vm.options.limits.insns < crate::Limits::default().insns
    };
    if out.diagnoses.len() > 1 {
        out.diagnoses.retain(|d| !cut(d));
    }
    (out, vm.stats.insns)
}

/// A refusal before the first step: places are in the phrase, if anywhere.
fn early(program: &Program, why: &Reject) -> Diagnosis {
    let mut d = Diagnosis::short(why, None);
    if why.rule == Rule::HelperRestricted {
        d.candidates.extend(fix::licence(program));
    }
    d
}

impl Vm<'_> {
    fn late(&self, why: &Reject, in_detail: bool) -> Diagnosis {
        let pc = self.cur.insn;
        let own = why.rule != Rule::StackDepth && pc < self.code.len();
        if own && in_detail { self.diagnose(why) } else { Diagnosis::short(why, own.then_some(pc)) }
    }

    /// Everything about a refusal at the current instruction.
    pub(crate) fn diagnose(&self, why: &Reject) -> Diagnosis {
        let pc = self.cur.insn;
        let mut d = Diagnosis::short(why, Some(pc));
        d.text = self.code.op(pc).map(|op| self.insn_text(pc, op));
        d.line = self.program.line_at(pc).cloned();
        d.inlined_at = self.inlined_at(pc);
        d.frames = self.sites();
        let at = self.fault_at(pc);
        let culprit = self.culprit(why, pc);
        d.operands = self.operands(why.rule, pc, culprit, at);
        d.causes = self.causes(why, culprit, at);
        d.candidates = self.candidates(why, culprit, at);
        d
    }
}
