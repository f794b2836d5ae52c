//! Attaching programs that are in the kernel, by bpftool's words: `skep prog|net|cgroup attach|detach`, `skep iter pin`.
//!
//! These attachments have no link: they stay until they are detached, as bpftool's do. `skep prog loadall … autoattach` and
//! `skep run --engine kernel` make links.

use super::link::attach_name;
use super::{Which, Words, door, engine, kernel, pinning, refused, words_arg};
use crate::commands::Cmd;
use crate::failure::Failure;
use clap::ArgMatches;
use skep::descriptors::{AttachType, Errno, ProgType};
use skep::kernel::auto::{self, Given};
use skep::kernel::dispatcher::{self, Dispatcher, Form, Member, libxdp};
use skep::kernel::door::{IdKind, ProgAttach, Target};
use skep::kernel::link::{XdpMode, ifindex};
use skep::kernel::pinned::Pinning;
use skep::kernel::{Kernel, KernelProgram, info, netlink, pin};
use skep::{Collection, Options, Select};
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd};
use std::path::PathBuf;

/// `skep prog attach PROG ATTACH_TYPE [MAP]`.
pub(crate) static PROG_ATTACH: Cmd = Cmd {
    path: &["prog", "attach"],
    about: "Attach a program of the running kernel to a socket map, or as flow dissector",
    long: "ATTACH_TYPE: sk_skb_stream_parser, sk_skb_stream_verdict, sk_skb_verdict, sk_msg_verdict (with MAP), flow_dissector.\n\n\
           Example:\n  skep prog attach pinned /sys/fs/bpf/verdict sk_msg_verdict pinned /sys/fs/bpf/sockets",
    args: || vec![words_arg("PROG ATTACH_TYPE [MAP]", "Program, hook and socket map")],
    run: |m, _| prog(&mut Words::new(m), false),
};

/// `skep prog detach PROG ATTACH_TYPE [MAP]`.
pub(crate) static PROG_DETACH: Cmd = Cmd {
    path: &["prog", "detach"],
    about: "Detach a program from a socket map, or as flow dissector",
    long: "Example:\n  skep prog detach pinned /sys/fs/bpf/verdict sk_msg_verdict pinned /sys/fs/bpf/sockets",
    args: || vec![words_arg("PROG ATTACH_TYPE [MAP]", "Program, hook and socket map")],
    run: |m, _| prog(&mut Words::new(m), true),
};

/// `skep net attach ATTACH_TYPE PROG dev NAME [overwrite]`.
pub(crate) static NET_ATTACH: Cmd = Cmd {
    path: &["net", "attach"],
    about: "Attach a program to a network device; of objects several XDP programs share one",
    long: "ATTACH_TYPE: xdp, xdpgeneric, xdpdrv, xdpoffload, tcx_ingress, tcx_egress. It stays until `skep net detach`.\n\n\
           With `obj FILE` in the place of PROG the object's XDP program (`prog NAME` where it has several) joins those that are on\n\
           the device: the one with the smallest priority runs first, and the next is asked on the actions of `chain`\n\
           (aborted, drop, pass, tx, redirect, divided by commas, or none). What is not said is taken from the object's section\n\
           .xdp_run_config, else it is priority 50 and pass. No packet is lost meanwhile. `replace` takes the place of the program\n\
           of the same name. `skep net show` lists them.\n\n\
           Where the kernel takes extensions of programs (freplace) the set has libxdp's form, which xdp-loader lists and changes\n\
           too; elsewhere the programs are linked into one, and that is told. `form linked` or `form libxdp` chooses.\n\n\
           Examples:\n  skep net attach xdpgeneric pinned /sys/fs/bpf/xdp dev veth0 overwrite\n  \
           skep net attach xdp obj firewall.bpf.o dev veth0 priority 10 chain pass,tx",
    args: || {
        let mut args = vec![words_arg(
            "ATTACH_TYPE PROG dev NAME [WORD]",
            "Hook, program, device, and what else is wanted",
        )];
        args.extend(super::load::object_args());
        args.push(super::xdp_root());
        args
    },
    run: |m, _| net_attach(m),
};

