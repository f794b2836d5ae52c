//! Programs of the running kernel: what `skep prog show|dump|run|pin` do when no file is named.

use super::{Which, Words, door, hex_tag, load_time, pins, refused, time_text};
use crate::failure::Failure;
use crate::output::{Out, object};
use serde_json::{Map, Value, json};
use skep::btf::Btf;
use skep::descriptors::ProgType;
use skep::isa::disasm::{Names, Notation, Style, listing};
use skep::isa::{Imm64, Insn};
use skep::kernel::door::{Door, IdKind, TestRun};
use skep::kernel::info::{self, ProgCode, ProgInfo};
use skep::kernel::ksyms;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};

/// Shows the programs that are meant. One that is gone meanwhile is left out.
pub(crate) fn show(which: &Which, with_pins: bool, out: &mut Out) -> Result<(), Failure> {
    let door = door();
    let paths = if with_pins { pins(&*door, IdKind::Prog) } else { BTreeMap::new() };
    let mut rows = Vec::new();
    for fd in which.open(&*door, IdKind::Prog)? {
        let info = info::prog(&*door, fd.as_fd()).map_err(|e| refused("describing a program", e))?;
        let row = Row { fd: &fd, info: &info, pinned: paths.get(&info.id).map_or(&[], Vec::as_slice) };
        if out.is_json() {
            rows.push(row.json(&*door));
        } else {
            out.text(&row.text(&*door))?;
        }
    }
    if out.is_json() { out.json_rows("programs", rows) } else { Ok(()) }
}

struct Row<'a> {
    fd: &'a OwnedFd,
    info: &'a ProgInfo,
    pinned: &'a [String],
}

/// bpftool's name of a program type by its number.
pub(crate) fn type_name(id: u32) -> String {
    ProgType::from_id(id).map_or_else(|| format!("type {id}"), ProgType::label)
}

impl Row<'_> {
    fn memlock(&self) -> Option<u64> {
        info::fdinfo(self.fd, "memlock")?.parse().ok()
    }

    fn loaded(&self) -> u64 {
        load_time(self.info.load_time)
    }

    fn text(&self, door: &dyn Door) -> String {
        let i = self.info;
        let mut s = format!("{}: {}", i.id, type_name(i.prog_type));
        if let Some(name) = info::full_name(door, self.fd.as_fd(), i) {
            s.push_str(&format!("  name {name}"));
        }
        s.push_str(&format!("  tag {}", hex_tag(&i.tag)));
        if i.gpl_compatible {
            s.push_str("  gpl");
        }
        if i.run_time_ns != 0 {
            s.push_str(&format!(" run_time_ns {} run_cnt {}", i.run_time_ns, i.run_cnt));
        }
        if i.recursion_misses != 0 {
            s.push_str(&format!(" recursion_misses {}", i.recursion_misses));
        }
        s.push_str(&format!("\n\tloaded_at {}  uid {}\n", time_text(self.loaded()), i.uid));
        s.push_str(&format!("\txlated {}B  ", i.xlated_len));
        s.push_str(&if i.jited_len == 0 {
            "not jited".to_owned()
        } else {
            format!("jited {}B", i.jited_len)
        });
        if let Some(bytes) = self.memlock() {
            s.push_str(&format!("  memlock {bytes}B"));
        }
        if !i.map_ids.is_empty() {
            let ids: Vec<String> = i.map_ids.iter().map(u32::to_string).collect();
            s.push_str(&format!("  map_ids {}", ids.join(",")));
        }
        self.pinned.iter().for_each(|p| s.push_str(&format!("\n\tpinned {p}")));
        if i.btf_id != 0 {
            s.push_str(&format!("\n\tbtf_id {}", i.btf_id));
        }
        s.push('\n');
        s
    }

    fn json(&self, door: &dyn Door) -> Map<String, Value> {
        let i = self.info;
        let mut o = object([("id", i.id.into()), ("type", type_name(i.prog_type).into())]);
        let mut put = |key: &str, value: Value| o.insert(key.into(), value);
        if let Some(name) = info::full_name(door, self.fd.as_fd(), i) {
            put("name", name.into());
        }
        put("tag", hex_tag(&i.tag).into());
        put("gpl_compatible", i.gpl_compatible.into());
        if i.run_time_ns != 0 {
            put("run_time_ns", i.run_time_ns.into());
            put("run_cnt", i.run_cnt.into());
        }
        if i.recursion_misses != 0 {
            put("recursion_misses", i.recursion_misses.into());
        }
        put("loaded_at", self.loaded().into());
        put("uid", i.uid.into());
        put("bytes_xlated", i.xlated_len.into());
        put("jited", (i.jited_len != 0).into());
        if i.jited_len != 0 {
            put("bytes_jited", i.jited_len.into());
        }
        if let Some(bytes) = self.memlock() {
            put("bytes_memlock", bytes.into());
        }
        if !i.map_ids.is_empty() {
            put("map_ids", i.map_ids.clone().into());
        }
        if !self.pinned.is_empty() {
            put("pinned", self.pinned.to_vec().into());
        }
        if i.btf_id != 0 {
            put("btf_id", i.btf_id.into());
        }
        o
    }
}

