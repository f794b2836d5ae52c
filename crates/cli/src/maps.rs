//! What a map holds, printed: one entry a line in text, typed JSON otherwise. Both `skep run` and `skep map dump` use it.
//!
//! A key or value whose BTF type is known is printed by that type; else as bytes. Values of per-CPU maps are summed nowhere:
//! each CPU's value is shown, those that are all zero are left out of the text. A ring buffer's records are consumed.

use serde_json::{Map as Json, Value as J, json};
use skep::Loaded;
use skep::Map;
use skep::btf::{Btf, Value};
use skep::descriptors::map::{Handle, MapBtf};
use skep::descriptors::{Errno, MapDef, MapType};
use skep::kernel::KernelProgram;
use skep::vm::UserProgram;
use std::ops::ControlFlow;

/// An entry of a map as bytes.
pub(crate) struct Entry {
    /// Empty for records.
    pub(crate) key: Vec<u8>,
    /// One value, or one a CPU.
    pub(crate) values: Vec<Vec<u8>>,
    /// Name of the program or map that the entry holds.
    pub(crate) holds: Option<String>,
}

/// What a map holds.
pub(crate) struct Contents {
    /// Entries, up to the limit.
    pub(crate) entries: Vec<Entry>,
    /// More than the limit.
    pub(crate) cut: bool,
}

impl Contents {
    /// Bytes of the first record.
    pub(crate) fn record_len(&self) -> Option<usize> {
        self.entries.first().filter(|e| e.key.is_empty()).and_then(|e| e.values.first()).map(Vec::len)
    }
}

/// Entries that are read of one map so that the first ones by key can be shown.
const MOST: usize = 1 << 20;

/// Order of keys: as numbers where they have a number's size, else by their bytes.
pub(crate) fn order(key: &[u8]) -> (Option<u64>, &[u8]) {
    (number(key), key)
}

/// Reads the first `limit` entries by key; ring buffers and event arrays give their records. With `skip_zero` entries of arrays that
/// are all zero, as nobody has written them, do not count.
pub(crate) fn read(map: &dyn Map, cpus: usize, limit: usize, skip_zero: bool) -> Result<Contents, Errno> {
    if let Some(ring) = map.ringbuf() {
        return records(limit, &mut |f| ring.consume(&mut |r| f(r)).map(drop));
    }
    if let Some(events) = map.perf_events() {
        return records(limit, &mut |f| events.consume(&mut |_, r| f(r)).map(drop));
    }
    let (mut entries, mut key, mut value) = (Vec::new(), None::<Vec<u8>>, Vec::new());
    loop {
        let mut next = Vec::new();
        match map.next_key(key.as_deref(), &mut next) {
            Ok(()) => {}
            Err(Errno::ENOENT) => break,
            Err(e) => return Err(e),
        }
        match map.read(&next, &mut value) {
            Ok(()) if skip_zero && is_array(map.def()) && value.iter().all(|b| *b == 0) => {}
            Ok(()) if entries.len() == MOST.max(limit + 1) => break,
            Ok(()) => entries.push(Entry {
                holds: map.handle(&next).map(|h| handle_name(&h)),
                key: next.clone(),
                values: split(map.def(), &value, cpus),
            }),
            Err(Errno::ENOENT) => {}
            Err(e) => return Err(e),
        }
        key = Some(next);
    }
    entries.sort_by(|a, b| order(&a.key).cmp(&order(&b.key)));
    let cut = entries.len() > limit;
    entries.truncate(limit);
    Ok(Contents { entries, cut })
}

/// Type of a ring buffer's or event array's records, which their definitions do not say.
pub(crate) type Record<'a> = Option<(&'a Btf, u32)>;

/// The type that records of `len` bytes in this map most likely have: a struct of that size named as the map without its
/// plural s, as the last word of that, the same with `_event`, or `event`.
pub(crate) fn guess_record<'a>(btf: &'a Btf, map: &str, len: usize) -> Record<'a> {
    let singular = map.strip_suffix('s').unwrap_or(map);
    let fitting = |name: &&str| {
        let id = btf.find_by_name_kind(name, skep::btf::Kind::Struct)?;
        (btf.size_of(id)? as usize == len).then_some((btf, id))
    };
    let last_word = singular.rsplit('_').next().unwrap_or(singular);
    let last_event = format!("{last_word}_event");
    [singular, last_word, &last_event, "event"].iter().find_map(fitting)
}

