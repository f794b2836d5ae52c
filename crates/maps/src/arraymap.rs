//! Arrays: what plain and per-CPU arrays share.
//!
//! File: header | values, from a page on, 8-byte stride: the kernel's mmap layout | for per-CPU arrays one such region a CPU.

use crate::direct;
use crate::file::{BODY, Layout, MapFile, round8};
use crate::mem::PAGE;
use skep_platform::map::{FastPath, LastArg, Map, MapDef, MapOp, Side, flags};
use skep_platform::{Errno, MapType};
use std::any::Any;
use std::ops::ControlFlow;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

/// A plain or per-CPU array.
#[derive(Debug)]
pub(crate) struct Array {
    pub(crate) file: MapFile,
    /// Bytes from value to value.
    stride: u64,
    /// Bytes from one CPU's values to the next CPU's; `None` where all share them.
    region: Option<u64>,
}

/// Index in a key of an array; `EINVAL` when it does not have 4 bytes.
#[inline]
pub(crate) fn index(key: &[u8]) -> Result<u32, Errno> {
    Ok(u32::from_ne_bytes(key.try_into().map_err(|_| Errno::EINVAL)?))
}

/// Order of keys of anything that is an array (`array_map_get_next_key`).
pub(crate) fn next_index(key: Option<&[u8]>, entries: u32, out: &mut Vec<u8>) -> Result<(), Errno> {
    let next = match key.map(index).transpose()? {
        Some(at) if at < entries => at + 1,
        _ => 0,
    };
    if next >= entries {
        return Err(Errno::ENOENT);
    }
    out.clear();
    out.extend_from_slice(&next.to_ne_bytes());
    Ok(())
}

fn region(def: &MapDef) -> u64 {
    (u64::from(def.max_entries) * round8(def.value_size)).next_multiple_of(PAGE)
}

impl Array {
    pub(crate) fn layout(def: &MapDef, cpus: u32) -> Layout {
        let copies = if def.map_type == MapType::PercpuArray { u64::from(cpus) } else { 1 };
        Layout::plain(region(def).saturating_mul(copies))
    }

    pub(crate) fn attach(file: MapFile) -> Arc<dyn Map> {
        let stride = round8(file.def.value_size);
        let region = (file.def.map_type == MapType::PercpuArray).then(|| region(&file.def));
        Arc::new(Array { file, stride, region })
    }

    #[inline(always)]
    fn value(&self, index: u32, cpu: u32) -> u64 {
        BODY + u64::from(cpu) * self.region.unwrap_or(0) + u64::from(index) * self.stride
    }

    /// Address of a value for the CPU and its words; `None` where there is none.
    #[inline(always)]
    pub(crate) fn word_place(&self, index: u32, cpu: u32) -> Option<(u64, u32)> {
        let there = index < self.file.def.max_entries && (self.region.is_none() || cpu < self.file.cpus);
        there.then(|| (self.file.mem.addr(self.value(index, cpu)), (self.stride / 8) as u32))
    }

    fn index(&self, key: &[u8]) -> Result<Option<u32>, Errno> {
        Ok(Some(index(key)?).filter(|at| *at < self.file.def.max_entries))
    }

    /// CPUs that have values of their own.
    fn copies(&self) -> u32 {
        if self.region.is_some() { self.file.cpus } else { 1 }
    }

    fn store(&self, at: u32, value: &[u8], side: Side) -> Result<(), Errno> {
        let size = self.file.def.value_size as usize;
        let (expected, cpu) = match (side, self.region) {
            (Side::User, Some(_)) => (self.stride as usize * self.file.cpus as usize, 0),
            (Side::Prog { cpu }, Some(_)) => (size, cpu.min(self.file.cpus - 1)),
            _ => (size, 0),
        };
        if value.len() != expected {
            return Err(Errno::EINVAL);
        }
        let part = if expected == size { size } else { self.stride as usize };
        for (cpu, part) in (cpu..).zip(value.chunks(part)) {
            self.file.put(self.value(at, cpu), part, false);
        }
        Ok(())
    }
}

