//! Maps of the running kernel: `skep map` by bpftool's words.

use super::{Which, Words, door, pins, refused};
use crate::failure::Failure;
use crate::maps;
use crate::output::{Out, object};
use serde_json::{Map as Json, Value};
use skep::Map;
use skep::descriptors::map::{MapDef, Side};
use skep::descriptors::{Errno, MapType};
use skep::kernel::door::{Door, IdKind};
use skep::kernel::info::{self, MapInfo};
use skep::kernel::{KernelMap, possible_cpus};
use std::collections::BTreeMap;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;

fn type_name(id: u32) -> String {
    MapType::from_id(id).map_or_else(|| format!("type {id}"), MapType::label)
}

/// Shows the maps that are meant.
pub(crate) fn show(which: &Which, with_pins: bool, out: &mut Out) -> Result<(), Failure> {
    let door = door();
    let paths = if with_pins { pins(&*door, IdKind::Map) } else { BTreeMap::new() };
    let mut rows = Vec::new();
    for fd in which.open(&*door, IdKind::Map)? {
        let info = info::map(&*door, fd.as_fd()).map_err(|e| refused("describing a map", e))?;
        let pinned = paths.get(&info.id).map_or(&[][..], Vec::as_slice);
        if out.is_json() {
            rows.push(json(&fd, &info, pinned));
        } else {
            out.text(&text(&fd, &info, pinned))?;
        }
    }
    if out.is_json() { out.json_rows("maps", rows) } else { Ok(()) }
}

fn memlock(fd: &OwnedFd) -> Option<u64> {
    info::fdinfo(fd, "memlock")?.parse().ok()
}

fn frozen(fd: &OwnedFd) -> bool {
    info::fdinfo(fd, "frozen").is_some_and(|f| f == "1")
}

fn text(fd: &OwnedFd, i: &MapInfo, pinned: &[String]) -> String {
    let mut s = format!("{}: {}", i.id, type_name(i.map_type));
    if !i.name.is_empty() {
        s.push_str(&format!("  name {}", i.name));
    }
    s.push_str(&format!("  flags {:#x}", i.flags));
    s.push_str(&format!("\n\tkey {}B  value {}B  max_entries {}", i.key_size, i.value_size, i.max_entries));
    if let Some(bytes) = memlock(fd) {
        s.push_str(&format!("  memlock {bytes}B"));
    }
    if let (Some(t), Some(p)) = (info::fdinfo(fd, "owner_prog_type"), info::fdinfo(fd, "owner_jited")) {
        let t = t.parse().map_or(t, super::prog::type_name);
        s.push_str(&format!("\n\towner_prog_type {t}  owner{} jited", if p == "1" { "" } else { " not" }));
    }
    pinned.iter().for_each(|p| s.push_str(&format!("\n\tpinned {p}")));
    if i.btf_id != 0 {
        s.push_str(&format!("\n\tbtf_id {}", i.btf_id));
    }
    if frozen(fd) {
        s.push_str(if i.btf_id == 0 { "\n\tfrozen" } else { "  frozen" });
    }
    s.push('\n');
    s
}

fn json(fd: &OwnedFd, i: &MapInfo, pinned: &[String]) -> Json<String, Value> {
    let mut o = object([("id", i.id.into()), ("type", type_name(i.map_type).into())]);
    let mut put = |key: &str, value: Value| o.insert(key.into(), value);
    if !i.name.is_empty() {
        put("name", i.name.clone().into());
    }
    put("flags", i.flags.into());
    put("bytes_key", i.key_size.into());
    put("bytes_value", i.value_size.into());
    put("max_entries", i.max_entries.into());
    if let Some(bytes) = memlock(fd) {
        put("bytes_memlock", bytes.into());
    }
    put("frozen", u32::from(frozen(fd)).into());
    if !pinned.is_empty() {
        put("pinned", pinned.to_vec().into());
    }
    if i.btf_id != 0 {
        put("btf_id", i.btf_id.into());
    }
    o
}

/// The one map that is meant, with its id and its descriptor's name.
fn one(words: &mut Words<'_>) -> Result<(Arc<dyn Door>, KernelMap), Failure> {
    let door = door();
    let fd = words.which()?.one(&*door, IdKind::Map)?;
    let map = KernelMap::open(&door, fd).map_err(|e| refused("opening the map", e))?;
    Ok((door, map))
}