/// How instructions are printed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct DumpStyle {
    pub(crate) opcodes: bool,
    pub(crate) linum: bool,
    /// As a graph of blocks.
    pub(crate) visual: bool,
}

/// Prints the instructions as the kernel rewrote them, or writes them to a file as they are.
pub(crate) fn dump_xlated(
    which: &Which,
    file: Option<&str>,
    style: DumpStyle,
    out: &mut Out,
) -> Result<(), Failure> {
    let door = door();
    if let Some(path) = file {
        let fd = which.one(&*door, IdKind::Prog)?;
        let code = info::prog_code(&*door, fd.as_fd()).map_err(|e| refused("reading a program", e))?;
        return std::fs::write(path, &code.xlated).map_err(|e| Failure::io("write", path.as_ref(), &e));
    }
    let mut rows = Vec::new();
    for fd in which.open(&*door, IdKind::Prog)? {
        let dump = Dump::open(&*door, &fd, style.linum)?;
        let code = dump.code.xlated.as_chunks::<8>().0;
        if code.is_empty() {
            return Err(Failure::Permission(format!(
                "program {}: the kernel shows no instructions without CAP_SYS_ADMIN (or CAP_PERFMON and CAP_BPF), or with \
                 kernel.kptr_restrict set",
                dump.info.id
            )));
        }
        let insns: Vec<Insn> = code.iter().map(|b| Insn::from_bytes(*b)).collect();
        if style.visual {
            let starts = dump.code.func_info.iter().map(|f| (f[0] as usize, dump.prototype(f[1])));
            let dot = super::graph::dot(&insns, &starts.collect::<Vec<_>>(), &dump);
            out.text(&dot.replace("map[fd:", "map[id:"))?;
            continue;
        }
        let style = Style { notation: Notation::Kernel, numbers: true, bytes: style.opcodes, source: true };
        let text = dump.with_heads(&listing(&insns, &dump, style).to_string().replace("map[fd:", "map[id:"));
        if out.is_json() {
            let lines: Vec<&str> = text.lines().collect();
            rows.push(object([("id", dump.info.id.into()), ("insns", json!(lines))]));
        } else {
            if which_many(which) {
                out.line(&format!("{}: {}", dump.info.id, type_name(dump.info.prog_type)))?;
            }
            out.text(&text)?;
            if !text.ends_with('\n') {
                out.text("\n")?;
            }
        }
    }
    if out.is_json() { out.json_rows("programs", rows) } else { Ok(()) }
}

fn which_many(w: &Which) -> bool {
    matches!(w, Which::All | Which::Name(_) | Which::Tag(_))
}

/// A program with the names for its listing.
struct Dump {
    info: ProgInfo,
    code: ProgCode,
    btf: Option<Btf>,
    /// Address that helper numbers are relative to after the kernel's rewriting.
    symbols: Symbols,
    /// Source lines with their places.
    linum: bool,
}

impl Dump {
    fn open(door: &dyn Door, fd: &OwnedFd, linum: bool) -> Result<Dump, Failure> {
        let info = info::prog(door, fd.as_fd()).map_err(|e| refused("describing a program", e))?;
        let code = info::prog_code(door, fd.as_fd()).map_err(|e| refused("reading a program", e))?;
        let btf = if info.btf_id == 0 { None } else { super::load_btf(door, info.btf_id) };
        Ok(Dump { info, code, btf, symbols: Symbols::read(), linum })
    }

    /// The listing with a line before each function: its prototype, as far as the types tell.
    fn with_heads(&self, listing: &str) -> String {
        let (mut out, mut comment) = (String::new(), String::new());
        for line in listing.lines() {
            let slot = line.trim_start().split(':').next().and_then(|n| n.parse::<u32>().ok());
            let Some(slot) = slot else {
                comment.push_str(line);
                comment.push('\n');
                continue;
            };
            if let Some(f) = self.code.func_info.iter().find(|f| f[0] == slot) {
                out.push_str(&format!("{}:\n", self.prototype(f[1])));
            }
            out.push_str(&std::mem::take(&mut comment));
            out.push_str(line);
            out.push('\n');
        }
        out
    }