/// `skep net detach ATTACH_TYPE dev NAME`.
pub(crate) static NET_DETACH: Cmd = Cmd {
    path: &["net", "detach"],
    about: "Detach the program that is on a network device without a link, or programs that share the device",
    long: "`prog NAME` takes one of the programs that share a device off, without it all of them go.\n\n\
           Examples:\n  skep net detach xdp dev veth0\n  skep net detach xdp dev veth0 prog firewall",
    args: || {
        vec![words_arg("ATTACH_TYPE dev NAME [prog NAME]", "Hook, device and program"), super::xdp_root()]
    },
    run: |m, _| net_detach(m),
};

/// `skep cgroup attach PATH ATTACH_TYPE PROG [multi|override]`.
pub(crate) static CGROUP_ATTACH: Cmd = Cmd {
    path: &["cgroup", "attach"],
    about: "Attach a program of the running kernel to a cgroup",
    long: "multi lets several programs be on the hook, override lets cgroups below replace it; without either neither may be.\n\n\
           Example:\n  skep cgroup attach /sys/fs/cgroup/my.slice cgroup_inet_ingress pinned /sys/fs/bpf/count multi",
    args: || vec![words_arg("PATH ATTACH_TYPE PROG [multi|override]", "Folder, hook and program")],
    run: |m, _| cgroup_attach(&mut Words::new(m)),
};

/// `skep iter pin OBJ PATH [map MAP]`.
pub(crate) static ITER_PIN: Cmd = Cmd {
    path: &["iter", "pin"],
    about: "Load an iterator's object and pin it as a file that shows its output when it is read",
    long: "Example:\n  skep iter pin iter.bpf.o /sys/fs/bpf/sockets && cat /sys/fs/bpf/sockets",
    args: || vec![words_arg("OBJ PATH [map MAP]", "Object file, where to pin it, and the map it walks")],
    run: |m, _| iter_pin(&mut Words::new(m)),
};

fn hook(word: &str) -> Result<AttachType, Failure> {
    let found = AttachType::ALL.iter().map(|(t, _)| *t).find(|t| t.label() == word);
    // bpftool's short words.
    let short = match word {
        "msg_verdict" => Some(AttachType::SkMsgVerdict),
        "stream_verdict" => Some(AttachType::SkSkbStreamVerdict),
        "stream_parser" => Some(AttachType::SkSkbStreamParser),
        _ => None,
    };
    found.or(short).ok_or_else(|| {
        Failure::Usage(format!(
            "no attach type {word:?}; they are named as in the kernel, such as sk_msg_verdict"
        ))
    })
}

fn prog(words: &mut Words<'_>, detach: bool) -> Result<(), Failure> {
    let door = door();
    let prog = super::load::program(words)?;
    let hook = hook(words.value("the program")?)?;
    let map = match words.which()? {
        Which::All if hook == AttachType::FlowDissector => None,
        which => Some(which.one(&*door, IdKind::Map)?),
    };
    words.end()?;
    let a = ProgAttach {
        target: map.as_ref().map_or(Target::None, |m| Target::Fd(m.as_fd())),
        prog: Some(prog.as_fd()),
        attach_type: hook.id(),
        flags: 0,
    };
    let done = if detach { door.prog_detach(&a) } else { door.prog_attach(&a) };
    let what =
        format!("{} {}", if detach { "detaching from" } else { "attaching to" }, attach_name(hook.id()));
    done.map_err(|e| hook_refused(&what, e))
}

fn hook_refused(what: &str, e: Errno) -> Failure {
    match e {
        Errno::EEXIST | Errno::EBUSY => {
            Failure::Failed(format!("{what}: a program is there already; detach it first"))
        }
        Errno::ENOENT => Failure::Input(format!("{what}: no such program is there")),
        Errno::EINVAL => Failure::Failed(format!("{what}: the hook does not take a program of this type")),
        e => refused(what, e),
    }
}

/// A hook of network devices.
enum NetHook {
    Xdp(XdpMode),
    Tcx(AttachType),
}

fn net_hook(word: &str) -> Result<NetHook, Failure> {
    Ok(match word {
        "xdp" => NetHook::Xdp(XdpMode::Any),
        "xdpgeneric" => NetHook::Xdp(XdpMode::Generic),
        "xdpdrv" => NetHook::Xdp(XdpMode::Native),
        "xdpoffload" => NetHook::Xdp(XdpMode::Offload),
        "tcx_ingress" => NetHook::Tcx(AttachType::TcxIngress),
        "tcx_egress" => NetHook::Tcx(AttachType::TcxEgress),
        w => {
            return Err(Failure::Usage(format!(
                "no hook {w:?}; there are xdp, xdpgeneric, xdpdrv, xdpoffload, tcx_ingress, tcx_egress"
            )));
        }
    })
}

