//! `skep struct_ops show|list|dump|register|unregister`: structures of the kernel whose functions are programs.

use super::load::{self, Pins};
use super::{Which, Words, door, prog_name, refused, words_arg};
use crate::commands::Cmd;
use crate::failure::Failure;
use crate::maps::value_json;
use crate::output::{Out, object};
use clap::{Arg, ArgMatches};
use serde_json::{Map, Value};
use skep::Select;
use skep::btf::{Btf, Type, Value as Typed, type_decl};
use skep::descriptors::map::flags;
use skep::descriptors::{EngineError, Errno, Map as _, MapType};
use skep::kernel::door::{Door, IdKind};
use skep::kernel::info::{self, MapInfo};
use skep::kernel::pinned::Pinning;
use skep::kernel::struct_ops::{self, Layout};
use skep::kernel::{Kernel, KernelMap, vmlinux};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

fn which_arg() -> Vec<Arg> {
    vec![words_arg("STRUCT_OPS_MAP", "id N, name NAME or pinned PATH; default: all")]
}

/// `skep struct_ops show [STRUCT_OPS_MAP]`.
pub(crate) static SHOW: Cmd = Cmd {
    path: &["struct_ops", "show"],
    about: "Show the struct_ops maps of the running kernel",
    long: "A line each: id, name, and the kernel's structure.\n\n\
           Examples:\n  skep struct_ops show\n  skep struct_ops show name cubic -j",
    args: which_arg,
    run: |m, out| show(m, out),
};

/// `skep struct_ops list`, the same.
pub(crate) static LIST: Cmd = Cmd {
    path: &["struct_ops", "list"],
    about: "Same as show",
    long: "Example:\n  skep struct_ops list",
    args: which_arg,
    run: |m, out| show(m, out),
};

/// `skep struct_ops dump [STRUCT_OPS_MAP]`.
pub(crate) static DUMP: Cmd = Cmd {
    path: &["struct_ops", "dump"],
    about: "Show what the kernel keeps in struct_ops maps: members by their types, functions with their programs",
    long: "Text is the JSON of the maps, indented.\n\nExample:\n  skep struct_ops dump name cubic",
    args: which_arg,
    run: |m, out| dump(m, out),
};

/// `skep struct_ops register OBJ [LINK_DIR]`.
pub(crate) static REGISTER: Cmd = Cmd {
    path: &["struct_ops", "register"],
    about: "Load an object and register its struct_ops variables with the kernel",
    long: "Variables of section .struct_ops stay registered until `skep struct_ops unregister`. Those of .struct_ops.link are\n\
           registered by links, which end with this command unless LINK_DIR, a folder of a bpf file system, is given: there they\n\
           are pinned by the names of their maps.\n\
           --set NAME.MEMBER=VALUE changes a member before: a number, a text, the name of another program, or 0 for no program.\n\n\
           Examples:\n  skep struct_ops register bpf_cubic.bpf.o\n  \
           skep struct_ops register cc.bpf.o /sys/fs/bpf/cc --set 'mine.name=\"fast\"'",
    args: || {
        let mut args = vec![words_arg("OBJ [LINK_DIR]", "Object file, and where links are pinned")];
        args.extend(load::object_args());
        args
    },
    run: |m, out| register(m, out),
};

/// `skep struct_ops unregister STRUCT_OPS_MAP`.
pub(crate) static UNREGISTER: Cmd = Cmd {
    path: &["struct_ops", "unregister"],
    about: "End the registration of struct_ops maps",
    long: "Of a map that was registered by links these are detached, whoever holds them.\n\n\
           Example:\n  skep struct_ops unregister name cubic",
    args: || vec![words_arg("STRUCT_OPS_MAP", "id N, name NAME or pinned PATH")],
    run: |m, out| unregister(m, out),
};

/// The struct_ops maps that are meant, with what the kernel says of them.
fn find(door: &dyn Door, which: &Which) -> Result<Vec<(OwnedFd, MapInfo)>, Failure> {
    let none = || {
        Failure::Input(format!(
            "the kernel has no struct_ops map with {which}; `skep struct_ops show` lists those it has"
        ))
    };
    let fds = match which.open(door, IdKind::Map) {
        Err(Failure::Input(_)) if matches!(which, Which::Name(_) | Which::Id(_)) => return Err(none()),
        fds => fds?,
    };
    let mut found = Vec::new();
    for fd in fds {
        let info = info::map(door, fd.as_fd()).map_err(|e| refused("describing a map", e))?;
        if info.map_type == MapType::StructOps.id() {
            found.push((fd, info));
        }
    }
    if found.is_empty() && *which != Which::All { Err(none()) } else { Ok(found) }
}

