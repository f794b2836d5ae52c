//! Every expectation is a file in `tests/data`; `SKEP_BLESS=1 cargo test -p skep-btf` rewrites them. The inputs are built
//! from the C files beside them by `build.sh`.
#![allow(clippy::unwrap_used)]

use std::fmt::Write;
use std::path::PathBuf;

use skep_btf::core::{Cache, describe, describe_targets, resolve};
use skep_btf::{
    Btf, BtfBuilder, BtfExt, BuildError, CDumpOptions, Enumerator, FuncLinkage, IntEncoding, Kind, Member,
    Param, TextOptions, Value, dump_c, dump_raw, parse_value, type_decl,
};

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

fn btf(name: &str) -> Btf {
    Btf::parse(&std::fs::read(path(&format!("{name}.btf"))).unwrap()).unwrap()
}

fn ext(name: &str, btf: &Btf) -> BtfExt {
    BtfExt::parse(&std::fs::read(path(&format!("{name}.ext"))).unwrap(), btf).unwrap()
}

/// Compares with the expectation in `file`, or writes it.
fn expect(file: &str, got: &str) {
    let path = path(file);
    if std::env::var_os("SKEP_BLESS").is_some() {
        std::fs::write(path, got).unwrap();
        return;
    }
    let want = std::fs::read_to_string(&path).unwrap_or_default();
    if let Some((n, (w, g))) = (1..).zip(want.lines().zip(got.lines())).find(|(_, (w, g))| w != g) {
        panic!("{file}:{n}:\n- {w}\n+ {g}\nSKEP_BLESS=1 rewrites expectations");
    }
    assert_eq!(want.lines().count(), got.lines().count(), "{file}: number of lines");
}

#[test]
fn listings() {
    for name in ["types", "core_target"] {
        expect(&format!("{name}.raw"), &dump_raw(&btf(name)));
    }
}

#[test]
fn c_output() {
    let options = CDumpOptions { sorted: false, ..CDumpOptions::default() };
    for name in ["types", "core_target"] {
        expect(&format!("{name}.h"), &dump_c(&btf(name), &options).unwrap());
    }
    let types = btf("types");
    let node = types.find_by_name("node").next().unwrap();
    let options =
        CDumpOptions { guard: String::new(), preserve_access_index: false, roots: vec![node], ..options };
    expect("types_node.h", &dump_c(&types, &options).unwrap());
}

/// What compilers other than clang, other languages and merging make: names that C does not take or that clash, unnamed
/// members of named structs, sizes that C does not give.
fn odd() -> Result<BtfBuilder, BuildError> {
    let mut b = BtfBuilder::new();
    let plain = |name, type_id, bit_offset| Member { name, type_id, bit_offset, bitfield_size: 0 };
    let unsigned = IntEncoding::default();
    let u32_ = b.add_int("u32", 4, unsigned)?;
    let long = b.add_int("long int", 8, IntEncoding { signed: true, ..unsigned })?;
    let byte = b.add_int("unsigned char", 1, unsigned)?;
    let base = b.add_struct("base", 8, &[plain("x", u32_, 0), plain("y", u32_, 32)])?;
    // the second of the name, with keywords and an unnamed member of a named struct
    b.add_struct("base", 24, &[plain("int", u32_, 0), plain("while", u32_, 32), plain("", base, 64)])?;
    let values = [Enumerator { name: "A", value: 1 }, Enumerator { name: "B", value: 2 }];
    let anonymous = b.add_enum("", 4, false, &values)?;
    b.add_struct("twice", 8, &[plain("one", anonymous, 0), plain("two", anonymous, 32)])?;
    b.add_enum("base", 8, true, &[Enumerator { name: "A", value: -1 }])?;
    let fwd = b.add_fwd("twice", true)?;
    let to_fwd = b.add_ptr(fwd)?;
    b.add_struct("gap", 8192, &[plain("first", byte, 0), plain("last", to_fwd, 8184 * 8)])?;
    b.add_struct("end", 4096, &[plain("first", byte, 0)])?;
    b.add_union("padded", 8, &[plain("small", byte, 0)])?;
    b.add_union("padded_more", 32, &[plain("small", byte, 0), plain("long", long, 0)])?;
    b.add_struct("under_aligned", 12, &[plain("a", u32_, 0), plain("b", long, 32)])?;
    let bits = |name, type_id, bit_offset, bitfield_size| Member { name, type_id, bit_offset, bitfield_size };
    b.add_struct(
        "straddles",
        8,
        &[bits("a", u32_, 0, 20), bits("b", u32_, 20, 20), bits("c", u32_, 50, 14)],
    )?;
    b.add_enum("none", 4, false, &[])?;
    b.add_enum("short_one", 2, false, &[Enumerator { name: "S", value: 65535 }])?;
    b.add_enum("wide_one", 8, false, &[Enumerator { name: "W", value: 1 }])?;
    b.add_typedef("__builtin_va_list", long)?;
    b.add_typedef("core::option::Option<u8>", byte)?;
    b.add_typedef("A", u32_)?;
    let user = b.add_type_tag("user\"\n", byte)?;
    let to_user = b.add_ptr(user)?;
    let restrict = b.add_modifier(Kind::Restrict, to_user)?;
    let param = |name, type_id| Param { name, type_id };
    let proto = b.add_func_proto(0, &[param("inline", restrict), param("", 0)])?;
    let func = b.add_func("kernel_function", proto, FuncLinkage::Static)?;
    b.add_decl_tag("bpf_kfunc", func, None)?;
    b.add_decl_tag("bpf_fastcall", func, None)?;
    Ok(b)
}

