//! Queues and stacks (kernel/bpf/queue_stack_maps.c).
//!
//! File: header with a lock and the numbers of values ever pushed (`head`) and dropped from the old end (`tail`) | values,
//! 8-byte stride; value number n is in place n modulo the capacity. A stack pops by taking `head` back. Every operation takes
//! effect by one store, so a dead holder of the lock leaves nothing to mend.

use crate::check::{Check, KMALLOC_MAX};
use crate::direct;
use crate::file::{BODY, Layout, MapFile, TYPE_WORDS, round8};
use crate::lock::{Guard, lock};
use crate::owner::Owner;
use skep_platform::map::{FastPath, LastArg, Map, MapDef, MapError, MapOp, Side, flags};
use skep_platform::{Errno, MapType};
use std::any::Any;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Relaxed, Release};

const LOCK: u64 = TYPE_WORDS;
const HEAD: u64 = TYPE_WORDS + 8;
const TAIL: u64 = TYPE_WORDS + 16;

/// A queue or a stack.
#[derive(Debug)]
pub(crate) struct Fifo {
    file: MapFile,
    /// Takes the newest value first.
    stack: bool,
}

/// `queue_stack_map_alloc_check`.
pub(crate) fn check(def: &MapDef, create_flags: u32) -> Result<MapDef, MapError> {
    let check = Check(def);
    check.flags(create_flags)?;
    check.key_size(0)?;
    check.not_empty()?;
    check.that(u64::from(def.value_size) <= KMALLOC_MAX, Errno::E2BIG, || {
        format!("value_size {} is more than {KMALLOC_MAX}", def.value_size)
    })?;
    Ok(def.clone())
}

impl Fifo {
    pub(crate) fn layout(def: &MapDef, _cpus: u32) -> Layout {
        Layout::plain(u64::from(def.max_entries) * round8(def.value_size))
    }

    pub(crate) fn attach(file: MapFile) -> Arc<dyn Map> {
        Arc::new(Fifo { stack: file.def.map_type == MapType::Stack, file })
    }

    fn number(&self, of: u64) -> &AtomicU64 {
        self.file.mem.u64(of)
    }

    fn lock(&self) -> Result<Guard<'_>, Errno> {
        lock(self.number(LOCK), Owner::me())
    }

    fn place(&self, number: u64) -> u64 {
        BODY + number % u64::from(self.file.def.max_entries) * round8(self.file.def.value_size)
    }

    fn put(&self, value: &[u8], update: u64) -> Result<(), Errno> {
        if !matches!(update, flags::ANY | flags::EXIST) || value.len() != self.file.def.value_size as usize {
            return Err(Errno::EINVAL);
        }
        let _held = self.lock()?;
        let (head, tail) = (self.number(HEAD).load(Relaxed), self.number(TAIL).load(Relaxed));
        if head.wrapping_sub(tail) >= u64::from(self.file.def.max_entries) {
            if update != flags::EXIST {
                return Err(Errno::E2BIG);
            }
            self.number(TAIL).store(tail.wrapping_add(1), Release);
        }
        self.file.mem.write(self.place(head), value);
        self.number(HEAD).store(head.wrapping_add(1), Release);
        Ok(())
    }

    /// Copies the next value out and, with `remove`, removes it. An empty one gives zeroes and `ENOENT`.
    fn get(&self, value: &mut [u8], remove: bool) -> Result<(), Errno> {
        if value.len() != self.file.def.value_size as usize {
            return Err(Errno::EINVAL);
        }
        let _held = self.lock()?;
        let (head, tail) = (self.number(HEAD).load(Relaxed), self.number(TAIL).load(Relaxed));
        if head == tail {
            value.fill(0);
            return Err(Errno::ENOENT);
        }
        let last = head.wrapping_sub(1);
        self.file.mem.read(self.place(if self.stack { last } else { tail }), value);
        match (remove, self.stack) {
            (true, true) => self.number(HEAD).store(last, Release),
            (true, false) => self.number(TAIL).store(tail.wrapping_add(1), Release),
            (false, _) => {}
        }
        Ok(())
    }

    fn get_vec(&self, out: &mut Vec<u8>, remove: bool) -> Result<(), Errno> {
        out.clear();
        out.resize(self.file.def.value_size as usize, 0);
        self.get(out, remove)
    }
}

/// CPU of program-side calls, which is the same to a map without values per CPU.
const PROG: Side = Side::Prog { cpu: 0 };

impl Map for Fifo {
    fn def(&self) -> &MapDef {
        &self.file.def
    }

    fn lookup(&self, _key: &[u8], _cpu: u32) -> Result<Option<u64>, Errno> {
        Ok(None)
    }

    fn read(&self, _key: &[u8], out: &mut Vec<u8>) -> Result<(), Errno> {
        self.file.may_read()?;
        self.get_vec(out, false)
    }

    /// User space pushes by updating; programs have `push`.
    fn update(&self, _key: &[u8], value: &[u8], update: u64, side: Side) -> Result<(), Errno> {
        self.file.may_write(side)?;
        if side == Side::User { self.put(value, update) } else { Err(Errno::EINVAL) }
    }

    fn delete(&self, _key: &[u8], side: Side) -> Result<(), Errno> {
        self.file.may_write(side)?;
        Err(Errno::EINVAL)
    }

    fn lookup_and_delete(&self, _key: &[u8], out: &mut Vec<u8>) -> Result<(), Errno> {
        self.file.may_read()?;
        self.file.may_write(Side::User)?;
        self.get_vec(out, true)
    }

    fn next_key(&self, _key: Option<&[u8]>, _out: &mut Vec<u8>) -> Result<(), Errno> {
        self.file.may_read()?;
        Err(Errno::EINVAL)
    }

    fn push(&self, value: &[u8], flags: u64) -> Result<(), Errno> {
        self.file.may_write(PROG)?;
        self.put(value, flags)
    }

    fn pop(&self, value: &mut [u8]) -> Result<(), Errno> {
        self.file.may_write(PROG)?;
        self.get(value, true)
    }

    fn peek(&self, value: &mut [u8]) -> Result<(), Errno> {
        self.get(value, false)
    }

    fn fast_path(&self, op: MapOp) -> Option<FastPath> {
        match op {
            MapOp::Push => direct::path(direct::push::<Fifo>, LastArg::None),
            MapOp::Pop => direct::path(direct::pop::<Fifo>, LastArg::None),
            MapOp::Peek => direct::path(direct::peek::<Fifo>, LastArg::None),
            _ => None,
        }
    }

    fn freeze(&self) -> Result<(), Errno> {
        self.file.freeze()
    }

    fn frozen(&self) -> bool {
        self.file.frozen()
    }

    fn file(&self) -> Option<BorrowedFd<'_>> {
        Some(self.file.mem.file())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