fn failed(map: &KernelMap, what: &str, e: Errno) -> Failure {
    let def = map.def();
    let name = if def.name.is_empty() { "map".to_owned() } else { format!("map {}", def.name) };
    let why = match e {
        Errno::ENOENT => "there is no such entry".into(),
        Errno::E2BIG | Errno::ENOSPC => {
            format!("it is full, or the index is beyond its {} entries", def.max_entries)
        }
        Errno::EEXIST => "the entry is there already (noexist was asked for)".into(),
        Errno::EPERM if map.frozen() => "it is frozen: user space may not write to it any more".into(),
        Errno::EOPNOTSUPP | Errno::ENOTSUPP => {
            format!("maps of type {} cannot do that", def.map_type.label())
        }
        Errno::EINVAL => {
            format!("maps of type {} do not take that, or not with these flags", def.map_type.label())
        }
        e => e.to_string(),
    };
    let text = format!("{name}: cannot {what}: {why}");
    match e {
        Errno::ENOENT => Failure::Input(text),
        Errno::EPERM | Errno::EACCES => Failure::Permission(text),
        Errno::EOPNOTSUPP | Errno::ENOTSUPP => Failure::Unsupported(text),
        _ => Failure::Failed(text),
    }
}

/// Entries printed of one map.
const MOST: usize = 1 << 20;

/// Dumps the maps that are meant.
pub(crate) fn dump(which: &Which, out: &mut Out) -> Result<(), Failure> {
    let door = door();
    if *which == Which::All {
        return Err(Failure::Usage("name the map: id N, pinned PATH or name NAME".into()));
    }
    let fds = which.open(&*door, IdKind::Map)?;
    let several = fds.len() > 1;
    let mut all = Vec::new();
    for fd in fds {
        let id = info::map(&*door, fd.as_fd()).map_or(0, |i| i.id);
        let map = KernelMap::open(&door, fd).map_err(|e| refused("opening the map", e))?;
        if map.def().map_type == MapType::Ringbuf {
            return Err(Failure::Usage(format!(
                "map {}: a ring buffer's records are taken out by reading; `skep map event_pipe id {id}` does that",
                map.def().name
            )));
        }
        let contents =
            maps::read(&map, possible_cpus(), MOST, false).map_err(|e| failed(&map, "read it", e))?;
        if out.is_json() {
            let entries = maps::json(&map, &contents, None);
            all.push(object([
                ("id", id.into()),
                ("name", map.def().name.clone().into()),
                ("entries", entries),
            ]));
        } else {
            if several {
                out.line(&format!("{id}: {}", map.def().name))?;
            }
            out.text(&maps::text(&map, &contents, None))?;
            let n = contents.entries.len();
            out.line(&format!("Found {n} element{}", if n == 1 { "" } else { "s" }))?;
        }
    }
    if out.is_json() { out.json_rows("maps", all) } else { Ok(()) }
}

fn value_len(map: &KernelMap) -> usize {
    map.def().value_size as usize
}

/// `key`'s bytes.
fn key(words: &mut Words<'_>, map: &KernelMap) -> Result<Vec<u8>, Failure> {
    if map.def().key_size == 0 {
        return Ok(Vec::new());
    }
    if !words.take("key") {
        return Err(Failure::Usage(format!(
            "give the key: key {}",
            "B ".repeat(map.def().key_size as usize).trim()
        )));
    }
    words.bytes("key", map.def().key_size as usize)
}

