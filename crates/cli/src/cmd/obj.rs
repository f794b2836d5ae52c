//! `skep obj show`: what an object file holds.

use crate::commands::Cmd;
use crate::failure::Failure;
use crate::input;
use crate::output::{Out, object};
use crate::table::Table;
use clap::{Arg, ArgMatches};
use serde_json::{Map, Value, json};
use skep::Object;
use skep::obj::{AttachTarget, ExternKind, Function, Linkage, MapOrigin, MapSpec, Slot};
use std::path::{Path, PathBuf};

/// `skep obj show FILE…`.
pub(crate) static SHOW: Cmd = Cmd {
    path: &["obj", "show"],
    about: "Show the programs, maps and externs of object files",
    long: "Examples:\n  skep obj show prog.bpf.o\n  skep obj show -j *.bpf.o",
    args: || vec![files_arg("Object files")],
    run: show,
};

/// The positional argument that takes one or more files.
pub(crate) fn files_arg(help: &'static str) -> Arg {
    let parser = clap::value_parser!(PathBuf);
    Arg::new("file").required(true).num_args(1..).value_name("FILE").value_parser(parser).help(help)
}

/// Opens the object in a file.
pub(crate) fn open(path: &Path) -> Result<Object, Failure> {
    Object::parse(&input::file(path)?).map_err(|e| Failure::malformed(path, e))
}

/// `skep obj link OUT FILE…`.
pub(crate) static LINK: Cmd = Cmd {
    path: &["obj", "link"],
    about: "Link several object files into one",
    long: "Global definitions are resolved across the files, static ones stay apart, types are merged.\n\n\
           Example:\n  skep obj link whole.bpf.o main.bpf.o library.bpf.o",
    args: || {
        let parser = clap::value_parser!(PathBuf);
        vec![
            Arg::new("out")
                .required(true)
                .value_name("OUT")
                .value_parser(parser)
                .help("Object file to write"),
            files_arg("Object files to link"),
        ]
    },
    run: link,
};

fn link(m: &ArgMatches, _: &mut Out) -> Result<(), Failure> {
    let Some(out) = m.get_one::<PathBuf>("out") else { return Ok(()) };
    let paths: Vec<&PathBuf> = m.get_many("file").into_iter().flatten().collect();
    let files = paths.iter().map(|p| input::file(p)).collect::<Result<Vec<_>, _>>()?;
    let bytes: Vec<&[u8]> = files.iter().map(Vec::as_slice).collect();
    let linked = skep::obj::link::link(&bytes).map_err(|e| match paths.get(e.file) {
        Some(path) => Failure::malformed(path, e),
        None => Failure::Input(e.to_string()),
    })?;
    input::write(out, &linked)
}

/// `skep obj show`.
fn show(m: &ArgMatches, out: &mut Out) -> Result<(), Failure> {
    let paths: Vec<PathBuf> = m.get_many("file").into_iter().flatten().cloned().collect();
    show_parts(&paths, out, &["programs", "subprograms", "maps", "externs", "diagnostics"])
}

/// Shows these parts of each object; JSON has all parts of the whole object.
pub(crate) fn show_parts(paths: &[PathBuf], out: &mut Out, parts: &[&str]) -> Result<(), Failure> {
    let mut rows = Vec::new();
    let mut failed = None;
    for path in paths {
        match open(path) {
            Ok(o) if out.is_json() => rows.push(as_json(path, &o)),
            Ok(o) => out.text(&as_text(path, &o, parts))?,
            Err(e) if paths.len() == 1 => return Err(e),
            Err(e) => {
                eprintln!("skep: {e}");
                failed = Some(e);
            }
        }
    }
    if out.is_json() {
        match <[Map<String, Value>; 1]>::try_from(rows) {
            Ok([one]) if paths.len() == 1 => out.json(one)?,
            Ok([one]) => out.json_rows("objects", vec![one])?,
            Err(rows) => out.json_rows("objects", rows)?,
        }
    }
    match failed {
        Some(_) => Err(Failure::Input("some files could not be opened".into())),
        None => Ok(()),
    }
}

