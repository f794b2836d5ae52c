//! A program made ready for the checked tier: decoded once, helper calls and map references resolved.
//!
//! Program → [`Code::new`] → `Code`. Decoding refuses only bytes that are no instruction; everything else (bad jumps,
//! helpers that the program type may not call, poisoned instructions) is a fault when, and only when, it is reached.

use crate::region::{Kind, Slot};
use skep_isa::{Callee, Imm64, Op, Reg};
use skep_platform::engine::{EngineError, Platform};
use skep_platform::env::{Region, RegionKind};
use skep_platform::helper::{Caller, Helper, Proto};
use skep_platform::map::{Map, flags};
use skep_platform::program::Program;
use skep_platform::uapi::ProgType;
use std::sync::Arc;

/// One instruction slot.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    /// An instruction that means the same in every program.
    Op(Op),
    /// `ldimm64`: the value, and the program's own slot it points into.
    Wide { dst: Reg, bits: u64, own: Option<u32> },
    /// A helper call: index into [`Code::helpers`].
    Helper(u32),
    /// Refused when reached: index into [`Code::refused`].
    Refused(u32),
    /// Second half of `ldimm64`.
    Second,
}

/// A helper as this program may call it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Resolved {
    pub(crate) helper: &'static Helper,
    pub(crate) proto: Option<&'static Proto>,
}

/// A decoded program.
#[derive(Debug)]
pub struct Code {
    pub(crate) program: Arc<Program>,
    pub(crate) platform: Platform,
    pub(crate) steps: Vec<Step>,
    pub(crate) helpers: Vec<Resolved>,
    /// Code and text of what is wrong.
    pub(crate) refused: Vec<(&'static str, String)>,
    /// The program's own slots: its maps, its values reached directly, its functions.
    pub(crate) own: Vec<Slot>,
    pub(crate) gpl: bool,
}

impl Code {
    /// Decodes. Cost: one pass over the instructions. Fails when eight bytes are no instruction.
    pub fn new(program: Arc<Program>, platform: &Platform) -> Result<Code, EngineError> {
        // A raw program (no type) has no licence to hold against it.
        let gpl = program.gpl_compatible() || program.prog_type == ProgType::Unspec;
        let mut code = Code {
            steps: Vec::with_capacity(program.insns.len()),
            platform: *platform,
            helpers: Vec::new(),
            refused: Vec::new(),
            own: Vec::new(),
            gpl,
            program,
        };
        let program = code.program.clone();
        while code.steps.len() < program.insns.len() {
            let pc = code.steps.len();
            let (op, slots) = Op::decode(&program.insns, pc).map_err(|e| EngineError::Load {
                prog: program.name.clone(),
                insn: Some(pc),
                why: e.to_string(),
            })?;
            let poison = program.poisoned.iter().find(|(at, _)| *at == pc);
            let step = match poison {
                Some((_, why)) => code.refuse("poisoned", why.clone()),
                None => code.step(op, pc),
            };
            code.steps.push(step);
            if slots == 2 {
                code.steps.push(Step::Second);
            }
        }
        Ok(code)
    }

    /// The program it was made from.
    pub fn program(&self) -> &Arc<Program> {
        &self.program
    }

    /// A helper by number, as this program may call it.
    pub(crate) fn resolve(&self, id: i32) -> Option<Resolved> {
        let helper = self.platform.helper(u32::try_from(id).ok()?)?;
        let typed = helper.proto_for(&Caller {
            prog_type: self.program.prog_type,
            attach: self.program.attach_type,
            struct_ops: None,
            sleepable: self.program.sleepable,
            version: self.platform.version,
        });
        // A raw program (no type) may call what anybody may.
        let raw = self.program.prog_type == ProgType::Unspec;
        let proto = typed.or_else(|| if raw { helper.protos.first() } else { None });
        Some(Resolved { helper, proto })
    }

    /// Address by which the program knows a subprogram.
    pub(crate) fn func_addr(&self, pc: usize) -> u64 {
        self.program.insns.as_ptr().addr() as u64 + pc as u64 * 8
    }

