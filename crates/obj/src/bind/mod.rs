//! `Object` → [`Program`]: one program with everything it refers to.
//!
//! Flow: the main program's instructions are taken, then every function that a call or function address names is
//! appended once, in the order in which a depth-first walk meets them ([`link`]) → each taken function's references
//! are resolved: maps to indices into the program's own map table, externs to ids and addresses of the target
//! ([`externs`]) → CO-RE relocations are applied ([`core`]) → lines and function starts move along.
//!
//! What always holds of the result: calls and function addresses lie on starts of [`Program::subprogs`], and every
//! map index is in range. An instruction that depends on something weak or on types that the target lacks is replaced
//! by a call of a helper that does not exist, with the reason in [`Program::poisoned`], as libbpf does: code that is
//! never reached stays legal. Everything else that cannot be resolved is a [`BindError`].

mod core;
mod error;
mod externs;
mod link;

use std::sync::Arc;

use skep_btf::{Btf, core::Cache};
use skep_isa::Insn;
use skep_platform::map::Map;
use skep_platform::{LineInfo, Program, Subprog};

pub use error::{At, BindError, BindErrorKind};
pub use link::POISON_MAP;

pub use externs::POISON_KFUNC;

use crate::object::{Function, MapOrigin, Object, RelocTarget};
use crate::sections;

/// `BPF_PSEUDO_MAP_IDX`.
const MAP_IDX: u8 = 5;
/// `BPF_PSEUDO_MAP_IDX_VALUE`.
const MAP_IDX_VALUE: u8 = 6;

/// A symbol of the kernel that there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ksym {
    /// Its address.
    At(u64),
    /// Whoever asks may not know its address.
    Hidden,
    /// Several have this name.
    Ambiguous,
}

/// Finds a kernel symbol; `None` if there is none of that name.
pub type KsymFinder<'a> = dyn Fn(&str) -> Option<Ksym> + 'a;

/// What a program is bound to. One environment serves all programs of one object and remembers what it found.
#[derive(Default)]
pub struct BindEnv<'a> {
    /// Maps by their index in [`Object::maps`]. `None` for one that was not created: instructions that refer to it are
    /// poisoned.
    pub maps: &'a [Option<Arc<dyn Map>>],
    /// Types of the target, that CO-RE relocations, kernel functions and variables are looked up in. `None`:
    /// nothing is relocated, and what needs kernel types is an error unless it is weak.
    pub target_btf: Option<Arc<Btf>>,
    /// Kernel symbols (`/proc/kallsyms`), for externs without a type.
    pub ksym: Option<&'a KsymFinder<'a>>,
    /// CO-RE candidates found so far.
    cache: Cache,
}

impl<'a> BindEnv<'a> {
    /// Maps, and no target.
    pub fn new(maps: &'a [Option<Arc<dyn Map>>]) -> BindEnv<'a> {
        BindEnv { maps, target_btf: None, ksym: None, cache: Cache::default() }
    }

    /// With types of a target.
    #[must_use]
    pub fn target(mut self, btf: Arc<Btf>) -> BindEnv<'a> {
        self.target_btf = Some(btf);
        self
    }
}

impl Object {
    /// Binds the program of this name. Cost: linear in its instructions and those of its subprograms, plus the search
    /// for CO-RE candidates.
    ///
    /// # Errors
    /// No such program, and whatever it refers to that cannot be resolved.
    pub fn bind(&self, name: &str, env: &mut BindEnv<'_>) -> Result<Program, BindError> {
        let index = self.program_index(name).ok_or_else(|| {
            let have = self.programs().map(|p| p.name.clone()).collect();
            BindError { program: name.to_owned(), at: None, kind: BindErrorKind::NoProgram { have } }
        })?;
        self.bind_index(index, env)
    }

    /// Binds function `index` of [`Object::functions`] as a program.
    ///
    /// # Errors
    /// As [`Object::bind`].
    ///
    /// # Panics
    /// If there is no such function.
    pub fn bind_index(&self, index: usize, env: &mut BindEnv<'_>) -> Result<Program, BindError> {
        let order = link::order(self, index);
        let mut binding = Binding::new(self, index, &order);
        for &function in &order {
            binding.take(function, env)?;
        }
        Ok(binding.finish(env))
    }
}

/// A program while it is put together.
struct Binding<'a> {
    object: &'a Object,
    main: &'a Function,
    /// Where each function of the object starts in the program.
    starts: Vec<Option<usize>>,
    program: Program,
    /// Index in the program's map table of each of the object's maps.
    map_slots: Vec<Option<usize>>,
}

