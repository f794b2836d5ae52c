//! `skep prog` on object files: the programs, and their instructions as the engine gets them.

use super::kobj::{self, Words, words_arg};
use crate::commands::Cmd;
use crate::failure::Failure;
use crate::output::{Out, object};
use clap::{Arg, ArgAction, ArgMatches, value_parser};
use serde_json::{Map, Value, json};
use skep::Loadable;
use skep::descriptors::Program;
use skep::isa::disasm::{Names, Notation, Style, listing};
use skep::isa::{Imm64, Op};
use skep::obj::BindEnv;
use skep::vm::{Tier, User};
use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// `skep prog show [OBJ… | PROG]`.
pub(crate) static SHOW: Cmd = Cmd {
    path: &["prog", "show"],
    about: "Show the programs of object files, or those of the running kernel",
    long: "Without words all programs of the kernel; PROG is id N, pinned PATH, name NAME or tag TAG.\n\n\
           Examples:\n  skep prog show prog.bpf.o\n  skep prog show\n  skep prog show name xdp_demo -j",
    args: || vec![words_arg("OBJ | PROG", "Object files, or a program of the kernel"), bpffs()],
    run: |m, out| {
        let mut words = Words::new(m);
        if !words.in_kernel() {
            return super::obj::show_parts(&words.paths(), out, &["programs", "subprograms"]);
        }
        let which = words.which()?;
        words.end()?;
        kobj::prog::show(&which, m.get_flag("bpffs"), out)
    },
};

/// The flag that asks for paths of pins.
pub(crate) fn bpffs() -> Arg {
    let help = "Show paths of pins (of objects in the kernel)";
    Arg::new("bpffs").short('f').long("bpffs").action(ArgAction::SetTrue).help(help)
}

/// `skep prog run PROG`.
pub(crate) static RUN: Cmd = Cmd {
    path: &["prog", "run"],
    about: "Run a program of the running kernel on a packet or context, without attaching it",
    long: "Words behind PROG: data_in FILE, data_out FILE, ctx_in FILE, ctx_out FILE, repeat N; - stands for standard input and output.\n\
           To run an object's programs over captures see `skep run`.\n\n\
           Example:\n  skep prog run pinned /sys/fs/bpf/xdp data_in packet.bin repeat 1000",
    args: || vec![words_arg("PROG [WORD]", "id N, pinned PATH, name NAME or tag TAG, then what it runs on")],
    run: |m, out| kobj::prog::run(&mut Words::new(m), out),
};

/// `skep prog pin PROG PATH`.
pub(crate) static PIN: Cmd = Cmd {
    path: &["prog", "pin"],
    about: "Pin a program of the running kernel: it stays loaded until the pin is removed",
    long: "Example:\n  skep prog pin id 12 /sys/fs/bpf/xdp",
    args: || vec![words_arg("PROG PATH", "id N, pinned PATH, name NAME or tag TAG, then where to pin it")],
    run: |m, _| kobj::prog::pin(&mut Words::new(m)),
};

/// `skep prog dump xlated|jited OBJ | PROG`.
pub(crate) static DUMP: Cmd = Cmd {
    path: &["prog", "dump"],
    about: "Print a program's instructions as they are loaded: subprograms linked in, types relocated",
    long: "Of programs in the running kernel (PROG: id N, pinned PATH, name NAME, tag TAG) the instructions as the kernel rewrote them\n\
           (xlated), or the machine code (jited); words behind PROG: file FILE, opcodes, linum, and visual for a graph in DOT. Of object files the machine code is that of the user engine.\n\n\
           Examples:\n  skep prog dump xlated prog.bpf.o\n  skep prog dump xlated prog.bpf.o --prog firewall --linum --opcodes\n  \
           skep prog dump jited prog.bpf.o --tier optimized\n  skep prog dump jited id 12\n  skep prog dump jited pinned /sys/fs/bpf/xdp file code.bin",
    args: || {
        let flag = |name: &'static str, help: &'static str| {
            Arg::new(name).long(name).action(ArgAction::SetTrue).help(help)
        };
        vec![
            Arg::new("what")
                .required(true)
                .value_name("WHAT")
                .value_parser(["xlated", "jited"])
                .help("xlated: the eBPF instructions; jited: the machine code"),
            words_arg("OBJ | PROG", "Object file, or a program of the kernel"),
            Arg::new("prog")
                .long("prog")
                .value_name("NAME")
                .action(ArgAction::Append)
                .help("Program of the object; default: all"),
            Arg::new("btf")
                .long("btf")
                .value_name("FILE")
                .value_parser(value_parser!(PathBuf))
                .help("Types to relocate against"),
            Arg::new("tier")
                .long("tier")
                .value_name("TIER")
                .value_parser(["baseline", "optimized"])
                .help("Machine code of an object's program: by which compiler (baseline)"),
            flag("linum", "Add source lines with their places"),
            flag("opcodes", "Add the bytes of each instruction"),
        ]
    },
    run: dump,
};

