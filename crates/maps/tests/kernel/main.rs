//! Our maps against the running kernel's: the same definitions, the same random operations, the same answers.
//!
//! Needs the right to call bpf(2); without it the test says so and passes nothing else. Orders that the kernel leaves
//! open (keys of hash maps) are compared as sets; LRU maps stay below the size at which the kernel starts to evict.

mod definitions;
mod raw;

use arbtest::arbitrary::{Result as Arb, Unstructured};
use arbtest::arbtest;
use raw::Kernel;
use skep_maps::{create, possible_cpus};
use skep_platform::map::{Handle, Map, MapDef, Side, flags};
use skep_platform::{Errno, MapType};
use std::sync::Arc;

/// The same map twice.
struct Pair {
    def: MapDef,
    ours: Arc<dyn Map>,
    theirs: Kernel,
    /// Program or map that entries are set to: in the kernel, and here.
    object: Option<(Kernel, Handle)>,
}

fn is_fd_map(t: MapType) -> bool {
    matches!(t, MapType::ProgArray | MapType::ArrayOfMaps | MapType::HashOfMaps)
}

fn is_unordered(t: MapType) -> bool {
    use MapType::*;
    matches!(t, Hash | PercpuHash | LruHash | LruPercpuHash | HashOfMaps)
}

fn is_per_cpu(t: MapType) -> bool {
    matches!(t, MapType::PercpuArray | MapType::PercpuHash | MapType::LruPercpuHash)
}

fn value_len(def: &MapDef) -> usize {
    match is_per_cpu(def.map_type) {
        true => def.value_size.next_multiple_of(8) as usize * possible_cpus() as usize,
        false => def.value_size as usize,
    }
}

/// The map in the kernel, its inner map included.
fn in_kernel(def: &MapDef) -> Result<Kernel, Errno> {
    let inner = def.inner.as_deref().map(in_kernel).transpose()?;
    Kernel::create(def, inner.as_ref())
}

fn object(def: &MapDef) -> Option<(Kernel, Handle)> {
    match (&def.inner, def.map_type) {
        (Some(inner), _) => Some((in_kernel(inner).ok()?, Handle::Map(create(inner).ok()?))),
        (None, MapType::ProgArray) => Some((Kernel::program().ok()?, Handle::Prog(Arc::new(())))),
        _ => None,
    }
}

fn why_not() -> Option<&'static str> {
    let error = in_kernel(&definitions::parse("ARRAY 4 4 1 -")).err()?;
    Some(if error == Errno::EPERM { "bpf(2) is not permitted here" } else { "bpf(2) does not work here" })
}

#[test]
fn definitions_get_the_kernels_verdict() {
    if let Some(why) = why_not() {
        return println!("skipped: {why}");
    }
    let mut differ = Vec::new();
    for (line, def) in definitions::all() {
        let (ours, theirs) = (create(&def).map(drop).map_err(|e| e.errno), in_kernel(&def).map(drop));
        if ours != theirs {
            differ.push(format!("{line}: ours {ours:?}, kernel {theirs:?}"));
        }
    }
    assert!(differ.is_empty(), "{}", differ.join("\n"));
}

#[test]
fn operations_get_the_kernels_answers() {
    if let Some(why) = why_not() {
        return println!("skipped: {why}");
    }
    for (line, def) in definitions::all() {
        let large = def.max_entries > 10_000 || def.value_size > 10_000 || def.key_size > 10_000;
        if large && def.map_type != MapType::Ringbuf || in_kernel(&def).is_err() {
            continue;
        }
        arbtest(|u| {
            let (ours, theirs) = (create(&def).unwrap(), in_kernel(&def).unwrap());
            let pair = Pair { def: def.clone(), ours, theirs, object: object(&def) };
            while !u.is_empty() {
                pair.step(u, &line)?;
            }
            pair.compare_keys(&line);
            Ok(())
        })
        .size_max(1024)
        .budget_ms(60);
    }
}

impl Pair {
    fn step(&self, u: &mut Unstructured<'_>, line: &str) -> Arb<()> {
        let key = self.key(u)?;
        let what = u.int_in_range(0..=11)?;
        let (ours, theirs) = match what {
            0..=4 => self.update(u, &key)?,
            5 => (
                self.ours.delete(&key, Side::User).map(|()| vec![]),
                self.theirs.delete(&key).map(|()| vec![]),
            ),
            6 | 7 => self.lookup(u, &key)?,
            8 => self.next_key(u, &key)?,
            9 if self.def.map_type != MapType::ProgArray => self.lookup_and_delete(&key),
            10 if u.ratio(1, 20)? => {
                (self.ours.freeze().map(|()| vec![]), self.theirs.freeze().map(|()| vec![]))
            }
            _ => return Ok(()),
        };
        assert_eq!(ours, theirs, "{line}: operation {what} on key {key:?} (ours left, the kernel's right)");
        Ok(())
    }

