//! Whole assembly files: parsing and printing are each other's inverse, and errors are all reported.
#![allow(clippy::unwrap_used)]

use arbtest::arbitrary::{Result, Unstructured};
use arbtest::arbtest;
use skep_isa::Insn;
use skep_isa::asm::*;
use std::collections::BTreeSet;

const NAMES: [&str; 16] = [
    "main",
    "xdp",
    "L1",
    "s",
    "r1",
    "w10",
    "be16",
    "pc",
    "a b",
    "tc/ingress",
    "x\"y\\",
    "größe",
    ".rodata",
    "exit",
    "L",
    "\u{85}\n",
];

struct Generator<'a, 'b> {
    u: &'a mut Unstructured<'b>,
    names: BTreeSet<String>,
}

impl Generator<'_, '_> {
    fn name(&mut self) -> Result<String> {
        let mut name = String::from(*self.u.choose(&NAMES)?);
        while self.names.contains(&name) {
            name.push_str(&self.u.int_in_range(0..=9)?.to_string());
        }
        self.names.insert(name.clone());
        Ok(name)
    }

    fn number(&mut self) -> Result<u64> {
        Ok(match self.u.int_in_range(0..=2)? {
            0 => 0,
            1 => self.u.int_in_range(0..=64)?,
            _ => self.u.arbitrary()?,
        })
    }

    fn spec(&mut self) -> Result<MapSpec> {
        let map_type = self.u.choose(&["hash", "lpm_trie", "29", "odd type", "r1"])?;
        Ok(MapSpec {
            map_type: (*map_type).into(),
            key_size: self.number()? as u32,
            value_size: self.number()? as u32,
            max_entries: self.number()? as u32,
            map_flags: self.number()? as u32,
            pinning: self.number()? as u32,
            numa_node: self.number()? as u32,
            map_extra: self.number()?,
        })
    }

    fn binding(&mut self) -> Result<Binding> {
        Ok(*self.u.choose(&[Binding::Global, Binding::Local, Binding::Weak])?)
    }

    fn contents(&mut self) -> Result<Contents> {
        Ok(match self.u.int_in_range(0..=3)? {
            0 => Contents::Bss(self.u.int_in_range(0..=u32::MAX.into())?),
            1 => Contents::Data(self.bytes()?),
            2 => Contents::ReadOnly(self.bytes()?),
            _ => Contents::Code(self.insns()?),
        })
    }

    fn bytes(&mut self) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        for _ in 0..self.u.int_in_range(0..=6)? {
            let piece: &[u8] =
                self.u.choose(&[&b"text"[..], &[0; 9], &[1, 0, 2], b"a\n\"\\\x7f", &[0xff; 30], b"\0"])?;
            bytes.extend_from_slice(piece);
        }
        Ok(bytes)
    }

    fn insns(&mut self) -> Result<Vec<Insn>> {
        let mut insns = Vec::new();
        for _ in 0..self.u.int_in_range(0..=12)? {
            let insn = match self.u.int_in_range(0..=5)? {
                0 => Insn::new(0x18, 1, 0, 0, self.u.int_in_range(-9..=9)?),
                1 => Insn::new(0x85, 0, 1, 0, self.u.int_in_range(-3..=3)?),
                2 => Insn::new(0x05, 0, 0, self.u.int_in_range(-3..=9)?, 0),
                3 => Insn::new(0x8d, 0, 0, 0, 3),
                4 => Insn::new(0, 0, 0, 0, self.u.int_in_range(-1..=1)?),
                _ => Insn::new(0x95, 0, 0, 0, 0),
            };
            insns.push(insn);
        }
        Ok(insns)
    }

    fn offset(&mut self, size: u64) -> Result<u64> {
        if self.u.ratio(1, 10)? { self.number() } else { self.u.int_in_range(0..=size) }
    }

    fn section(&mut self, name: String) -> Result<Section> {
        let contents = self.contents()?;
        let size = contents.size();
        let mut symbols = Vec::new();
        for _ in 0..self.u.int_in_range(0..=4)? {
            let mut offset = self.offset(size)?;
            if self.u.ratio(3, 4)? {
                offset &= !7;
            }
            symbols.push(Symbol {
                name: self.name()?,
                kind: *self.u.choose(&[SymbolKind::Func, SymbolKind::Object, SymbolKind::NoType])?,
                binding: self.binding()?,
                hidden: self.u.arbitrary()?,
                offset,
                size: if self.u.arbitrary()? { self.number()? } else { size.saturating_sub(offset) },
                prog_type: if self.u.ratio(1, 5)? { Some("sched_cls".into()) } else { None },
            });
        }
        symbols.sort_by_key(|s| s.offset);
        Ok(Section { name, contents, align: 1 << self.u.int_in_range(0..=4)?, symbols, relocs: Vec::new() })
    }

    fn target(&mut self, sections: &[String]) -> Result<Target> {
        let names: Vec<&String> = self.names.iter().collect();
        if names.is_empty() || self.u.ratio(1, 3)? {
            return Ok(Target::Section(if sections.is_empty() || self.u.ratio(1, 8)? {
                ".maps".into()
            } else {
                self.u.choose(sections)?.clone()
            }));
        }
        Ok(Target::Symbol((*self.u.choose(&names)?).clone()))
    }

    fn object(&mut self) -> Result<AsmObject> {
        let license = if self.u.arbitrary()? { Some("Dual \"MIT\"\n".into()) } else { None };
        let mut object = AsmObject { license, ..AsmObject::default() };
        for _ in 0..self.u.int_in_range(0..=2)? {
            object.externs.push(Extern {
                name: self.name()?,
                kind: *self.u.choose(&[SymbolKind::Func, SymbolKind::Object, SymbolKind::NoType])?,
                weak: self.u.arbitrary()?,
                section: if self.u.arbitrary()? { Some(".ksyms".into()) } else { None },
            });
        }
        for _ in 0..self.u.int_in_range(0..=2)? {
            let (name, spec) = (self.name()?, self.spec()?);
            let mut map = MapDef::new(&name, spec);
            map.binding = self.binding()?;
            if self.u.ratio(1, 3)? {
                map.section = "maps/x".into();
            }
            if self.u.ratio(1, 3)? {
                map.inner = Some(Box::new(self.spec()?));
            }
            object.maps.push(map);
        }
        let wanted = [".text", "xdp", ".rodata.str", "license", ".bss", "main"];
        let mut sections: Vec<String> = wanted.iter().map(|s| String::from(*s)).collect();
        sections.truncate(self.u.int_in_range(0..=wanted.len())?);
        for name in &sections {
            object.sections.push(self.section(name.clone())?);
        }
        self.references(&mut object, &sections)?;
        Ok(object)
    }

    fn references(&mut self, object: &mut AsmObject, sections: &[String]) -> Result<()> {
        for section in &mut object.sections {
            for _ in 0..self.u.int_in_range(0..=5)? {
                let offset = self.offset(section.contents.size())?;
                let offset = if self.u.ratio(4, 5)? { offset & !7 } else { offset };
                let kind = *self.u.choose(&[1, 2, 3, 4, 10, 10, 1, 77])?;
                section.relocs.push(Reloc { offset, kind, target: self.target(sections)? });
            }
            section.relocs.sort_by_key(|r| r.offset);
        }
        let names: Vec<&String> = self.names.iter().collect();
        for map in &mut object.maps {
            for index in 0..self.u.int_in_range(0..=2)? {
                map.values.push((index, (*self.u.choose(&names)?).clone()));
            }
        }
        Ok(())
    }
}

