//! `skep prog` on object files: the programs, and their instructions as the engine gets them.

use crate::commands::Cmd;
use crate::failure::Failure;
use crate::output::{Out, object};
use clap::{Arg, ArgAction, ArgMatches, value_parser};
use serde_json::{Map, Value, json};
use skep::descriptors::Program;
use skep::isa::Imm64;
use skep::isa::disasm::{Names, Notation, Style, listing};
use skep::obj::BindEnv;
use std::borrow::Cow;
use std::path::PathBuf;

/// `skep prog show OBJ…`: the programs part of `skep obj show`.
pub(crate) static SHOW: Cmd = Cmd {
    path: &["prog", "show"],
    about: "Show the programs of object files",
    long: "Example:\n  skep prog show prog.bpf.o",
    args: || vec![super::obj::files_arg("Object files")],
    run: |m, out| super::obj::show_parts(m, out, &["programs", "subprograms"]),
};

/// `skep prog dump xlated OBJ`.
pub(crate) static DUMP: Cmd = Cmd {
    path: &["prog", "dump"],
    about: "Print a program's instructions as they are loaded: subprograms linked in, types relocated",
    long: "Examples:\n  skep prog dump xlated prog.bpf.o\n  skep prog dump xlated prog.bpf.o --prog firewall --linum --opcodes",
    args: || {
        let flag = |name: &'static str, help: &'static str| {
            Arg::new(name).long(name).action(ArgAction::SetTrue).help(help)
        };
        vec![
            Arg::new("what")
                .required(true)
                .value_name("WHAT")
                .value_parser(["xlated"])
                .help("xlated: the eBPF instructions"),
            Arg::new("object")
                .required(true)
                .value_name("OBJ")
                .value_parser(value_parser!(PathBuf))
                .help("Object file"),
            Arg::new("prog")
                .long("prog")
                .value_name("NAME")
                .action(ArgAction::Append)
                .help("Program; default: all"),
            Arg::new("btf")
                .long("btf")
                .value_name("FILE")
                .value_parser(value_parser!(PathBuf))
                .help("Types to relocate against"),
            flag("linum", "Add source lines with their places"),
            flag("opcodes", "Add the bytes of each instruction"),
        ]
    },
    run: dump,
};

fn dump(m: &ArgMatches, out: &mut Out) -> Result<(), Failure> {
    let Some(path) = m.get_one::<PathBuf>("object") else { return Ok(()) };
    let o = super::obj::open(path)?;
    let named: Vec<&String> = m.get_many("prog").into_iter().flatten().collect();
    let unknown = named.iter().find(|n| o.program(n).is_none());
    if let Some(name) = unknown {
        return Err(Failure::Input(format!(
            "{}: no program {name:?}; `skep prog show` lists them",
            path.display()
        )));
    }
    let engine = super::run::listing_engine();
    let (maps, _) = skep::create_maps(&o, &engine);
    let mut env = BindEnv::new(&maps);
    env.target_btf = super::target::btf(&o, m.get_one("btf"))?;
    let mut rows = Vec::new();
    for f in
        o.programs().filter(|f| named.is_empty() || named.iter().any(|n| **n == f.name || **n == f.section))
    {
        let p = match o.bind(&f.name, &mut env) {
            Ok(p) => p,
            Err(e) if named.is_empty() => {
                eprintln!("skep: program {} is left out: {e}", f.name);
                continue;
            }
            Err(e) => return Err(Failure::malformed(path, e)),
        };
        let names = ProgramNames { program: &p, linum: m.get_flag("linum") };
        let style = Style {
            notation: Notation::Kernel,
            numbers: true,
            bytes: m.get_flag("opcodes"),
            source: m.get_flag("linum"),
        };
        let text = listing(&p.insns, &names, style).to_string();
        if out.is_json() {
            rows.push(as_json(&p, &text));
        } else {
            out.text(&format!("{} ({}):\n{text}\n", p.name, p.prog_type.label()))?;
        }
    }
    if out.is_json() { out.json_rows("programs", rows) } else { Ok(()) }
}

fn as_json(p: &Program, text: &str) -> Map<String, Value> {
    let subprogs: Vec<Value> = p.subprogs.iter().map(|s| json!({"name": s.name, "start": s.start})).collect();
    object([
        ("prog", p.name.clone().into()),
        ("type", p.prog_type.label().into()),
        ("subprograms", subprogs.into()),
        ("insns", text.lines().filter(|l| !l.starts_with(';')).map(str::trim).collect()),
        ("bytes", p.insns.iter().map(|i| crate::maps::hex(&i.0)).collect::<Vec<String>>().into()),
    ])
}

/// Names for a listing of a bound program.
struct ProgramNames<'p> {
    program: &'p Program,
    linum: bool,
}

impl Names for ProgramNames<'_> {
    fn helper(&self, id: i32) -> Option<Cow<'_, str>> {
        let helper = u32::try_from(id).ok().and_then(|id| skep::platform().helper(id))?;
        Some(Cow::Borrowed(helper.name))
    }

    fn kfunc(&self, id: i32, _: i16) -> Option<Cow<'_, str>> {
        let name = self.program.kernel_btf.as_ref()?.name_of(u32::try_from(id).ok()?);
        (!name.is_empty()).then_some(Cow::Borrowed(name))
    }

    fn imm64(&self, imm: Imm64) -> Option<Cow<'_, str>> {
        let (Imm64::MapIdx(idx) | Imm64::MapIdxValue { idx, .. }) = imm else { return None };
        let map = self.program.maps.get(usize::try_from(idx).ok()?)?;
        Some(Cow::Borrowed(&map.def().name))
    }

    fn label(&self, slot: i64) -> Option<Cow<'_, str>> {
        let s = self.program.subprogs.iter().find(|s| s.start as i64 == slot)?;
        Some(Cow::Borrowed(&s.name))
    }

    fn source_line(&self, slot: usize) -> Option<Cow<'_, str>> {
        let l = self.program.lines.iter().find(|l| l.insn == slot).filter(|_| self.linum)?;
        Some(Cow::Owned(format!(
            "{} [file:{} line_num:{} line_col:{}]",
            l.text.trim(),
            l.file,
            l.line,
            l.col
        )))
    }
}
