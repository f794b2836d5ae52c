//! The running kernel's own BTF, where it can be read.

use skep_btf::{Btf, Kind, Type};

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
