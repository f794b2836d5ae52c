//! Damaged and hostile bytes: a located error or a result, never a panic, never endless work.
#![allow(clippy::unwrap_used)]

use std::fmt::Write;
use std::path::PathBuf;

use skep_btf::core::{Cache, resolve};
use skep_btf::{
    Btf, BtfBuilder, BtfExt, CDumpOptions, DumpError, IntEncoding, Kind, Member, Value, dump_c, dump_raw,
    parse_value,
};

fn data(name: &str) -> Vec<u8> {
    std::fs::read(path(name)).unwrap()
}

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

/// Applies one line of `errors.txt`.
fn damage(bytes: &mut Vec<u8>, command: &str, args: &str) {
    let (at, rest) = args.split_once(' ').unwrap_or((args, ""));
    let at = match at.strip_prefix("end-") {
        Some(n) => bytes.len() - n.parse::<usize>().unwrap(),
        None => usize::from_str_radix(at, 16).unwrap(),
    };
    if command.ends_with("cut") {
        bytes.truncate(at);
        return;
    }
    for (i, b) in rest.split_whitespace().enumerate() {
        bytes[at + i] = u8::from_str_radix(b, 16).unwrap();
    }
}

#[test]
fn errors_say_where_and_what() {
    let input = std::fs::read_to_string(path("errors.txt")).unwrap();
    let good = Btf::parse(&data("merge_a.btf")).unwrap();
    let mut out = String::new();
    for line in input.lines() {
        let (command, args) = line.split_once(' ').unwrap_or((line, ""));
        let result = match command {
            "set" | "cut" => {
                let mut bytes = data("merge_a.btf");
                damage(&mut bytes, command, args);
                Btf::parse(&bytes).map(|_| ())
            }
            "ext-set" | "ext-cut" => {
                let mut bytes = data("merge_a.ext");
                damage(&mut bytes, command, args);
                BtfExt::parse(&bytes, &good).map(|_| ())
            }
            "#" => {
                let _ = writeln!(out, "{line}");
                continue;
            }
            _ => continue,
        };
        let said = result.map_or_else(|e| e.to_string(), |()| "accepted".to_owned());
        let _ = writeln!(out, "{line}\n\t{said}");
    }
    if std::env::var_os("SKEP_BLESS").is_some() {
        std::fs::write(path("errors.txt"), out).unwrap();
        return;
    }
    assert!(input == out, "errors.txt differs (SKEP_BLESS=1 rewrites it); now:\n{out}");
    assert!(!out.contains("accepted"));
}

/// Walks over everything that a section has.
fn use_all(btf: &Btf) {
    for (id, t) in btf.types() {
        let _ = (btf.size_of(id), btf.align_of(id), btf.resolve(id), t.referent());
        let _ = Value::read(btf, id, &[0x5a; 64]).map(|v| parse_value(btf, id, &v.to_string()));
    }
    let _ = dump_raw(btf);
    let _ = dump_c(btf, &CDumpOptions::default());
    let _ = BtfBuilder::new().append(btf);
}

#[test]
fn damaged_sections_never_panic() {
    let (types, ext) = (data("core_local.btf"), data("core_local.ext"));
    let good = Btf::parse(&data("core_target.btf")).unwrap();
    arbtest::arbtest(|u| {
        let (mut btf, mut ext) = (types.clone(), ext.clone());
        for bytes in [&mut btf, &mut ext] {
            for _ in 0..u.int_in_range(0..=4)? {
                let at = u.int_in_range(24..=bytes.len() - 1)?;
                bytes[at] = u.arbitrary()?;
            }
        }
        let Ok(btf) = Btf::parse(&btf) else { return Ok(()) };
        use_all(&btf);
        let Ok(ext) = BtfExt::parse(&ext, &btf) else { return Ok(()) };
        let mut cache = Cache::default();
        for relo in ext.core_relo.iter().flat_map(|s| &s.records) {
            let _ = resolve(&btf, relo, &good, &mut cache);
        }
        Ok(())
    })
    .budget_ms(3_000);
}

fn member(type_id: u32) -> Member<'static> {
    Member { name: "", type_id, bit_offset: 0, bitfield_size: 0 }
}

#[test]
fn types_without_end_are_refused() {
    let mut b = BtfBuilder::new();
    b.add_ptr(1).unwrap();
    b.add_typedef("t", 2).unwrap();
    b.add_array(3, 0, 2).unwrap();
    b.add_struct("s", 4, &[member(4)]).unwrap();
    b.add_struct("", 4, &[member(5)]).unwrap();
    b.add_modifier(Kind::Const, 6).unwrap();
    let btf = b.finish().unwrap();
    for id in 2..btf.type_count() {
        let has_size = btf.kind_of(id) == Some(Kind::Struct);
        assert_eq!(btf.size_of(id).is_some(), has_size, "{id}");
        assert!(Value::read(&btf, id, &[0; 64]).is_err(), "{id}");
    }
    assert!(matches!(dump_c(&btf, &CDumpOptions::default()), Err(DumpError::TooDeep { .. })));
    use_all(&btf);
}

/// Thirty levels of anonymous unions with two members each: 2^30 of them when written out.
#[test]
fn types_that_grow_exponentially_are_refused() {
    let mut b = BtfBuilder::new();
    let mut id = b.add_int("int", 4, IntEncoding::default()).unwrap();
    for _ in 0..30 {
        id = b.add_union("", 4, &[member(id), member(id)]).unwrap();
    }
    b.add_struct("top", 4, &[member(id)]).unwrap();
    let btf = b.finish().unwrap();
    assert_eq!(dump_c(&btf, &CDumpOptions::default()), Err(DumpError::TooComplex));
    assert!(Value::read(&btf, id + 1, &[0; 4]).is_err());
    use_all(&btf);
    let mut cache = Cache::default();
    let local = Btf::parse(&data("core_local.btf")).unwrap();
    for relo in
        BtfExt::parse(&data("core_local.ext"), &local).unwrap().core_relo.iter().flat_map(|s| &s.records)
    {
        let _ = resolve(&local, relo, &btf, &mut cache);
    }
}

/// A source line in Latin-1 must not cost the types.
#[test]
fn strings_that_are_not_utf8_are_read() {
    let mut bytes = data("merge_a.btf");
    let at = bytes.windows(6).position(|w| w == b"differ").unwrap();
    bytes[at + 1] = 0xe9;
    let btf = Btf::parse(&bytes).unwrap();
    assert_eq!(btf.find_by_name("d?ffers").count(), 1);
    assert_eq!(BtfBuilder::from_btf(&btf).emit().len(), bytes.len());
}

#[test]
fn a_long_name_is_refused() {
    let mut b = BtfBuilder::new();
    b.add_fwd(&"n".repeat(511), false).unwrap();
    assert!(b.finish().is_ok());
    b.add_fwd(&"n".repeat(512), false).unwrap();
    assert!(b.finish().is_err());
}
