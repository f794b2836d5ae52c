//! What the maps of two engines hold, entry by entry.
//!
//! Entries are matched by key; per-CPU values CPU by CPU. Ring buffers and event arrays are compared record by record, in
//! their order. Fields that are to be ignored, and padding, are blanked in both values.

use crate::failure::Failure;
use crate::maps::{self, Contents, Entry};
use skep::btf::{Btf, Type};
use skep::descriptors::map::MapBtf;
use skep::{Collection, Map};

/// Entries of a map that are compared.
const MOST: usize = 1 << 20;
/// Types inside of types that are looked into.
const DEEPEST: usize = 16;

/// How much was compared.
#[derive(Debug, Default)]
pub(crate) struct Counted {
    /// Maps.
    pub(crate) maps: u64,
    /// Entries and records.
    pub(crate) entries: u64,
}

/// An entry that is not the same in both.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Difference {
    /// The map.
    pub(crate) map: String,
    /// `key K`, `record N`.
    pub(crate) key: String,
    /// Value in the user engine; `None`: no entry.
    pub(crate) user: Option<String>,
    /// Value in the kernel.
    pub(crate) kernel: Option<String>,
}

/// Compares all maps but the ignored; the first difference.
pub(crate) fn compare(
    user: &Collection,
    kernel: &Collection,
    ignore: &[&str],
    counted: &mut Counted,
) -> Result<Option<Difference>, Failure> {
    for (ours, theirs) in user.maps.iter().zip(&kernel.maps) {
        let (Some(ours), Some(theirs)) = (ours, theirs) else { continue };
        let name = &ours.def().name;
        if ignore.contains(&name.as_str()) {
            continue;
        }
        let (Some(a), Some(b)) = (read(&**ours)?, read(&**theirs)?) else { continue };
        counted.maps += 1;
        let sides = Sides { map: &**ours, btf: user.object.btf.as_deref(), ignore };
        if let Some(found) = sides.compare(a, b, counted) {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// A map's entries by key; `None` for types that cannot be listed.
fn read(map: &dyn Map) -> Result<Option<Contents>, Failure> {
    use skep::descriptors::Errno;
    match maps::read(map, 1, MOST, false) {
        Ok(contents) => Ok(Some(contents)),
        Err(Errno::ENOTSUPP | Errno::EOPNOTSUPP | Errno::EINVAL) => Ok(None),
        Err(e) => Err(Failure::Failed(format!("map {} cannot be read: {e}", map.def().name))),
    }
}

/// One map of both engines.
struct Sides<'a> {
    map: &'a dyn Map,
    btf: Option<&'a Btf>,
    ignore: &'a [&'a str],
}

impl Sides<'_> {
    fn compare(&self, mut user: Contents, mut kernel: Contents, counted: &mut Counted) -> Option<Difference> {
        let len = user.record_len().or(kernel.record_len());
        let record =
            self.btf.zip(len).and_then(|(btf, len)| maps::guess_record(btf, &self.map.def().name, len));
        let types = self.map.def().btf.as_ref();
        let value_type = record.or_else(|| types.map(|MapBtf { btf, value, .. }| (&**btf, *value)));
        for e in user.entries.iter_mut().chain(&mut kernel.entries) {
            for value in &mut e.values {
                if let Some((btf, id)) = value_type {
                    blank(btf, id, value, self.ignore);
                }
            }
        }
        let (mut a, mut b) = (user.entries.iter().peekable(), kernel.entries.iter().peekable());
        let mut number = 0;
        loop {
            let order = match (a.peek(), b.peek()) {
                (None, None) => return None,
                (Some(_), None) => std::cmp::Ordering::Less,
                (None, Some(_)) => std::cmp::Ordering::Greater,
                (Some(x), Some(y)) => maps::order(&x.key).cmp(&maps::order(&y.key)),
            };
            let ours = if order.is_le() { a.next() } else { None };
            let theirs = if order.is_ge() { b.next() } else { None };
            if !same(ours, theirs) {
                let text = |e: Option<&Entry>| e.map(|e| maps::values_text(self.map.def(), e, record));
                let map = self.map.def().name.clone();
                let key = self.key(ours.or(theirs), number);
                return Some(Difference { map, key, user: text(ours), kernel: text(theirs) });
            }
            number += 1;
            counted.entries += 1;
        }
    }

    fn key(&self, e: Option<&Entry>, number: u64) -> String {
        match e.filter(|e| !e.key.is_empty()) {
            Some(e) => format!("key {}", maps::key_text(self.map.def(), &e.key)),
            None => format!("record {number}"),
        }
    }
}

