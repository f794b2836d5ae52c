//! Skep: the eBPF system in user space.
//!
//! [`Object`] → [`Collection`] → run. An object file compiled for the Linux kernel is opened as plain data, its maps are
//! created and its programs bound and loaded in an engine, which then runs them on packets or other contexts.

mod collection;

pub use collection::{Collection, Error, LoadedProgram, Options, Select};
pub use skep_btf as btf;
pub use skep_isa as isa;
pub use skep_obj as obj;
pub use skep_obj::Object;
pub use skep_platform as platform;
pub use skep_platform::{Engine, Loadable, Loaded, Map};