fn kernel_types() -> Result<Arc<Btf>, Failure> {
    vmlinux().map_err(|e| {
        Failure::Unsupported(format!(
            "{}: {e}; structures are found in the kernel's types (CONFIG_DEBUG_INFO_BTF=y)",
            skep::kernel::VMLINUX
        ))
    })
}

/// Name of the kernel's structure of a map.
fn structure<'b>(kernel: &'b Btf, info: &MapInfo) -> &'b str {
    let layout = Layout::of_value(kernel, info.vmlinux_value_type);
    layout.map_or("<unknown>", |l| kernel.name_of(l.data_type))
}

fn row(kernel: &Btf, info: &MapInfo) -> Map<String, Value> {
    object([
        ("id", info.id.into()),
        ("name", info.name.clone().into()),
        ("kernel_struct_ops", structure(kernel, info).into()),
    ])
}

fn which(m: &ArgMatches) -> Result<Which, Failure> {
    let mut words = Words::new(m);
    let which = words.which()?;
    words.end()?;
    Ok(which)
}

fn show(m: &ArgMatches, out: &mut Out) -> Result<(), Failure> {
    let found = find(&*door(), &which(m)?)?;
    let mut rows = Vec::new();
    if !found.is_empty() {
        let kernel = kernel_types()?;
        for (_, info) in &found {
            if !out.is_json() {
                out.line(&format!("{}: {:<15} {:<32}", info.id, info.name, structure(&kernel, info)))?;
            }
            rows.push(row(&kernel, info));
        }
    }
    if out.is_json() { out.json_rows("struct_ops", rows) } else { Ok(()) }
}

fn dump(m: &ArgMatches, out: &mut Out) -> Result<(), Failure> {
    let door = door();
    let mut rows = Vec::new();
    for (fd, info) in find(&*door, &which(m)?)? {
        let kernel = kernel_types()?;
        let map = KernelMap::open(&door, fd).map_err(|e| refused("opening the map", e))?;
        let mut value = Vec::new();
        map.read(&0u32.to_ne_bytes(), &mut value)
            .map_err(|e| refused(&format!("reading map {}", info.name), e))?;
        let name = kernel.name_of(info.vmlinux_value_type).to_owned();
        let mut described = object([
            ("type", info.map_type.into()),
            ("id", info.id.into()),
            ("key_size", info.key_size.into()),
            ("value_size", info.value_size.into()),
            ("max_entries", info.max_entries.into()),
            ("map_flags", info.flags.into()),
            ("name", info.name.clone().into()),
            ("ifindex", info.ifindex.into()),
            ("btf_vmlinux_value_type_id", info.vmlinux_value_type.into()),
        ]);
        described.insert("btf_id".into(), info.btf_id.into());
        rows.push(object([
            ("bpf_map_info", Value::Object(described)),
            (&name, members(&*door, &kernel, &info, &value)?),
        ]));
    }
    if out.is_json() {
        return out.json_rows("struct_ops", rows);
    }
    let text = serde_json::to_string_pretty(&rows);
    out.line(&text.map_err(|e| Failure::Failed(format!("cannot write JSON: {e}")))?)
}

/// The value of a map by its type, functions with their programs.
fn members(door: &dyn Door, kernel: &Btf, info: &MapInfo, value: &[u8]) -> Result<Value, Failure> {
    let wrong = |why: String| Failure::Failed(format!("map {}: {why}", info.name));
    let layout = Layout::of_value(kernel, info.vmlinux_value_type)
        .ok_or_else(|| wrong("its type is of a module, whose types are not read".into()))?;
    let typed = Typed::read(kernel, layout.value_type, value).map_err(|e| wrong(e.to_string()))?;
    let mut json = value_json(&typed);
    let data = json.get_mut("data").and_then(Value::as_object_mut);
    let body = kernel.type_by_id(layout.data_type).and_then(|t| t.composite());
    let (Some(data), Some(body)) = (data, body) else { return Ok(json) };
    for member in body.members {
        let Some(signature) = signature(kernel, member.type_id) else { continue };
        let at = (layout.data_offset + member.bit_offset / 8) as usize;
        let id = value.get(at..at + 8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_ne_bytes);
        let program = match u32::try_from(id) {
            Ok(0) | Err(_) => "0".into(),
            Ok(id) => format!("{}/prog_id:{id}", prog_name(door, id).unwrap_or_default()),
        };
        data.insert(member.name.into(), format!("{signature} {program}").into());
    }
    Ok(json)
}