#[test]
fn odd_types_as_c() {
    let btf = odd().unwrap().finish().unwrap();
    expect("odd.h", &dump_c(&btf, &CDumpOptions { sorted: false, ..CDumpOptions::default() }).unwrap());
    if std::env::var_os("SKEP_BLESS").is_some() {
        std::fs::write(path("odd.btf"), odd().unwrap().emit()).unwrap();
    }
    assert_eq!(std::fs::read(path("odd.btf")).unwrap(), odd().unwrap().emit());
}

#[test]
fn declarations() {
    let btf = btf("types");
    let mut out = String::new();
    for (id, t) in btf.types() {
        let text = type_decl(&btf, id, "x").unwrap_or_else(|e| format!("error: {e}"));
        let _ = writeln!(out, "[{id}] {}: {text}", t.kind().unwrap());
    }
    expect("types.decl", &out);
}

#[test]
fn ext_records() {
    let btf = btf("types");
    let ext = ext("types", &btf);
    let mut out = String::new();
    for s in &ext.func_info {
        for f in &s.records {
            let _ = writeln!(out, "{}+{}: {}", s.section(&btf), f.insn_off, btf.name_of(f.type_id));
        }
    }
    for s in &ext.line_info {
        for l in &s.records {
            let place = format!("{}:{}:{}", l.file_name(&btf), l.line(), l.column());
            let _ = writeln!(out, "{}+{}: {place}: {}", s.section(&btf), l.insn_off, l.text(&btf).trim());
        }
    }
    expect("types.ext.txt", &out);
    assert_eq!(BtfExt::parse(&ext.emit(), &btf).unwrap(), ext);
}

#[test]
fn core_relocations() {
    let (local, target) = (btf("core_local"), btf("core_target"));
    let mut out = String::new();
    let mut cache = Cache::default();
    for section in ext("core_local", &local).core_relo {
        let _ = writeln!(out, "section {}", section.section(&local));
        for relo in &section.records {
            let _ = writeln!(out, "{}", describe(&local, relo).unwrap());
            for found in describe_targets(&local, relo, &target).unwrap() {
                let _ = writeln!(out, "\tmatches {found}");
            }
            let _ = match resolve(&local, relo, &target, &mut cache) {
                Ok(r) if r.poison => writeln!(out, "\tpoison"),
                Ok(r) => {
                    let sizes = if r.orig_size == r.new_size {
                        String::new()
                    } else {
                        let how = if r.fail_memsz_adjust { "cannot be adjusted" } else { "adjusted" };
                        format!(", size {} -> {} {how}", r.orig_size, r.new_size)
                    };
                    let check = if r.validate { "" } else { " unchecked" };
                    writeln!(out, "\t{} -> {}{check}{sizes}", r.orig, r.new)
                }
                Err(e) => writeln!(out, "\terror: {e}"),
            };
        }
    }
    expect("core.txt", &out);
}

