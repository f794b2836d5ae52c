//! `skep btf`: type information of objects, of raw BTF files and of the kernel.

use super::btf_json;
use super::kobj::words_arg;
use crate::commands::Cmd;
use crate::failure::Failure;
use crate::input;
use crate::output::Out;
use clap::{Arg, ArgMatches};
use serde_json::{Map, Value};
use skep::btf::{Btf, CDumpOptions, dump_c, dump_raw, dump_raw_type};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// `skep btf dump FILE`.
pub(crate) static DUMP: Cmd = Cmd {
    path: &["btf", "dump"],
    about: "Print type information: one type a line, or as a C header",
    long: "FILE is an object file, or raw BTF such as /sys/kernel/btf/vmlinux. Of the running kernel: id N, prog id N, map pinned PATH [key | value | kv | all], ….\n\n\
           Examples:\n  skep btf dump prog.bpf.o\n  skep btf dump --format c /sys/kernel/btf/vmlinux > vmlinux.h\n  \
           skep btf dump --base /sys/kernel/btf/vmlinux /sys/kernel/btf/nf_tables",
    args: || {
        vec![
            words_arg(
                "FILE | BTF",
                "Object file or raw BTF; or id N, prog PROG, map MAP of the running kernel",
            ),
            Arg::new("format")
                .long("format")
                .value_parser(["raw", "c"])
                .default_value("raw")
                .help("What to print"),
            base_arg(),
            Arg::new("root_id")
                .long("root-id")
                .value_name("ID")
                .action(clap::ArgAction::Append)
                .value_parser(clap::value_parser!(u32))
                .help("Only this type, and what it needs with --format c"),
        ]
    },
    run: dump,
};

/// The option that names the base of split BTF.
pub(crate) fn base_arg() -> Arg {
    let option = Arg::new("base").short('B').long("base").alias("base-btf").value_name("FILE");
    option.value_parser(clap::value_parser!(PathBuf)).help("Raw BTF that split BTF builds on")
}

fn dump(m: &ArgMatches, out: &mut Out) -> Result<(), Failure> {
    let mut words: Vec<&str> =
        m.get_many::<String>("words").into_iter().flatten().map(String::as_str).collect();
    let mut c = m.get_one::<String>("format").is_some_and(|f| f == "c");
    // bpftool's `format c` behind the rest.
    if let [.., "format", format @ ("c" | "raw")] = words[..] {
        c = format == "c";
        words.truncate(words.len() - 2);
    }
    if let ["file", path] = words[..] {
        words = vec![path];
    }
    let part = super::kobj::btf::part(&mut words);
    let base = m.get_one::<PathBuf>("base").map(|b| read(b, None)).transpose()?;
    let shown = PathBuf::from(words.join(" "));
    let path = &shown;
    let btf = match (super::kobj::btf::named(&words)?, &words[..]) {
        (Some(bytes), _) => parse(path, &bytes, base)?,
        (None, [_]) => read(path, base)?,
        _ => return Err(Failure::Usage("name one file, or id N, prog PROG, map MAP".into())),
    };
    let mut roots: Vec<u32> = m.get_many("root_id").into_iter().flatten().copied().collect();
    if let Some(part) = part {
        roots.extend(super::kobj::btf::parts(&words, part)?);
    }
    if c {
        if let Some(id) = roots.iter().find(|id| btf.type_by_id(**id).is_none()) {
            return Err(Failure::Input(format!("{}: no type has id {id}", path.display())));
        }
        let options = CDumpOptions { roots, ..CDumpOptions::default() };
        let text = dump_c(&btf, &options).map_err(|e| Failure::malformed(path, e))?;
        return out.text(&text);
    }
    if out.is_json() {
        let named = |t: &Map<String, Value>| {
            roots.is_empty() || roots.iter().any(|id| t.get("id") == Some(&(*id).into()))
        };
        let types: Vec<Map<String, Value>> = btf_json::types(&btf).filter(named).collect();
        return out.json_rows("types", types);
    }
    if !roots.is_empty() {
        let mut text = String::new();
        roots.iter().for_each(|id| dump_raw_type(&btf, *id, &mut text));
        return out.text(&text);
    }
    out.text(&dump_raw(&btf))
}

/// The BTF of an object file or of a raw file.
pub(crate) fn read(path: &Path, base: Option<Arc<Btf>>) -> Result<Arc<Btf>, Failure> {
    let bytes = input::file(path)?;
    if bytes.starts_with(b"\x7fELF") {
        let object = skep::Object::parse(&bytes).map_err(|e| Failure::malformed(path, e))?;
        let none = || Failure::Input(format!("{}: has no .BTF section; compile with -g", path.display()));
        return object.btf.ok_or_else(none);
    }
    parse(path, &bytes, base)
}

fn parse(path: &Path, bytes: &[u8], base: Option<Arc<Btf>>) -> Result<Arc<Btf>, Failure> {
    let parsed = match base {
        Some(base) => Btf::parse_split(bytes, base),
        None => Btf::parse(bytes),
    };
    parsed.map(Arc::new).map_err(|e| Failure::malformed(path, e))
}
