//! Skep: the eBPF system in user space.
//!
//! [`Object`] → [`Collection`] → run. An object file compiled for the Linux kernel is opened as plain data, its maps are
//! created and its programs bound and loaded in an engine, which then runs them on packets or other contexts.

pub mod cases;
mod collection;
mod definition;
pub mod explain;
pub mod raw;
mod refused;
mod set;
pub mod skeleton;
pub mod verify;

pub use collection::{Collection, Error, LoadedProgram, Options, Select, create_maps};
pub use refused::{KernelRejection, explained};
pub use set::SetError;
pub use skep_btf as btf;
pub use skep_cbpf as cbpf;
pub use skep_hooks as hooks;
pub use skep_isa as isa;
pub use skep_kernel as kernel;
pub use skep_obj as obj;
pub use skep_obj::Object;
pub use skep_platform::{self as descriptors, Engine, Loadable, Loaded, Map};
pub use skep_verifier as verifier;
pub use skep_vm as vm;

/// Linux 6.18 as tables: every helper, program type and map type known here.
pub fn platform() -> &'static skep_platform::Platform {
    static LINUX: skep_platform::Platform = skep_platform::Platform {
        version: skep_platform::Version(6, 18),
        helpers: skep_helpers::HELPERS,
        kfuncs: skep_helpers::KFUNCS,
        prog_types: skep_hooks::PROG_TYPES,
        map_types: skep_maps::MAP_TYPES,
    };
    &LINUX
}