fn as_text(path: &Path, o: &Object, parts: &[&str]) -> String {
    let license = if o.license.is_empty() { "none".to_string() } else { o.license.clone() };
    let mut text = format!("{}: licence {license}", path.display());
    if let Some(btf) = &o.btf {
        text.push_str(&format!(", BTF of {} types", btf.type_count()));
    }
    text.push('\n');
    for (title, table) in [
        ("programs", programs(o)),
        ("subprograms", subprograms(o)),
        ("maps", maps(o)),
        ("externs", externs(o)),
    ] {
        if !table.is_empty() && parts.contains(&title) {
            text.push_str(&format!("{title}\n{}", table.text()));
        }
    }
    if !o.diagnostics.is_empty() && parts.contains(&"diagnostics") {
        text.push_str("diagnostics\n");
        o.diagnostics.iter().for_each(|d| text.push_str(&format!("  {d}\n")));
    }
    text
}

fn programs(o: &Object) -> Table {
    let mut t = Table::new(&["name", "type", "attach type", "section", ">insns", ">relocations", "notes"]);
    for f in o.programs() {
        let Some(e) = &f.entry else { continue };
        let mut notes = Vec::new();
        if !e.autoload {
            notes.push("not loaded unless named".to_string());
        }
        if e.row.is_some_and(|r| r.flags & skep::obj::sections::SLEEPABLE != 0) {
            notes.push("sleepable".into());
        }
        if let AttachTarget::Malformed(text) = &e.target {
            notes.push(format!("attach target {text:?} is malformed"));
        }
        t.row(vec![
            f.name.clone(),
            e.prog_type.label(),
            e.attach_type.map_or(String::new(), |a| attach_label(a.uapi_name())),
            f.section.clone(),
            f.insns.len().to_string(),
            (f.relocs.len() + f.core.len()).to_string(),
            notes.join(", "),
        ]);
    }
    t
}

fn subprograms(o: &Object) -> Table {
    let mut t = Table::new(&["name", "linkage", "section", ">insns"]);
    for f in o.subprograms() {
        t.row(vec![f.name.clone(), linkage(f.linkage).into(), f.section.clone(), f.insns.len().to_string()]);
    }
    t
}

fn maps(o: &Object) -> Table {
    let mut t = Table::new(&["name", "type", ">key", ">value", ">max", "flags", "from", "notes"]);
    for m in &o.maps {
        let d = &m.def;
        let mut notes = Vec::new();
        if d.pin_by_name {
            notes.push("pinned by name".to_string());
        }
        if let Some(inner) = &d.inner {
            notes.push(format!(
                "inner {} {}/{}/{}",
                inner.map_type.label(),
                inner.key_size,
                inner.value_size,
                inner.max_entries
            ));
        }
        if !m.slots.is_empty() {
            notes.push(format!("{} slots set", m.slots.len()));
        }
        t.row(vec![
            d.name.clone(),
            d.map_type.label(),
            d.key_size.to_string(),
            d.value_size.to_string(),
            d.max_entries.to_string(),
            if d.flags == 0 { String::new() } else { format!("{:#x}", d.flags) },
            origin(m).into(),
            notes.join(", "),
        ]);
    }
    t
}

fn externs(o: &Object) -> Table {
    let mut t = Table::new(&["name", "kind", "strength"]);
    for e in &o.externs {
        t.row(vec![
            e.name.clone(),
            extern_kind(&e.kind).into(),
            if e.weak { "weak" } else { "strong" }.into(),
        ]);
    }
    t
}

