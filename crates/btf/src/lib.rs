//! BTF, the type format of eBPF: reading, writing, printing as C and as a listing, printing values by type, and
//! CO-RE relocation.
//!
//! How things flow: bytes → [`Btf::parse`] (checked once, an offset table and no allocation per type) → views
//! ([`Type`], [`Member`], …) that borrow from it. [`BtfExt`] is the companion section with function, line and
//! relocation records; [`core`] resolves the latter against a target. [`BtfBuilder`] goes the other way, and merges
//! several objects. [`dump_c()`] and [`dump_raw()`] print types; [`Value`] reads data by its type.
//!
//! What always holds: the crate touches no file and no kernel; input is never trusted, so every error says the byte
//! offset where it was noticed; type graphs may be cyclic, and every walk is bounded.
//!
//! Sources of the format: the kernel's `include/uapi/linux/btf.h` and `Documentation/bpf/btf.rst`.
#![forbid(unsafe_code)]

mod btf;
mod builder;
pub mod core;
mod dump_c;
mod dump_raw;
mod error;
mod ext;
mod kind;
mod layout;
mod merge;
mod names;
mod resolve;
mod value;
mod view;

pub use btf::{Btf, MAX_NAME_LEN};
pub use builder::{BtfBuilder, BuildError};
pub use dump_c::{CDumpOptions, DumpError, dump_c, type_decl};
pub use dump_raw::{dump_raw, dump_raw_type};
pub use error::{BtfError, BtfErrorKind, Part};
pub use ext::{BtfExt, CoreRelo, ExtSection, FuncInfo, LineInfo};
pub use kind::{Field, KINDS, Kind, KindRow, Word3};
pub use names::essential_name;
pub use resolve::{Aligner, MAX_RESOLVE_DEPTH};
pub use value::{ParseValueError, TextOptions, Value, ValueError, parse_value};
pub use view::{
    Array, Composite, Datasec, DeclTag, Entries, Enum, Enumerator, Float, Func, FuncLinkage, FuncProto, Fwd,
    Int, IntEncoding, Member, Param, Type, TypeTag, Typedef, Var, VarLinkage, VarSecinfo,
};
