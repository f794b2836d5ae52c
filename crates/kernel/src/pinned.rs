//! Maps that are pinned by name, as libbpf's `LIBBPF_PIN_BY_NAME` has it: a map whose definition asks for it is opened from
//! the pin folder if it is there and fits, else made and pinned there. Others may be replaced by maps that exist.

use crate::{Kernel, KernelMap, pin};
use skep_btf::Btf;
use skep_platform::engine::{Engine, EngineError, Link, Loadable, Loaded, Platform, RunError, RunStats};
use skep_platform::env::Context;
use skep_platform::map::{Map, MapDef, MapError};
use skep_platform::{Errno, MapType};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// `BPF_F_RDONLY_PROG`, which the kernel adds to device maps.
const ADDED: u32 = 1 << 7;

/// The kernel engine, with maps by name.
#[derive(Debug)]
pub struct Pinning<'a> {
    kernel: &'a Kernel,
    root: PathBuf,
    /// Maps that take the place of those of the object, by name.
    instead: Vec<(String, Arc<KernelMap>)>,
    /// What was pinned on the way.
    made: Mutex<Vec<PathBuf>>,
}

impl<'a> Pinning<'a> {
    /// Maps are looked for and pinned in this folder; libbpf's is `/sys/fs/bpf`.
    pub fn new(kernel: &'a Kernel, root: &Path) -> Pinning<'a> {
        Pinning { kernel, root: root.into(), instead: Vec::new(), made: Mutex::default() }
    }

    /// Takes this map where the object defines one of this name.
    #[must_use]
    pub fn instead_of(mut self, name: &str, map: KernelMap) -> Pinning<'a> {
        self.instead.push((name.to_owned(), Arc::new(map)));
        self
    }

    /// Pins made so far. Whoever gives up takes them away.
    pub fn made(&self) -> Vec<PathBuf> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn by_name(&self, def: &MapDef) -> Result<Arc<dyn Map>, MapError> {
        let path = self.root.join(&def.name);
        let wrong = |errno, why: String| MapError { map: def.name.clone(), errno, why };
        let door = self.kernel.door();
        match pin::open(&**door, &path) {
            Ok(fd) => {
                let map =
                    KernelMap::open(door, fd).map_err(|e| wrong(e, format!("{}: no map", path.display())))?;
                if let Some(difference) = difference(def, map.def()) {
                    return Err(wrong(
                        Errno::EINVAL,
                        format!(
                            "the map pinned at {} is another one: {difference}; take the pin away, or load with another \
                             pin folder",
                            path.display()
                        ),
                    ));
                }
                Ok(Arc::new(map))
            }
            Err(e) if e.errno == Errno::ENOENT => {
                let map = self.kernel.create_map(def)?;
                let mine = map.as_any().downcast_ref::<KernelMap>();
                let fd = mine.ok_or_else(|| wrong(Errno::EINVAL, "another engine's map".into()))?.as_fd();
                pin::pin(&**door, &path, fd).map_err(|e| wrong(e.errno, e.to_string()))?;
                self.made.lock().unwrap_or_else(PoisonError::into_inner).push(path);
                Ok(map)
            }
            Err(e) => Err(wrong(e.errno, e.to_string())),
        }
    }
}

/// What keeps a map that exists from being the one that is defined.
pub(crate) fn difference(wanted: &MapDef, found: &MapDef) -> Option<String> {
    let differ =
        |what: &str, w: u32, f: u32| (w != f).then(|| format!("{what} {f} there, {w} in the object"));
    if wanted.map_type != found.map_type {
        return Some(format!(
            "type {} there, {} in the object",
            found.map_type.label(),
            wanted.map_type.label()
        ));
    }
    let rounds = matches!(wanted.map_type, MapType::Ringbuf | MapType::UserRingbuf | MapType::PerfEventArray);
    differ("key size", wanted.key_size, found.key_size)
        .or_else(|| differ("value size", wanted.value_size, found.value_size))
        .or_else(|| differ("max_entries", wanted.max_entries, found.max_entries).filter(|_| !rounds))
        .or_else(|| differ("flags", wanted.flags | ADDED, found.flags | ADDED))
}

impl Engine for Pinning<'_> {
    fn platform(&self) -> &Platform {
        self.kernel.platform()
    }

    fn create_map(&self, def: &MapDef) -> Result<Arc<dyn Map>, MapError> {
        if let Some((_, map)) = self.instead.iter().find(|(name, _)| *name == def.name) {
            let map: Arc<dyn Map> = map.clone();
            return match difference(def, map.def()) {
                None => Ok(map),
                Some(why) => Err(MapError { map: def.name.clone(), errno: Errno::EINVAL, why }),
            };
        }
        if def.pin_by_name { self.by_name(def) } else { self.kernel.create_map(def) }
    }

    fn target_btf(&self) -> Result<Option<Arc<Btf>>, EngineError> {
        self.kernel.target_btf()
    }

    fn load(&self, program: Loadable) -> Result<Arc<dyn Loaded>, EngineError> {
        self.kernel.load(program)
    }

    fn test_run(&self, program: &dyn Loaded, ctx: &mut Context) -> Result<u64, Box<RunError>> {
        self.kernel.test_run(program, ctx)
    }

    fn run_stats(&self, program: &dyn Loaded) -> Result<RunStats, Errno> {
        self.kernel.run_stats(program)
    }

    fn attach(&self, program: Arc<dyn Loaded>, target: &str) -> Result<Box<dyn Link>, EngineError> {
        self.kernel.attach(program, target)
    }
}
