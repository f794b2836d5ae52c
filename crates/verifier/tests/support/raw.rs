//! Raw programs of the kernel's test_verifier: rows into programs with the maps that its fixups ask for.

use super::json::Json;
use super::map::{def, paper};
use skep_btf::{Btf, BtfBuilder, Member};
use skep_isa::Insn;
use skep_platform::map::MapBtf;
use skep_platform::{AttachType, Map, MapType, Platform, ProgType, Program, Subprog, Version};
use skep_verifier::{Options, Outcome, Rejection, verify_full};
use std::sync::Arc;

pub(crate) const PLATFORM: Platform = Platform {
    version: Version(6, 18),
    helpers: skep_helpers::HELPERS,
    kfuncs: skep_helpers::KFUNCS,
    prog_types: skep_hooks::PROG_TYPES,
    map_types: skep_maps::MAP_TYPES,
};

/// Map of a fixup's kind, as test_verifier.c creates it.
fn map_of(kind: &str) -> Option<Arc<dyn Map>> {
    use MapType as M;
    let (t, key, value, entries) = match kind.trim_start_matches("map_") {
        "hash_8b" => (M::Hash, 8, 8, 1),
        "hash_16b" => (M::Hash, 8, 16, 1),
        "hash_48b" => (M::Hash, 8, 48, 1),
        "array_48b" => (M::Array, 4, 48, 1),
        "array_small" => (M::Array, 4, 1, 1),
        "event_output" => (M::PerfEventArray, 4, 4, 1),
        "ringbuf" => (M::Ringbuf, 0, 0, 4096),
        "kptr" => (M::Array, 4, 24, 1),
        _ => return None,
    };
    let mut d = def(kind, t, key, value, entries);
    d.btf = (kind == "map_kptr").then(kernel_pointers);
    Some(paper(d))
}

/// A value of three kernel pointers: one that is only read, two that are owned.
fn kernel_pointers() -> MapBtf {
    let members = [
        ("kptr_untrusted", "prog_test_ref_kfunc"),
        ("kptr", "prog_test_ref_kfunc"),
        ("kptr", "prog_test_member"),
    ];
    let mut b = BtfBuilder::new();
    let mut types = Vec::new();
    for (tag, target) in members {
        let target = b.add_fwd(target, false).expect("room");
        let tagged = b.add_type_tag(tag, target).expect("room");
        types.push(b.add_ptr(tagged).expect("room"));
    }
    let member =
        |i: usize| Member { name: "ptr", type_id: types[i], bit_offset: 64 * i as u32, bitfield_size: 0 };
    let value = b.add_struct("btf_ptr", 24, &[member(0), member(1), member(2)]).expect("room");
    let btf = Btf::parse(&b.emit()).expect("the builder writes BTF");
    MapBtf { btf: Arc::new(btf), key: 0, value }
}

fn insns(hex: &str) -> Vec<Insn> {
    let bytes: Vec<u8> =
        (0..hex.len() / 2).map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap_or(0)).collect();
    Insn::slice_from_bytes(&bytes).unwrap_or_default()
}

/// The program of a row.
pub(crate) fn program(row: &Json) -> Program {
    let mut code = insns(row.str("insns"));
    let mut maps = Vec::new();
    if let Some(fixups) = row.get("fixups").0.as_object() {
        for (kind, at) in fixups {
            let Some(map) = map_of(kind) else { continue };
            maps.push(map);
            for pc in at.as_array().into_iter().flatten().filter_map(|v| v.as_u64()) {
                let i = code[pc as usize];
                // Plain and value references become references into the program's own table.
                let src = match i.src() {
                    2 | 6 => 6,
                    _ => 5,
                };
                code[pc as usize] = i.with_src(src).with_imm(maps.len() as i32 - 1);
            }
        }
    }
    let prog_type = ProgType::from_id(row.num("prog_type") as u32).unwrap_or(ProgType::SocketFilter);
    let attach = row.num("attach_type") as u32;
    let uses_attach = attach != 0 || matches!(prog_type, ProgType::CgroupSkb | ProgType::CgroupSock);
    let func = row.str("attach_func");
    Program {
        name: "test".into(),
        section: String::new(),
        prog_type,
        attach_type: if uses_attach { AttachType::from_id(attach) } else { None },
        attach_target: (!func.is_empty()).then(|| func.to_owned()),
        sleepable: row.num("prog_flags") & 16 != 0,
        xdp_frags: row.num("prog_flags") & 32 != 0,
        license: "GPL".into(),
        subprogs: functions(row, &code),
        maps,
        lines: Vec::new(),
        btf: row.bool("has_btf").then(|| Arc::new(Btf::empty())),
        kernel_btf: kernel_types(row),
        poisoned: Vec::new(),
        insns: code,
    }
}

/// The running kernel's types, for rows that name something in them.
fn kernel_types(row: &Json) -> Option<Arc<Btf>> {
    super::objects::kernel().filter(|_| needs_types(row))
}

/// Does the row name something of the kernel's types?
pub(crate) fn needs_types(row: &Json) -> bool {
    let typed = row.get("fixups").0.as_object().is_some_and(|f| f.contains_key("map_kptr"));
    typed || !row.str("attach_func").is_empty()
}

/// Functions, where the row says that it comes with their types.
fn functions(row: &Json, code: &[Insn]) -> Vec<Subprog> {
    if !row.bool("has_btf") {
        return Vec::new();
    }
    let calls =
        code.iter().enumerate().filter(|(_, i)| matches!((i.opcode(), i.src()), (0x85, 1) | (0x18, 4)));
    let mut starts: Vec<usize> =
        calls.map(|(pc, i)| (pc as i64 + 1 + i.imm() as i64) as usize).chain([0]).collect();
    starts.sort_unstable();
    starts.dedup();
    starts.iter().map(|s| Subprog { name: "f".into(), start: *s, btf_id: 1, global: false }).collect()
}

/// The verdict on a row.
pub(crate) fn verify(row: &Json) -> Result<Outcome, Box<Rejection>> {
    let flags = row.num("prog_flags");
    let options = Options {
        strict_alignment: flags & 3 == 1,
        test_state_freq: flags & 8 != 0,
        log_level: u8::from(std::env::var_os("SKEP_LOG").is_some()) * 2,
        cpus: 2,
        ..Options::default()
    };
    let out = verify_full(&Arc::new(program(row)), &PLATFORM, &options);
    if std::env::var_os("SKEP_LOG").is_some() {
        println!(
            "{}",
            match &out {
                Ok(o) => &o.log,
                Err(e) => &e.log,
            }
        );
    }
    out
}

fn is_stats(l: &str) -> bool {
    l.is_empty()
        || ["processed ", "verification time", "stack depth", "mark_precise"].iter().any(|p| l.starts_with(p))
}

pub(crate) fn stats_only(log: &str) -> bool {
    log.lines().all(is_stats)
}

pub(crate) fn last_line(log: &str) -> &str {
    log.lines().rfind(|l| !is_stats(l)).unwrap_or("")
}