impl Map for Array {
    fn def(&self) -> &MapDef {
        &self.file.def
    }

    #[inline]
    fn lookup(&self, key: &[u8], cpu: u32) -> Result<Option<u64>, Errno> {
        let at = self.index(key)?.filter(|_| self.region.is_none() || cpu < self.file.cpus);
        Ok(at.map(|at| self.file.mem.addr(self.value(at, cpu))))
    }

    fn read(&self, key: &[u8], out: &mut Vec<u8>) -> Result<(), Errno> {
        self.file.may_read()?;
        let at = self.index(key)?.ok_or(Errno::ENOENT)?;
        // Per-CPU values are read as they are written: whole words, padding included.
        let size = if self.region.is_some() { self.stride } else { u64::from(self.file.def.value_size) };
        out.clear();
        for cpu in 0..self.copies() {
            let start = out.len();
            self.file.mem.append(self.value(at, cpu), size as usize, out);
            self.file.hide(&mut out[start..]);
        }
        Ok(())
    }

    fn update(&self, key: &[u8], value: &[u8], update: u64, side: Side) -> Result<(), Errno> {
        self.file.may_write(side)?;
        self.file.check_update_flags(update, self.region.is_none())?;
        let at = self.index(key)?.ok_or(Errno::E2BIG)?;
        if update & flags::NOEXIST != 0 {
            return Err(Errno::EEXIST);
        }
        if update & flags::LOCK != 0 && value.len() == self.file.def.value_size as usize {
            return self.file.put_locked(self.value(at, 0), value);
        }
        self.store(at, value, side)
    }

    fn delete(&self, _key: &[u8], side: Side) -> Result<(), Errno> {
        self.file.may_write(side)?;
        Err(Errno::EINVAL)
    }

    fn lookup_and_delete(&self, _key: &[u8], _out: &mut Vec<u8>) -> Result<(), Errno> {
        self.file.cannot_take()
    }

    fn next_key(&self, key: Option<&[u8]>, out: &mut Vec<u8>) -> Result<(), Errno> {
        self.file.may_read()?;
        next_index(key, self.file.def.max_entries, out)
    }

    fn for_each(&self, cpu: u32, f: &mut dyn FnMut(&[u8], u64) -> ControlFlow<()>) -> Result<u64, Errno> {
        let cpu = if self.region.is_some() { cpu.min(self.file.cpus - 1) } else { 0 };
        for at in 0..self.file.def.max_entries {
            if f(&at.to_ne_bytes(), self.file.mem.addr(self.value(at, cpu))).is_break() {
                return Ok(u64::from(at) + 1);
            }
        }
        Ok(u64::from(self.file.def.max_entries))
    }

    fn freeze(&self) -> Result<(), Errno> {
        self.file.freeze()
    }

    fn frozen(&self) -> bool {
        self.file.frozen()
    }

    fn direct(&self) -> Option<(u64, u64)> {
        let len = u64::from(self.file.def.max_entries) * self.stride;
        self.region.is_none().then(|| (self.file.mem.addr(BODY), len))
    }

    fn fast_path(&self, op: MapOp) -> Option<FastPath> {
        match op {
            MapOp::Lookup => Some(FastPath::Index {
                base: self.file.mem.addr(BODY),
                stride: u32::try_from(self.stride).ok()?,
                entries: self.file.def.max_entries,
                percpu: self.region.unwrap_or(0),
            }),
            MapOp::LookupPercpu => direct::path(direct::lookup_percpu::<Array>, LastArg::None),
            MapOp::Update if self.file.plain_words() => direct::path(direct::array_update, LastArg::Cpu),
            MapOp::Update => direct::path(direct::update::<Array>, LastArg::Cpu),
            _ => None,
        }
    }

    fn file(&self) -> Option<BorrowedFd<'_>> {
        Some(self.file.mem.file())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
