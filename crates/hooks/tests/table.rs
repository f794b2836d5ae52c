//! The table of program types by itself: complete, in order, without overlaps, and as large as the UAPI's structures.

use skep_hooks::PROG_TYPES;
use skep_platform::ctx::{Fate, UserRun};
use skep_platform::packet::PacketCtx;
use skep_platform::{CtxLayout, FieldKind, ProgType, ProgTypeDesc};

fn layouts() -> impl Iterator<Item = (&'static ProgTypeDesc, &'static CtxLayout)> {
    PROG_TYPES.iter().flat_map(|r| r.layouts.iter().map(|(_, l)| (*r, *l)))
}

#[test]
fn every_program_type_has_one_row_in_order() {
    let ids: Vec<u32> = PROG_TYPES.iter().map(|r| r.prog_type.id()).collect();
    assert_eq!(ids, (1..=32).collect::<Vec<_>>());
    assert_eq!(ProgType::ALL.len(), PROG_TYPES.len() + 1);
}

#[test]
fn sizes_are_the_uapis() {
    let sizes = [
        ("xdp_md", 24),
        ("__sk_buff", 192),
        ("bpf_sock", 80),
        ("bpf_sock_addr", 72),
        ("bpf_sock_ops", 224),
        ("sk_msg_md", 80),
        ("sk_reuseport_md", 56),
        ("bpf_sk_lookup", 72),
        ("bpf_sysctl", 8),
        ("bpf_sockopt", 40),
        ("bpf_cgroup_dev_ctx", 12),
        ("bpf_perf_event_data", 184),
        ("pt_regs", 168),
        ("bpf_raw_tracepoint_args", 96),
        ("bpf_nf_ctx", 16),
        ("tracepoint", 8192),
        ("args", 96),
        ("syscall", u16::MAX),
        ("lirc_mode2", 4),
    ];
    for (row, l) in layouts() {
        let want = sizes.iter().find(|(n, _)| *n == l.name).map(|(_, s)| *s);
        assert_eq!(want, Some(l.size), "{} of {}", l.name, row.prog_type.label());
    }
}

#[test]
fn fields_ascend_and_fit() {
    for (row, l) in layouts() {
        let mut end = 0;
        for f in l.fields {
            let what = format!("{}.{} of {}", l.name, f.name, row.prog_type.label());
            assert!(f.off >= end, "{what} overlaps the field before it");
            assert!(f.size > 0 && !f.name.is_empty(), "{what}");
            end = f.off + f.size;
            assert!(f.read.any | f.write.any | f.read.start | f.write.start <= 15, "{what}: odd sizes");
        }
        assert!(end <= l.size, "{} of {}", l.name, row.prog_type.label());
        let mut names: Vec<_> = l.fields.iter().map(|f| &*f.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), l.fields.len(), "{} has two fields of one name", l.name);
    }
}

#[test]
fn the_engines_fields_lie_inside_its_context_and_never_overlap() {
    for (row, l) in layouts().filter(|(r, _)| matches!(r.user, UserRun::Packets)) {
        let mut kept: Vec<_> =
            l.fields.iter().map(|f| (f.at as usize, f.at_size as usize, &*f.name)).collect();
        kept.sort_unstable();
        for pair in kept.windows(2) {
            assert!(pair[0].0 + pair[0].1 <= pair[1].0, "{:?} of {}", pair, row.prog_type.label());
        }
        let last = kept.last().map_or(0, |k| k.0 + k.1);
        assert!(last <= size_of::<PacketCtx>(), "{}", row.prog_type.label());
        for f in l.fields.iter().filter(|f| f.kind.is_pointer()) {
            assert_eq!(f.at_size, 8, "{}: an address", f.name);
        }
    }
}

#[test]
fn plain_contexts_are_kept_as_they_are() {
    for (row, l) in layouts().filter(|(r, _)| matches!(r.user, UserRun::Plain)) {
        for f in l.fields {
            assert_eq!((f.at, f.at_size), (f.off, f.size), "{}.{}", row.prog_type.label(), f.name);
            let packet = [FieldKind::PacketData, FieldKind::PacketEnd, FieldKind::PacketMeta];
            assert!(!packet.contains(&f.kind), "{}.{}", row.prog_type.label(), f.name);
        }
    }
}

#[test]
fn verdicts_are_named_once_and_lie_in_the_range() {
    for row in PROG_TYPES {
        for (i, v) in row.verdicts.iter().enumerate() {
            let same = |w: &&skep_platform::Verdict| w.value == v.value || w.name == v.name;
            assert_eq!(row.verdicts[i..].iter().filter(same).count(), 1, "{}", v.name);
            for (_, r) in row.returns.iter().filter(|_| row.prog_type != ProgType::CgroupSkb) {
                assert!((r.min..=r.max.max(1)).contains(&v.value) || r.min == 1, "{}", v.name);
            }
        }
        assert!(!row.doc.is_empty());
    }
}

#[test]
fn xdp_verdicts_are_the_uapis() {
    let xdp = PROG_TYPES.iter().find(|r| r.prog_type == ProgType::Xdp).unwrap();
    let names: Vec<_> = (0..6).map(|v| xdp.verdict(v).map(|v| v.name)).collect();
    let want = ["XDP_ABORTED", "XDP_DROP", "XDP_PASS", "XDP_TX", "XDP_REDIRECT"];
    assert_eq!(names[..5], want.map(Some));
    assert_eq!(names[5], None);
    assert_eq!(xdp.fate(17), Fate::Drop);
    assert_eq!(xdp.fate(3), Fate::Send);
}

#[test]
fn tc_verdicts_are_read_as_signed_32_bits() {
    let tc = PROG_TYPES.iter().find(|r| r.prog_type == ProgType::SchedCls).unwrap();
    assert_eq!(tc.verdict(u64::MAX).map(|v| v.name), Some("TC_ACT_UNSPEC"));
    assert_eq!(tc.verdict(0xffff_ffff).map(|v| v.name), Some("TC_ACT_UNSPEC"));
    assert_eq!(tc.fate(2), Fate::Drop);
    assert_eq!(tc.fate(99), Fate::Pass);
}
