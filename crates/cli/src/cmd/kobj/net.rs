//! What is attached where: `skep net`, `skep cgroup`, `skep perf`.

use super::link::attach_name;
use super::{Words, door, prog_name, refused, refused_as};
use crate::commands::Cmd;
use crate::failure::Failure;
use crate::output::{Out, object};
use crate::table::Table;
use clap::{Arg, ArgAction};
use serde_json::{Map, Value};
use skep::descriptors::{AttachType, Errno};
use skep::kernel::dispatcher::{self, libxdp};
use skep::kernel::door::{Attached, Door, IdKind, NetError, ProgAttach, Target};
use skep::kernel::explain::{self, Asked, Rights};
use skep::kernel::link::{NF_HOOKS, ifindex};
use skep::kernel::mount::mounted;
use skep::kernel::{info, netlink};
use std::fs::File;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

/// `skep net show [dev NAME]`.
pub(crate) static NET: Cmd = Cmd {
    path: &["net", "show"],
    about: "Show the programs on network devices of this network namespace: XDP, traffic control, netfilter, flow dissectors",
    long: "Examples:\n  skep net show\n  skep net show dev veth0 -j",
    args: || vec![super::words_arg("dev NAME", "One device; default: all"), super::xdp_root()],
    run: |m, out| {
        let mut words = Words::new(m);
        let only = if words.take("dev") { Some(words.value("dev")?.to_owned()) } else { None };
        words.end()?;
        net(only.as_deref(), &super::root_of(m), out)
    },
};

/// `skep cgroup show [PATH]`.
pub(crate) static CGROUP: Cmd = Cmd {
    path: &["cgroup", "show"],
    about: "Show the programs on a cgroup's hooks",
    long: "With `effective` (or --effective) also those that are inherited from above.\n\n\
           Examples:\n  skep cgroup show /sys/fs/cgroup/my.slice\n  skep cgroup show /sys/fs/cgroup/my.slice effective -j",
    args: || vec![super::words_arg("PATH", "The cgroup's folder"), effective()],
    run: |m, out| {
        let mut words = Words::new(m);
        let path = PathBuf::from(words.value("cgroup show")?);
        let effective = words.take("effective") || m.get_flag("effective");
        words.end()?;
        let rows = cgroup_rows(&path, effective)?;
        print_cgroups(vec![(path, rows)], false, out)
    },
};

/// `skep cgroup tree [PATH]`.
pub(crate) static TREE: Cmd = Cmd {
    path: &["cgroup", "tree"],
    about: "Show the programs on the hooks of a cgroup and all below it",
    long: "Example:\n  skep cgroup tree",
    args: || {
        vec![super::words_arg("PATH", "Where to begin; default: where cgroups are mounted"), effective()]
    },
    run: |m, out| {
        let mut words = Words::new(m);
        let root = match words.peek() {
            None | Some("effective") => PathBuf::from(cgroup2()?),
            Some(p) => {
                words.next();
                PathBuf::from(p)
            }
        };
        let effective = words.take("effective") || m.get_flag("effective");
        words.end()?;
        let mut all = Vec::new();
        walk(&root, effective, &mut all)?;
        print_cgroups(all, true, out)
    },
};

/// `skep perf show`.
pub(crate) static PERF: Cmd = Cmd {
    path: &["perf", "show"],
    about: "Show the programs on perf events, probes and tracepoints by their links",
    long: "Programs that older loaders attach by ioctl have no link and are not seen.\n\nExample:\n  skep perf show",
    args: Vec::new,
    run: |_, out| perf(out),
};

fn effective() -> Arg {
    Arg::new("effective")
        .long("effective")
        .action(ArgAction::SetTrue)
        .help("Also what is inherited from above")
}

fn net_failed(what: &str, e: &NetError) -> Failure {
    if e.text.is_empty() { refused(what, e.errno) } else { Failure::Failed(format!("{what}: {}", e.text)) }
}

/// Hooks of a device and of the namespace: what to ask for and bpftool's word.
const TCX: [(AttachType, &str); 4] = [
    (AttachType::TcxIngress, "tcx/ingress"),
    (AttachType::TcxEgress, "tcx/egress"),
    (AttachType::NetkitPrimary, "netkit/primary"),
    (AttachType::NetkitPeer, "netkit/peer"),
];