    /// A key from a small set; prefixes of addresses that lie in each other.
    fn key(&self, u: &mut Unstructured<'_>) -> Arb<Vec<u8>> {
        let size = self.def.key_size as usize;
        let mut key = vec![0; size];
        if self.def.map_type == MapType::LpmTrie {
            let bits = (size as u32 - 4) * 8;
            let len = if u.ratio(1, 10)? {
                bits + u.int_in_range(0..=2)?
            } else {
                u.int_in_range(0..=bits.min(40))?
            };
            key[..4].copy_from_slice(&len.to_ne_bytes());
            for byte in key[4..].iter_mut().take(5) {
                *byte = *u.choose(&[0, 0x80, 0xc0, 0xff])?;
            }
        } else if size > 0 {
            key[0] = u.int_in_range(0..=7)?;
            key[size - 1] |= u8::from(size > 4 && u.ratio(1, 2)?);
        }
        Ok(key)
    }

    fn update(&self, u: &mut Unstructured<'_>, key: &[u8]) -> Arb<(Answer, Answer)> {
        let how =
            *u.choose(&[flags::ANY, flags::ANY, flags::NOEXIST, flags::EXIST, flags::LOCK, 3, 8, 1 << 40])?;
        if let Some((object, handle)) = &self.object {
            let ours = self.ours.set_handle(key, handle.clone(), how);
            let theirs = self.theirs.update(key, &object.number().to_ne_bytes(), how);
            return Ok((ours.map(|()| vec![]), theirs.map(|()| vec![])));
        }
        let value = vec![u.arbitrary()?; value_len(&self.def)];
        let ours = self.ours.update(key, &value, how, Side::User);
        Ok((ours.map(|()| vec![]), self.theirs.update(key, &value, how).map(|()| vec![])))
    }

    fn lookup(&self, u: &mut Unstructured<'_>, key: &[u8]) -> Arb<(Answer, Answer)> {
        let mut ours = Vec::new();
        if self.def.map_type == MapType::BloomFilter {
            // Only "never pushed" must be the same for what was pushed; other values may seem to be there.
            ours = vec![u.arbitrary()?; value_len(&self.def)];
            let (a, b) = (self.ours.read(key, &mut ours.clone()), self.theirs.lookup(key, &mut ours));
            let guess = |r: &Result<(), Errno>| matches!(r, Ok(()) | Err(Errno::ENOENT));
            return Ok(if guess(&a) && guess(&b) {
                (Ok(vec![]), Ok(vec![]))
            } else {
                (a.map(|()| vec![]), b.map(|()| vec![]))
            });
        }
        let got = self.ours.read(key, &mut ours);
        let mut theirs = vec![0; value_len(&self.def)];
        let expected = self.theirs.lookup(key, &mut theirs);
        if is_fd_map(self.def.map_type) {
            // Numbers of objects differ; that there is one does not.
            return Ok((got.map(|()| vec![]), expected.map(|()| vec![])));
        }
        Ok((got.map(|()| ours), expected.map(|()| theirs)))
    }

    fn lookup_and_delete(&self, key: &[u8]) -> (Answer, Answer) {
        let (mut ours, mut theirs) = (Vec::new(), vec![0; value_len(&self.def)]);
        let got = self.ours.lookup_and_delete(key, &mut ours);
        let expected = self.theirs.lookup_and_delete(key, &mut theirs);
        (got.map(|()| ours), expected.map(|()| theirs))
    }

    fn next_key(&self, u: &mut Unstructured<'_>, key: &[u8]) -> Arb<(Answer, Answer)> {
        let from = if u.ratio(1, 4)? { None } else { Some(key) };
        let (mut ours, mut theirs) = (Vec::new(), vec![0; self.def.key_size as usize]);
        let got = self.ours.next_key(from, &mut ours).map(|()| ours);
        let expected = self.theirs.next_key(from, &mut theirs).map(|()| theirs);
        if is_unordered(self.def.map_type) {
            // Which key comes next, and so whether this one is the last, is each one's own affair.
            let open = |r: &Answer| matches!(r, Ok(_) | Err(Errno::ENOENT));
            return Ok(if open(&got) && open(&expected) {
                (Ok(vec![]), Ok(vec![]))
            } else {
                (got, expected)
            });
        }
        Ok((got, expected))
    }

    fn compare_keys(&self, line: &str) {
        let mut ours = walk(self.def.max_entries, |key, next| self.ours.next_key(key, next));
        let mut theirs = walk(self.def.max_entries, |key, next| {
            next.resize(self.def.key_size as usize, 0);
            self.theirs.next_key(key, next)
        });
        if is_unordered(self.def.map_type) {
            ours.sort_unstable();
            theirs.sort_unstable();
        }
        assert_eq!(ours, theirs, "{line}: keys (ours left, the kernel's right)");
    }
}

/// What an operation gave.
type Answer = Result<Vec<u8>, Errno>;

fn walk(max: u32, next: impl Fn(Option<&[u8]>, &mut Vec<u8>) -> Result<(), Errno>) -> Vec<Vec<u8>> {
    let (mut all, mut key): (Vec<Vec<u8>>, _) = (Vec::new(), Vec::new());
    while all.len() <= max as usize && next(all.last().map(Vec::as_slice), &mut key).is_ok() {
        all.push(key.clone());
    }
    all
}