/// `u32 (struct sock *)` of a pointer to a function.
fn signature(btf: &Btf, id: u32) -> Option<String> {
    let Some((_, Type::Ptr(to))) = btf.resolve(id) else { return None };
    let Some((_, Type::FuncProto(proto))) = btf.resolve(to) else { return None };
    let text = |id| type_decl(btf, id, "").unwrap_or_else(|_| btf.name_of(id).to_owned());
    let params: Vec<String> = proto.params.map(|p| text(p.type_id)).collect();
    let params = if params.is_empty() { "void".into() } else { params.join(", ") };
    Some(format!("{} ({params})", text(proto.return_type_id)))
}

fn register(m: &ArgMatches, out: &mut Out) -> Result<(), Failure> {
    let mut words = Words::new(m);
    let path = PathBuf::from(words.value("struct_ops register")?);
    let folder = words.next().map(PathBuf::from);
    words.end()?;
    let kernel = Kernel::unchecked(*skep::platform());
    let root: &PathBuf = m.get_one("pin-root").ok_or_else(|| Failure::Usage("no pin folder".into()))?;
    let engine = Pinning::new(&kernel, root);
    let object = super::super::obj::open(&path)?;
    if !object.maps.iter().any(|m| m.def.map_type == MapType::StructOps) {
        return Err(Failure::Input(format!(
            "{}: has no struct_ops variables (sections .struct_ops and .struct_ops.link)",
            path.display()
        )));
    }
    let c = load::open(m, &path, object, &kernel, &engine, Select::Whole)?;
    let mut pins = Pins::new(engine.made());
    let types = kernel_types()?;
    let mut rows = Vec::new();
    let maps = c.maps.iter().flatten().filter_map(|map| map.as_any().downcast_ref::<KernelMap>());
    for map in maps.filter(|map| map.def().map_type == MapType::StructOps) {
        let link = kernel.attach_struct_ops(map).map_err(|e| match e {
            EngineError::Attach { why, .. } => {
                Failure::Failed(format!("{}: cannot register {}: {why}", path.display(), map.def().name))
            }
            e => super::engine(&e),
        })?;
        rows.push(settle(&kernel, &types, map, link, folder.as_deref(), &mut pins, out.is_json())?);
    }
    pins.keep();
    if out.is_json() { out.json_rows("registered", rows) } else { Ok(()) }
}

/// Keeps a registration as long as it is wanted, and tells of it.
fn settle(
    kernel: &Kernel,
    types: &Btf,
    map: &KernelMap,
    mut link: skep::kernel::Link,
    folder: Option<&Path>,
    pins: &mut Pins,
    quiet: bool,
) -> Result<Map<String, Value>, Failure> {
    let door = &**kernel.door();
    let info = info::map(door, map.as_fd()).map_err(|e| refused("describing the map", e))?;
    let mut row = row(types, &info);
    let (name, structure) = (&info.name, structure(types, &info));
    if info.flags & flags::LINK == 0 {
        link.disconnect();
        if !quiet {
            eprintln!("Registered {structure} {name} id {}", info.id);
        }
        return Ok(row);
    }
    let id = link.fds().next().and_then(|fd| info::link(door, fd).ok()).map_or(0, |l| l.id);
    row.insert("link_id".into(), id.into());
    match folder {
        Some(folder) => {
            pins.link(&mut link, &folder.join(&map.def().name))?;
            link.disconnect();
        }
        None => eprintln!(
            "skep: {name} is registered by a link, which ends with this command; give LINK_DIR, a folder of a bpf file system, \
             to keep it"
        ),
    }
    if !quiet {
        eprintln!("Registered {structure} {name} map id {} link id {id}", info.id);
    }
    Ok(row)
}

fn unregister(m: &ArgMatches, out: &mut Out) -> Result<(), Failure> {
    let door = door();
    let which = which(m)?;
    if which == Which::All {
        return Err(Failure::Usage("name the map: id N, name NAME or pinned PATH".into()));
    }
    let types = kernel_types()?;
    let mut rows = Vec::new();
    for (fd, info) in find(&*door, &which)? {
        let map = KernelMap::open(&door, fd).map_err(|e| refused("opening the map", e))?;
        let (name, structure) = (&info.name, structure(&types, &info));
        struct_ops::unregister(&*door, &map).map_err(|e| match e {
            Errno::ENOENT => Failure::Input(format!("{structure} {name} id {}: is not registered", info.id)),
            Errno::EINPROGRESS => Failure::Failed(format!(
                "{structure} {name} id {}: is being unregistered already; it goes when its last user is gone",
                info.id
            )),
            e => refused(&format!("unregistering {structure} {name} id {}", info.id), e),
        })?;
        if !out.is_json() {
            eprintln!("Unregistered {structure} {name} id {}", info.id);
        }
        rows.push(row(&types, &info));
    }
    if out.is_json() { out.json_rows("unregistered", rows) } else { Ok(()) }
}