/// A value as a map takes it; per-CPU maps get it on every CPU.
fn value(
    words: &mut Words<'_>,
    door: &Arc<dyn Door>,
    map: &KernelMap,
) -> Result<(Vec<u8>, Option<OwnedFd>), Failure> {
    let kind = match map.def().map_type {
        MapType::ProgArray => Some(IdKind::Prog),
        MapType::ArrayOfMaps | MapType::HashOfMaps => Some(IdKind::Map),
        _ => None,
    };
    if let Some(kind) = kind {
        let fd = words.which()?.one(&**door, kind)?;
        // Open until the map has it.
        return Ok((fd.as_raw_fd().to_ne_bytes().to_vec(), Some(fd)));
    }
    let bytes = words.bytes("value", value_len(map))?;
    let each = matches!(
        map.def().map_type,
        MapType::PercpuHash | MapType::PercpuArray | MapType::LruPercpuHash | MapType::PercpuCgroupStorage
    );
    if !each {
        return Ok((bytes, None));
    }
    let mut padded = bytes;
    padded.resize(padded.len().next_multiple_of(8), 0);
    Ok((padded.repeat(possible_cpus()), None))
}

fn entry(map: &KernelMap, key: Vec<u8>, value: &[u8], out: &mut Out) -> Result<(), Failure> {
    let c = maps::one(map, key, value, possible_cpus());
    if out.is_json() {
        let rows = maps::json(map, &c, None);
        let first = rows.as_array().and_then(|r| r.first()).and_then(|r| r.as_object()).cloned();
        return out.json(first.unwrap_or_default());
    }
    out.text(&maps::text(map, &c, None))
}

/// `lookup MAP key DATA`.
pub(crate) fn lookup(words: &mut Words<'_>, out: &mut Out) -> Result<(), Failure> {
    let (_, map) = one(words)?;
    let key = key(words, &map)?;
    words.end()?;
    let mut bytes = Vec::new();
    map.read(&key, &mut bytes).map_err(|e| failed(&map, "look the key up", e))?;
    entry(&map, key, &bytes, out)
}

/// `update MAP key DATA value VALUE [any|exist|noexist]`.
pub(crate) fn update(words: &mut Words<'_>) -> Result<(), Failure> {
    let (door, map) = one(words)?;
    let key = key(words, &map)?;
    if !words.take("value") {
        return Err(Failure::Usage(format!(
            "give the value behind the key: value B… ({} bytes)",
            value_len(&map)
        )));
    }
    let (value, _held) = value(words, &door, &map)?;
    let flags = match words.next() {
        None | Some("any") => 0,
        Some("noexist") => 1,
        Some("exist") => 2,
        Some(w) => return Err(Failure::Usage(format!("{w:?}: any, exist or noexist is expected"))),
    };
    words.end()?;
    map.update(&key, &value, flags, Side::User).map_err(|e| failed(&map, "write the entry", e))
}

/// `delete MAP key DATA`.
pub(crate) fn delete(words: &mut Words<'_>) -> Result<(), Failure> {
    let (_, map) = one(words)?;
    let key = key(words, &map)?;
    words.end()?;
    map.delete(&key, Side::User).map_err(|e| failed(&map, "delete the entry", e))
}

/// `getnext MAP [key DATA]`.
pub(crate) fn getnext(words: &mut Words<'_>, out: &mut Out) -> Result<(), Failure> {
    let (_, map) = one(words)?;
    let from = if words.peek().is_some() { Some(key(words, &map)?) } else { None };
    words.end()?;
    let mut next = Vec::new();
    let found = map.next_key(from.as_deref(), &mut next);
    found.map_err(|e| match e {
        Errno::ENOENT => Failure::Input(format!("map {}: no key follows", map.def().name)),
        e => failed(&map, "walk on", e),
    })?;
    let hex = |b: &[u8]| maps::key_text(map.def(), b);
    if out.is_json() {
        let mut row = Json::new();
        if let Some(k) = &from {
            row.insert("key".into(), maps::key_json(map.def(), k));
        }
        row.insert("next_key".into(), maps::key_json(map.def(), &next));
        return out.json(row);
    }
    match &from {
        Some(k) => out.line(&format!("key: {}", hex(k)))?,
        None => out.line("key: None")?,
    }
    out.line(&format!("next key: {}", hex(&next)))
}