fn as_json(path: &Path, o: &Object) -> Map<String, Value> {
    let function = |f: &Function| {
        let mut v = object([
            ("name", f.name.clone().into()),
            ("section", f.section.clone().into()),
            ("insns", f.insns.len().into()),
            ("linkage", linkage(f.linkage).into()),
            ("btf_id", f.type_id.into()),
            ("relocations", f.relocs.len().into()),
            ("core_relocations", f.core.len().into()),
            ("lines", f.lines.len().into()),
        ]);
        if let Some(e) = &f.entry {
            v.insert("type".into(), e.prog_type.label().into());
            v.insert("attach_type".into(), e.attach_type.map(|a| attach_label(a.uapi_name())).into());
            let target = f.section.trim_start_matches('?').split_once('/').map(|(_, target)| target);
            v.insert("attach_to".into(), target.into());
            v.insert("autoload".into(), e.autoload.into());
            let flags = e.row.map_or(0, |r| r.flags);
            v.insert("sleepable".into(), (flags & skep::obj::sections::SLEEPABLE != 0).into());
        }
        Value::Object(v)
    };
    object([
        ("file", path.display().to_string().into()),
        ("license", o.license.clone().into()),
        ("version", o.version.into()),
        ("btf_types", o.btf.as_ref().map(|b| b.type_count()).into()),
        ("programs", o.programs().map(function).collect()),
        ("subprograms", o.subprograms().map(function).collect()),
        ("maps", o.maps.iter().map(|m| map_json(o, m)).collect()),
        ("externs", o.externs.iter().map(|e| json!({"name": e.name, "kind": extern_kind(&e.kind), "weak": e.weak})).collect()),
        ("sections", o.sections.iter().map(|s| json!({"name": s.name, "size": s.size, "flags": s.flags})).collect()),
        ("diagnostics", o.diagnostics.iter().map(|d| json!({"where": d.place.to_string(), "program": d.program, "message": d.kind.to_string()})).collect()),
    ])
}

/// A map definition as JSON, as `obj show` and `map show` print it.
pub(crate) fn map_json(o: &Object, m: &MapSpec) -> Value {
    let d = &m.def;
    let slots: Vec<Value> = m
        .slots
        .iter()
        .map(|(key, slot)| match slot {
            Slot::Function(i) => json!({"key": key, "program": o.functions[*i].name}),
            Slot::Map(i) => json!({"key": key, "map": o.maps[*i].def.name}),
        })
        .collect();
    let inner = d.inner.as_ref().map(|i| json!({"type": i.map_type.label(), "bytes_key": i.key_size, "bytes_value": i.value_size, "max_entries": i.max_entries, "flags": i.flags}));
    json!({
        "name": d.name,
        "type": d.map_type.label(),
        "bytes_key": d.key_size,
        "bytes_value": d.value_size,
        "max_entries": d.max_entries,
        "flags": d.flags,
        "map_extra": d.map_extra,
        "numa_node": d.numa_node,
        "pin_by_name": d.pin_by_name,
        "origin": origin(m),
        "section": m.section,
        "inner": inner,
        "slots": slots,
    })
}

fn linkage(l: Linkage) -> &'static str {
    match l {
        Linkage::Static => "static",
        Linkage::Global => "global",
        Linkage::Weak => "weak",
    }
}

fn origin(m: &MapSpec) -> &'static str {
    match &m.origin {
        MapOrigin::Btf => "btf",
        MapOrigin::Legacy => "legacy",
        MapOrigin::Iproute2(_) => "iproute2",
        MapOrigin::Rodata => "rodata",
        MapOrigin::Data => "data",
        MapOrigin::Bss => "bss",
        MapOrigin::Kconfig => "kconfig",
        MapOrigin::StructOps(_) => "struct_ops",
    }
}

fn extern_kind(k: &ExternKind) -> &'static str {
    match k {
        ExternKind::Kconfig { .. } => "kconfig",
        ExternKind::KsymTyped { .. } => "ksym",
        ExternKind::KsymTypeless => "ksym (no type)",
        ExternKind::Kfunc { .. } => "kfunc",
        ExternKind::Undefined => "undefined",
    }
}

/// bpftool's word for an attach type: the UAPI name without prefix, in lower case.
fn attach_label(uapi: &str) -> String {
    uapi.strip_prefix("BPF_").unwrap_or(uapi).to_ascii_lowercase()
}
