//! The table of helpers keeps its own rules: numbers, names, documents, and prototypes that can be told apart.

use skep_helpers::HELPERS;
use skep_platform::helper::{ArgKind, Caller, Proto, Version};
use skep_platform::uapi::{AttachType, ProgType};
use skep_platform::{Body, RetType};
use std::collections::HashSet;

#[test]
fn numbers_are_contiguous_and_ascending() {
    let ids: Vec<u32> = HELPERS.iter().map(|h| h.id).collect();
    assert_eq!(ids, (1..=211).collect::<Vec<u32>>());
}

#[test]
fn names_are_unique_and_match_the_signature() {
    let names: HashSet<&str> = HELPERS.iter().map(|h| h.name).collect();
    assert_eq!(names.len(), HELPERS.len());
    for h in HELPERS {
        assert!(h.name.starts_with("bpf_"), "{}", h.name);
        assert!(h.signature.contains(&format!("{}(", h.name)), "{}: {}", h.name, h.signature);
        assert!(h.signature.ends_with(')'), "{}", h.name);
    }
}

#[test]
fn every_helper_has_one_sentence_of_its_own() {
    let docs: HashSet<&str> = HELPERS.iter().map(|h| h.doc).collect();
    assert_eq!(docs.len(), HELPERS.len(), "two helpers share a sentence");
    for h in HELPERS {
        assert!(h.doc.ends_with('.') && h.doc.len() > 15 && h.doc.len() < 110, "{}: {:?}", h.name, h.doc);
        assert!(!h.doc.contains('\n'), "{}", h.name);
    }
}

/// The UAPI numbers helpers in the order of their arrival.
#[test]
fn versions_never_go_back() {
    for w in HELPERS.windows(2) {
        assert!(w[0].since <= w[1].since, "{} is older than {}", w[1].name, w[0].name);
    }
    for h in HELPERS {
        assert!(h.since <= Version(6, 18));
        assert!(h.protos.iter().any(|p| p.since == h.since), "{}: no prototype since {}", h.name, h.since);
        assert!(h.protos.iter().all(|p| p.since >= h.since), "{}", h.name);
    }
}

#[test]
fn sizes_follow_memory_and_keys_follow_maps() {
    for h in HELPERS {
        for p in h.protos {
            check_args(h.name, p);
        }
    }
}

fn check_args(name: &str, p: &Proto) {
    assert!(p.args.len() <= 5, "{name}");
    for (i, a) in p.args.iter().enumerate() {
        let before = i.checked_sub(1).map(|i| p.args[i].kind);
        match a.kind {
            ArgKind::Size | ArgKind::SizeOrZero => {
                assert_eq!(before, Some(ArgKind::Mem), "{name} argument {i}")
            }
            ArgKind::Mem => {
                let next = p.args.get(i + 1).map(|a| a.kind);
                assert!(matches!(next, Some(ArgKind::Size | ArgKind::SizeOrZero)), "{name} argument {i}");
            }
            ArgKind::MapKey | ArgKind::MapValue => {
                assert!(p.args[..i].iter().any(|a| a.kind == ArgKind::ConstMapPtr), "{name} argument {i}");
            }
            ArgKind::BtfId([]) => assert!(a.release, "{name}: no type"),
            ArgKind::FixedMem(n) => assert!(n > 0, "{name}"),
            _ => {}
        }
        assert!(!a.uninit || a.write, "{name} argument {i}: uninitialised memory is written");
        assert!(!(a.rdonly && a.write), "{name} argument {i}");
    }
    if matches!(p.ret, RetType::MapValue { .. }) {
        assert_eq!(p.args[0].kind, ArgKind::ConstMapPtr, "{name}");
    }
}

/// A program finds at most one prototype, whichever order they stand in, unless an attach type makes the difference.
#[test]
fn prototypes_are_told_apart() {
    for h in HELPERS {
        for (i, a) in h.protos.iter().enumerate() {
            assert!(!a.prog_types.is_empty(), "{}: a prototype for nobody", h.name);
            let holders =
                a.prog_types.contains(&ProgType::StructOps) || a.attach_types == [AttachType::TraceIter];
            assert!(holders || a.struct_ops.is_empty(), "{}", h.name);
            let member = a.prog_types.contains(&ProgType::StructOps);
            assert!(!member || !a.struct_ops.is_empty(), "{}", h.name);
            let unique: HashSet<_> = a.prog_types.iter().collect();
            assert_eq!(unique.len(), a.prog_types.len(), "{}: a program type twice", h.name);
            for b in &h.protos[i + 1..] {
                assert!(!overlap(a, b), "{}: prototypes {a:?} and {b:?}", h.name);
            }
        }
    }
}

fn overlap(a: &Proto, b: &Proto) -> bool {
    let types = a.prog_types.iter().filter(|t| b.prog_types.contains(t));
    let types =
        types.filter(|t| **t != ProgType::StructOps || a.struct_ops.iter().any(|s| b.struct_ops.contains(s)));
    let attach = a.attach_types.is_empty() && b.attach_types.is_empty()
        || a.attach_types.iter().any(|x| b.attach_types.contains(x));
    let sleepable = a.sleepable.is_none() || b.sleepable.is_none() || a.sleepable == b.sleepable;
    types.count() > 0 && attach && sleepable
}

