//! An object brought to life in an engine: its maps created and filled, its programs bound and loaded.
//!
//! Flow: maps first, in the object's order (inner maps before outer ones are needed only as definitions) → data sections
//! filled, `.rodata` frozen → programs bound against the maps and loaded → program arrays and maps of maps filled with
//! what the object puts into their slots.
//!
//! Always holds: every map of the object has its index here, `None` when the engine cannot make it (the reason is in
//! [`Collection::missing`]) or when it is only made if asked for (`?.struct_ops`); a program that cannot be loaded stops the opening only when it was asked for.

use crate::refused::{KernelRejection, explained};
use skep_btf::Btf;
use skep_kernel::{KernelMap, struct_ops};
use skep_obj::{BindEnv, BindError, Kconfig, KconfigError, Ksym, MapOrigin, Object, Slot, StructOpsMember};
use skep_platform::map::{Handle, MapError, Side};
use skep_platform::{Engine, EngineError, Errno, Loadable, Loaded, Map, MapDef, MapType, Program};
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

/// Which programs of an object are loaded.
#[derive(Clone, Copy, Debug, Default)]
pub enum Select<'a> {
    /// Those that load by themselves (no `?` in the section name) and that the engine can run; the rest is listed in
    /// [`Collection::skipped`].
    #[default]
    Auto,
    /// Those that load by themselves; failing to load one is an error.
    Whole,
    /// These, by name; failing to load one is an error.
    Named(&'a [&'a str]),
}

/// How an object is opened. Make one with [`Options::default`] and set what differs.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Options<'a> {
    /// Programs to load.
    pub select: Select<'a>,
    /// Types that CO-RE relocations are resolved against; `None`: the engine's own ([`Engine::target_btf`]), which for the
    /// kernel engine are the running kernel's. The user engine has none and relocates nothing.
    pub target_btf: Option<Arc<Btf>>,
    /// Kernel configuration for `.kconfig` externs.
    pub kconfig: Kconfig<'a>,
    /// Symbols of the kernel, for externs without a type.
    pub ksyms: HashMap<String, Ksym>,
    /// Global variables set before the programs are loaded: `NAME=VALUE`, the value as C writes it. Members of struct_ops
    /// variables are `NAME.MEMBER=VALUE`, functions among them the name of a program, or 0 for none.
    pub set: Vec<&'a str>,
}

/// A loaded program of a collection.
pub struct LoadedProgram {
    /// Index of its function in the object.
    pub function: usize,
    /// The program, ready to run.
    pub loaded: Arc<dyn Loaded>,
    /// It is reached by tail calls: the object puts it into a program array.
    pub tail_called: bool,
}

/// An object in an engine.
pub struct Collection {
    /// What was opened.
    pub object: Object,
    /// Maps by their index in the object.
    pub maps: Vec<Option<Arc<dyn Map>>>,
    /// Loaded programs, in the object's order.
    pub programs: Vec<LoadedProgram>,
    /// Maps that the engine cannot make or, of struct_ops, cannot fill, and why.
    pub missing: Vec<MapError>,
    /// What went otherwise than the object has it and hinders nothing, in words.
    pub warnings: Vec<String>,
    /// Programs that were not loaded, and why.
    pub skipped: Vec<(String, Error)>,
}

/// Why an object cannot be opened in an engine.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// A map cannot be filled.
    Fill {
        /// Its name.
        map: String,
        /// The error number that writing gave.
        errno: Errno,
        /// What was being written.
        what: String,
    },
    /// A variable cannot be set.
    Set(crate::set::SetError),
    /// A configuration extern has no fitting value.
    Kconfig(KconfigError),
    /// A program refers to something that cannot be resolved.
    Bind(Box<BindError>),
    /// The verifier refuses a program.
    Refused(Box<skep_verifier::Rejection>),
    /// The kernel's verifier refuses a program.
    RefusedByKernel(Box<KernelRejection>),
    /// The engine refuses a program.
    Engine(EngineError),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Fill { map, errno, what } => write!(f, "map {map}: cannot write {what}: {errno}"),
            Error::Set(e) => e.fmt(f),
            Error::Kconfig(e) => e.fmt(f),
            Error::Bind(e) => e.fmt(f),
            Error::Refused(e) => e.fmt(f),
            Error::RefusedByKernel(e) => e.fmt(f),
            Error::Engine(e) => e.fmt(f),
        }
    }
}

impl std::error::Error for Error {}

impl From<EngineError> for Error {
    fn from(e: EngineError) -> Error {
        Error::Engine(e)
    }
}

