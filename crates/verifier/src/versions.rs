//! What older kernels lack: `versions.tsv`, applied to the Linux that a program is judged for.
//!
//! Kinds of rows: `opcode` (refused wherever it stands), `form` (of an instruction, refused where it is reached), `attach`
//! (attach types), `tag` (of arguments), `ability` (of the verifier: without it the program is judged more strictly). The
//! first version of a helper, a kernel function, a program type or a map type stands in its own row of the platform.

use crate::machine::Vm;
use crate::maps::MapInfo;
use crate::reject::{Check, Reject, Rule};
use skep_isa::{AluOp, Op};
use skep_platform::{Platform, ProgTypeDesc, Program, Version};

/// One row.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Row {
    kind: &'static str,
    name: &'static str,
    since: Version,
    what: &'static str,
}

fn rows() -> impl Iterator<Item = Row> {
    include_str!("versions.tsv").lines().filter(|l| !l.starts_with('#')).filter_map(|l| {
        let mut cells = l.split('\t');
        let (kind, name) = (cells.next()?, cells.next()?);
        let (major, minor) = cells.next()?.split_once('.')?;
        Some(Row {
            kind,
            name,
            since: Version(major.parse().ok()?, minor.parse().ok()?),
            what: cells.next()?,
        })
    })
}

/// What the kernel at hand lacks. Nothing is looked up for the newest one.
#[derive(Debug)]
pub(crate) struct Lacks {
    version: Version,
    rows: Vec<Row>,
}

impl Lacks {
    pub(crate) fn new(version: Version) -> Lacks {
        Lacks { version, rows: rows().filter(|r| r.since > version).collect() }
    }

    fn row(&self, kind: &str, name: &str) -> Option<&Row> {
        self.rows.iter().find(|r| r.kind == kind && r.name == name)
    }

    /// The verifier of that kernel cannot do this.
    pub(crate) fn ability(&self, name: &str) -> bool {
        !self.rows.is_empty() && self.row("ability", name).is_some()
    }

    /// Refuses what that kernel lacks; `phrase` is what it says itself.
    fn check(&self, kind: &str, name: &str, phrase: impl FnOnce() -> String) -> Check {
        match self.row(kind, name) {
            Some(r) => Err(self.missing(r.what, r.since).after_line(phrase())),
            None => Ok(()),
        }
    }

    fn missing(&self, what: &str, since: Version) -> Box<Reject> {
        Reject::new(Rule::KernelVersion, format!("{what} need Linux {since}; verified as {}", self.version))
    }

    /// An argument's tag.
    pub(crate) fn tag(&self, i: usize, tag: &str) -> Check {
        self.check("tag", tag, || format!("arg#{i} has unsupported set of tags"))
    }

    /// What the program is as a whole: type, attach type, maps, opcodes.
    pub(crate) fn program(
        &self,
        p: &Program,
        platform: &Platform,
        desc: &ProgTypeDesc,
        maps: &[MapInfo],
    ) -> Check {
        if self.rows.is_empty() {
            return Ok(());
        }
        if desc.since > self.version {
            return Err(self.missing(&format!("programs of type {}", desc.prog_type.label()), desc.since));
        }
        if let Some(a) = p.attach_type {
            self.check("attach", a.uapi_name(), || "unrecognized attach type".to_owned())?;
        }
        for m in maps {
            let since = platform.map_type(m.kind()).map_or(Version(0, 0), |d| d.since);
            if since > self.version {
                let what = format!("maps of type {} ({})", m.kind().uapi_name(), m.def.name);
                return Err(self.missing(&what, since));
            }
        }
        let mut wide = false;
        for insn in &p.insns {
            let op = insn.opcode();
            let second = wide;
            wide = insn.is_ldimm64() && !second;
            if !second {
                self.check("opcode", &format!("{op:02x}"), || format!("unknown opcode {op:02x}"))?;
            }
        }
        Ok(())
    }

    /// The form of an instruction that is reached.
    pub(crate) fn form(&self, op: &Op) -> Check {
        if self.rows.is_empty() {
            return Ok(());
        }
        let (name, phrase) = match op {
            Op::MovSx { .. } => ("movsx", "BPF_MOV uses reserved fields"),
            Op::Alu { op: AluOp::Sdiv | AluOp::Smod, .. } => ("sdiv", "BPF_ALU uses reserved fields"),
            Op::AddrSpaceCast { .. } => ("addr_space_cast", "BPF_MOV uses reserved fields"),
            Op::LoadAcquire { .. } => ("load_acquire", "BPF_ATOMIC uses invalid atomic opcode 100"),
            Op::StoreRelease { .. } => ("load_acquire", "BPF_ATOMIC uses invalid atomic opcode 110"),
            _ => return Ok(()),
        };
        self.check("form", name, || phrase.to_owned())
    }
}

impl Vm<'_> {
    /// What was never written may be read (`env->allow_uninit_stack`).
    pub(crate) fn reads_unwritten(&self) -> bool {
        self.leaks_allowed() && !self.lacks.ability("unwritten-stack")
    }

    /// A refusal of something that a later kernel has says so.
    pub(crate) fn told_version(&self, mut why: Box<Reject>, since: Version) -> Box<Reject> {
        if since > self.version() {
            why.after.push(format!("needs Linux {since}; verified as {}", self.version()));
        }
        why
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_whole() {
        let lines = include_str!("versions.tsv").lines().filter(|l| !l.starts_with('#'));
        assert_eq!(lines.clone().count(), rows().count(), "a line has five cells, the third a version");
        assert!(lines.clone().all(|l| l.split('\t').filter(|c| !c.is_empty()).count() == 5));
        let all: Vec<Row> = rows().collect();
        for (i, r) in all.iter().enumerate() {
            assert!(["opcode", "form", "attach", "tag", "ability"].contains(&r.kind), "{r:?}");
            assert!(r.since > Version(5, 15) && r.since <= Version(6, 18), "{r:?}");
            assert!(!all[..i].iter().any(|o| (o.kind, o.name) == (r.kind, r.name)), "{r:?} stands twice");
        }
        assert!(Lacks::new(Version(6, 18)).rows.is_empty());
    }
}