fn net(only: Option<&str>, root: &Path, out: &mut Out) -> Result<(), Failure> {
    let door = door();
    if let Some(name) = only
        && ifindex(name).is_none()
    {
        return Err(Failure::Input(format!("no network device {name:?}; `ip link` lists those there are")));
    }
    let mut devices = netlink::devices(&*door).map_err(|e| net_failed("listing network devices", &e))?;
    devices.retain(|d| only.is_none_or(|n| n == d.name));
    let (mut xdp, mut tc, mut hidden) = (Vec::new(), Vec::new(), false);
    for d in &devices {
        for (id, mode) in d.xdp.all() {
            let mut r = row(&d.name, d.ifindex, mode.label(), id, prog_name(&*door, id));
            let members = dispatcher::members_of(&door, d.ifindex, id, root);
            let mut members: Vec<Value> =
                members.iter().flatten().map(|m| member(&m.program.name, m.priority, m.chain)).collect();
            if members.is_empty() && r.get("name").is_some_and(|n| n == libxdp::NAME) {
                match libxdp::entries_of(&door, d.ifindex, id, root) {
                    Ok(entries) => {
                        members = entries.iter().map(|e| member(&e.name, e.priority, e.chain)).collect();
                    }
                    Err(e) => eprintln!("skep: the programs of {} are not shown: {e}", d.name),
                }
            }
            if !members.is_empty() {
                r.insert("programs".into(), members.into());
            }
            xdp.push(r);
        }
        for (hook, word) in TCX {
            let a = match door.prog_query(Target::Ifindex(d.ifindex), hook.id(), 0) {
                Ok(a) => a,
                Err(e) => {
                    hidden |= e == Errno::EPERM;
                    continue;
                }
            };
            for (i, id) in a.progs.iter().enumerate() {
                let mut r = row(&d.name, d.ifindex, word, *id, prog_name(&*door, *id));
                if let Some(link) = a.links.get(i).filter(|l| **l != 0) {
                    r.insert("link_id".into(), (*link).into());
                }
                tc.push(r);
            }
        }
        for f in netlink::filters(&*door, d.ifindex).map_err(|e| net_failed("listing classifiers", &e))? {
            let kind = match f.parent {
                netlink::CLSACT_INGRESS => "clsact/ingress",
                netlink::CLSACT_EGRESS => "clsact/egress",
                _ => "qdisc",
            };
            let mut r =
                row(&d.name, d.ifindex, kind, f.prog, prog_name(&*door, f.prog).or(Some(f.name.clone())));
            r.insert("direct_action".into(), f.direct.into());
            r.insert("prio".into(), f.prio.into());
            r.insert("handle".into(), format!("{:#x}", f.handle).into());
            tc.push(r);
        }
    }
    if hidden {
        let why = explain::why(Asked::Query, Errno::EPERM, &Rights::own());
        eprintln!("skep: tcx, netkit, flow dissector, netfilter and names are not shown: {why}");
    }
    let dissector = File::open("/proc/thread-self/ns/net")
        .ok()
        .and_then(|f| door.prog_query(Target::Fd(f.as_fd()), AttachType::FlowDissector.id(), 0).ok());
    let flow: Vec<Value> =
        dissector.iter().flat_map(|a| &a.progs).map(|id| object([("id", (*id).into())]).into()).collect();
    let netfilter = netfilter(&*door);
    if out.is_json() {
        let all = |rows: Vec<Map<String, Value>>| Value::Array(rows.into_iter().map(Value::Object).collect());
        return out.json(object([
            ("xdp", all(xdp)),
            ("tc", all(tc)),
            ("flow_dissector", Value::Array(flow)),
            ("netfilter", all(netfilter)),
        ]));
    }
    section(out, "xdp", &xdp)?;
    section(out, "tc", &tc)?;
    out.line("flow_dissector:")?;
    for f in &flow {
        out.line(&format!("id {}", f["id"]))?;
    }
    out.line("")?;
    section(out, "netfilter", &netfilter)
}

/// One of several programs that share a device.
fn member(name: &str, priority: u32, chain: u32) -> Value {
    let chain: Vec<&str> = dispatcher::chain_words(chain).collect();
    object([("name", name.into()), ("priority", priority.into()), ("chain_call_actions", chain.into())])
        .into()
}