impl Collection {
    /// Opens `object` in `engine`.
    ///
    /// `judge` turns a bound program into what is loaded: the verifier's answer, or [`Loadable::Unverified`] for the
    /// checked tier. Cost: that of creating the maps, plus binding and loading each selected program.
    ///
    /// # Errors
    /// A map's initial contents that cannot be written, a configuration extern without value, and, for programs asked
    /// for by name, whatever keeps them from being bound or loaded.
    pub fn open(
        object: Object,
        engine: &dyn Engine,
        options: &Options<'_>,
        judge: &mut dyn FnMut(Program) -> Result<Loadable, Error>,
    ) -> Result<Collection, Error> {
        let mut object = object;
        crate::set::struct_ops(&mut object, &options.set).map_err(Error::Set)?;
        let target = target(&object, engine, options)?;
        let (maps, missing) = create_maps(&object, engine);
        fill_data(&object, &maps, options)?;
        let mut c = Collection {
            warnings: untyped(&maps),
            object,
            maps,
            programs: Vec::new(),
            missing,
            skipped: Vec::new(),
        };
        c.load_programs(engine, options, target, judge)?;
        c.fill_slots(engine)?;
        c.fill_struct_ops();
        Ok(c)
    }

    /// The loaded program of this name.
    pub fn program(&self, name: &str) -> Option<&LoadedProgram> {
        let index = self.object.program_index(name)?;
        self.programs.iter().find(|p| p.function == index)
    }

    /// The map of this name.
    pub fn map(&self, name: &str) -> Option<&Arc<dyn Map>> {
        let at = self.object.maps.iter().position(|m| m.def.name == name)?;
        self.maps[at].as_ref()
    }

    fn load_programs(
        &mut self,
        engine: &dyn Engine,
        options: &Options<'_>,
        target: Option<Arc<Btf>>,
        judge: &mut dyn FnMut(Program) -> Result<Loadable, Error>,
    ) -> Result<(), Error> {
        let mut env = BindEnv::new(&self.maps);
        env.target_btf = target;
        let symbol = |name: &str| options.ksyms.get(name).copied();
        env.ksym = Some(&symbol);
        let slots = slot_functions(&self.object);
        for (index, f) in self.object.functions.iter().enumerate() {
            let Some(entry) = &f.entry else { continue };
            let named = match options.select {
                Select::Auto => false,
                // What stands in `.text` is called by programs and is none, also where no program is (libbpf's rule).
                Select::Whole => self.object.autoloads(index) && f.section != ".text",
                Select::Named(names) => {
                    names.contains(&f.name.as_str()) || names.contains(&f.section.as_str())
                }
            };
            let tail_called = slots.contains(&index) || entry.tail_slot.is_some();
            let wanted = named
                || tail_called
                || matches!(options.select, Select::Auto) && self.object.autoloads(index);
            if !wanted {
                continue;
            }
            let bound = self.object.bind_index(index, &mut env).map_err(|e| Error::Bind(Box::new(e)));
            let loaded = bound.and_then(&mut *judge).and_then(|l| {
                let program = l.program().clone();
                engine.load(l).map_err(|e| match e {
                    EngineError::Refused(r) => Error::RefusedByKernel(Box::new(explained(&program, *r))),
                    e => Error::Engine(e),
                })
            });
            match loaded {
                Ok(loaded) => self.programs.push(LoadedProgram { function: index, loaded, tail_called }),
                Err(e) if named => return Err(e),
                Err(e) => self.skipped.push((f.name.clone(), e)),
            }
        }
        Ok(())
    }

    fn fill_slots(&self, engine: &dyn Engine) -> Result<(), Error> {
        for (spec, map) in self.object.maps.iter().zip(&self.maps) {
            let Some(map) = map else { continue };
            for (key, slot) in &spec.slots {
                let handle = match slot {
                    Slot::Function(i) => self.handle_of(*i),
                    Slot::Map(i) => self.maps[*i].clone().map(Handle::Map),
                };
                set(&**map, *key, handle)?;
            }
        }
        self.fill_iproute2(engine)
    }

    /// iproute2's numeric sections and inner maps by id.
    fn fill_iproute2(&self, _: &dyn Engine) -> Result<(), Error> {
        for p in &self.programs {
            let entry = self.object.functions[p.function].entry.as_ref();
            let Some(slot) = entry.and_then(|e| e.tail_slot) else { continue };
            if let Some(map) = slot.map.and_then(|m| self.maps[m].as_ref()) {
                set(&**map, slot.slot, self.handle_of(p.function))?;
            }
        }
        Ok(())
    }

    /// Puts the values of struct_ops maps together. One that a program is missing for is left alone: it cannot be registered.
    fn fill_struct_ops(&mut self) {
        let mut wrong = Vec::new();
        for (spec, map) in self.object.maps.iter().zip(&self.maps) {
            let (MapOrigin::StructOps(ops), Some(map), Some(types)) = (&spec.origin, map, &spec.def.btf)
            else {
                continue;
            };
            let Some(kernel) = map.as_any().downcast_ref::<KernelMap>() else { continue };
            let loaded = |function| self.programs.iter().find(|p| p.function == function);
            let program = |m: &StructOpsMember| Some((m.offset, loaded(m.function)?.loaded.clone()));
            let Some(programs) = ops.programs.iter().map(program).collect::<Option<Vec<_>>>() else {
                continue;
            };
            let contents = spec.contents.as_deref().unwrap_or_default();
            let definition = struct_ops::Definition { btf: &types.btf, type_id: ops.type_id, contents };
            if let Err(why) = kernel.fill_struct_ops(&definition, &programs) {
                wrong.push(MapError { map: spec.def.name.clone(), errno: Errno::EINVAL, why });
            }
        }
        self.missing.append(&mut wrong);
    }