/// An attach-limited prototype stands before the one for the rest, because the first that matches counts.
#[test]
fn attach_limits_come_first() {
    for h in HELPERS {
        for (i, a) in h.protos.iter().enumerate().filter(|(_, p)| p.attach_types.is_empty()) {
            for b in &h.protos[i + 1..] {
                let shared = a.prog_types.iter().any(|t| b.prog_types.contains(t));
                assert!(!shared || b.attach_types.is_empty() || a.sleepable != b.sleepable, "{}", h.name);
            }
        }
    }
}

#[test]
fn absent_bodies_say_what_to_do() {
    for h in HELPERS {
        if let Body::Absent(why) = h.body {
            assert!(
                why.contains("--engine kernel") || why.contains("bpf_") || why.contains(';'),
                "{}: {why}",
                h.name
            );
        }
    }
}

#[test]
fn callers_are_told_apart() {
    let find = |name: &str| HELPERS.iter().find(|h| h.name == name).expect("helper");
    let c = |prog_type, attach, sleepable, version| Caller {
        prog_type,
        attach,
        struct_ops: None,
        sleepable,
        version,
    };
    let now = Version(6, 18);
    let comm = find("bpf_get_current_comm");
    assert!(comm.proto_for(&c(ProgType::Xdp, None, false, now)).is_some());
    assert!(comm.proto_for(&c(ProgType::Xdp, None, false, Version(6, 12))).is_none());
    assert!(comm.proto_for(&c(ProgType::Kprobe, None, false, Version(4, 2))).is_some());
    let ip = find("bpf_get_func_ip");
    let gpl = |attach| ip.proto_for(&c(ProgType::Kprobe, attach, false, now)).map(|p| p.gpl_only);
    assert_eq!(gpl(None), Some(true));
    assert_eq!(gpl(Some(AttachType::TraceKprobeMulti)), Some(false));
    let stack = find("bpf_get_stack");
    let sleeps = |s| stack.proto_for(&c(ProgType::Kprobe, None, s, now)).map(|p| p.might_sleep);
    assert_eq!((sleeps(true), sleeps(false)), (Some(true), Some(false)));
    let storage = find("bpf_task_storage_get");
    let mut scx = c(ProgType::StructOps, None, false, Version(6, 12));
    scx.struct_ops = Some("sched_ext_ops");
    assert!(storage.proto_for(&scx).is_some());
    scx.struct_ops = Some("hid_bpf_ops");
    assert!(storage.proto_for(&scx).is_none());
    scx.version = now;
    assert!(storage.proto_for(&scx).is_some());
}

/// The kernel asks from both sides whether a helper suits a map; what one side says, the other must not deny.
#[test]
fn map_types_and_helpers_agree() {
    for h in HELPERS {
        let takes_map = h.protos.iter().any(|p| p.args.iter().any(|a| a.kind == ArgKind::ConstMapPtr));
        assert!(takes_map || h.map_types.is_empty(), "{} takes no map", h.name);
        for row in skep_maps::MAP_TYPES {
            let by_map = row.helpers.is_empty() || row.helpers.contains(&h.id);
            if h.map_types.contains(&row.map_type) {
                assert!(by_map, "{} takes {:?}, whose row does not list it", h.name, row.map_type);
            }
            if takes_map && row.helpers.contains(&h.id) && !h.map_types.is_empty() {
                assert!(h.map_types.contains(&row.map_type), "{:?} lists {}", row.map_type, h.name);
            }
        }
    }
}

#[test]
fn rules_name_arguments_that_exist() {
    use skep_platform::helper::Rule;
    for h in HELPERS {
        for p in h.protos {
            let kind = |i: u8| p.args.get(usize::from(i)).map(|a| a.kind);
            match h.rule {
                Rule::ZeroArg(i) => assert_eq!(kind(i), Some(ArgKind::Anything), "{}", h.name),
                Rule::AtMostSize(i) => assert_eq!(kind(i), Some(ArgKind::SizeOrZero), "{}", h.name),
                Rule::Format { fmt, data, size } => {
                    assert_eq!(kind(fmt), Some(ArgKind::ConstStr));
                    assert_eq!((kind(data), kind(size)), (Some(ArgKind::Mem), Some(ArgKind::SizeOrZero)));
                }
                Rule::WritesMap | Rule::LooksUp => assert_eq!(kind(0), Some(ArgKind::ConstMapPtr)),
                Rule::Cast => {
                    assert!(matches!(kind(0), Some(ArgKind::SockCommon | ArgKind::BtfIdSockCommon)))
                }
                Rule::Places(names) => assert!(names.iter().all(|n| !n.is_empty()), "{}", h.name),
                Rule::NotInside(name) => assert!(!name.is_empty(), "{}", h.name),
                Rule::NotMember(name) => assert!(name.contains('/'), "{}", h.name),
                Rule::MapValueArg(i) => assert!(kind(i).is_some(), "{}", h.name),
                Rule::Built(option) => assert!(!option.starts_with("CONFIG_"), "{}", h.name),
                Rule::NotLockedDown
                | Rule::ReadsKernel
                | Rule::None
                | Rule::Cpu { .. }
                | Rule::WritesDynptr
                | Rule::SetsRetval => {}
            }
        }
    }
}