fn same(a: Option<&Entry>, b: Option<&Entry>) -> bool {
    let (Some(a), Some(b)) = (a, b) else { return false };
    if a.holds.is_some() || b.holds.is_some() {
        return a.holds == b.holds;
    }
    // An engine may know of more CPUs than the other; nobody ran there.
    let zero = |v: &[Vec<u8>]| v.iter().flatten().all(|b| *b == 0);
    let common = a.values.len().min(b.values.len());
    a.values[..common] == b.values[..common] && zero(&a.values[common..]) && zero(&b.values[common..])
}

/// Sets to zero what does not count: fields of these names, and padding, in which kernels leave what their stack held.
fn blank(btf: &Btf, id: u32, bytes: &mut [u8], names: &[&str]) {
    let mut kept = vec![false; bytes.len()];
    let size = btf.size_of(id).unwrap_or(0) as usize;
    kept.iter_mut().skip(size).for_each(|k| *k = true);
    Shape { btf, names }.keep(id, 0, &mut kept, DEEPEST);
    bytes.iter_mut().zip(kept).filter(|(_, kept)| !kept).for_each(|(b, _)| *b = 0);
}

/// Which bytes of a type hold something.
struct Shape<'a> {
    btf: &'a Btf,
    names: &'a [&'a str],
}

impl Shape<'_> {
    fn keep(&self, id: u32, at: usize, kept: &mut [bool], depth: usize) {
        let btf = self.btf;
        let size = btf.size_of(id).unwrap_or(0) as usize;
        let named = |name: &str| self.names.contains(&name);
        let ty = if depth == 0 { None } else { btf.resolve(id).map(|(_, ty)| ty) };
        match ty {
            Some(Type::Struct(c) | Type::Union(c)) => {
                for m in c.members.filter(|m| !named(m.name)) {
                    match m.bitfield_size as usize {
                        0 => self.keep(m.type_id, at + m.bit_offset as usize / 8, kept, depth - 1),
                        bits => {
                            let (first, end) = (m.bit_offset as usize, m.bit_offset as usize + bits);
                            mark(kept, at + first / 8, end.div_ceil(8) - first / 8);
                        }
                    }
                }
            }
            Some(Type::Datasec(d)) => {
                for v in d.vars {
                    if let Some(Type::Var(var)) = btf.type_by_id(v.type_id).filter(|t| !named(t.name())) {
                        self.keep(var.type_id, at + v.offset as usize, kept, depth - 1);
                    }
                }
            }
            Some(Type::Array(a)) if a.nelems > 0 && size > 0 => {
                let each = size / a.nelems as usize;
                let fitting = kept.len().saturating_sub(at).checked_div(each).unwrap_or(0);
                for i in 0..fitting.min(a.nelems as usize) {
                    self.keep(a.type_id, at + i * each, kept, depth - 1);
                }
            }
            Some(Type::Array(_)) => mark(kept, at, usize::MAX),
            _ => mark(kept, at, size),
        }
    }
}

fn mark(kept: &mut [bool], at: usize, len: usize) {
    kept.iter_mut().skip(at).take(len).for_each(|k| *k = true);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;
    use skep::btf::{BtfBuilder, IntEncoding, Member};

    #[test]
    fn ignored_fields_and_padding_do_not_count() {
        let mut b = BtfBuilder::new();
        let int = b.add_int("int", 4, IntEncoding::default()).unwrap();
        let byte = b.add_int("char", 1, IntEncoding::default()).unwrap();
        let field = |name, type_id, bit_offset| Member { name, type_id, bit_offset, bitfield_size: 0 };
        let bits = Member { name: "bits", type_id: int, bit_offset: 76, bitfield_size: 8 };
        let members = [field("kept", byte, 0), field("time", int, 32), field("last", byte, 64), bits];
        let s = b.add_struct("s", 12, &members).unwrap();
        let array = b.add_array(s, int, 2).unwrap();
        let btf = b.finish().unwrap();
        let mut bytes = [7; 25];
        blank(&btf, array, &mut bytes, &["time"]);
        let one = [7, 0, 0, 0, 0, 0, 0, 0, 7, 7, 7, 0];
        assert_eq!(bytes[..12], one);
        assert_eq!(bytes[12..24], one);
        assert_eq!(bytes[24], 7, "what the type does not know of is kept");
    }

    #[test]
    fn entries_are_the_same_but_for_cpus_that_one_does_not_know() {
        let entry = |values: &[&[u8]]| Entry {
            key: vec![1],
            values: values.iter().map(|v| v.to_vec()).collect(),
            holds: None,
        };
        assert!(same(Some(&entry(&[&[1], &[0]])), Some(&entry(&[&[1]]))));
        assert!(!same(Some(&entry(&[&[1], &[2]])), Some(&entry(&[&[1]]))));
        assert!(!same(Some(&entry(&[&[1]])), None));
    }
}
