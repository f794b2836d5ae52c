//! eBPF object files: bytes → [`Object`] → `Program`.
//!
//! [`Object::parse`] reads an ELF object as plain data: functions, maps, externs, relocations, types. Nothing is
//! looked up or created: same bytes, same object. [`Object::bind`] makes of one program what can be judged and run:
//! subprograms linked in, references bound to real maps and to a target's types. [`link()`] makes one object of several,
//! and [`asm`] turns objects into assembly text and back.
//!
//! ```no_run
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use skep_obj::{BindEnv, Object};
//! let object = Object::parse(&std::fs::read("firewall.bpf.o")?)?;
//! let maps = vec![None; object.maps.len()]; // an engine creates them from `object.maps[i].def`
//! for program in object.programs() {
//!     let bound = object.bind(&program.name, &mut BindEnv::new(&maps))?;
//!     println!("{}: {} instructions", bound.name, bound.insns.len());
//! }
//! # Ok(()) }
//! ```
//!
//! What always holds: no I/O; input is never trusted; a finding about one program or section is a [`Diagnostic`], and
//! only what makes the whole file meaningless is an [`ObjError`].
#![forbid(unsafe_code)]

pub mod asm;
pub mod attach;
pub mod bind;
mod btf_fixup;
mod data;
pub mod elf;
pub mod error;
mod ext;
mod externs;
mod functions;
pub mod kconfig;
pub mod link;
mod maps;
mod maps_btf;
mod maps_legacy;
pub mod object;
mod open;
mod relocs;
pub mod sections;
mod struct_ops;
pub mod write;
mod xdp;

pub use attach::AttachTarget;
pub use bind::{BindEnv, BindError, BindErrorKind, Ksym};
pub use error::{Diagnostic, DiagnosticKind, MapRule, ObjError, ObjErrorKind, Place};
pub use kconfig::{Kconfig, KconfigError};
pub use link::{LinkError, LinkErrorKind, link};
pub use object::{
    CoreReloc, Entry, Extern, ExternKind, Function, Iproute2, KconfigKind, Line, Linkage, MapOrigin, MapSpec,
    Object, Reloc, RelocTarget, SectionInfo, Slot, StructOps, StructOpsMember, TailSlot,
};
pub use sections::SectionDef;
pub use xdp::XdpRunConfig;