/// `push|enqueue MAP value VALUE`.
pub(crate) fn push(words: &mut Words<'_>) -> Result<(), Failure> {
    let (door, map) = one(words)?;
    if !words.take("value") {
        return Err(Failure::Usage(format!("give the value: value B… ({} bytes)", value_len(&map))));
    }
    if map.def().map_type == MapType::UserRingbuf {
        let record = words.record()?;
        words.end()?;
        return map.push(&record, 0).map_err(|e| match e {
            Errno::ENOSPC => Failure::Failed(format!(
                "map {}: no room for a record of {} bytes until a program drains it",
                map.def().name,
                record.len()
            )),
            e => failed(&map, "write the record", e),
        });
    }
    let (value, _held) = value(words, &door, &map)?;
    words.end()?;
    map.push(&value, 0).map_err(|e| failed(&map, "put the value in", e))
}

/// `pop|dequeue|peek MAP`.
pub(crate) fn pop(words: &mut Words<'_>, take: bool, out: &mut Out) -> Result<(), Failure> {
    let (_, map) = one(words)?;
    words.end()?;
    let mut value = vec![0; value_len(&map)];
    let done = if take { map.pop(&mut value) } else { map.peek(&mut value) };
    done.map_err(|e| match e {
        Errno::ENOENT => Failure::Input(format!("map {} is empty", map.def().name)),
        e => failed(&map, "take a value", e),
    })?;
    entry(&map, Vec::new(), &value, out)
}

/// `freeze MAP`.
pub(crate) fn freeze(words: &mut Words<'_>) -> Result<(), Failure> {
    let (_, map) = one(words)?;
    words.end()?;
    map.freeze().map_err(|e| failed(&map, "freeze it", e))
}

/// `pin MAP PATH`.
pub(crate) fn pin(words: &mut Words<'_>) -> Result<(), Failure> {
    let door = door();
    let fd = words.which()?.one(&*door, IdKind::Map)?;
    let path = words.value("pin")?;
    words.end()?;
    super::pin_at(&*door, path.as_ref(), &fd)
}

/// `create PATH type TYPE key N value N entries N name NAME [flags N] [inner_map MAP] [extra N]`.
pub(crate) fn create(words: &mut Words<'_>) -> Result<(), Failure> {
    let kernel = super::kernel()?;
    let path = words.value("create")?;
    let mut def = MapDef {
        name: String::new(),
        map_type: MapType::Unspec,
        key_size: 0,
        value_size: 0,
        max_entries: 0,
        flags: 0,
        map_extra: 0,
        numa_node: 0,
        pin_by_name: false,
        inner: None,
        btf: None,
    };
    while let Some(word) = words.next() {
        match word {
            "type" => {
                let name = words.value(word)?;
                let found = MapType::ALL.iter().map(|(t, _)| *t).find(|t| t.label() == name);
                def.map_type = found.ok_or_else(|| {
                    let all: Vec<String> = MapType::ALL.iter().skip(1).map(|(t, _)| t.label()).collect();
                    Failure::Usage(format!("no map type {name:?}; there are {}", all.join(", ")))
                })?;
            }
            "key" => def.key_size = words.number(word)?,
            "value" => def.value_size = words.number(word)?,
            "entries" => def.max_entries = words.number(word)?,
            "flags" => def.flags = words.number(word)?,
            "extra" => def.map_extra = words.number(word)?.into(),
            "numa_node" => {
                def.numa_node = words.number(word)?;
                def.flags |= 1 << 2;
            }
            "name" => def.name = words.value(word)?.to_owned(),
            "inner_map" => {
                let fd = words.which()?.one(&**kernel.door(), IdKind::Map)?;
                let inner =
                    KernelMap::open(kernel.door(), fd).map_err(|e| refused("opening the inner map", e))?;
                def.inner = Some(Box::new(inner.def().clone()));
            }
            w => return Err(Failure::Usage(format!("{w:?} is not expected here; see --help"))),
        }
    }
    if def.map_type == MapType::Unspec {
        return Err(Failure::Usage("give the map's type: type hash".into()));
    }
    let map = skep::Engine::create_map(&kernel, &def).map_err(|e| match e.errno {
        Errno::EPERM => Failure::Permission(e.to_string()),
        _ => Failure::Failed(e.to_string()),
    })?;
    let Some(map) = map.as_any().downcast_ref::<KernelMap>() else { return Ok(()) };
    let pinned = skep::kernel::pin::pin(&**kernel.door(), path.as_ref(), map.as_fd());
    pinned.map_err(|e| super::pinning(&e))
}
