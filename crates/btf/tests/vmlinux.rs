//! The running kernel's own BTF, where it can be read.

use skep_btf::{Btf, BtfBuilder, Kind, Type};

fn vmlinux() -> Option<Vec<u8>> {
    let data = std::fs::read("/sys/kernel/btf/vmlinux").ok();
    if data.is_none() {
        eprintln!("skipped: no /sys/kernel/btf/vmlinux");
    }
    data
}

#[test]
fn parses_and_finds() {
    let Some(data) = vmlinux() else { return };
    let start = std::time::Instant::now();
    let btf = Btf::parse(&data).unwrap();
    eprintln!("{} types in {:?}", btf.type_count(), start.elapsed());
    let id = btf.find_by_name_kind("task_struct", Kind::Struct).unwrap();
    let Some(Type::Struct(s)) = btf.type_by_id(id) else { panic!() };
    assert_eq!(s.name, "task_struct");
    let pid = s.members.clone().find(|m| m.name == "pid").unwrap();
    assert_eq!(btf.size_of(pid.type_id), Some(4));
    assert_eq!(pid.bit_offset % 32, 0);
    assert_eq!(btf.find_by_name_kind("task_struct", Kind::Union), None);
    assert!(btf.align_of(id).unwrap() >= 8);
}

#[test]
fn round_trips() {
    let Some(data) = vmlinux() else { return };
    let btf = Btf::parse(&data).unwrap();
    assert!(BtfBuilder::from_btf(&btf).emit() == data, "the kernel's BTF comes out as it went in");
}

#[test]
fn merges_with_itself() {
    let Some(data) = vmlinux() else { return };
    let btf = Btf::parse(&data).unwrap();
    let mut b = BtfBuilder::from_btf(&btf);
    let (start, before) = (std::time::Instant::now(), b.next_id());
    let ids = b.append(&btf).unwrap();
    eprintln!("{} more types of {before} in {:?}", b.next_id() - before, start.elapsed());
    // the kernel's variables stay apart, all else was there
    let fresh = (before..b.next_id()).count();
    let vars = btf.types().filter(|(_, t)| matches!(t, Type::Var(_))).count();
    assert_eq!(fresh, vars);
    assert!(
        btf.types().all(|(id, t)| matches!(t, Type::Var(_)) || btf.name_of(ids[id as usize]) == t.name())
    );
}