fn device(words: &mut Words<'_>) -> Result<(String, u32), Failure> {
    if !words.take("dev") {
        return Err(Failure::Usage("name the network device: dev NAME".into()));
    }
    let name = words.value("dev")?;
    let index = ifindex(name).ok_or_else(|| {
        Failure::Input(format!("no network device {name:?}; `ip link` lists those there are"))
    })?;
    Ok((name.to_owned(), index))
}

fn net_attach(m: &ArgMatches) -> Result<(), Failure> {
    let words = &mut Words::new(m);
    let door = door();
    let hook = net_hook(words.value("attach")?)?;
    if words.take("obj") {
        return match hook {
            NetHook::Xdp(mode) => share(m, words, mode),
            NetHook::Tcx(_) => Err(Failure::Usage(
                "obj: only XDP programs share a device this way; tcx takes several programs by itself".into(),
            )),
        };
    }
    let prog = super::load::program(words)?;
    let (name, index) = device(words)?;
    let overwrite = words.take("overwrite");
    words.end()?;
    let what = format!("attaching to {name}");
    match hook {
        NetHook::Xdp(mode) => {
            let set = netlink::set_xdp(&*door, index, prog.as_raw_fd(), mode, overwrite);
            set.map_err(|e| match (e.text.is_empty(), e.errno) {
                (_, Errno::EBUSY | Errno::EEXIST) => Failure::Failed(format!(
                    "{what}: a program is there already; `overwrite` replaces it, unless it has a link"
                )),
                (false, _) => Failure::Failed(format!("{what}: {}", e.text)),
                (true, errno) => hook_refused(&what, errno),
            })
        }
        NetHook::Tcx(t) => {
            let target = Target::Ifindex(index);
            let a = ProgAttach { target, prog: Some(prog.as_fd()), attach_type: t.id(), flags: 0 };
            door.prog_attach(&a).map_err(|e| hook_refused(&what, e))
        }
    }
}

/// An object's program joins those that are on a device.
fn share(m: &ArgMatches, words: &mut Words<'_>, mode: XdpMode) -> Result<(), Failure> {
    let path = PathBuf::from(words.value("obj")?);
    let wanted = if words.take("prog") { Some(words.value("prog")?) } else { None };
    let (_, index) = device(words)?;
    let (mut priority, mut chain, mut replace, mut form) = (None, None, false, None);
    while let Some(word) = words.next() {
        match word {
            "priority" => priority = Some(words.number(word)?),
            "chain" => chain = Some(actions(words.value(word)?)?),
            "replace" => replace = true,
            "form" => form = Some(form_of(words.value(word)?)?),
            w => return Err(Failure::Usage(format!("{w:?}: priority, chain, replace or form is expected"))),
        }
    }
    let kernel = Kernel::unchecked(*skep::platform());
    let object = super::super::obj::open(&path)?;
    let is_xdp = |f: &&skep::obj::Function| f.entry.as_ref().is_some_and(|e| e.prog_type == ProgType::Xdp);
    let names: Vec<String> = object.programs().filter(is_xdp).map(|f| f.name.clone()).collect();
    let name = match (wanted, &names[..]) {
        (Some(name), _) if names.iter().any(|n| n == name) => name.to_owned(),
        (None, [one]) => one.clone(),
        (_, []) => return Err(Failure::Input(format!("{}: has no XDP program", path.display()))),
        (_, many) => {
            return Err(Failure::Usage(format!(
                "{}: name one of its XDP programs: prog {}",
                path.display(),
                many.join("|")
            )));
        }
    };
    let config = object.xdp_run_config(&name);
    let root: &PathBuf = m.get_one("pin-root").ok_or_else(|| Failure::Usage("no pin folder".into()))?;
    let c =
        super::load::open(m, &path, object, &kernel, &Pinning::new(&kernel, root), Select::Named(&[&name]))?;
    let Some(program) = c.program(&name).map(|p| p.loaded.program().clone()) else {
        return Err(Failure::Failed(format!("{}: {name} was not loaded", path.display())));
    };
    let member = Member {
        program,
        priority: priority.or(config.priority).unwrap_or(dispatcher::DEFAULT_PRIORITY),
        chain: chain.unwrap_or_else(|| config.chain_of(dispatcher::DEFAULT_CHAIN)),
    };
    let root = super::root_of(m);
    let form = match form {
        Some(form) => form,
        None => {
            let (form, refusal) = dispatcher::form(&kernel, index, &root).map_err(|e| engine(&e))?;
            if let Some(e) = refusal {
                eprintln!("skep: the programs are linked into one, as libxdp's form is refused: {e}");
            }
            form
        }
    };
    match form {
        Form::Linked => shared(m, &kernel, index, mode)?.add(member, replace),
        Form::Libxdp => {
            libxdp::Set::open(&kernel, index, mode, &root).and_then(|mut set| set.add(&member, replace))
        }
    }
    .map_err(|e| engine(&e))
}