#[test]
fn what_is_printed_reads_back_equal() {
    arbtest(|u| {
        let object = Generator { u, names: BTreeSet::new() }.object()?;
        for (labels, bytes) in [(false, false), (true, true)] {
            let text = print(&object, &NoObjectNames, ObjectStyle { labels, bytes, source: true });
            let back = parse(&text).unwrap_or_else(|e| panic!("{text}\n{e}"));
            assert_eq!(back, object, "{text}");
        }
        Ok(())
    })
    .budget_ms(2_000);
}

#[test]
fn what_is_read_prints_alike() {
    for file in ["firewall.asm", "everything.asm"] {
        let text = std::fs::read_to_string(format!("tests/data/{file}")).unwrap();
        let object = parse(&text).unwrap_or_else(|e| panic!("{file}: {e}"));
        let printed = object.to_string();
        let expected = format!("tests/data/{file}.printed");
        if std::env::var_os("SKEP_BLESS").is_some() {
            std::fs::write(&expected, &printed).unwrap();
        }
        assert_eq!(
            printed,
            std::fs::read_to_string(&expected).unwrap_or_default(),
            "{file}: SKEP_BLESS=1 rewrites"
        );
        assert_eq!(parse(&printed).unwrap(), object);
        assert_eq!(parse(&printed).unwrap().to_string(), printed);
    }
}

#[test]
fn all_errors_are_listed() {
    let text = std::fs::read_to_string("tests/data/errors.asm").unwrap();
    let printed = format!("{}\n", parse(&text).unwrap_err());
    let expected = "tests/data/errors.asm.printed";
    if std::env::var_os("SKEP_BLESS").is_some() {
        std::fs::write(expected, &printed).unwrap();
    }
    assert_eq!(printed, std::fs::read_to_string(expected).unwrap_or_default(), "SKEP_BLESS=1 rewrites");
}

#[test]
fn errors_are_bounded() {
    assert_eq!(parse(&"bad\n".repeat(5_000)).unwrap_err().0.len(), MAX_ERRORS);
    assert_eq!(parse(&"goto x\n".repeat(5_000)).unwrap_err().0.len(), MAX_ERRORS);
}

#[test]
fn size_is_bounded() {
    let text = format!(".section .data\n{}", ".zero 60000000\n".repeat(4));
    let errors = parse(&text).unwrap_err();
    assert_eq!(errors.0.len(), 3);
    assert!(matches!(errors.0[0].why, Why::TooLarge { .. }));
}

#[test]
fn lines_are_bounded() {
    let error = parse(&"exit ".repeat(60_000)).unwrap_err().to_string();
    assert_eq!(error, "line 1, column 1: the line is longer than 262144 bytes; split it");
    let data = Contents::Data(b"text ".repeat(200_000));
    let section = Section { name: ".data".into(), contents: data, align: 1, symbols: vec![], relocs: vec![] };
    let object = AsmObject { sections: vec![section], ..AsmObject::default() };
    assert_eq!(parse(&object.to_string()).unwrap(), object);
}

#[test]
fn far_jumps_need_gotol() {
    let text = format!("goto far\n{}far: exit\n", "r0 = 0\n".repeat(32_768));
    let errors = parse_insns(&text).unwrap_err();
    assert!(matches!(
        errors.0[..],
        [AsmError { line: 1, column: 6, why: Why::Distance { slots: 32_768, .. }, .. }]
    ));
    assert!(parse_insns(&text.replace("goto far", "gotol far")).is_ok());
}

#[test]
fn bare_instructions_stand_alone() {
    let insns = parse_insns("call helper\nexit\n.func helper\nr0 = 1\nexit").unwrap();
    assert_eq!(insns[0], Insn::new(0x85, 0, 1, 0, 1));
    assert!(parse_insns("r1 = counters ll").is_err());
    assert!(parse_insns(".section x").is_err());
}
