//! Building, emitting, reading again, merging.
#![allow(clippy::unwrap_used)]

use skep_btf::core::{Cache, resolve};
use skep_btf::{
    Btf, BtfBuilder, CoreRelo, FuncLinkage, IntEncoding, Kind, Member, Param, Type, VarLinkage, VarSecinfo,
};

const SIGNED: IntEncoding = IntEncoding { signed: true, char: false, bool: false };

fn member(name: &str, type_id: u32, bit_offset: u32) -> Member<'_> {
    Member { name, type_id, bit_offset, bitfield_size: 0 }
}

/// `struct node { struct node *next; struct data *data; int n; }`, where `data` is declared or defined, `padding` types
/// earlier than usual.
fn list(defines_data: bool, padding: u32) -> Btf {
    let mut b = BtfBuilder::new();
    for i in 0..padding {
        b.add_fwd(&format!("unused{i}"), false).unwrap();
    }
    let int = b.add_int("int", 4, SIGNED).unwrap();
    let node = b.next_id() + 3;
    let next = b.add_ptr(node).unwrap();
    let data = if defines_data {
        b.add_struct("data", 4, &[member("x", int, 0)]).unwrap()
    } else {
        b.add_fwd("data", false).unwrap()
    };
    let to_data = b.add_ptr(data).unwrap();
    let members = [member("next", next, 0), member("data", to_data, 64), member("n", int, 128)];
    assert_eq!(b.add_struct("node", 24, &members).unwrap(), node);
    let var = b.add_var("head", node, VarLinkage::Static).unwrap();
    b.add_datasec(".bss", 24, &[VarSecinfo { type_id: var, offset: 0, size: 24 }]).unwrap();
    b.finish().unwrap()
}

#[test]
fn cyclic_structs_merge() {
    let mut b = BtfBuilder::new();
    let one = b.append(&list(true, 0)).unwrap();
    let before = b.next_id();
    let two = b.append(&list(true, 3)).unwrap();
    // three declarations and one variable are new
    assert_eq!(b.next_id(), before + 4);
    assert_eq!(one[1..6], two[4..9]);
    let merged = b.finish().unwrap();
    let Some(Type::Datasec(bss)) = merged.type_by_id(two[10]) else { panic!() };
    assert_eq!((one[7], bss.vars.len(), bss.size), (two[10], 2, 48));
    assert_ne!(bss.vars.get(0).unwrap().type_id, bss.vars.get(1).unwrap().type_id);
}

#[test]
fn a_declaration_merges_with_the_definition() {
    for defined_first in [true, false] {
        let mut b = BtfBuilder::new();
        let one = b.append(&list(defined_first, 0)).unwrap();
        let two = b.append(&list(!defined_first, 0)).unwrap();
        assert_eq!(one[1..6], two[1..6], "defined first: {defined_first}");
        let merged = b.finish().unwrap();
        let Some(Type::Struct(data)) = merged.type_by_id(one[3]) else { panic!("no definition") };
        assert_eq!(data.members.get(0).unwrap().type_id, one[1]);
        assert!(merged.types().all(|(_, t)| t.kind() != Some(Kind::Fwd)));
    }
}

/// Each round of refinement tells one more pointer of the chain apart: that is given up, and all stay.
#[test]
fn endless_chains_are_added_as_they_are() {
    let mut chain = BtfBuilder::new();
    let int = chain.add_int("int", 4, SIGNED).unwrap();
    let last = (0..300).fold(int, |id, _| chain.add_ptr(id).unwrap());
    let chain = chain.finish().unwrap();
    let mut b = BtfBuilder::new();
    b.append(&chain).unwrap();
    let ids = b.append(&chain).unwrap();
    assert_eq!(ids[last as usize], b.next_id() - 1);
    assert_eq!(b.finish().unwrap().type_count(), 2 * chain.type_count() - 1);
}

#[test]
fn different_structs_of_one_name_stay_apart() {
    let mut other = BtfBuilder::from_btf(&list(true, 0));
    let long = other.add_int("long", 8, SIGNED).unwrap();
    other.add_struct("node", 8, &[member("n", long, 0)]).unwrap();
    let mut b = BtfBuilder::new();
    let one = b.append(&list(true, 0)).unwrap();
    let two = b.append(&other.finish().unwrap()).unwrap();
    assert_eq!(one[5], two[5]);
    assert_ne!(one[5], two[9]);
    assert_eq!(b.finish().unwrap().find_by_name("node").count(), 2);
}

