//! Whether an extern and its definition have the same type.
//!
//! Modifiers and typedefs do not count; structs behind pointers need only the same name. Map definitions must agree
//! in every attribute.

use std::sync::Arc;

use skep_btf::{Btf, Type};

use crate::maps_btf;

/// Nesting that is followed.
const MAX_DEPTH: u8 = 32;

/// Holds extern `ours` against definition `theirs`, both VAR or FUNC of the merged BTF.
pub(super) fn check(
    btf: &Arc<Btf>,
    name: &str,
    is_map: bool,
    ours: u32,
    theirs: u32,
) -> Result<(), &'static str> {
    if ours == theirs {
        return Ok(());
    }
    let type_of = |id| btf.type_by_id(id).and_then(|t| t.referent());
    let (Some(our_type), Some(their_type)) = (type_of(ours), type_of(theirs)) else {
        return Err("one of them has no type");
    };
    if is_map {
        return same_map(btf, name, our_type, their_type);
    }
    let is_func = |id| matches!(btf.type_by_id(id), Some(Type::Func(_)));
    match (is_func(ours), same(btf, our_type, their_type, 0)) {
        (_, true) => Ok(()),
        (true, false) => Err("parameters or result differ"),
        (false, false) => Err("the types differ"),
    }
}

fn same_map(btf: &Arc<Btf>, name: &str, ours: u32, theirs: u32) -> Result<(), &'static str> {
    let read =
        |id| maps_btf::definition(btf, name, id, 0, &[]).map_err(|_| "one of them is no map definition");
    let (a, b) = (read(ours)?, read(theirs)?);
    if a.map_type != b.map_type {
        return Err("map type");
    }
    if (a.key_size, a.value_size) != (b.key_size, b.value_size) {
        return Err("key or value size");
    }
    if a.max_entries != b.max_entries {
        return Err("max_entries");
    }
    if (a.flags, a.map_extra, a.numa_node, a.pin_by_name)
        != (b.flags, b.map_extra, b.numa_node, b.pin_by_name)
    {
        return Err("flags, pinning, NUMA node or extra");
    }
    let types = |m: &Option<skep_platform::map::MapBtf>| m.as_ref().map_or((0, 0), |m| (m.key, m.value));
    let ((ka, va), (kb, vb)) = (types(&a.btf), types(&b.btf));
    if same(btf, ka, kb, 0) && same(btf, va, vb, 0) { Ok(()) } else { Err("type of key or value") }
}

fn same(btf: &Btf, a: u32, b: u32, depth: u8) -> bool {
    let (Some((a, ta)), Some((b, tb))) = (btf.resolve(a), btf.resolve(b)) else { return false };
    if a == b {
        return true;
    }
    if depth > MAX_DEPTH {
        return false;
    }
    let below = |a, b| same(btf, a, b, depth + 1);
    match (ta, tb) {
        (Type::Int(a), Type::Int(b)) => {
            (a.size, a.encoding.signed, a.encoding.bool) == (b.size, b.encoding.signed, b.encoding.bool)
        }
        (Type::Float(a), Type::Float(b)) => a.size == b.size,
        (Type::Enum(a), Type::Enum(b)) | (Type::Enum64(a), Type::Enum64(b)) => {
            a.name == b.name && a.size == b.size
        }
        (Type::Ptr(a), Type::Ptr(b)) => pointee(btf, a, b, depth + 1),
        (Type::Array(a), Type::Array(b)) => a.nelems == b.nelems && below(a.type_id, b.type_id),
        (Type::Struct(a), Type::Struct(b)) | (Type::Union(a), Type::Union(b)) => {
            a.name == b.name
                && a.size == b.size
                && a.members.len() == b.members.len()
                && a.members.zip(b.members).all(|(a, b)| {
                    a.name == b.name && a.bit_offset == b.bit_offset && below(a.type_id, b.type_id)
                })
        }
        (Type::FuncProto(a), Type::FuncProto(b)) => {
            a.params.len() == b.params.len()
                && below(a.return_type_id, b.return_type_id)
                && a.params.zip(b.params).all(|(a, b)| below(a.type_id, b.type_id))
        }
        _ => false,
    }
}

/// What two pointers point to: structs by their names alone.
fn pointee(btf: &Btf, a: u32, b: u32, depth: u8) -> bool {
    match (btf.resolve(a), btf.resolve(b)) {
        (Some((_, ta)), Some((_, tb))) => {
            let named = |t: &Type<'_>| t.composite().is_some() || matches!(t, Type::Fwd(_));
            if named(&ta) && named(&tb) { ta.name() == tb.name() } else { same(btf, a, b, depth) }
        }
        _ => false,
    }
}