fn dump(m: &ArgMatches, out: &mut Out) -> Result<(), Failure> {
    let mut words = Words::new(m);
    let jited = m.get_one::<String>("what").is_some_and(|w| w == "jited");
    if words.in_kernel() {
        return dump_kernel(&mut words, m, jited, out);
    }
    let path = &PathBuf::from(words.value("dump")?);
    words.end()?;
    let o = super::obj::open(path)?;
    let named: Vec<&String> = m.get_many("prog").into_iter().flatten().collect();
    let unknown = named.iter().find(|n| o.program(n).is_none());
    if let Some(name) = unknown {
        return Err(Failure::Input(format!(
            "{}: no program {name:?}; `skep prog show` lists them",
            path.display()
        )));
    }
    let engine = super::run::listing_engine().with_tier(match m.get_one::<String>("tier") {
        Some(t) if t == "optimized" => Tier::Optimized,
        _ => Tier::Baseline,
    });
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
        if jited {
            let name = p.name.clone();
            let text = machine_code(path, p, &engine, m.get_flag("opcodes"))?;
            match out.is_json() {
                true => rows.push(object([("name", name.into()), ("insns", text.lines().collect())])),
                false => out.text(&format!("{text}\n"))?,
            }
            continue;
        }
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

fn dump_kernel(words: &mut Words<'_>, m: &ArgMatches, jited: bool, out: &mut Out) -> Result<(), Failure> {
    let which = words.which()?;
    let (mut file, mut style) = (None, kobj::prog::DumpStyle::default());
    (style.opcodes, style.linum) = (m.get_flag("opcodes"), m.get_flag("linum"));
    while let Some(word) = words.next() {
        match word {
            "file" => file = Some(words.value(word)?),
            "opcodes" => style.opcodes = true,
            "linum" => style.linum = true,
            "visual" if !jited => style.visual = true,
            w => return Err(Failure::Usage(format!("{w:?} is not expected here; see --help"))),
        }
    }
    if which == kobj::Which::All {
        return Err(Failure::Usage(
            "name an object file, or a program of the kernel: id N, pinned PATH, name NAME".into(),
        ));
    }
    if jited {
        kobj::prog::dump_jited(&which, file, style, out)
    } else {
        kobj::prog::dump_xlated(&which, file, style, out)
    }
}

/// A program's machine code in a tier of the user engine: source lines and eBPF instructions as comments before what was made of
/// them, functions by their names. Offsets and targets are from the code's first byte. Programs that the verifier refuses have none.
fn machine_code(path: &Path, p: Program, engine: &User, opcodes: bool) -> Result<String, Failure> {
    let p = Arc::new(p);
    let how = skep::verifier::Options::default();
    let verified = skep::verifier::verify(&p, skep::platform(), &how)
        .map_err(|r| Failure::refused(path, &[(&p.name, &*r)]))?;
    let loaded = engine.load_program(&Loadable::Verified(verified)).map_err(|e| Failure::engine(path, &e))?;
    let code = loaded.machine_code().ok_or_else(|| Failure::Unsupported("the tier makes no code".into()))?;
    // What begins where: functions, and places within them.
    let mut marks: Vec<(usize, Mark<'_>)> =
        code.places.iter().map(|(at, slot)| (*at as usize, Mark::Slot(*slot as usize))).collect();
    for (slot, address) in code.functions {
        let name = p.subprogs.iter().find(|s| s.start == *slot).map_or(&*p.name, |s| &s.name);
        marks.push(((address - code.address) as usize, Mark::Function(name)));
    }
    marks.sort_by_key(|(at, mark)| (*at, matches!(mark, Mark::Slot(_))));
    let part = |from: usize, to: usize| {
        let bytes = code.bytes.get(from..to).unwrap_or_default();
        kobj::native_text(bytes, 0, from as u64, opcodes, &|_| None)
    };
    let mut text = part(0, marks.first().map_or(code.bytes.len(), |(at, _)| *at));
    if !text.is_empty() {
        text.insert_str(0, &format!("; ways in and out of {}\n", p.name));
    }
    let ends = marks.iter().skip(1).map(|(at, _)| *at).chain([code.bytes.len()]);
    let mut line = None;
    for ((at, mark), end) in marks.iter().zip(ends) {
        match mark {
            Mark::Function(name) => {
                line = None;
                text.push_str(&format!("{name}:\n"));
            }
            // The compiler's own code stands for no instruction.
            Mark::Slot(slot) if at == &end || *slot >= p.insns.len() => {}
            Mark::Slot(slot) => {
                let source = p.line_at(*slot);
                if let Some(l) = source.filter(|l| line != Some((l.line, &l.file))) {
                    line = Some((l.line, &l.file));
                    text.push_str(&format!("; {} [file:{} line_num:{}]\n", l.text.trim(), l.file, l.line));
                }
                let insn = Op::decode(&p.insns, *slot).map_or(String::new(), |(op, _)| op.to_string());
                text.push_str(&format!("; {slot}: {insn}\n"));
            }
        }
        text.push_str(&part(*at, end));
    }
    Ok(text)
}

/// What begins at a place of machine code.
enum Mark<'p> {
    Function(&'p str),
    Slot(usize),
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