#[test]
fn merged_objects() {
    let mut b = BtfBuilder::new();
    for name in ["merge_a", "merge_b"] {
        let btf = btf(name);
        let ids = b.append(&btf).unwrap();
        let mut ext = ext(name, &btf);
        ext.remap(|id| ids[id as usize], |off| b.add_string(btf.string(off).unwrap()).unwrap());
        let merged = b.finish().unwrap();
        BtfExt::parse(&ext.emit(), &merged).unwrap();
        for s in &ext.func_info {
            assert!(s.records.iter().all(|f| merged.name_of(f.type_id) == "function"));
        }
    }
    expect("merge.raw", &dump_raw(&b.finish().unwrap()));
}

/// `values.txt`: blocks of `type NAME`, then `text …` (what is typed) and what comes of it, or `bytes …` in hex.
#[test]
fn values() {
    let btf = btf("types");
    let input = std::fs::read_to_string(path("values.txt")).unwrap();
    let (mut out, mut id) = (String::new(), 0);
    for line in input.lines() {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "type" => id = btf.find_by_name(rest).next().unwrap(),
            "text" | "bytes" | "#" | "" => {}
            _ => continue, // what came of it last time
        }
        let _ = writeln!(out, "{line}");
        let bytes = match word {
            "text" => parse_value(&btf, id, rest).map_err(|e| e.to_string()),
            "bytes" => Ok(rest.split_whitespace().map(|b| u8::from_str_radix(b, 16).unwrap()).collect()),
            _ => continue,
        };
        let _ = match bytes.and_then(|b| value_lines(&btf, id, &b)) {
            Ok(lines) => write!(out, "{lines}"),
            Err(e) => writeln!(out, "error {e}"),
        };
    }
    expect("values.txt", &out);
}

fn value_lines(btf: &Btf, id: u32, bytes: &[u8]) -> Result<String, String> {
    let value = Value::read(btf, id, bytes).map_err(|e| e.to_string())?;
    let again = parse_value(btf, id, &value.to_string()).map_err(|e| format!("{e} in {value}"))?;
    let same = Value::read(btf, id, &again).map_err(|e| e.to_string())?;
    assert_eq!(same, value, "text reads back");
    let mut out = format!("= {value}\n");
    let short = value.to_text(TextOptions { indented: true, omit_zero: true });
    short.lines().for_each(|l| out += &format!("| {l}\n"));
    Ok(out)
}

/// The table in the documentation of `patch`, on plain fields.
#[test]
fn patches() {
    use skep_btf::core::{Patch, PatchError, PatchSite, Relocated, patch};
    let answer =
        Relocated { orig: 4, new: 40, validate: true, orig_size: 4, new_size: 8, ..Relocated::default() };
    let mem = |off, size| PatchSite::Mem { off, size };
    assert_eq!(patch(PatchSite::Alu { imm: 4 }, &answer), Ok(Patch::Alu { imm: 40 }));
    assert_eq!(patch(PatchSite::LdImm64 { imm: 4 }, &answer), Ok(Patch::LdImm64 { imm: 40 }));
    assert_eq!(patch(mem(4, 4), &answer), Ok(Patch::Mem { off: 40, size: 8 }));
    assert_eq!(patch(mem(4, 2), &answer), Err(PatchError::UnexpectedSize { found: 2, expected: 4 }));
    let unexpected = PatchError::UnexpectedValue { found: 5, expected: 4 };
    assert_eq!(patch(PatchSite::Alu { imm: 5 }, &answer), Err(unexpected));
    assert_eq!(patch(PatchSite::Other, &answer), Err(PatchError::NotRelocatable));
    let far = Relocated { new: 1 << 15, ..answer };
    assert_eq!(patch(mem(4, 4), &far), Err(PatchError::OffsetTooBig(1 << 15)));
    let odd = Relocated { new_size: 3, ..answer };
    assert_eq!(patch(mem(4, 4), &odd), Err(PatchError::BadSize(3)));
    let signed = Relocated { fail_memsz_adjust: true, ..answer };
    assert_eq!(patch(mem(4, 4), &signed), Ok(Patch::Poison));
    assert_eq!(patch(PatchSite::Alu { imm: 4 }, &signed), Ok(Patch::Alu { imm: 40 }));
    let gone = Relocated { poison: true, ..answer };
    assert_eq!(patch(PatchSite::LdImm64 { imm: 7 }, &gone), Ok(Patch::Poison));
    let negative =
        Relocated { orig: -5i64 as u64, new: -6i64 as u64, validate: true, ..Relocated::default() };
    assert_eq!(patch(PatchSite::Alu { imm: -5 }, &negative), Ok(Patch::Alu { imm: -6 }));
}