/// Lines for the programs that share a device, in the order in which they run.
fn members_text(members: &Value) -> Vec<String> {
    let line = |m: &Value| {
        let words = m["chain_call_actions"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let words: Vec<&str> = words.collect();
        let chain = if words.is_empty() { "none".into() } else { words.join(",") };
        format!("\tpriority {} {} chain {chain}", m["priority"], m["name"].as_str().unwrap_or_default())
    };
    members.as_array().into_iter().flatten().map(line).collect()
}

fn row(name: &str, ifindex: u32, kind: &str, id: u32, prog: Option<String>) -> Map<String, Value> {
    let mut r = object([
        ("devname", name.into()),
        ("ifindex", ifindex.into()),
        ("kind", kind.into()),
        ("id", id.into()),
    ]);
    if let Some(p) = prog {
        r.insert("name".into(), p.into());
    }
    r
}

fn section(out: &mut Out, title: &str, rows: &[Map<String, Value>]) -> Result<(), Failure> {
    out.line(&format!("{title}:"))?;
    for r in rows {
        let text = |k: &str| {
            r.get(k).map_or(String::new(), |v| v.as_str().map_or_else(|| v.to_string(), str::to_owned))
        };
        let mut line = match r.get("devname") {
            Some(_) => format!("{}({}) {}", text("devname"), text("ifindex"), text("kind")),
            None => format!("{} {} prio {}", text("pf"), text("hook"), text("prio")),
        };
        if r.contains_key("name") {
            line.push_str(&format!(" {}", text("name")));
        }
        line.push_str(&format!(" id {}", text("id")));
        if r.contains_key("link_id") {
            line.push_str(&format!(" link_id {}", text("link_id")));
        }
        out.line(&line)?;
        r.get("programs").map(members_text).into_iter().flatten().try_for_each(|l| out.line(&l))?;
    }
    out.line("")
}

fn netfilter(door: &dyn Door) -> Vec<Map<String, Value>> {
    let links = info::all(door, IdKind::Link).unwrap_or_default();
    let infos = links.iter().filter_map(|fd| info::link(door, fd.as_fd()).ok());
    let rows = infos.filter_map(|i| match i.place {
        info::Place::Netfilter(pf, hook, prio, _) => {
            let hook = NF_HOOKS.get(hook as usize).copied().unwrap_or("unknown");
            let pf = if pf == 2 { "ip" } else { "ip6" };
            let mut r = object([
                ("pf", pf.into()),
                ("hook", hook.into()),
                ("prio", prio.into()),
                ("id", i.prog_id.into()),
                ("link_id", i.id.into()),
            ]);
            if let Some(name) = prog_name(door, i.prog_id) {
                r.insert("name".into(), name.into());
            }
            Some(r)
        }
        _ => None,
    });
    rows.collect()
}

/// Where cgroups of version 2 are mounted.
fn cgroup2() -> Result<String, Failure> {
    let first = mounted("cgroup2").first().map(|at| at.display().to_string());
    first.ok_or_else(|| {
        Failure::Input("no cgroup file system of version 2 is mounted: mount -t cgroup2 none FOLDER".into())
    })
}

/// Attach types of cgroups.
fn cgroup_hooks() -> impl Iterator<Item = AttachType> {
    let all = AttachType::ALL.iter().map(|(t, _)| *t);
    all.filter(|t| t.uapi_name().starts_with("BPF_CGROUP_") || *t == AttachType::LsmCgroup)
}

struct CgroupRow {
    hook: AttachType,
    attached: Attached,
}

fn cgroup_rows(path: &Path, effective: bool) -> Result<Vec<CgroupRow>, Failure> {
    let folder = File::open(path).map_err(|e| Failure::io("open", path, &e))?;
    let flags = u32::from(effective);
    let mut rows = Vec::new();
    for hook in cgroup_hooks() {
        match door().prog_query(Target::Fd(folder.as_fd()), hook.id(), flags) {
            Ok(attached) if !attached.progs.is_empty() => rows.push(CgroupRow { hook, attached }),
            // A hook that this kernel has not.
            Ok(_) | Err(Errno::EINVAL | Errno::EOPNOTSUPP) => {}
            Err(Errno::EBADF) => {
                let hint = cgroup2().map(|m| format!("; those are below {m}")).unwrap_or_default();
                return Err(Failure::Input(format!("{} is no cgroup of version 2{hint}", path.display())));
            }
            Err(e) => return Err(refused_as(Asked::Query, &format!("asking {}", path.display()), e)),
        }
    }
    Ok(rows)
}

fn walk(path: &Path, effective: bool, all: &mut Vec<(PathBuf, Vec<CgroupRow>)>) -> Result<(), Failure> {
    let rows = cgroup_rows(path, effective)?;
    if !rows.is_empty() {
        all.push((path.into(), rows));
    }
    let Ok(entries) = std::fs::read_dir(path) else { return Ok(()) };
    for e in entries.flatten().filter(|e| e.file_type().is_ok_and(|t| t.is_dir())) {
        // A cgroup may go away while it is looked at.
        let _ = walk(&e.path(), effective, all);
    }
    Ok(())
}

fn flags_name(flags: u32) -> &'static str {
    match flags & 3 {
        1 => "override",
        2 => "multi",
        _ => "",
    }
}