impl<'a> Binding<'a> {
    fn new(object: &'a Object, index: usize, order: &[usize]) -> Binding<'a> {
        let main = &object.functions[index];
        let mut starts = vec![None; object.functions.len()];
        let mut end = 0;
        for &function in order {
            starts[function] = Some(end);
            end += object.functions[function].insns.len();
        }
        let mut program = unbound(object, main);
        program.insns.reserve_exact(end);
        Binding { object, main, starts, program, map_slots: vec![None; object.maps.len()] }
    }

    fn error(&self, function: &Function, insn: u32, kind: BindErrorKind) -> BindError {
        BindError {
            program: self.main.name.clone(),
            at: Some(Box::new(At { place: function.place(insn), insn })),
            kind,
        }
    }

    /// Appends a function and resolves what it refers to.
    fn take(&mut self, index: usize, env: &mut BindEnv<'_>) -> Result<(), BindError> {
        let function = &self.object.functions[index];
        let base = self.program.insns.len();
        self.program.insns.extend_from_slice(&function.insns);
        self.program.subprogs.push(Subprog {
            name: function.name.clone(),
            start: base,
            btf_id: function.type_id,
            global: function.linkage != crate::object::Linkage::Static && !function.hidden,
        });
        for reloc in &function.relocs {
            let at = base + reloc.insn as usize;
            match &reloc.target {
                RelocTarget::Map(map) => self.map(at, *map, None, env),
                RelocTarget::MapValue { map, offset } => self.map(at, *map, Some(*offset), env),
                RelocTarget::Call(callee) | RelocTarget::FuncAddr(callee) => self.call(at, *callee),
                RelocTarget::ExternCall(e) | RelocTarget::ExternAddr(e) => {
                    let call = matches!(reloc.target, RelocTarget::ExternCall(_));
                    self.extern_ref(at, *e, call, env)
                        .map_err(|kind| self.error(function, reloc.insn, kind))?;
                }
                RelocTarget::Bad { symbol, why } => {
                    let kind = BindErrorKind::Relocation { symbol: symbol.clone(), why };
                    return Err(self.error(function, reloc.insn, kind));
                }
            }
        }
        self.relocate(function, base, env)?;
        self.lines(function, base);
        Ok(())
    }

    /// Makes the `ldimm64` at `at` refer to a map, or to an address in its first value.
    fn map(&mut self, at: usize, map: usize, offset: Option<u32>, env: &BindEnv<'_>) {
        let Some(Some(created)) = env.maps.get(map) else {
            let name = &self.object.maps[map].def.name;
            return self.poison(
                at,
                POISON_MAP + map as i32,
                format!("BPF map '{name}' is referenced but wasn't created"),
            );
        };
        let slot = match self.map_slots[map] {
            Some(slot) => slot,
            None => {
                self.program.maps.push(Arc::clone(created));
                *self.map_slots[map].insert(self.program.maps.len() - 1)
            }
        };
        let source = if offset.is_some() { MAP_IDX_VALUE } else { MAP_IDX };
        self.load(at, source, slot as i32, offset.unwrap_or(0) as i32);
    }

    /// Sets both slots of the `ldimm64` at `at`.
    fn load(&mut self, at: usize, source: u8, low: i32, high: i32) {
        let insns = &mut self.program.insns;
        insns[at] = insns[at].with_src(source).with_imm(low);
        if let Some(second) = insns.get_mut(at + 1) {
            *second = second.with_imm(high);
        }
    }

    /// Makes the call or function address at `at` refer to a function.
    fn call(&mut self, at: usize, callee: usize) {
        // The walk that found the order has met every callee.
        let start = self.starts[callee].unwrap_or(0);
        let insn = &mut self.program.insns[at];
        let source = if insn.is_ldimm64() { 4 } else { 1 };
        *insn = insn.with_src(source).with_imm((start as i64 - at as i64 - 1) as i32);
        if source == 4
            && let Some(second) = self.program.insns.get_mut(at + 1)
        {
            *second = second.with_imm(0);
        }
    }

    /// Replaces the instruction at `at`, both slots of an `ldimm64`, by a call of a helper that does not exist.
    fn poison(&mut self, at: usize, helper: i32, why: String) {
        let insns = &mut self.program.insns;
        let poison = Insn::new(0x85, 0, 0, 0, helper);
        if insns[at].is_ldimm64()
            && let Some(second) = insns.get_mut(at + 1)
        {
            *second = poison;
        }
        insns[at] = poison;
        self.program.poisoned.push((at, why));
    }

    fn lines(&mut self, function: &Function, base: usize) {
        let Some(btf) = &self.object.btf else { return };
        let mut file: (u32, Arc<str>) = (0, "".into());
        for line in &function.lines {
            if line.file != file.0 {
                file = (line.file, btf.string(line.file).unwrap_or("").into());
            }
            self.program.lines.push(LineInfo {
                insn: base + line.insn as usize,
                file: Arc::clone(&file.1),
                text: btf.string(line.text).unwrap_or("").into(),
                line: line.line,
                col: line.column,
            });
        }
    }

    fn finish(mut self, env: &BindEnv<'_>) -> Program {
        self.program.kernel_btf = env.target_btf.clone();
        self.program.poisoned.sort_by_key(|p| p.0);
        self.program
    }
}

/// The program without instructions.
fn unbound(object: &Object, main: &Function) -> Program {
    let entry = main.entry.clone().unwrap_or_else(|| crate::functions::entry_of(&main.section));
    let has = |flag| entry.row.is_some_and(|row| row.has(flag));
    let name = main.section.strip_prefix('?').unwrap_or(&main.section);
    let row = entry.row.filter(|row| row.covers(name));
    let target = row.and_then(|row| name.strip_prefix(row.prefix)?.strip_prefix('/'));
    Program {
        name: main.name.clone(),
        section: main.section.clone(),
        prog_type: entry.prog_type,
        attach_type: entry.attach_type,
        attach_target: member_of(object, main).or(target.filter(|t| !t.is_empty()).map(str::to_owned)),
        sleepable: has(sections::SLEEPABLE),
        xdp_frags: has(sections::XDP_FRAGS),
        license: object.license.clone(),
        insns: Vec::new(),
        subprogs: Vec::new(),
        maps: Vec::new(),
        lines: Vec::new(),
        btf: object.btf.clone(),
        kernel_btf: None,
        poisoned: Vec::new(),
    }
}

/// `TYPE/MEMBER` of a program that is a member of a `struct_ops` variable: what it attaches to is said there, not by
/// its section.
fn member_of(object: &Object, main: &Function) -> Option<String> {
    object.maps.iter().find_map(|m| {
        let MapOrigin::StructOps(ops) = &m.origin else { return None };
        let is_main = |i: usize| object.functions.get(i).is_some_and(|f| std::ptr::eq(f, main));
        let member = ops.programs.iter().find(|p| is_main(p.function))?;
        Some(format!("{}/{}", ops.type_name, member.member))
    })
}