type Sink<'a> = &'a mut dyn FnMut(&[u8]) -> ControlFlow<()>;

fn records(limit: usize, consume: &mut dyn FnMut(Sink<'_>) -> Result<(), Errno>) -> Result<Contents, Errno> {
    let (mut entries, mut cut) = (Vec::new(), false);
    consume(&mut |record| {
        if entries.len() == limit {
            cut = true;
        } else {
            entries.push(Entry { key: Vec::new(), values: vec![record.to_vec()], holds: None });
        }
        ControlFlow::Continue(())
    })?;
    Ok(Contents { entries, cut })
}

fn handle_name(h: &Handle) -> String {
    match h {
        Handle::Map(m) => format!("map {}", m.def().name),
        Handle::Prog(p) => {
            let user = p.downcast_ref::<UserProgram>().map(|p| p.program());
            let program = user.or_else(|| p.downcast_ref::<KernelProgram>().map(|p| p.program()));
            program.map_or("program".into(), |p| format!("program {}", p.name))
        }
    }
}

/// A per-CPU value as its parts.
fn split(def: &MapDef, value: &[u8], cpus: usize) -> Vec<Vec<u8>> {
    let size = def.value_size as usize;
    if value.len() <= size || cpus == 0 {
        return vec![value.to_vec()];
    }
    value.chunks(size.next_multiple_of(8)).map(|c| c[..size.min(c.len())].to_vec()).collect()
}

/// Maps whose entries all exist from the beginning.
fn is_array(def: &MapDef) -> bool {
    matches!(def.map_type, MapType::Array | MapType::PercpuArray)
}

/// Text: an indented line an entry.
pub(crate) fn text(map: &dyn Map, c: &Contents, record: Record<'_>) -> String {
    let def = map.def();
    let mut out = String::new();
    for e in &c.entries {
        out.push_str("    ");
        if !e.key.is_empty() && !is_section(def) {
            out.push_str(&format!("{}: ", key_text(def, &e.key)));
        }
        out.push_str(&values_text(def, e, record));
        out.push('\n');
    }
    if c.entries.is_empty() {
        out.push_str(if is_array(def) { "    (all zero)\n" } else { "    (empty)\n" });
    }
    if c.cut {
        out.push_str("    … more entries; --map-limit shows more\n");
    }
    out
}

/// An entry's value, or its values with their CPUs.
pub(crate) fn values_text(def: &MapDef, e: &Entry, record: Record<'_>) -> String {
    let parts = e.values.iter().enumerate().filter_map(|(cpu, v)| part(def, e, cpu, v, record));
    parts.collect::<Vec<String>>().join("  ")
}

fn part(def: &MapDef, e: &Entry, cpu: usize, v: &[u8], record: Record<'_>) -> Option<String> {
    if let Some(held) = &e.holds {
        return Some(held.clone());
    }
    if e.values.len() == 1 {
        return Some(value_text(def, v, record));
    }
    v.iter().any(|b| *b != 0).then(|| format!("cpu{cpu} {}", value_text(def, v, record)))
}

/// A data section: its one entry is the variables.
fn is_section(def: &MapDef) -> bool {
    def.name.starts_with('.')
        || def.name.contains(".rodata")
        || def.name.contains(".data")
        || def.name.contains(".bss")
}

fn types(def: &MapDef) -> Option<(&MapBtf, &Btf)> {
    def.btf.as_ref().map(|b| (b, &*b.btf))
}

/// A key, by its type if it has one.
pub(crate) fn key_text(def: &MapDef, key: &[u8]) -> String {
    typed(types(def).map(|(b, btf)| (btf, b.key)), key).map_or_else(|| plain(key), |v| v.to_string())
}

fn value_text(def: &MapDef, value: &[u8], record: Record<'_>) -> String {
    typed(value_type(def, record), value).map_or_else(|| plain(value), |v| v.to_string())
}

fn value_type<'a>(def: &'a MapDef, record: Record<'a>) -> Record<'a> {
    record.or_else(|| types(def).map(|(b, btf)| (btf, b.value)))
}

fn typed<'a>(btf: Option<(&'a Btf, u32)>, bytes: &[u8]) -> Option<Value<'a>> {
    let (btf, id) = btf.filter(|(_, id)| *id != 0)?;
    Value::read(btf, id, bytes).ok()
}

