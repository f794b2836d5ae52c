//! The rows against the running kernel: for every program type, attach type, offset, size and direction a program of
//! three instructions is loaded, and the kernel's verdict must be the row's. Needs permission to load programs; says so
//! and passes where there is none. Nothing is attached.

#![allow(clippy::print_stdout)]

use skep_hooks::{PROG_TYPES, sock};
use skep_platform::ctx::{PacketAccess, Sleepable};
use skep_platform::{AttachType, CtxAccess, CtxLayout, FieldKind, ProgType, ProgTypeDesc};

mod kernel;
use kernel::{EXIT, insn, mov, mov_reg, size_bits};

const SLEEPABLE: u32 = 1 << 4;

/// Whether the kernel takes a program.
fn load(prog_type: ProgType, attach: Option<AttachType>, flags: u32, insns: &[u64]) -> Result<(), i32> {
    kernel::load(prog_type, attach, flags, insns).map(drop)
}

/// Flags that the type cannot be loaded without.
fn flags(row: &ProgTypeDesc) -> u32 {
    if row.sleepable == Sleepable::Must { SLEEPABLE } else { 0 }
}

/// A return value that is allowed.
fn fine(row: &ProgTypeDesc, attach: Option<AttachType>) -> i32 {
    row.ret_range(attach).map_or(0, |r| r.max)
}

/// Attach types to try: all that are allowed, or those that rows speak of and none.
fn attach_types(row: &ProgTypeDesc) -> Vec<Option<AttachType>> {
    if !row.attach_types.is_empty() {
        return row.attach_types.iter().map(|a| Some(*a)).collect();
    }
    let layouts = row.layouts.iter().flat_map(|(a, _)| a.iter());
    let returns = row.returns.iter().flat_map(|(a, _)| a.iter());
    let mut all: Vec<_> = layouts.chain(returns).map(|a| Some(*a)).collect();
    all.push(None);
    all
}

/// Why the kernel cannot be asked about a type by these programs.
fn skip(row: &ProgTypeDesc, layout: Option<&CtxLayout>) -> Option<&'static str> {
    match layout {
        None => Some("takes everything from the program it extends"),
        Some(l) if l.fields.iter().any(|f| f.kind == FieldKind::BtfArg) => {
            Some("loading needs the BTF id of what it attaches to")
        }
        Some(_) if row.prog_type == ProgType::LircMode2 && !known(row) => Some("not built into this kernel"),
        Some(_) => None,
    }
}

fn known(row: &ProgTypeDesc) -> bool {
    load(row.prog_type, None, flags(row), &[mov(0, 0), EXIT]).is_ok()
}

fn permitted() -> bool {
    let ok = load(ProgType::Xdp, None, 0, &[mov(0, 0), EXIT]).is_ok();
    if !ok {
        println!("skipped: this process may not load BPF programs");
    }
    ok
}

/// Every row that the kernel can be asked about, with each attach type and its layout.
fn askable() -> Vec<(&'static ProgTypeDesc, Option<AttachType>, &'static CtxLayout)> {
    let mut all = Vec::new();
    for row in PROG_TYPES {
        for attach in attach_types(row) {
            let layout = row.layout(attach);
            if let Some(why) = skip(row, layout) {
                println!("skipped {}: {why}", row.prog_type.label());
                continue;
            }
            all.extend(layout.map(|l| (*row, attach, l)));
        }
    }
    all
}

/// Offsets of interest: all of a small context, both ends of a large one.
fn offsets(layout: &CtxLayout) -> Vec<u32> {
    let end = (layout.size as u32 + 9).min(32760);
    if layout.size < 300 {
        return (0..end).collect();
    }
    (0..40).chain(1000..1010).chain(end - 40..end).collect()
}

fn access(off: u32, size: u32, how: CtxAccess) -> u64 {
    match how {
        CtxAccess::Load => insn(0x61 | size_bits(size), 2, 1, off as i16, 0),
        CtxAccess::LoadSigned => insn(0x81 | size_bits(size), 2, 1, off as i16, 0),
        CtxAccess::Store => insn(0x63 | size_bits(size), 1, 2, off as i16, 0),
    }
}

