//! A program around bare instructions, a context around bare bytes.

use skep_isa::Insn;
use skep_platform::ctx::CtxLayout;
use skep_platform::env::{Context, CtxData, PlainCtx};
use skep_platform::packet::Packet;
use skep_platform::program::Program;
use skep_platform::uapi::ProgType;

/// The layout of plain memory: no fields, since raw programs reach it directly.
pub static MEMORY: CtxLayout = CtxLayout { name: "mem", size: 0, fields: &[] };

/// A GPL program of this type, without maps, lines or BTF.
pub fn program(prog_type: ProgType, insns: Vec<Insn>) -> Program {
    Program { license: "GPL".into(), ..Program::from_insns("test", prog_type, insns) }
}

/// Plain memory: what `r1` and `r2` of a raw program (`ProgType::Unspec`) are given.
pub fn memory(bytes: &[u8]) -> Context {
    Context::memory(bytes)
}

/// A context that is these bytes.
pub fn plain(layout: &'static CtxLayout, bytes: &[u8]) -> Context {
    Context { layout, data: CtxData::Plain(PlainCtx::new(bytes)) }
}

/// A packet context.
pub fn packet(layout: &'static CtxLayout, bytes: &[u8]) -> Context {
    let mut packet = Packet::new();
    packet.set(bytes);
    Context { layout, data: CtxData::Packet(packet) }
}