    fn handle_of(&self, function: usize) -> Option<Handle> {
        let p = self.programs.iter().find(|p| p.function == function)?;
        Some(Handle::Prog(p.loaded.clone().into_handle()))
    }
}

/// Maps whose types the kernel did not take.
fn untyped(maps: &[Option<Arc<dyn Map>>]) -> Vec<String> {
    let maps = maps.iter().flatten().filter_map(|m| m.as_any().downcast_ref::<KernelMap>());
    maps.filter_map(|m| Some(untyped_text(&m.def().name, m.untyped()?))).collect()
}

fn untyped_text(name: &str, errno: Errno) -> String {
    format!(
        "map {name}: this kernel refuses its types ({errno}); it was made without them, so that those who list it see bytes"
    )
}

/// Types that the object is fitted to. An object that would be wrong without any is not opened without.
fn target(object: &Object, engine: &dyn Engine, options: &Options<'_>) -> Result<Option<Arc<Btf>>, Error> {
    if options.target_btf.is_some() || !object.needs_target() {
        return Ok(options.target_btf.clone());
    }
    match engine.target_btf() {
        Err(e) if object.is_relocated() => Err(Error::Engine(e)),
        Err(_) => Ok(None),
        Ok(types) => Ok(types),
    }
}

fn set(map: &dyn Map, key: u32, handle: Option<Handle>) -> Result<(), Error> {
    let Some(handle) = handle else { return Ok(()) };
    let done = map.set_handle(&key.to_ne_bytes(), handle, 0);
    done.map_err(|errno| Error::Fill { map: map.def().name.clone(), errno, what: format!("entry {key}") })
}

/// Functions that the object puts into program arrays.
fn slot_functions(object: &Object) -> Vec<usize> {
    let slots = object.maps.iter().flat_map(|m| &m.slots);
    slots.filter_map(|(_, s)| if let Slot::Function(i) = s { Some(*i) } else { None }).collect()
}

/// The maps of an object, empty, and why some of them cannot be made.
pub fn create_maps(object: &Object, engine: &dyn Engine) -> (Vec<Option<Arc<dyn Map>>>, Vec<MapError>) {
    let mut missing = Vec::new();
    let maps = object.maps.iter().map(|spec| {
        // Not asked for: neither made nor missing.
        if matches!(&spec.origin, MapOrigin::StructOps(ops) if !ops.autocreate) {
            return None;
        }
        engine.create_map(&sized(&spec.def)).map_err(|e| missing.push(e)).ok()
    });
    (maps.collect(), missing)
}

/// A perf event array without a size has an entry a CPU, as libbpf makes it.
fn sized(def: &MapDef) -> MapDef {
    let mut def = def.clone();
    if def.map_type == MapType::PerfEventArray && def.max_entries == 0 {
        def.max_entries = skep_maps::possible_cpus();
    }
    def
}

/// Fills the data sections and freezes the read-only ones.
pub(crate) fn fill_data(
    object: &Object,
    maps: &[Option<Arc<dyn Map>>],
    options: &Options<'_>,
) -> Result<(), Error> {
    let patches = crate::set::patches(object, &options.set).map_err(Error::Set)?;
    let kconfig = object.kconfig(&options.kconfig).map_err(Error::Kconfig)?;
    for (spec, map) in object.maps.iter().zip(maps) {
        let Some(map) = map.as_ref().filter(|m| !m.as_any().is::<crate::definition::Definition>()) else {
            continue;
        };
        let given = patches.iter().find(|(name, _)| *name == spec.def.name).map(|(_, bytes)| bytes);
        let contents = match spec.origin {
            MapOrigin::Kconfig => kconfig.as_ref(),
            // Written when it is registered.
            MapOrigin::StructOps(_) => None,
            _ => given.or(spec.contents.as_ref()),
        };
        let fail = |errno, what: &str| Error::Fill { map: spec.def.name.clone(), errno, what: what.into() };
        if let Some(bytes) = contents {
            let done = map.update(&0u32.to_ne_bytes(), bytes, 0, Side::User);
            done.map_err(|e| fail(e, "its initial contents"))?;
        }
        if matches!(spec.origin, MapOrigin::Rodata | MapOrigin::Kconfig) {
            map.freeze().map_err(|e| fail(e, "its frozen state"))?;
        }
    }
    Ok(())
}
