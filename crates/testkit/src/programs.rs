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
    Program {
        name: "test".into(),
        section: String::new(),
        prog_type,
        attach_type: None,
        attach_target: None,
        sleepable: false,
        xdp_frags: false,
        license: "GPL".into(),
        insns,
        subprogs: Vec::new(),
        maps: Vec::new(),
        lines: Vec::new(),
        btf: None,
        kernel_btf: None,
        poisoned: Vec::new(),
    }
}

/// Plain memory: what `r1` and `r2` of a raw program (`ProgType::Unspec`) are given.
pub fn memory(bytes: &[u8]) -> Context {
    plain(&MEMORY, bytes)
}

/// A context that is these bytes.
pub fn plain(layout: &'static CtxLayout, bytes: &[u8]) -> Context {
    let mut words = vec![0u64; bytes.len().div_ceil(8)].into_boxed_slice();
    for (i, b) in bytes.iter().enumerate() {
        words[i / 8] |= u64::from(*b) << (i % 8 * 8);
    }
    Context { layout, data: CtxData::Plain(PlainCtx { words, len: bytes.len(), buffers: Vec::new() }) }
}

/// A packet context.
pub fn packet(layout: &'static CtxLayout, bytes: &[u8]) -> Context {
    let mut packet = Packet::new();
    packet.set(bytes);
    Context { layout, data: CtxData::Packet(packet) }
}
