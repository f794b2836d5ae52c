//! BTF as JSON, with bpftool's keys: one object a type.

use crate::output::object;
use serde_json::{Map, Value, json};
use skep::btf::{Btf, Composite, Datasec, Enum, FuncLinkage, FuncProto, Int, Type, VarLinkage};

/// Every type that `btf` itself holds (not its base's), in order of id.
pub(crate) fn types(btf: &Btf) -> impl Iterator<Item = Map<String, Value>> {
    btf.own_types().map(|(id, t)| {
        let kind = btf.kind_of(id).map_or(String::new(), |k| k.to_string());
        let name = if t.name().is_empty() { "(anon)" } else { t.name() };
        let mut o = object([("id", id.into()), ("kind", kind.into()), ("name", name.into())]);
        o.extend(details(btf, &t));
        o
    })
}

fn details(btf: &Btf, t: &Type<'_>) -> Map<String, Value> {
    match t {
        Type::Int(i) => int(i),
        Type::Ptr(id) | Type::Volatile(id) | Type::Const(id) | Type::Restrict(id) => {
            object([("type_id", (*id).into())])
        }
        Type::Array(a) => object([
            ("type_id", a.type_id.into()),
            ("index_type_id", a.index_type_id.into()),
            ("nr_elems", a.nelems.into()),
        ]),
        Type::Struct(c) | Type::Union(c) => composite(c),
        Type::Enum(e) | Type::Enum64(e) => enumeration(e),
        Type::Fwd(f) => object([("fwd_kind", if f.is_union { "union" } else { "struct" }.into())]),
        Type::Typedef(t) => object([("type_id", t.type_id.into())]),
        Type::Func(f) => object([("type_id", f.type_id.into()), ("linkage", func_linkage(f.linkage).into())]),
        Type::FuncProto(p) => func_proto(p),
        Type::Var(v) => object([("type_id", v.type_id.into()), ("linkage", var_linkage(v.linkage).into())]),
        Type::Datasec(d) => datasec(btf, d),
        Type::Float(f) => object([("size", f.size.into())]),
        Type::DeclTag(d) => object([
            ("type_id", d.type_id.into()),
            ("component_idx", d.component.map_or(-1, i64::from).into()),
        ]),
        Type::TypeTag(t) => object([("type_id", t.type_id.into())]),
        _ => Map::new(),
    }
}

fn int(i: &Int<'_>) -> Map<String, Value> {
    let encoding = match i.encoding {
        e if e.bool => "BOOL",
        e if e.char => "CHAR",
        e if e.signed => "SIGNED",
        _ => "(none)",
    };
    object([
        ("size", i.size.into()),
        ("bits_offset", i.bit_offset.into()),
        ("nr_bits", i.bits.into()),
        ("encoding", encoding.into()),
    ])
}

fn composite(c: &Composite<'_>) -> Map<String, Value> {
    let members = c.members.into_iter().map(|m| {
        let name = if m.name.is_empty() { "(anon)" } else { m.name };
        let mut v = json!({"name": name, "type_id": m.type_id, "bits_offset": m.bit_offset});
        if m.bitfield_size != 0 {
            v["bitfield_size"] = m.bitfield_size.into();
        }
        v
    });
    object([("size", c.size.into()), ("vlen", c.members.len().into()), ("members", members.collect())])
}

fn enumeration(e: &Enum<'_>) -> Map<String, Value> {
    let value = |v: i64| if e.signed { Value::from(v) } else { Value::from(v as u64) };
    let values = e.enumerators.into_iter().map(|x| json!({"name": x.name, "val": value(x.value)}));
    object([
        ("encoding", if e.signed { "SIGNED" } else { "UNSIGNED" }.into()),
        ("size", e.size.into()),
        ("vlen", e.enumerators.len().into()),
        ("values", values.collect()),
    ])
}

fn func_proto(p: &FuncProto<'_>) -> Map<String, Value> {
    let params = p.params.into_iter().map(|a| json!({"name": a.name, "type_id": a.type_id}));
    object([
        ("ret_type_id", p.return_type_id.into()),
        ("vlen", p.params.len().into()),
        ("params", params.collect()),
    ])
}

fn datasec(btf: &Btf, d: &Datasec<'_>) -> Map<String, Value> {
    let vars = d.vars.into_iter().map(
        |v| json!({"type_id": v.type_id, "offset": v.offset, "size": v.size, "name": btf.name_of(v.type_id)}),
    );
    object([("size", d.size.into()), ("vlen", d.vars.len().into()), ("vars", vars.collect())])
}

fn func_linkage(l: FuncLinkage) -> String {
    match l {
        FuncLinkage::Static => "static".into(),
        FuncLinkage::Global => "global".into(),
        FuncLinkage::Extern => "extern".into(),
        FuncLinkage::Unknown(n) => format!("unknown({n})"),
    }
}

fn var_linkage(l: VarLinkage) -> String {
    match l {
        VarLinkage::Static => "static".into(),
        VarLinkage::GlobalAllocated => "global".into(),
        VarLinkage::GlobalExtern => "extern".into(),
        VarLinkage::Unknown(n) => format!("unknown({n})"),
    }
}