/// Bytes without a type: a number where they have a number's size, else hexadecimal.
fn plain(bytes: &[u8]) -> String {
    match number(bytes) {
        Some(n) => n.to_string(),
        None => hex(bytes),
    }
}

fn number(bytes: &[u8]) -> Option<u64> {
    match bytes.len() {
        1 | 2 | 4 | 8 => {
            let mut le = [0; 8];
            le[..bytes.len()].copy_from_slice(bytes);
            Some(u64::from_le_bytes(le))
        }
        _ => None,
    }
}

/// Bytes as hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// A record by its type, or as bytes.
pub(crate) fn record_text(record: Record<'_>, bytes: &[u8]) -> String {
    typed(record, bytes).map_or_else(|| plain(bytes), |v| v.to_string())
}

/// The same as JSON.
pub(crate) fn record_json(record: Record<'_>, bytes: &[u8]) -> J {
    bytes_json(record, bytes)
}

/// One entry as it was read.
pub(crate) fn one(map: &dyn Map, key: Vec<u8>, value: &[u8], cpus: usize) -> Contents {
    let entry = Entry { holds: None, key, values: split(map.def(), value, cpus) };
    Contents { entries: vec![entry], cut: false }
}

/// A key as JSON.
pub(crate) fn key_json(def: &MapDef, key: &[u8]) -> J {
    bytes_json(types(def).map(|(b, btf)| (btf, b.key)), key)
}

/// JSON: an array of `{key, value}`, `{key, values: [{cpu, value}]}`, or `{value}` for records.
pub(crate) fn json(map: &dyn Map, c: &Contents, record: Record<'_>) -> J {
    let def = map.def();
    let btf = types(def);
    let entry = |e: &Entry| {
        let mut o = Json::new();
        if !e.key.is_empty() {
            o.insert("key".into(), bytes_json(btf.map(|(b, btf)| (btf, b.key)), &e.key));
        }
        let value = |v: &Vec<u8>| bytes_json(value_type(def, record), v);
        if let Some(held) = &e.holds {
            o.insert("value".into(), held.as_str().into());
        } else if let [one] = e.values.as_slice() {
            o.insert("value".into(), value(one));
        } else {
            let each = e.values.iter().enumerate().map(|(cpu, v)| json!({"cpu": cpu, "value": value(v)}));
            o.insert("values".into(), each.collect());
        }
        J::Object(o)
    };
    c.entries.iter().map(entry).collect()
}

fn bytes_json(btf: Option<(&Btf, u32)>, bytes: &[u8]) -> J {
    match typed(btf, bytes) {
        Some(v) => value_json(&v),
        None => number(bytes).map_or_else(|| hex(bytes).into(), J::from),
    }
}

/// A typed value as JSON. Numbers beyond 64 bits are text; characters are numbers, character arrays text.
pub(crate) fn value_json(v: &Value<'_>) -> J {
    match v {
        Value::Int(n) => i64::try_from(*n).map_or_else(|_| n.to_string().into(), J::from),
        Value::Uint(n) => u64::try_from(*n).map_or_else(|_| n.to_string().into(), J::from),
        Value::Bool(b) => (*b).into(),
        Value::Char(c) => (*c).into(),
        Value::Float(x) => json!(x),
        Value::Enum { name: Some(name), .. } => (*name).into(),
        Value::Enum { name: None, value } => (*value).into(),
        Value::Str(s) => s.as_str().into(),
        Value::Pointer(p) => (*p).into(),
        Value::Array(items) => items.iter().map(value_json).collect(),
        Value::Struct(fields) => J::Object(
            fields.iter().map(|(name, v)| (name.to_string(), value_json(v))).collect::<Json<_, _>>(),
        ),
        _ => J::Null,
    }
}