#[test]
fn from_btf_keeps_ids_and_strings() {
    let btf = list(true, 2);
    let mut b = BtfBuilder::from_btf(&btf);
    assert_eq!(Btf::parse(&b.emit()).unwrap().type_count(), btf.type_count());
    let sec = btf.find_by_name_kind(".bss", Kind::Datasec).unwrap();
    let (_, mut vars) = b.datasec(sec).unwrap();
    vars[0].offset = 8;
    b.set_datasec(sec, 32, &vars).unwrap();
    let void_fn = b.add_func_proto(0, &[Param { name: "ctx", type_id: 1 }]).unwrap();
    let f = b.add_func("main", void_fn, FuncLinkage::Static).unwrap();
    b.set_func_linkage(f, FuncLinkage::Global).unwrap();
    let new = b.finish().unwrap();
    let Some(Type::Datasec(s)) = new.type_by_id(sec) else { panic!() };
    assert_eq!((s.size, s.vars.get(0).unwrap().offset), (32, 8));
    let Some(Type::Func(f)) = new.type_by_id(f) else { panic!() };
    assert_eq!((f.name, f.linkage), ("main", FuncLinkage::Global));
}

#[test]
fn what_cannot_be_built_is_refused() {
    let mut b = BtfBuilder::new();
    assert!(b.add_typedef("a\0b", 0).is_err());
    let many = vec![Param { name: "", type_id: 0 }; 65536];
    assert!(b.add_func_proto(0, &many).is_err());
    assert!(b.add_modifier(Kind::Ptr, 0).is_err());
    assert!(b.set_datasec(1, 0, &[]).is_err());
    b.add_ptr(7).unwrap();
    assert!(b.finish().is_err());
}

#[test]
fn split_goes_on_where_the_base_ends() {
    let base = std::sync::Arc::new(list(true, 0));
    let mut b = BtfBuilder::split(base.clone());
    let node = base.find_by_name_kind("node", Kind::Struct).unwrap();
    let id = b.add_typedef("node_t", node).unwrap();
    assert_eq!(id, base.type_count());
    let split = Btf::parse_split(&b.emit(), base.clone()).unwrap();
    assert_eq!(split.name_of(id), "node_t");
    assert_eq!(split.name_of(node), "node");
    assert_eq!(split.size_of(id), Some(24));
    assert_eq!(split.find_by_name_kind("node", Kind::Struct), Some(node));
    let mut flat = BtfBuilder::new();
    let ids = flat.append(&split).unwrap();
    assert_eq!(flat.finish().unwrap().name_of(ids[id as usize]), "node_t");
    assert!(BtfBuilder::split(std::sync::Arc::new(list(true, 1))).append(&split).is_err());
}

#[test]
fn names_are_found_with_and_without_flavour() {
    let names = ["a", "a___b", "a___b___c", "____", "___", "a___", "_", "x____y", "é___b", "ab"];
    let mut b = BtfBuilder::new();
    let ids: Vec<u32> = names.iter().map(|n| b.add_fwd(n, false).unwrap()).collect();
    let btf = b.finish().unwrap();
    for (name, id) in names.iter().zip(&ids) {
        assert_eq!(btf.find_by_name_kind(name, Kind::Fwd), Some(*id), "{name}");
        assert_eq!(btf.find_by_name(name).collect::<Vec<_>>(), [*id]);
    }
    assert_eq!(btf.find_by_essential_name("a").collect::<Vec<_>>(), ids[..2]);
    assert_eq!(btf.find_by_name_kind("", Kind::Fwd), None);
    assert_eq!(btf.find_by_name_kind("a", Kind::Struct), None);
}

/// `struct NAME { int a; }` after `before` bytes.
fn with_struct(mut b: BtfBuilder, name: &str, before: u32) -> BtfBuilder {
    let int = b.add_int("int", 4, SIGNED).unwrap();
    b.add_struct(name, before + 4, &[member("a", int, before * 8)]).unwrap();
    b
}

#[test]
fn relocations_look_into_split_btf_where_the_base_has_nothing() {
    let base = std::sync::Arc::new(with_struct(BtfBuilder::new(), "in_base", 8).finish().unwrap());
    let module = with_struct(BtfBuilder::split(base.clone()), "in_base___too", 16);
    let module = with_struct(module, "in_module", 24).finish().unwrap();
    for (name, offset) in [("in_base", 8), ("in_module", 24)] {
        let mut local = with_struct(BtfBuilder::new(), name, 0);
        let access_str_off = local.add_string("0:0").unwrap();
        let local = local.finish().unwrap();
        let relo = CoreRelo { insn_off: 0, type_id: 2, access_str_off, raw_kind: 0 };
        let found = resolve(&local, &relo, &module, &mut Cache::default()).unwrap();
        assert_eq!((found.orig, found.new), (0, offset), "{name}");
    }
}

#[test]
fn parameters_without_names_get_one() {
    let mut b = BtfBuilder::new();
    let int = b.add_int("int", 4, IntEncoding::default()).unwrap();
    let param = |name, type_id| Param { name, type_id };
    let proto = b.add_func_proto(int, &[param("", int), param("own", int), param("", 0)]).unwrap();
    b.name_params(proto, "arg").unwrap();
    assert!(b.name_params(int, "arg").is_err());
    let btf = b.finish().unwrap();
    let Some(Type::FuncProto(p)) = btf.type_by_id(proto) else { panic!("not a function type") };
    let names: Vec<&str> = p.params.map(|p| p.name).collect();
    assert_eq!(names, ["arg", "own", ""]);
}