fn print_cgroups(
    all: Vec<(PathBuf, Vec<CgroupRow>)>,
    with_paths: bool,
    out: &mut Out,
) -> Result<(), Failure> {
    let door = door();
    let mut table = Table::new(&["CgroupPath", ">ID", "AttachType", "AttachFlags", "Name"]);
    let mut json = Vec::new();
    for (path, rows) in &all {
        let mut programs = Vec::new();
        for r in rows {
            for (i, id) in r.attached.progs.iter().enumerate() {
                let flags = r.attached.flags.get(i).copied().unwrap_or(r.attached.attach_flags);
                let name = prog_name(&*door, *id).unwrap_or_default();
                if out.is_json() {
                    programs.push(Value::Object(object([
                        ("id", (*id).into()),
                        ("attach_type", attach_name(r.hook.id()).into()),
                        ("attach_flags", flags_name(flags).into()),
                        ("name", name.into()),
                    ])));
                } else {
                    let at = if with_paths { path.display().to_string() } else { String::new() };
                    let cells =
                        [at, id.to_string(), attach_name(r.hook.id()), flags_name(flags).into(), name];
                    table.row(cells.to_vec());
                }
            }
        }
        json.push(object([
            ("cgroup", path.display().to_string().into()),
            ("programs", Value::Array(programs)),
        ]));
    }
    if out.is_json() {
        return out.json_rows("cgroups", json);
    }
    if table.is_empty() {
        return out.line("no programs are attached");
    }
    out.text(&table.text())
}

fn perf(out: &mut Out) -> Result<(), Failure> {
    let door = door();
    let mut rows = Vec::new();
    for fd in info::all(&*door, IdKind::Link).map_err(|e| refused("listing links", e))? {
        let Ok(i) = info::link(&*door, fd.as_fd()) else { continue };
        let (kind, what) = match &i.place {
            info::Place::PerfEvent(1, path, at, ..) => ("uprobe", format!("{path}+{at:#x}")),
            info::Place::PerfEvent(2, path, at, ..) => ("uretprobe", format!("{path}+{at:#x}")),
            info::Place::PerfEvent(3, name, at, ..) => ("kprobe", format!("{name}+{at:#x}")),
            info::Place::PerfEvent(4, name, at, ..) => ("kretprobe", format!("{name}+{at:#x}")),
            info::Place::PerfEvent(5, name, ..) => ("tracepoint", name.clone()),
            info::Place::PerfEvent(_, _, kind, config, _) => {
                ("perf_event", format!("type {kind} config {config}"))
            }
            info::Place::RawTracepoint(name) => ("raw_tracepoint", name.clone()),
            info::Place::UprobeMulti(path, n, ..) => ("uprobe_multi", format!("{path}, {n} places")),
            info::Place::KprobeMulti(n, ..) => ("kprobe_multi", format!("{n} functions")),
            _ => continue,
        };
        let name = prog_name(&*door, i.prog_id).unwrap_or_default();
        if out.is_json() {
            rows.push(object([
                ("link_id", i.id.into()),
                ("prog_id", i.prog_id.into()),
                ("name", name.into()),
                ("kind", kind.into()),
                ("target", what.into()),
            ]));
        } else {
            out.line(&format!("link {}  prog {} ({name})  {kind}  {what}", i.id, i.prog_id))?;
        }
    }
    if out.is_json() { out.json_rows("events", rows) } else { Ok(()) }
}

/// `skep cgroup detach PATH ATTACH_TYPE PROG`: what was attached without a link.
pub(crate) static CGROUP_DETACH: Cmd = Cmd {
    path: &["cgroup", "detach"],
    about: "Detach a program that was attached to a cgroup without a link",
    long: "Programs with a link are detached by `skep link detach`.\n\n\
           Example:\n  skep cgroup detach /sys/fs/cgroup/my.slice cgroup_inet_ingress id 12",
    args: || {
        vec![super::words_arg("PATH ATTACH_TYPE PROG", "Folder, hook, and id N, pinned PATH or name NAME")]
    },
    run: |m, _| {
        let mut words = Words::new(m);
        let path = PathBuf::from(words.value("cgroup detach")?);
        let hook = words.value("the folder")?;
        let hook = cgroup_hooks().find(|t| t.label() == hook).ok_or_else(|| {
            let all: Vec<String> = cgroup_hooks().map(AttachType::label).collect();
            Failure::Usage(format!("no hook {hook:?}; there are {}", all.join(", ")))
        })?;
        let door = door();
        let prog = words.which()?.one(&*door, IdKind::Prog)?;
        words.end()?;
        let folder = File::open(&path).map_err(|e| Failure::io("open", &path, &e))?;
        let a = ProgAttach {
            target: Target::Fd(folder.as_fd()),
            prog: Some(prog.as_fd()),
            attach_type: hook.id(),
            flags: 0,
        };
        door.prog_detach(&a).map_err(|e| match e {
            Errno::ENOENT => Failure::Input(format!(
                "the program is not attached there without a link; `skep cgroup show {}` and `skep link show` tell",
                path.display()
            )),
            e => refused("detaching", e),
        })
    },
};