    fn prototype(&self, id: u32) -> String {
        let Some(btf) = &self.btf else { return self.info.name.clone() };
        let name = btf.name_of(id);
        let proto = match btf.type_by_id(id) {
            Some(skep::btf::Type::Func(f)) => f.type_id,
            _ => return name.to_owned(),
        };
        skep::btf::type_decl(btf, proto, name).unwrap_or_else(|_| name.to_owned())
    }
}

/// The kernel's functions by address, for calls that were made direct.
#[derive(Default)]
struct Symbols {
    base: u64,
    all: Vec<(u64, String)>,
}

impl Symbols {
    fn read() -> Symbols {
        let text = std::fs::read_to_string(ksyms::KALLSYMS).unwrap_or_default();
        let mut all: Vec<(u64, String)> = ksyms::symbols(&text)
            .filter(|s| s.address != 0)
            .map(|s| (s.address, s.name.to_owned()))
            .collect();
        let base = all.iter().find(|(_, n)| n == "__bpf_call_base").map_or(0, |(a, _)| *a);
        all.sort_by_key(|(a, _)| *a);
        Symbols { base, all }
    }

    fn name(&self, offset: i32) -> Option<&str> {
        let address = self.base.checked_add_signed(offset.into()).filter(|_| self.base != 0)?;
        let at = self.all.binary_search_by_key(&address, |(a, _)| *a).ok()?;
        Some(&self.all[at].1)
    }
}

impl Names for Dump {
    fn helper(&self, id: i32) -> Option<Cow<'_, str>> {
        if let Some(name) = self.symbols.name(id) {
            return Some(Cow::Borrowed(name));
        }
        let helper = u32::try_from(id).ok().and_then(|id| skep::platform().helper(id))?;
        Some(Cow::Borrowed(helper.name))
    }

    fn kfunc(&self, id: i32, _: i16) -> Option<Cow<'_, str>> {
        self.symbols.name(id).map(Cow::Borrowed)
    }

    fn imm64(&self, _: Imm64) -> Option<Cow<'_, str>> {
        None
    }

    fn label(&self, _: i64) -> Option<Cow<'_, str>> {
        None
    }

    fn source_line(&self, slot: usize) -> Option<Cow<'_, str>> {
        let btf = self.btf.as_ref()?;
        let line = self.code.line_info.iter().find(|l| l[0] as usize == slot);
        let l = line?;
        let (file, at) = (btf.string(l[1]).unwrap_or_default(), l[3]);
        let text = btf.string(l[2]).unwrap_or_default().trim();
        if !self.linum {
            return Some(Cow::Borrowed(text));
        }
        Some(Cow::Owned(format!("{text} [file:{file} line_num:{} line_col:{}]", at >> 10, at & 0x3ff)))
    }
}

/// Writes a program's machine code to a file, as it is.
pub(crate) fn dump_jited(
    which: &Which,
    file: Option<&str>,
    style: DumpStyle,
    out: &mut Out,
) -> Result<(), Failure> {
    let door = door();
    let fd = which.one(&*door, IdKind::Prog)?;
    let code = info::prog_code(&*door, fd.as_fd()).map_err(|e| refused("reading a program", e))?;
    if code.jited.is_empty() {
        return Err(Failure::Unsupported(
            "the kernel shows no machine code: its compiler is off (net.core.bpf_jit_enable), or a right is missing".into(),
        ));
    }
    if let Some(path) = file {
        let written = std::fs::write(path, &code.jited);
        return written.map_err(|e| Failure::io("write", path.as_ref(), &e));
    }
    let names = Dump::open(&*door, &fd, style.linum)?;
    // Several instructions of eBPF may stand at one address; a line is told once.
    let line = |address: u64| {
        let at = code.jited_lines.iter().position(|a| *a == address)?;
        names.source_line(code.line_info.get(at)?[0] as usize).map(Cow::into_owned).filter(|l| !l.is_empty())
    };
    let mut at = 0;
    let mut rows = Vec::new();
    for (i, len) in code.func_lens.iter().enumerate() {
        let bytes = &code.jited[at.min(code.jited.len())..(at + *len as usize).min(code.jited.len())];
        at += *len as usize;
        let name = code
            .func_info
            .get(i)
            .and_then(|f| names.btf.as_ref().map(|b| b.name_of(f[1]).to_owned()))
            .unwrap_or_else(|| names.info.name.clone());
        let base = code.ksyms.get(i).copied().unwrap_or(0);
        let text = super::native_text(bytes, base, 0, style.opcodes, &line);
        if out.is_json() {
            let lines: Vec<&str> = text.lines().collect();
            rows.push(object([("name", name.into()), ("insns", json!(lines))]));
        } else {
            out.text(&format!("{name}:\n{text}"))?;
        }
    }
    if out.is_json() { out.json_rows("functions", rows) } else { Ok(()) }
}

