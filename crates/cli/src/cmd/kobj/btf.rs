//! Types of the running kernel: `skep btf show`, and `skep btf dump` by id, program or map.

use super::{Which, door, refused};
use crate::commands::Cmd;
use crate::failure::Failure;
use crate::output::{Out, object};
use skep::kernel::door::IdKind;
use skep::kernel::info;
use std::collections::BTreeMap;
use std::os::fd::AsFd;

/// `skep btf show`.
pub(crate) static SHOW: Cmd = Cmd {
    path: &["btf", "show"],
    about: "Show the type information that the running kernel holds, and whose it is",
    long: "Examples:\n  skep btf show\n  skep btf show id 3 -j",
    args: || vec![super::words_arg("BTF", "id N; default: all")],
    run: |m, out| {
        let mut words = super::Words::new(m);
        let which = words.which()?;
        words.end()?;
        show(&which, out)
    },
};

fn show(which: &Which, out: &mut Out) -> Result<(), Failure> {
    let door = door();
    let mut users: BTreeMap<u32, (Vec<u32>, Vec<u32>)> = BTreeMap::new();
    for fd in info::all(&*door, IdKind::Prog).map_err(|e| refused("listing programs", e))? {
        if let Ok(i) = info::prog(&*door, fd.as_fd()) {
            users.entry(i.btf_id).or_default().0.push(i.id);
        }
    }
    for fd in info::all(&*door, IdKind::Map).map_err(|e| refused("listing maps", e))? {
        if let Ok(i) = info::map(&*door, fd.as_fd()) {
            users.entry(i.btf_id).or_default().1.push(i.id);
        }
    }
    let mut rows = Vec::new();
    for fd in which.open(&*door, IdKind::Btf)? {
        let Ok(i) = info::btf(&*door, fd.as_fd(), false) else { continue };
        let size = info::btf_size(&*door, fd.as_fd()).unwrap_or(0);
        let empty = Default::default();
        let (progs, maps) = users.get(&i.id).unwrap_or(&empty);
        if out.is_json() {
            let mut r = object([("id", i.id.into()), ("size", size.into())]);
            if !progs.is_empty() {
                r.insert("prog_ids".into(), progs.clone().into());
            }
            if !maps.is_empty() {
                r.insert("map_ids".into(), maps.clone().into());
            }
            r.insert("kernel".into(), i.kernel.into());
            if !i.name.is_empty() {
                r.insert("name".into(), i.name.into());
            }
            rows.push(r);
            continue;
        }
        let ids = |word: &str, ids: &[u32]| {
            let ids: Vec<String> = ids.iter().map(u32::to_string).collect();
            if ids.is_empty() { String::new() } else { format!("  {word} {}", ids.join(",")) }
        };
        let name = if i.name.is_empty() { "<anon>" } else { &i.name };
        let kernel = if i.kernel { " [kernel]" } else { "" };
        out.line(&format!(
            "{}: name{kernel} {name}  size {size}B{}{}",
            i.id,
            ids("prog_ids", progs),
            ids("map_ids", maps)
        ))?;
    }
    if out.is_json() { out.json_rows("btf", rows) } else { Ok(()) }
}

/// Types that a map's word asks for beside itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Part {
    Key,
    Value,
    Both,
}

/// Takes the word behind a map that says which of its types are meant; none of it, or `all`, are all.
pub(crate) fn part(words: &mut Vec<&str>) -> Option<Part> {
    let ["map", _, _, word] = words[..] else { return None };
    let part = match word {
        "key" => Some(Part::Key),
        "value" => Some(Part::Value),
        "kv" => Some(Part::Both),
        "all" => None,
        _ => return None,
    };
    words.pop();
    part
}

/// The types of a map's key and value, as far as they are asked for.
pub(crate) fn parts(words: &[&str], part: Part) -> Result<Vec<u32>, Failure> {
    let ["map", kind, value] = words else { return Ok(Vec::new()) };
    let door = door();
    let fd = which(kind, value)?.one(&*door, IdKind::Map)?;
    let map = info::map(&*door, fd.as_fd()).map_err(|e| refused("describing the map", e))?;
    let ids = match part {
        Part::Key => vec![map.btf_key],
        Part::Value => vec![map.btf_value],
        Part::Both => vec![map.btf_key, map.btf_value],
    };
    let ids: Vec<u32> = ids.into_iter().filter(|id| *id != 0).collect();
    if ids.is_empty() { Err(Failure::Input("the map has no types for that".into())) } else { Ok(ids) }
}

fn number(text: &str) -> Result<u32, Failure> {
    super::words::number(text)
        .ok_or_else(|| Failure::Usage(format!("{text:?} is no id: a number is expected")))
}

fn which(kind: &str, value: &str) -> Result<Which, Failure> {
    Ok(match kind {
        "id" => Which::Id(number(value)?),
        "pinned" => Which::Pinned(value.into()),
        "name" => Which::Name(value.into()),
        "tag" => Which::Tag(value.into()),
        w => return Err(Failure::Usage(format!("{w:?}: id, pinned or name is expected"))),
    })
}

/// Types that the words `id N`, `prog …`, `map …` mean; `None` if they name a file.
pub(crate) fn named(words: &[&str]) -> Result<Option<Vec<u8>>, Failure> {
    let door = door();
    let id = match words {
        ["id", n] => number(n)?,
        ["prog", kind, value] => {
            let fd = which(kind, value)?.one(&*door, IdKind::Prog)?;
            info::prog(&*door, fd.as_fd()).map_err(|e| refused("describing the program", e))?.btf_id
        }
        ["map", kind, value] => {
            let fd = which(kind, value)?.one(&*door, IdKind::Map)?;
            info::map(&*door, fd.as_fd()).map_err(|e| refused("describing the map", e))?.btf_id
        }
        _ => return Ok(None),
    };
    if id == 0 {
        return Err(Failure::Input("it was loaded without types".into()));
    }
    let fd = Which::Id(id).one(&*door, IdKind::Btf)?;
    let btf = info::btf(&*door, fd.as_fd(), true).map_err(|e| refused("reading the types", e))?;
    Ok(Some(btf.bytes))
}
