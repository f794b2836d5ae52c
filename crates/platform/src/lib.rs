//! The eBPF platform as data: what a helper, a program type, a map type *is*, and the traits by which engines, maps
//! and helpers meet. Descriptors and traits only; the rows live with their bodies (`skep-helpers`, `skep-maps`,
//! `skep-hooks`), and [`Platform`] collects them.
//!
//! Always holds: nothing here names a single helper, map or hook; a safety-relevant field has no default, so a row
//! that leaves it out does not compile.

pub mod ctx;
pub mod engine;
pub mod env;
pub mod errno;
pub mod facts;
pub mod helper;
pub mod kfunc;
pub mod map;
pub mod name;
pub mod packet;
pub mod program;
pub mod uapi;

pub use ctx::{CtxAccess, CtxField, CtxLayout, FieldKind, ProgTypeDesc, Rights, Verdict};
pub use engine::{
    CallSite, Engine, EngineError, Link, Loadable, Loaded, Platform, Refusal, RegisterNote, RunError,
    RunStats,
};
pub use env::{Context, Env, Fault, Host, Memory, Region, RegionKind, Ret};
pub use errno::Errno;
pub use facts::Facts;
pub use helper::{Arg, ArgKind, Body, Caller, Helper, Proto, RetType, Version};
pub use kfunc::{Kfunc, KfuncKind};
pub use map::{Map, MapDef, MapTypeDesc};
pub use name::Name;
pub use packet::{Checksum, Packet, PacketCtx};
pub use program::{LineInfo, Program, Subprog, Verified};
pub use uapi::{AttachType, MapType, ProgType};
