//! Objects of the kernel's own tests: opened, their maps as definitions only, their programs bound to this kernel's
//! types.

use super::map::Paper;
use skep_btf::{Btf, Kind};
use skep_obj::{BindEnv, Ksym, MapOrigin, Object};
use skep_platform::{Map, Program};
use std::io::Read;
use std::path::Path;
use std::sync::{Arc, OnceLock};

/// Types of the running kernel, where it shows them.
pub(crate) fn kernel() -> Option<Arc<Btf>> {
    static KERNEL: OnceLock<Option<Arc<Btf>>> = OnceLock::new();
    KERNEL
        .get_or_init(|| {
            let bytes = std::fs::read("/sys/kernel/btf/vmlinux").ok()?;
            Btf::parse(&bytes).ok().map(Arc::new)
        })
        .clone()
}

/// Configuration of the running kernel, where it shows it.
pub(crate) fn config() -> Option<Arc<str>> {
    let file = std::fs::File::open("/proc/config.gz").ok()?;
    let mut text = String::new();
    flate2::read::GzDecoder::new(file).read_to_string(&mut text).ok()?;
    Some(text.into())
}

/// An object with its maps.
pub(crate) struct Opened {
    pub(crate) object: Object,
    maps: Vec<Option<Arc<dyn Map>>>,
}

impl Opened {
    pub(crate) fn open(path: &Path) -> Result<Opened, String> {
        let bytes = std::fs::read(path).map_err(|e| e.to_string())?;
        let object = Object::parse(&bytes).map_err(|e| e.to_string())?;
        let maps = object
            .maps
            .iter()
            .map(|m| {
                let frozen = matches!(m.origin, MapOrigin::Rodata | MapOrigin::Kconfig);
                // Contents that are not written out are zeros.
                let zeros = || m.origin.is_data().then(|| vec![0; m.def.value_size as usize]);
                let data = m.contents.clone().or_else(zeros);
                let map: Arc<dyn Map> = Arc::new(Paper { def: m.def.clone(), frozen, data });
                Some(map)
            })
            .collect();
        Ok(Opened { object, maps })
    }

    pub(crate) fn bind(&self, prog: &str) -> Result<Program, String> {
        let mut env = BindEnv::new(&self.maps);
        if let Some(k) = kernel() {
            env = env.target(k);
        }
        let symbol = |name: &str| {
            let kernel = kernel()?;
            let found = [Kind::Func, Kind::Var].iter().find_map(|k| kernel.find_by_name_kind(name, *k));
            found.map(|_| Ksym::At(0xffff_ffff_8100_0000))
        };
        env.ksym = Some(&symbol);
        self.object.bind(prog, &mut env).map_err(|e| e.to_string())
    }
}
