//! BTF as a listing: one line a type, one more for each of its members, in the notation of `bpftool btf dump`.

use std::fmt::Write;

use crate::btf::Btf;
use crate::kind::Kind;
use crate::view::{Composite, Datasec, Enum, FuncLinkage, FuncProto, Int, IntEncoding, Type, VarLinkage};

/// Lists all types of the section (not the base's).
pub fn dump_raw(btf: &Btf) -> String {
    let mut out = String::new();
    for (id, _) in btf.own_types() {
        dump_raw_type(btf, id, &mut out);
    }
    out
}

/// Lists one type, each line with a newline behind it; nothing for an id that does not exist.
pub fn dump_raw_type(btf: &Btf, id: u32, out: &mut String) {
    let Some(t) = btf.type_by_id(id) else { return };
    let kind = t.kind().map_or("VOID", |k| k.row().name);
    let name = if t.name().is_empty() { "(anon)" } else { t.name() };
    line(out, format_args!("[{id}] {kind} '{name}'"));
    match t {
        Type::Int(i) => int(out, i),
        Type::Array(a) => line(
            out,
            format_args!(" type_id={} index_type_id={} nr_elems={}", a.type_id, a.index_type_id, a.nelems),
        ),
        Type::Struct(c) | Type::Union(c) => composite(out, c),
        Type::Enum(e) | Type::Enum64(e) => enumeration(out, e, t.kind() == Some(Kind::Enum64)),
        Type::Fwd(f) => line(out, format_args!(" fwd_kind={}", if f.is_union { "union" } else { "struct" })),
        Type::Func(f) => {
            line(out, format_args!(" type_id={} linkage={}", f.type_id, func_linkage(f.linkage)))
        }
        Type::FuncProto(p) => prototype(out, p),
        Type::Var(v) => line(out, format_args!(" type_id={}, linkage={}", v.type_id, var_linkage(v.linkage))),
        Type::Datasec(s) => datasec(btf, out, s),
        Type::Float(f) => line(out, format_args!(" size={}", f.size)),
        Type::DeclTag(d) => {
            let component = d.component.map_or(-1, i64::from);
            line(out, format_args!(" type_id={} component_idx={component}", d.type_id));
        }
        t => {
            if let Some(to) = t.referent() {
                line(out, format_args!(" type_id={to}"));
            }
        }
    }
    out.push('\n');
}

/// Writing to a string does not fail.
fn line(out: &mut String, args: std::fmt::Arguments<'_>) {
    let _ = out.write_fmt(args);
}

fn or_anon(name: &str) -> &str {
    if name.is_empty() { "(anon)" } else { name }
}

fn int(out: &mut String, i: Int<'_>) {
    let encoding = match i.encoding {
        IntEncoding { signed: false, char: false, bool: false } => "(none)",
        IntEncoding { signed: true, char: false, bool: false } => "SIGNED",
        IntEncoding { signed: false, char: true, bool: false } => "CHAR",
        IntEncoding { signed: false, char: false, bool: true } => "BOOL",
        _ => "UNKN",
    };
    line(
        out,
        format_args!(" size={} bits_offset={} nr_bits={} encoding={encoding}", i.size, i.bit_offset, i.bits),
    );
}

fn composite(out: &mut String, c: Composite<'_>) {
    line(out, format_args!(" size={} vlen={}", c.size, c.members.len()));
    for m in c.members {
        line(
            out,
            format_args!("\n\t'{}' type_id={} bits_offset={}", or_anon(m.name), m.type_id, m.bit_offset),
        );
        if m.bitfield_size > 0 {
            line(out, format_args!(" bitfield_size={}", m.bitfield_size));
        }
    }
}

fn enumeration(out: &mut String, e: Enum<'_>, wide: bool) {
    let encoding = if e.signed { "SIGNED" } else { "UNSIGNED" };
    line(out, format_args!(" encoding={encoding} size={} vlen={}", e.size, e.enumerators.len()));
    for v in e.enumerators {
        let suffix = match (wide, e.signed) {
            (true, true) => "LL",
            (true, false) => "ULL",
            _ => "",
        };
        match e.signed {
            true => line(out, format_args!("\n\t'{}' val={}{suffix}", v.name, v.value)),
            false => line(out, format_args!("\n\t'{}' val={}{suffix}", v.name, v.value as u64)),
        }
    }
}

fn prototype(out: &mut String, p: FuncProto<'_>) {
    line(out, format_args!(" ret_type_id={} vlen={}", p.return_type_id, p.params.len()));
    for param in p.params {
        line(out, format_args!("\n\t'{}' type_id={}", or_anon(param.name), param.type_id));
    }
}

fn datasec(btf: &Btf, out: &mut String, s: Datasec<'_>) {
    line(out, format_args!(" size={} vlen={}", s.size, s.vars.len()));
    for v in s.vars {
        let kind = btf.kind_of(v.type_id).map_or("VOID", |k| k.row().name);
        let name = btf.name_of(v.type_id);
        line(
            out,
            format_args!("\n\ttype_id={} offset={} size={} ({kind} '{name}')", v.type_id, v.offset, v.size),
        );
    }
}

fn func_linkage(l: FuncLinkage) -> &'static str {
    match l {
        FuncLinkage::Static => "static",
        FuncLinkage::Global => "global",
        FuncLinkage::Extern => "extern",
        FuncLinkage::Unknown(_) => "(unknown)",
    }
}

fn var_linkage(l: VarLinkage) -> &'static str {
    match l {
        VarLinkage::Static => "static",
        VarLinkage::GlobalAllocated => "global",
        VarLinkage::GlobalExtern => "extern",
        VarLinkage::Unknown(_) => "(unknown)",
    }
}
