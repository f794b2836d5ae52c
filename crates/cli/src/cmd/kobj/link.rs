//! Links of the running kernel: `skep link`.

use super::{Which, Words, door, pins, prog_name, refused};
use crate::commands::Cmd;
use crate::failure::Failure;
use crate::output::{Out, object};
use clap::{Arg, ArgAction};
use serde_json::{Map, Value};
use skep::descriptors::{AttachType, Errno};
use skep::kernel::door::{Door, IdKind};
use skep::kernel::info::{self, LinkInfo, Place};
use skep::kernel::link::{NF_HOOKS, ifname};
use std::collections::BTreeMap;
use std::os::fd::AsFd;

/// `skep link show [id N | pinned PATH]`.
pub(crate) static SHOW: Cmd = Cmd {
    path: &["link", "show"],
    about: "Show the links of the running kernel: which program is attached where",
    long: "Examples:\n  skep link show\n  skep link show id 12 -j\n  skep link show pinned /sys/fs/bpf/veth0",
    args: || {
        vec![
            super::words_arg("LINK", "id N or pinned PATH; default: all"),
            Arg::new("bpffs").short('f').long("bpffs").action(ArgAction::SetTrue).help("Show paths of pins"),
        ]
    },
    run: |m, out| {
        let mut words = Words::new(m);
        let which = words.which()?;
        words.end()?;
        show(&which, m.get_flag("bpffs"), out)
    },
};

/// `skep link pin LINK PATH`.
pub(crate) static PIN: Cmd = Cmd {
    path: &["link", "pin"],
    about: "Pin a link: the attachment stays until the pin is removed",
    long: "Example:\n  skep link pin id 12 /sys/fs/bpf/veth0",
    args: || vec![super::words_arg("LINK PATH", "id N or pinned PATH, then where to pin it")],
    run: |m, _| {
        let mut words = Words::new(m);
        let door = door();
        let fd = words.which()?.one(&*door, IdKind::Link)?;
        let path = words.value("pin")?;
        words.end()?;
        super::pin_at(&*door, path.as_ref(), &fd)
    },
};

/// `skep link detach LINK`.
pub(crate) static DETACH: Cmd = Cmd {
    path: &["link", "detach"],
    about: "Detach a link, whoever holds it",
    long: "Links of tracing programs cannot be detached by force: they end when their last holder closes them and their pins are\n\
           removed.\n\nExample:\n  skep link detach id 12",
    args: || vec![super::words_arg("LINK", "id N or pinned PATH")],
    run: |m, _| {
        let mut words = Words::new(m);
        let door = door();
        let fd = words.which()?.one(&*door, IdKind::Link)?;
        words.end()?;
        door.link_detach(fd.as_fd()).map_err(|e| match e {
            Errno::EOPNOTSUPP => Failure::Unsupported(
                "this kind of link cannot be detached by force; it ends when its holder closes it, or when its pin is removed"
                    .into(),
            ),
            Errno::ENOLINK => Failure::Failed("it is detached already".into()),
            e => refused("detaching", e),
        })
    },
};

/// `enum bpf_link_type` in bpftool's words.
const TYPES: [&str; 15] = [
    "unspec",
    "raw_tracepoint",
    "tracing",
    "cgroup",
    "iter",
    "netns",
    "xdp",
    "perf_event",
    "kprobe_multi",
    "struct_ops",
    "netfilter",
    "tcx",
    "uprobe_multi",
    "netkit",
    "sockmap",
];

pub(crate) fn type_name(id: u32) -> String {
    TYPES.get(id as usize).map_or_else(|| format!("type {id}"), |t| (*t).to_owned())
}

pub(crate) fn attach_name(id: u32) -> String {
    AttachType::from_id(id).map_or_else(|| format!("type {id}"), AttachType::label)
}

fn device(ifindex: u32) -> String {
    ifname(ifindex).map_or_else(|| format!("(ifindex {ifindex})"), |n| format!("{n}({ifindex})"))
}

/// `enum bpf_perf_event_type`.
fn event_name(kind: u32) -> &'static str {
    match kind {
        1 => "uprobe",
        2 => "uretprobe",
        3 => "kprobe",
        4 => "kretprobe",
        5 => "tracepoint",
        6 => "event",
        _ => "unknown",
    }
}