#[test]
fn context_rights_are_the_kernels() {
    if !permitted() {
        return;
    }
    let (mut asked, mut wrong) = (0, Vec::new());
    for (row, attach, layout) in askable() {
        let ret = fine(row, attach);
        for off in offsets(layout) {
            for size in [1, 2, 4, 8] {
                for how in [CtxAccess::Load, CtxAccess::LoadSigned, CtxAccess::Store] {
                    if how == CtxAccess::LoadSigned && size == 8 {
                        continue;
                    }
                    let program = [mov(2, 0), access(off, size, how), mov(0, ret), EXIT];
                    let kernel = load(row.prog_type, attach, flags(row), &program).is_ok();
                    let ours = layout.access(off, size, how).is_some();
                    asked += 1;
                    if kernel != ours {
                        let t = row.prog_type.label();
                        wrong.push(format!(
                            "{t} {attach:?} {how:?} off {off} size {size}: kernel {kernel}, row {ours}"
                        ));
                    }
                }
            }
        }
    }
    println!("{asked} programs");
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn return_ranges_are_the_kernels() {
    if !permitted() {
        return;
    }
    for (row, attach, _) in askable() {
        for v in -2..=5 {
            let kernel = load(row.prog_type, attach, flags(row), &[mov(0, v), EXIT]).is_ok();
            let ours = row.ret_range(attach).is_none_or(|r| (r.min..=r.max).contains(&v));
            assert_eq!(kernel, ours, "{} {attach:?} returning {v}", row.prog_type.label());
        }
    }
}

#[test]
fn attach_types_are_the_kernels() {
    if !permitted() {
        return;
    }
    let rows = PROG_TYPES.iter().filter(|r| !r.attach_types.is_empty());
    for row in rows.filter(|r| skip(r, r.layout(r.attach_types.first().copied())).is_none()) {
        for (attach, name) in AttachType::ALL {
            if attach.id() == 0 {
                continue; // the same as none given
            }
            let ret = fine(row, Some(*attach));
            let kernel = load(row.prog_type, Some(*attach), flags(row), &[mov(0, ret), EXIT]).is_ok();
            let ours = row.attach_types.contains(attach);
            assert_eq!(kernel, ours, "{} as {name}", row.prog_type.label());
        }
    }
}

#[test]
fn legacy_loads_are_the_kernels() {
    if !permitted() {
        return;
    }
    for (row, attach, _) in askable() {
        let program = [mov_reg(6, 1), insn(0x30, 0, 0, 0, 0), mov(0, fine(row, attach)), EXIT];
        let kernel = load(row.prog_type, attach, flags(row), &program).is_ok();
        assert_eq!(kernel, row.legacy_loads, "{}", row.prog_type.label());
    }
}

#[test]
fn sleepable_is_the_kernels() {
    if !permitted() {
        return;
    }
    for (row, attach, _) in askable() {
        let program = [mov(0, fine(row, attach)), EXIT];
        let kernel = load(row.prog_type, attach, SLEEPABLE, &program).is_ok();
        assert_eq!(kernel, row.may_sleep(attach), "{} {attach:?}", row.prog_type.label());
        let without = load(row.prog_type, attach, 0, &program).is_ok();
        assert_eq!(without, row.sleepable != Sleepable::Must, "{} {attach:?}", row.prog_type.label());
    }
}

/// Arguments of a BTF-typed tracepoint, `sched_switch(bool, struct task_struct *, struct task_struct *, unsigned int)`:
/// the row says where and how wide, the BTF how many and which are pointers.
#[test]
fn typed_arguments_are_the_kernels() {
    let Ok(btf) = std::fs::read("/sys/kernel/btf/vmlinux") else { return println!("skipped: no BTF") };
    let btf = skep_btf::Btf::parse(&btf).unwrap();
    let typedef = |id| btf.kind_of(id) == Some(skep_btf::Kind::Typedef);
    let named = |id: &u32| typedef(*id) && btf.name_of(*id) == "btf_trace_sched_switch";
    let Some(id) = (1..btf.type_count()).find(named) else { return println!("skipped: no such tracepoint") };
    let (t, attach) = (ProgType::Tracing, AttachType::TraceRawTp);
    let load = |insns: &[u64]| kernel::load_typed(t, Some(attach), 0, id, insns).is_ok();
    if !load(&[mov(0, 0), EXIT]) {
        return println!("skipped: this process may not load tracing programs");
    }
    let layout = PROG_TYPES.iter().find(|r| r.prog_type == t).and_then(|r| r.layout(Some(attach))).unwrap();
    let mut asked = 0;
    for off in 0..104 {
        for size in [1, 2, 4, 8] {
            for how in [CtxAccess::Load, CtxAccess::Store] {
                let kernel = load(&[mov(2, 0), access(off, size, how), mov(0, 0), EXIT]);
                let (arg, pointer) = (off / 8, matches!(off / 8, 1 | 2));
                let ours = layout.access(off, size, how).is_some() && arg < 4 && (size == 8 || !pointer);
                asked += 1;
                assert_eq!(kernel, ours, "{how:?} off {off} size {size}");
            }
        }
    }
    println!("{asked} programs");
}

/// What pointers to sockets show: `ctx->sk` of a cgroup program, checked for NULL, then as it is or through a helper that
/// makes another pointer of it.
#[test]
fn socket_rights_are_the_kernels() {
    const BPF_SK_FULLSOCK: i32 = 95;
    const BPF_TCP_SOCK: i32 = 96;
    if !permitted() {
        return;
    }
    let views = [(&sock::SOCK_COMMON, 0), (&sock::SOCKET, BPF_SK_FULLSOCK), (&sock::TCP_SOCK, BPF_TCP_SOCK)];
    let (mut asked, mut wrong) = (0, Vec::new());
    for (layout, helper) in views {
        for off in 0..layout.size as u32 + 9 {
            for size in [1, 2, 4, 8] {
                for how in [CtxAccess::Load, CtxAccess::Store] {
                    let kernel = kernel::load(
                        ProgType::CgroupSkb,
                        None,
                        0,
                        &socket_program(helper, access(off, size, how)),
                    )
                    .is_ok();
                    let ours = layout.access(off, size, how).is_some();
                    asked += 1;
                    if kernel != ours {
                        let name = layout.name;
                        wrong.push(format!("{name} {helper} {how:?} off {off} size {size}: kernel {kernel}"));
                    }
                }
            }
        }
    }
    println!("{asked} programs");
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}

/// `r1 = ctx->sk; if (!r1) exit; r1 = helper(r1); if (!r1) exit; ACCESS; exit`.
fn socket_program(helper: i32, access: u64) -> Vec<u64> {
    let sk = 168;
    let mut p = vec![insn(0x79, 1, 1, sk, 0), mov(2, 0), mov(0, 1), insn(0x55, 1, 0, 1, 0), EXIT];
    if helper != 0 {
        p.extend([
            insn(0x85, 0, 0, 0, helper),
            mov_reg(1, 0),
            mov(2, 0),
            mov(0, 1),
            insn(0x55, 1, 0, 1, 0),
            EXIT,
        ]);
    }
    p.extend([access, mov(0, 1), EXIT]);
    p
}

/// Loads data and data_end, checks for room, and reads or writes the first byte.
fn packet_program(layout: &CtxLayout, write: bool, ret: i32) -> Option<Vec<u64>> {
    let of = |a, b| layout.fields.iter().find(|f| f.read.any != 0 && (f.kind == a || f.kind == b));
    let data = of(FieldKind::PacketData, FieldKind::Buffer)?;
    let end = of(FieldKind::PacketEnd, FieldKind::BufferEnd)?;
    let touch = if write { insn(0x72, 2, 0, 0, 7) } else { insn(0x71, 5, 2, 0, 0) };
    Some(vec![
        access(data.off as u32, data.size as u32, CtxAccess::Load),
        insn(0x61 | size_bits(end.size as u32), 3, 1, end.off as i16, 0),
        mov_reg(4, 2),
        insn(0x07, 4, 0, 0, 1),
        insn(0x2d, 4, 3, 1, 0),
        touch,
        mov(0, ret),
        EXIT,
    ])
}

#[test]
fn packet_access_is_the_kernels() {
    if !permitted() {
        return;
    }
    for (row, attach, layout) in askable() {
        let ret = fine(row, attach);
        for write in [false, true] {
            let Some(program) = packet_program(layout, write, ret) else {
                assert!(row.packet_access == PacketAccess::None, "{}", row.prog_type.label());
                continue;
            };
            let kernel = load(row.prog_type, attach, flags(row), &program).is_ok();
            let ours = match row.packet_access {
                PacketAccess::None => false,
                PacketAccess::Load | PacketAccess::Read => !write,
                PacketAccess::ReadWrite => true,
            };
            assert_eq!(kernel, ours, "{} write {write}", row.prog_type.label());
        }
    }
}
