//! Any bytes as two BTF sections, a .BTF.ext and a value: everything the crate does with them ends, in an answer or in
//! a located error; what is emitted reads back equal.
//!
//! Input: a byte of switches, the lengths of the first section and of the .BTF.ext (16 bits each), then these, then the
//! second section. Bit 0 of the switches repairs the sections (kinds, counts, ids and name offsets are made legal), so
//! that mutations reach the code behind the parser.
#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use skep_btf::core::{Cache, PatchSite, describe, describe_targets, patch, resolve};
use skep_btf::{
    Btf, BtfBuilder, BtfExt, CDumpOptions, CoreRelo, Field, Kind, TextOptions, Type, Value, dump_c, dump_raw,
    parse_value, type_decl,
};

fuzz_target!(|data: &[u8]| {
    let Some((&[switches, a0, a1, e0, e1], rest)) = data.split_first_chunk::<5>() else { return };
    let (a, rest) = rest.split_at(rest.len().min(u16::from_le_bytes([a0, a1]).into()));
    let (ext, b) = rest.split_at(rest.len().min(u16::from_le_bytes([e0, e1]).into()));
    let (a, b) = if switches & 1 != 0 { (repaired(a), repaired(b)) } else { (a.to_vec(), b.to_vec()) };
    let Some(a) = checked(Btf::parse(&a)) else { return };
    walk(&a, b"\x01\x00\xff\x80abc\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
    emits_what_it_read(&a);
    let relos = ext_records(&a, ext);
    let a = Arc::new(a);
    if let Some(split) = checked(Btf::parse_split(&b, Arc::clone(&a))) {
        walk(&split, ext);
        relocate(&a, &relos, &split);
        let _ = BtfBuilder::new().append(&split);
    }
    if let Some(b) = checked(Btf::parse(&b)) {
        relocate(&a, &relos, &b);
        merges(&a, &b);
    }
});

fn checked<T, E: std::fmt::Display>(result: Result<T, E>) -> Option<T> {
    result.map_err(|e| e.to_string()).ok()
}

/// The bytes with a good header, and all kinds, counts, ids and names made legal.
fn repaired(data: &[u8]) -> Vec<u8> {
    let strings = b"\0a\0b\0int\0char\0long\0struct\0x___y\0x\0x___z\0bool\0bpf_kfunc\0main\0.data\00\00:1\00:0:1\00:2:0\0";
    let mut words: Vec<u32> =
        data.chunks_exact(4).map(|c| u32::from_le_bytes([c[0], c[1], c[2], c[3]])).collect();
    let (mut at, mut spans) = (0, Vec::new());
    while at + 3 <= words.len() {
        let kind = Kind::from_raw((words[at + 1] >> 24) % 19 + 1).expect("a kind");
        let mut info = words[at + 1] & 0x8000_0007 | (kind as u32) << 24;
        let (row, mut len) = (kind.row(), 0);
        for vlen in (0..=info & 7).rev() {
            info = info & !7 | vlen;
            len = row.words(vlen);
            if at + len <= words.len() {
                break;
            }
        }
        if at + len > words.len() {
            break;
        }
        words[at + 1] = info;
        if kind == Kind::Int {
            words[at + 2] = 1 << (words[at + 2] % 5);
            words[at + 3] = words[at + 3] & 0xf00_0000 | words[at + 2] * 8;
        }
        spans.push((at, len, row));
        at += len;
    }
    words.truncate(at);
    let types = spans.len() as u32 + 1;
    for (at, len, row) in spans {
        for i in 0..len {
            match row.field(i) {
                Field::Name => words[at + i] %= strings.len() as u32,
                Field::Type => words[at + i] %= types,
                Field::Plain => {}
            }
        }
    }
    let size = words.len() as u32 * 4;
    let mut out = vec![0x9f, 0xeb, 1, 0];
    for w in [24, 0, size, size, strings.len() as u32].iter().chain(&words) {
        out.extend_from_slice(&w.to_le_bytes());
    }
    out.extend_from_slice(strings);
    out
}

fn walk(btf: &Btf, value: &[u8]) {
    for (id, t) in btf.types() {
        let _ = (t.name(), t.referent(), btf.size_of(id), btf.align_of(id), btf.resolve(id));
        match t {
            Type::Struct(c) | Type::Union(c) => assert!(c.members.count() < 65536),
            Type::Enum(e) | Type::Enum64(e) => assert!(e.enumerators.count() < 65536),
            _ => {}
        }
        if let Some(kind) = t.kind() {
            let _ = btf.find_by_name_kind(t.name(), kind);
        }
        if id % 16 == 1 {
            let _ = checked(type_decl(btf, id, "x"));
        }
        if let Some(v) = checked(Value::read(btf, id, value)) {
            let _ = v.to_text(TextOptions { indented: true, omit_zero: true });
            let _ = checked(parse_value(btf, id, &v.to_string()));
        }
    }
    let _ = dump_raw(btf);
    let _ = checked(dump_c(btf, &CDumpOptions::default()));
}

fn emits_what_it_read(btf: &Btf) {
    let again = Btf::parse(&BtfBuilder::from_btf(btf).emit()).expect("what is emitted can be read");
    assert_eq!(dump_raw(btf), dump_raw(&again));
}

fn merges(a: &Btf, b: &Btf) {
    let mut builder = BtfBuilder::new();
    for btf in [a, b, a] {
        let before = builder.next_id();
        let ids = builder.append(btf).expect("no base, no problem");
        assert_eq!(ids.len() as u32, btf.type_count());
        assert!(ids.iter().all(|id| *id < builder.next_id()) && builder.next_id() >= before);
    }
    builder.finish().expect("merged BTF is good");
}

fn ext_records(btf: &Btf, data: &[u8]) -> Vec<CoreRelo> {
    let Some(ext) = checked(BtfExt::parse(data, btf)) else { return Vec::new() };
    let again = BtfExt::parse(&ext.emit(), btf).expect("what is emitted can be read");
    assert_eq!(ext, again);
    for l in ext.line_info.iter().flat_map(|s| &s.records) {
        let _ = (l.file_name(btf), l.text(btf), l.line(), l.column());
    }
    ext.core_relo.into_iter().flat_map(|s| s.records).collect()
}

fn relocate(local: &Btf, relos: &[CoreRelo], target: &Btf) {
    let mut cache = Cache::default();
    let strings: Vec<u32> = (0..local.strings_end())
        .filter(|o| local.string(*o).is_some_and(|s| s.starts_with('0')))
        .take(4)
        .collect();
    let made = (1..local.type_count().min(8)).flat_map(|type_id| {
        let strings = &strings;
        (0..14 * strings.len() as u32).map(move |i| {
            let access_str_off = strings[i as usize / 14];
            CoreRelo { insn_off: 0, type_id, access_str_off, raw_kind: i % 14 }
        })
    });
    for relo in relos.iter().copied().chain(made) {
        let _ = checked(describe(local, &relo));
        let _ = checked(describe_targets(local, &relo, target));
        let Some(answer) = checked(resolve(local, &relo, target, &mut cache)) else { continue };
        for site in [
            PatchSite::Alu { imm: answer.orig as i32 },
            PatchSite::Mem { off: answer.orig as i16, size: 4 },
            PatchSite::LdImm64 { imm: answer.orig },
            PatchSite::Other,
        ] {
            let _ = checked(patch(site, &answer));
        }
    }
}