/// What a place is, as pairs for text and JSON alike.
fn place(p: &Place) -> Vec<(&'static str, Value)> {
    match p {
        Place::Other => vec![],
        Place::RawTracepoint(name) => vec![("tp_name", name.clone().into())],
        Place::Tracing(t, object, id) => vec![
            ("attach_type", attach_name(*t).into()),
            ("target_obj_id", (*object).into()),
            ("target_btf_id", (*id).into()),
        ],
        Place::Cgroup(id, t) => vec![("cgroup_id", (*id).into()), ("attach_type", attach_name(*t).into())],
        Place::Iter(name, map) => {
            let mut v = vec![("target_name", Value::from(name.clone()))];
            if *map != 0 {
                v.push(("map_id", (*map).into()));
            }
            v
        }
        Place::Netns(inode, t) => {
            vec![("netns_ino", (*inode).into()), ("attach_type", attach_name(*t).into())]
        }
        Place::Xdp(i) => vec![("devname", device(*i).into()), ("ifindex", (*i).into())],
        Place::StructOps(map) => vec![("map_id", (*map).into())],
        Place::Netfilter(pf, hook, prio, flags) => {
            let pf_name = match pf {
                2 => "ip".to_owned(),
                10 => "ip6".to_owned(),
                n => n.to_string(),
            };
            let hook = NF_HOOKS.get(*hook as usize).map_or_else(|| hook.to_string(), |h| (*h).to_owned());
            let mut v = vec![("pf", pf_name.into()), ("hook", hook.into()), ("prio", (*prio).into())];
            if *flags & 1 == 1 {
                v.push(("flags", "defrag".into()));
            }
            v
        }
        Place::KprobeMulti(n, flags, missed) => {
            let mut v = vec![("func_cnt", Value::from(*n)), ("retprobe", (flags & 1 == 1).into())];
            if *missed != 0 {
                v.push(("missed", (*missed).into()));
            }
            v
        }
        Place::UprobeMulti(path, n, flags, pid) => vec![
            ("path", path.clone().into()),
            ("func_cnt", (*n).into()),
            ("retprobe", (flags & 1 == 1).into()),
            ("pid", (*pid).into()),
        ],
        Place::PerfEvent(kind, name, offset, address, cookie) => {
            let mut v = vec![("event_type", Value::from(event_name(*kind)))];
            match kind {
                1 | 2 => {
                    v.extend([("file", name.clone().into()), ("offset", Value::from(*offset))]);
                }
                3 | 4 => v.extend([
                    ("func", name.clone().into()),
                    ("offset", (*offset).into()),
                    ("addr", (*address).into()),
                ]),
                5 => v.push(("tracepoint", name.clone().into())),
                _ => v.extend([("type", Value::from(*offset)), ("config", (*address).into())]),
            }
            if *cookie != 0 {
                v.push(("cookie", (*cookie).into()));
            }
            v
        }
        Place::Tcx(i, t) | Place::Netkit(i, t) => vec![
            ("devname", device(*i).into()),
            ("ifindex", (*i).into()),
            ("attach_type", attach_name(*t).into()),
        ],
        Place::Sockmap(map, t) => vec![("map_id", (*map).into()), ("attach_type", attach_name(*t).into())],
        _ => vec![],
    }
}

fn text(door: &dyn Door, i: &LinkInfo, pinned: &[String]) -> String {
    let mut s = format!("{}: {}", i.id, type_name(i.link_type));
    if i.prog_id != 0 {
        s.push_str(&format!("  prog {}", i.prog_id));
        if let Some(name) = prog_name(door, i.prog_id) {
            s.push_str(&format!(" ({name})"));
        }
    }
    let words: Vec<String> = place(&i.place)
        .iter()
        .filter(|(k, _)| *k != "ifindex")
        .map(|(k, v)| format!("{k} {}", v.as_str().map_or_else(|| v.to_string(), str::to_owned)))
        .collect();
    if !words.is_empty() {
        s.push_str(&format!("\n\t{}", words.join("  ")));
    }
    pinned.iter().for_each(|p| s.push_str(&format!("\n\tpinned {p}")));
    s.push('\n');
    s
}

fn json(door: &dyn Door, i: &LinkInfo, pinned: &[String]) -> Map<String, Value> {
    let mut o =
        object([("id", i.id.into()), ("type", type_name(i.link_type).into()), ("prog_id", i.prog_id.into())]);
    if let Some(name) = prog_name(door, i.prog_id) {
        o.insert("prog_name".into(), name.into());
    }
    o.extend(place(&i.place).into_iter().map(|(k, v)| (k.to_owned(), v)));
    if !pinned.is_empty() {
        o.insert("pinned".into(), pinned.to_vec().into());
    }
    o
}

fn show(which: &Which, with_pins: bool, out: &mut Out) -> Result<(), Failure> {
    let door = door();
    let paths = if with_pins { pins(&*door, IdKind::Link) } else { BTreeMap::new() };
    let mut rows = Vec::new();
    for fd in which.open(&*door, IdKind::Link)? {
        let info = info::link(&*door, fd.as_fd()).map_err(|e| refused("describing a link", e))?;
        let pinned = paths.get(&info.id).map_or(&[][..], Vec::as_slice);
        if out.is_json() {
            rows.push(json(&*door, &info, pinned));
        } else {
            out.text(&text(&*door, &info, pinned))?;
        }
    }
    if out.is_json() { out.json_rows("links", rows) } else { Ok(()) }
}