fn input(path: &str) -> Result<Vec<u8>, Failure> {
    if path == "-" {
        let mut bytes = Vec::new();
        let read = std::io::stdin().read_to_end(&mut bytes);
        read.map_err(|e| Failure::io("read", "standard input".as_ref(), &e))?;
        return Ok(bytes);
    }
    crate::input::file(path.as_ref())
}

/// `skep prog run PROG data_in FILE [data_out FILE] [ctx_in FILE] [ctx_out FILE] [repeat N]`.
pub(crate) fn run(words: &mut Words<'_>, out: &mut Out) -> Result<(), Failure> {
    let door = door();
    let fd = words.which()?.one(&*door, IdKind::Prog)?;
    let (mut data, mut ctx, mut repeat) = (Vec::new(), Vec::new(), 1);
    let (mut data_out, mut ctx_out) = (None, None);
    while let Some(word) = words.next() {
        match word {
            "data_in" => data = input(words.value(word)?)?,
            "ctx_in" => ctx = input(words.value(word)?)?,
            "data_out" => data_out = Some(words.value(word)?),
            "ctx_out" => ctx_out = Some(words.value(word)?),
            "repeat" => repeat = words.number(word)?.max(1),
            // Room for what comes out is made as it is needed.
            "data_size_out" | "ctx_size_out" => drop(words.number(word)?),
            w => return Err(Failure::Usage(format!("{w:?} is not expected here; see --help"))),
        }
    }
    let info = info::prog(&*door, fd.as_fd()).map_err(|e| refused("describing the program", e))?;
    let alone = matches!(
        ProgType::from_id(info.prog_type),
        Some(ProgType::RawTracepoint | ProgType::RawTracepointWritable | ProgType::Syscall)
    );
    let mut room = vec![0; if data.is_empty() { 0 } else { data.len() + (16 << 10) }];
    let mut ctx_room = vec![0; if alone { 0 } else { ctx.len() }];
    let mut request = TestRun {
        data: &data,
        data_out: &mut room,
        ctx: &ctx,
        ctx_out: &mut ctx_room,
        repeat: if alone { 0 } else { repeat },
        flags: 0,
    };
    let ran = door.test_run(fd.as_fd(), &mut request).map_err(|e| {
        use skep::kernel::explain::{Asked, Rights, why};
        let text = format!("program {}: {}", info.id, why(Asked::Run, e, &Rights::own()));
        if e == skep::descriptors::Errno::EPERM { Failure::Permission(text) } else { Failure::Failed(text) }
    })?;
    room.truncate(ran.data_len as usize);
    ctx_room.truncate(ran.ctx_len as usize);
    let hex = |b: &[u8]| crate::maps::hex(b);
    for (path, bytes) in [(data_out, &room), (ctx_out, &ctx_room)] {
        match path {
            Some("-") => {
                std::io::stdout().write_all(bytes).map_err(|e| Failure::io("write", "-".as_ref(), &e))?
            }
            Some(path) => std::fs::write(path, bytes).map_err(|e| Failure::io("write", path.as_ref(), &e))?,
            None => {}
        }
    }
    if out.is_json() {
        let row = object([
            ("id", info.id.into()),
            ("retval", ran.retval.into()),
            ("duration", ran.duration.into()),
            ("data_out", hex(&room).into()),
            ("ctx_out", hex(&ctx_room).into()),
        ]);
        return out.json(row);
    }
    let average = if repeat > 1 { " (average)" } else { "" };
    out.line(&format!("Return value: {}, duration{average}: {}ns", ran.retval, ran.duration))?;
    if !room.is_empty() && data_out.is_none() {
        out.line(&format!("data out: {}", hex(&room)))?;
    }
    Ok(())
}

/// `skep prog pin PROG PATH`.
pub(crate) fn pin(words: &mut Words<'_>) -> Result<(), Failure> {
    let door = door();
    let fd = words.which()?.one(&*door, IdKind::Prog)?;
    let path = words.value("pin")?;
    words.end()?;
    super::pin_at(&*door, path.as_ref(), &fd)
}