fn form_of(word: &str) -> Result<Form, Failure> {
    match word {
        "linked" => Ok(Form::Linked),
        "libxdp" => Ok(Form::Libxdp),
        w => Err(Failure::Usage(format!("form: {w:?} is none; there are linked and libxdp"))),
    }
}

/// The programs that share a device.
fn shared<'k>(
    m: &ArgMatches,
    kernel: &'k Kernel,
    index: u32,
    mode: XdpMode,
) -> Result<Dispatcher<'k>, Failure> {
    Dispatcher::open(kernel, index, mode, &super::root_of(m)).map_err(|e| engine(&e))
}

/// `pass,tx`, `none`.
fn actions(text: &str) -> Result<u32, Failure> {
    if text == "none" {
        return Ok(0);
    }
    text.split(',').try_fold(0, |bits, word| match dispatcher::ACTIONS.iter().position(|a| *a == word) {
        Some(action) => Ok(bits | 1 << action),
        None => Err(Failure::Usage(format!(
            "chain: no action {word:?}; there are {}, and none",
            dispatcher::ACTIONS.join(", ")
        ))),
    })
}

/// Takes one or all of the programs off that share a device; whether there are such.
fn unshare(m: &ArgMatches, name: &str, index: u32, prog: Option<&str>) -> Result<bool, Failure> {
    if !super::root_of(m).is_dir() {
        return Ok(false);
    }
    let kernel = Kernel::unchecked(*skep::platform());
    let root = super::root_of(m);
    let mut set = shared(m, &kernel, index, XdpMode::Any)?;
    if !set.members().is_empty() {
        let Some(prog) = prog else { return set.clear().map(|()| true).map_err(|e| engine(&e)) };
        let taken = set.remove(prog).map_err(|e| engine(&e))?;
        return taken_off(taken, name, prog, set.members().iter().map(|m| m.program.name.as_str()));
    }
    drop(set);
    if !libxdp::is_on(kernel.door(), index, &root).map_err(|e| engine(&e))? {
        return Ok(false);
    }
    let mut set = libxdp::Set::open(&kernel, index, XdpMode::Any, &root).map_err(|e| engine(&e))?;
    let Some(prog) = prog else { return set.clear().map(|()| true).map_err(|e| engine(&e)) };
    let taken = set.remove(prog).map_err(|e| engine(&e))?;
    taken_off(taken, name, prog, set.entries().map(|e| e.name.as_str()))
}

fn taken_off<'a>(
    taken: bool,
    device: &str,
    prog: &str,
    have: impl Iterator<Item = &'a str>,
) -> Result<bool, Failure> {
    if taken {
        return Ok(true);
    }
    let have: Vec<&str> = have.collect();
    Err(Failure::Input(format!(
        "detaching from {device}: no program {prog:?} shares the device; there are {}",
        have.join(", ")
    )))
}

