//! `skep asm` and `skep disasm`: object files to assembly text and back.

use crate::commands::Cmd;
use crate::failure::Failure;
use crate::input;
use crate::output::{Out, object};
use clap::{Arg, ArgAction, ArgMatches, value_parser};
use skep::Object;
use skep::isa::asm::{self, ObjectNames, ObjectStyle};
use skep::obj::asm::{Detail, from_elf, to_elf};
use std::borrow::Cow;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

fn path_arg(name: &'static str, value: &'static str, help: &'static str) -> Arg {
    Arg::new(name).value_name(value).value_parser(value_parser!(PathBuf)).help(help)
}

/// `skep asm FILE [OUT]`.
pub(crate) static ASM: Cmd = Cmd {
    path: &["asm"],
    about: "Assemble text into an object file",
    long: "The language is that of `skep disasm`; docs/assembly.md describes it.\n\n\
           Examples:\n  skep asm count.s count.bpf.o\n  skep disasm prog.bpf.o | skep asm - copy.bpf.o",
    args: || {
        vec![
            path_arg("file", "FILE", "Assembly text; - is standard input").required(true),
            path_arg(
                "out",
                "OUT",
                "Object file to write; - is standard output. Default: FILE with the ending .o",
            ),
        ]
    },
    run: assemble,
};

/// `skep disasm FILE`.
pub(crate) static DISASM: Cmd = Cmd {
    path: &["disasm"],
    about: "Print an object file as assembly text",
    long: "What it prints, `skep asm` reads back to the same instructions and relocations.\n\n\
           Examples:\n  skep disasm prog.bpf.o\n  skep disasm --source --bytes prog.bpf.o\n  skep disasm --exact prog.bpf.o | skep asm - same.bpf.o",
    args: || {
        let flag = |name: &'static str, help: &'static str| {
            Arg::new(name).long(name).action(ArgAction::SetTrue).help(help)
        };
        vec![
            path_arg("file", "FILE", "Object file; - is standard input").required(true),
            flag("source", "Put source lines between, as comments"),
            flag("bytes", "Add slot number and bytes of every instruction, as a comment"),
            flag("no-labels", "Write distances of jumps instead of labels"),
            flag("exact", "Keep type information and map definitions as bytes"),
        ]
    },
    run: disassemble,
};

fn assemble(m: &ArgMatches, out: &mut Out) -> Result<(), Failure> {
    let Some(path) = m.get_one::<PathBuf>("file") else { return Ok(()) };
    let text = String::from_utf8(input::file(path)?).map_err(|e| {
        Failure::malformed(path, format!("not text: byte {} is not UTF-8", e.utf8_error().valid_up_to()))
    })?;
    let parsed = asm::parse(&text).map_err(|e| {
        let lines: Vec<String> = e.0.iter().map(|e| format!("{}: {e}", path.display())).collect();
        Failure::Input(lines.join("\nskep: "))
    })?;
    let bytes = to_elf(&parsed).map_err(|e| Failure::malformed(path, e))?.write();
    let target = match m.get_one::<PathBuf>("out") {
        Some(target) => target.clone(),
        None if path.as_os_str() == "-" => {
            return Err(Failure::Usage("text from standard input: name the object file to write".into()));
        }
        None => path.with_extension("o"),
    };
    if target.as_os_str() == "-" {
        return out.bytes(&bytes);
    }
    input::write(&target, &bytes)
}

fn disassemble(m: &ArgMatches, out: &mut Out) -> Result<(), Failure> {
    let Some(path) = m.get_one::<PathBuf>("file") else { return Ok(()) };
    let bytes = input::file(path)?;
    let detail = if m.get_flag("exact") { Detail::Exact } else { Detail::Auto };
    let object_text = from_elf(&bytes, detail).map_err(|e| Failure::malformed(path, e))?;
    let style = ObjectStyle {
        labels: !m.get_flag("no-labels"),
        source: m.get_flag("source"),
        bytes: m.get_flag("bytes"),
    };
    let names = Names::new(&bytes, path)?;
    let text = asm::print(&object_text, &names, style);
    if out.is_json() {
        return out.json(object([("file", path.display().to_string().into()), ("text", text.into())]));
    }
    out.text(&text)
}

/// Helper names from the platform, source lines from the object's own records.
struct Names {
    lines: HashMap<(String, usize), String>,
}

impl Names {
    fn new(bytes: &[u8], path: &Path) -> Result<Names, Failure> {
        let object = Object::parse(bytes).map_err(|e| Failure::malformed(path, e))?;
        let mut lines = HashMap::new();
        for f in &object.functions {
            let Some(btf) = &object.btf else { break };
            for l in &f.lines {
                let Some(text) = btf.string(l.text) else { continue };
                let at = (f.section.clone(), (f.offset + l.insn) as usize);
                lines.insert(at, format!("{}:{}: {}", btf.string(l.file).unwrap_or(""), l.line, text.trim()));
            }
        }
        Ok(Names { lines })
    }
}

impl ObjectNames for Names {
    fn helper(&self, id: i32) -> Option<Cow<'_, str>> {
        let helper = u32::try_from(id).ok().and_then(|id| skep::platform().helper(id))?;
        Some(Cow::Borrowed(helper.name))
    }

    fn source_line(&self, section: &str, slot: usize) -> Option<Cow<'_, str>> {
        self.lines.get(&(section.to_string(), slot)).map(|l| Cow::Borrowed(l.as_str()))
    }
}
