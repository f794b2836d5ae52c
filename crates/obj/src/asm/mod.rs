//! Object files ↔ assembly: [`from_elf`] takes an ELF file apart into an [`AsmObject`], which [`skep_isa::asm::print()`]
//! writes as text, and [`to_elf`] makes an ELF file of one that [`skep_isa::asm::parse`] has read.
//!
//! What always holds: instruction bytes, relocations and the symbols that they name survive both ways. With
//! [`Detail::Exact`] so do types, CO-RE records and raw map definitions, as bytes; with [`Detail::Readable`]
//! definitions in `.maps` become `.map` lines and types are left out: [`to_elf`] then makes those that maps, variables
//! and externs need. [`Detail::Auto`] chooses.

mod read;
mod types;
mod write;

pub use read::{Detail, from_elf};
pub use write::{AsmElfError, to_elf};

use std::fmt;

use skep_isa::asm::AsmObject;
use skep_platform::ProgType;

use crate::error::ObjError;
use crate::object::Object;

/// Why an assembly file makes no object.
#[derive(Clone, Debug, PartialEq)]
pub enum AsmObjectError {
    /// It makes no ELF file.
    Elf(AsmElfError),
    /// The file that it makes cannot be opened.
    Object(ObjError),
    /// A function's program type does not exist.
    ProgType {
        /// The function.
        function: String,
        /// The type named.
        name: String,
    },
}

impl fmt::Display for AsmObjectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AsmObjectError::Elf(e) => e.fmt(f),
            AsmObjectError::Object(e) => e.fmt(f),
            AsmObjectError::ProgType { function, name } => {
                write!(
                    f,
                    "function {function:?}: no program type {name:?}; types are named as in xdp, sched_cls"
                )
            }
        }
    }
}

impl std::error::Error for AsmObjectError {}

impl Object {
    /// The object that an assembly file says. A program type named in the text goes before its section's.
    ///
    /// # Errors
    /// References to what does not exist, map or program types that do not exist, and whatever makes an object
    /// unreadable.
    pub fn from_asm(asm: &AsmObject) -> Result<Object, AsmObjectError> {
        let bytes = to_elf(asm).map_err(AsmObjectError::Elf)?.write();
        let mut object = Object::parse(&bytes).map_err(AsmObjectError::Object)?;
        for symbol in asm.sections.iter().flat_map(|s| &s.symbols) {
            let Some(name) = &symbol.prog_type else { continue };
            let unknown = || AsmObjectError::ProgType { function: symbol.name.clone(), name: name.clone() };
            let prog_type = prog_type(name).ok_or_else(unknown)?;
            for function in object.functions.iter_mut().filter(|f| f.name == symbol.name) {
                let section = &function.section;
                let entry = function.entry.get_or_insert_with(|| crate::functions::entry_of(section));
                entry.prog_type = prog_type;
                object.diagnostics.retain(|d| d.program.as_ref() != Some(&symbol.name));
            }
        }
        Ok(object)
    }
}

/// `xdp`, `sched_cls` or `BPF_PROG_TYPE_XDP`.
fn prog_type(name: &str) -> Option<ProgType> {
    ProgType::from_uapi_name(name)
        .or_else(|| ProgType::from_uapi_name(&format!("BPF_PROG_TYPE_{}", name.to_ascii_uppercase())))
}