fn net_detach(m: &ArgMatches) -> Result<(), Failure> {
    let words = &mut Words::new(m);
    let door = door();
    let hook = net_hook(words.value("detach")?)?;
    let (name, index) = device(words)?;
    let prog = if words.take("prog") { Some(words.value("prog")?) } else { None };
    words.end()?;
    let what = format!("detaching from {name}");
    match hook {
        NetHook::Xdp(mode) => {
            match unshare(m, &name, index, prog)? {
                true => return Ok(()),
                false if prog.is_some() => {
                    return Err(Failure::Input(format!("{what}: no programs share the device")));
                }
                false => {}
            }
            if netlink::xdp(&*door, index).is_ok_and(|s| s.any().is_none()) {
                return Err(Failure::Input(format!("{what}: no program is there")));
            }
            netlink::set_xdp(&*door, index, -1, mode, true).map_err(|e| match e.errno {
                Errno::EBUSY => {
                    Failure::Failed(format!("{what}: the program has a link; `skep link detach` detaches it"))
                }
                _ if !e.text.is_empty() => Failure::Failed(format!("{what}: {}", e.text)),
                errno => hook_refused(&what, errno),
            })
        }
        NetHook::Tcx(t) => {
            let a = ProgAttach { target: Target::Ifindex(index), prog: None, attach_type: t.id(), flags: 0 };
            door.prog_detach(&a).map_err(|e| hook_refused(&what, e))
        }
    }
}

fn cgroup_attach(words: &mut Words<'_>) -> Result<(), Failure> {
    let door = door();
    let path = PathBuf::from(words.value("attach")?);
    let hook = hook(words.value("the folder")?)?;
    let prog = super::load::program(words)?;
    let mut flags = 0;
    while let Some(word) = words.next() {
        flags |= match word {
            "override" => 1,
            "multi" => 2,
            w => return Err(Failure::Usage(format!("{w:?}: multi or override is expected"))),
        };
    }
    let folder = File::open(&path).map_err(|e| Failure::io("open", &path, &e))?;
    let a = ProgAttach {
        target: Target::Fd(folder.as_fd()),
        prog: Some(prog.as_fd()),
        attach_type: hook.id(),
        flags,
    };
    door.prog_attach(&a).map_err(|e| match e {
        Errno::EBADF => Failure::Input(format!("{} is no cgroup of version 2", path.display())),
        Errno::EPERM => Failure::Permission(format!(
            "attaching to {}: a capability is missing, or a program above or on the hook allows none beside it (multi)",
            path.display()
        )),
        e => hook_refused(&format!("attaching to {}", path.display()), e),
    })
}

fn iter_pin(words: &mut Words<'_>) -> Result<(), Failure> {
    let (Some(path), Some(at)) = (words.next().map(PathBuf::from), words.next().map(PathBuf::from)) else {
        return Err(Failure::Usage("give the object file and where to pin it: OBJ PATH".into()));
    };
    let kernel = kernel()?;
    let mut info_bytes = Vec::new();
    let mut map = None;
    if words.take("map") {
        let fd = words.which()?.one(&**kernel.door(), IdKind::Map)?;
        info::map(&**kernel.door(), fd.as_fd()).map_err(|e| refused("describing the map", e))?;
        info_bytes.extend_from_slice(&fd.as_raw_fd().to_ne_bytes());
        map = Some(fd);
    }
    words.end()?;
    let object = super::super::obj::open(&path)?;
    let is_iter = |f: &&skep::obj::Function| {
        f.entry.as_ref().is_some_and(|e| e.attach_type == Some(AttachType::TraceIter))
    };
    let Some(name) = object.programs().find(is_iter).map(|f| f.name.clone()) else {
        return Err(Failure::Input(format!("{}: has no iterator (section iter/…)", path.display())));
    };
    let config = super::super::target::kconfig(&object, None)?;
    let mut options = Options::default();
    let names = [name.as_str()];
    options.select = Select::Named(&names);
    options.target_btf = super::super::target::all_types(None)?;
    options.kconfig = super::super::target::running(&config, &object, &kernel);
    options.ksyms = super::super::target::ksyms(&object, true);
    let c = Collection::open(object, &kernel, &options, &mut skep::verify::unverified)
        .map_err(|e| Failure::open(&path, &e))?;
    let loaded = c.programs.first().and_then(|p| p.loaded.as_any().downcast_ref::<KernelProgram>());
    let Some(program) = loaded else {
        return Err(Failure::Failed(format!("{}: the iterator was not loaded", path.display())));
    };
    let given = Given { iter: &info_bytes, ..Given::default() };
    let link = auto::attach(&kernel, program, &given).map_err(|e| engine(&e))?;
    drop(map);
    let Some(fd) = link.fds().next() else { return Ok(()) };
    pin::pin(&**kernel.door(), &at, fd).map_err(|e| pinning(&e))
}
