//! An object in words: what it says, and what binding makes of each program.

use std::fmt::{self, Write};

use skep_obj::{BindEnv, Function, MapOrigin, MapSpec, Object, RelocTarget, Slot};

use crate::stub;

pub(crate) fn of(bytes: &[u8]) -> String {
    let mut out = String::new();
    let written = match Object::parse(bytes) {
        Ok(object) => object_summary(&mut out, &object),
        Err(e) => writeln!(out, "refused: {e}"),
    };
    written.expect("written to memory");
    out
}

fn object_summary(out: &mut String, object: &Object) -> fmt::Result {
    writeln!(out, "license {:?} version {:?}", object.license, object.version)?;
    for function in &object.functions {
        function_summary(out, object, function)?;
    }
    for (index, map) in object.maps.iter().enumerate() {
        map_summary(out, object, index, map)?;
    }
    for (index, e) in object.externs.iter().enumerate() {
        writeln!(out, "extern {index} {}{} {:?}", e.name, if e.weak { " weak" } else { "" }, e.kind)?;
    }
    for diagnostic in &object.diagnostics {
        writeln!(out, "note {diagnostic}")?;
    }
    bound_summary(out, object)
}

fn function_summary(out: &mut String, object: &Object, f: &Function) -> fmt::Result {
    let kind = if f.is_program() { "program" } else { "subprogram" };
    write!(
        out,
        "{kind} {} in {:?} at {} insns {} {:?}",
        f.name,
        f.section,
        f.offset,
        f.insns.len(),
        f.linkage
    )?;
    if f.hidden {
        out.write_str(" hidden")?;
    }
    if let Some(btf) = &object.btf {
        write!(out, " type {:?}", btf.name_of(f.type_id))?;
    }
    writeln!(out, " lines {} core {}", f.lines.len(), f.core.len())?;
    if let Some(entry) = &f.entry {
        write!(out, "  {:?} {:?} target {:?}", entry.prog_type, entry.attach_type, entry.target)?;
        writeln!(out, " autoload {} slot {:?}", entry.autoload, entry.tail_slot)?;
    }
    for reloc in &f.relocs {
        write!(out, "  {} -> ", reloc.insn)?;
        match &reloc.target {
            RelocTarget::Map(map) => writeln!(out, "map {}", object.maps[*map].def.name),
            RelocTarget::MapValue { map, offset } => writeln!(out, "{}+{offset}", object.maps[*map].def.name),
            RelocTarget::Call(f) => writeln!(out, "call {}", object.functions[*f].name),
            RelocTarget::FuncAddr(f) => writeln!(out, "address of {}", object.functions[*f].name),
            RelocTarget::ExternCall(e) => writeln!(out, "call extern {}", object.externs[*e].name),
            RelocTarget::ExternAddr(e) => writeln!(out, "extern {}", object.externs[*e].name),
            RelocTarget::Bad { symbol, why } => writeln!(out, "bad {symbol:?}: {why}"),
        }?;
    }
    Ok(())
}

fn map_summary(out: &mut String, object: &Object, index: usize, map: &MapSpec) -> fmt::Result {
    let d = &map.def;
    write!(out, "map {index} {} {:?} key {} value {}", d.name, d.map_type, d.key_size, d.value_size)?;
    write!(out, " entries {} flags {:#x} extra {}", d.max_entries, d.flags, d.map_extra)?;
    write!(out, " numa {} pin {}", d.numa_node, d.pin_by_name)?;
    if let Some(types) = &d.btf {
        write!(out, " types {:?} {:?}", types.btf.name_of(types.key), types.btf.name_of(types.value))?;
    }
    writeln!(out, " in {:?} at {}", map.section, map.offset)?;
    match &map.origin {
        MapOrigin::StructOps(ops) => {
            writeln!(out, "  struct_ops {} link {} autocreate {}", ops.type_name, ops.link, ops.autocreate)?;
            for m in &ops.programs {
                writeln!(out, "  .{} at {} = {}", m.member, m.offset, object.functions[m.function].name)?;
            }
        }
        origin => writeln!(out, "  {origin:?}")?,
    }
    if let Some(inner) = &d.inner {
        let (kind, entries) = (inner.map_type, inner.max_entries);
        writeln!(
            out,
            "  inner {kind:?} key {} value {} entries {entries}",
            inner.key_size, inner.value_size
        )?;
    }
    if let Some(contents) = &map.contents {
        let head: String = contents.iter().take(64).map(|b| format!("{b:02x}")).collect();
        writeln!(out, "  contents {} bytes {head}", contents.len())?;
    }
    for (key, slot) in &map.slots {
        match slot {
            Slot::Function(f) => writeln!(out, "  [{key}] = {}", object.functions[*f].name)?,
            Slot::Map(m) => writeln!(out, "  [{key}] = map {}", object.maps[*m].def.name)?,
        }
    }
    Ok(())
}

/// Programs bound without a target.
fn bound_summary(out: &mut String, object: &Object) -> fmt::Result {
    let maps = stub::maps(object);
    for (index, f) in object.functions.iter().enumerate().filter(|f| f.1.is_program()) {
        match object.bind_index(index, &mut BindEnv::new(&maps)) {
            Err(e) => writeln!(out, "bind {e}")?,
            Ok(p) => {
                let parts: Vec<String> =
                    p.subprogs.iter().map(|s| format!("{}@{}", s.name, s.start)).collect();
                let maps: Vec<&str> = p.maps.iter().map(|m| m.def().name.as_str()).collect();
                write!(out, "bind {} insns {} [{}]", f.name, p.insns.len(), parts.join(" "))?;
                writeln!(
                    out,
                    " maps [{}] lines {} target {:?}",
                    maps.join(" "),
                    p.lines.len(),
                    p.attach_target
                )?;
                for (insn, why) in &p.poisoned {
                    writeln!(out, "  poisoned {insn}: {why}")?;
                }
            }
        }
    }
    Ok(())
}