    fn step(&mut self, op: Op, pc: usize) -> Step {
        match op {
            Op::LoadImm64 { dst, imm } => self.wide(dst, imm, pc),
            Op::Call(Callee::Helper(id)) => match self.resolve(id) {
                Some(r) => {
                    self.helpers.push(r);
                    Step::Helper(self.helpers.len() as u32 - 1)
                }
                None => self.refuse(
                    "unknown-helper",
                    format!("there is no helper #{id} in Linux {}", self.platform.version),
                ),
            },
            Op::Call(Callee::Kfunc { id, .. }) => {
                let name = self.kfunc_name(id);
                self.refuse("kfunc", format!("kernel function {name} has no body in the user engine"))
            }
            op => Step::Op(op),
        }
    }

    fn kfunc_name(&self, id: i32) -> String {
        let btf = self.program.kernel_btf.as_ref();
        let name = btf.map_or("", |b| b.name_of(u32::try_from(id).unwrap_or(0)));
        if name.is_empty() { format!("with BTF id {id}") } else { name.to_string() }
    }

    fn refuse(&mut self, code: &'static str, why: String) -> Step {
        self.refused.push((code, why));
        Step::Refused(self.refused.len() as u32 - 1)
    }

    fn wide(&mut self, dst: Reg, imm: Imm64, pc: usize) -> Step {
        match imm {
            Imm64::Value(bits) => Step::Wide { dst, bits, own: None },
            Imm64::MapIdx(idx) => match self.map(idx) {
                Some(map) => self.own_slot(dst, 0, map_slot(handle_of(&map))),
                None => self.no_map(idx),
            },
            Imm64::MapIdxValue { idx, off } => match self.map(idx) {
                Some(map) => self.map_value(dst, map, off),
                None => self.no_map(idx),
            },
            Imm64::Func(off) => {
                let target = pc as i64 + 1 + i64::from(off);
                match usize::try_from(target).ok().filter(|t| *t < self.program.insns.len()) {
                    Some(t) => self.own_slot(dst, 0, Slot::shut(self.func_addr(t), Kind::Func(t))),
                    None => self.refuse(
                        "function",
                        format!("address of a function at {target}, outside the program"),
                    ),
                }
            }
            Imm64::MapFd(fd) | Imm64::MapFdValue { fd, .. } => self
                .refuse("map-fd", format!("map by file descriptor {fd}: the program's maps are not bound")),
            Imm64::BtfId { id, .. } => {
                let why =
                    format!("variable of the kernel (BTF id {id}): the user engine has no kernel memory");
                self.refuse("kernel-variable", why)
            }
        }
    }

    fn map(&self, idx: i32) -> Option<Arc<dyn Map>> {
        self.program.maps.get(usize::try_from(idx).ok()?).cloned()
    }

    fn no_map(&mut self, idx: i32) -> Step {
        self.refuse("map-index", format!("map {idx} of a program that has {} maps", self.program.maps.len()))
    }

    fn map_value(&mut self, dst: Reg, map: Arc<dyn Map>, off: u32) -> Step {
        let name = &map.def().name;
        let Some((addr, len)) = map.direct() else {
            let why =
                format!("the values of map {name} cannot be addressed directly: only those of arrays can");
            return self.refuse("map-value", why);
        };
        if u64::from(off) >= len {
            return self.refuse(
                "map-value",
                format!("offset {off} into the values of map {name}, which has {len} bytes"),
            );
        }
        self.own_slot(dst, u64::from(off), value_slot(&*map, addr, len))
    }

    fn own_slot(&mut self, dst: Reg, off: u64, slot: Slot) -> Step {
        let bits = slot.span.addr() + off;
        let same = |s: &Slot| s.kind == slot.kind && s.span.addr() == slot.span.addr();
        let at = self.own.iter().position(same).unwrap_or_else(|| {
            self.own.push(slot);
            self.own.len() - 1
        });
        Step::Wide { dst, bits, own: Some(at as u32) }
    }
}

/// The number by which programs know a map: the address of its object.
pub(crate) fn handle_of(map: &Arc<dyn Map>) -> u64 {
    Arc::as_ptr(map).addr() as u64
}

/// A pointer to a map.
pub(crate) fn map_slot(handle: u64) -> Slot {
    Slot::shut(handle, Kind::Map(handle))
}

/// Memory of a map's value, with the rights that the map's flags give to programs.
pub(crate) fn value_slot(map: &dyn Map, addr: u64, len: u64) -> Slot {
    let handle = std::ptr::from_ref(map).addr() as u64;
    let writable = map.def().flags & flags::RDONLY_PROG == 0;
    let readable = map.def().flags & flags::WRONLY_PROG == 0;
    Slot::memory(Region { kind: RegionKind::MapValue { map: handle }, addr, len, writable }, readable)
}
