//! `BPF_MAP_TYPE_RINGBUF`: records from many producers to one consumer, in order of reservation (kernel/bpf/ringbuf.c).
//!
//! File: header page | consumer page (position) | producer page (position, oldest uncommitted position) | data, mapped
//! twice so that records never wrap. That is the kernel's layout from the consumer page on, so a consumer written for the
//! kernel's mmap works on ours. A record is `len u32 (with BUSY and DISCARD bits), page offset u32, payload`, padded to 8.
//!
//! Producers hold the lock of the header page while they reserve. `output` writes its payload under the lock and
//! publishes by one store of the producer position, so a producer killed in the middle leaves nothing behind. A record
//! reserved by a thread that died stays BUSY; the header page lists open records with their owners (the first
//! [`OPEN`] at a time), and the consumer discards one that it waits for when its owner is dead.

use crate::bias::Bias;
use crate::check::Check;
use crate::direct;
use crate::file::{BODY, Layout, MapFile, TYPE_WORDS};
use crate::lock::{Guard, lock};
use crate::mem::{Memory, PAGE, errno};
use crate::owner::Owner;
use crate::storage::Storage;
use rustix::event::{EventfdFlags, eventfd};
use skep_platform::helper::Version;
use skep_platform::map::{
    Create, FastPath, LastArg, Map, MapDef, MapError, MapOp, MapTypeDesc, RingBuf, Side, flags,
};
use skep_platform::{Errno, MapType};
use std::any::Any;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::{Arc, OnceLock};

/// The row.
pub static DESC: MapTypeDesc = MapTypeDesc {
    map_type: MapType::Ringbuf,
    doc: "ordered records from programs to user space, one ring for all CPUs",
    since: Version(5, 8),
    create_flags: flags::NUMA_NODE,
    helpers: &[130, 131, 134, 198, 199, 200],
    exclusive_helpers: &[130, 131, 134, 198, 199, 200],
    prog_types: &[],
    sleepable: true,
    per_cpu: false,
    direct_value: false,
    direct_addr: false,
    for_each: false,
    inner: true,
    special_fields: &[],
    create: Create::Fn(|def| STORAGE.create(def, None)),
};

pub(crate) static STORAGE: Storage = Storage {
    check,
    layout: |def, _| Layout { body: DATA - BODY + u64::from(def.max_entries), repeat_from: Some(DATA) },
    init: |_| {},
    attach: |file| Arc::new(Ring::new(file)),
};

fn check(def: &MapDef) -> Result<MapDef, MapError> {
    Check(def).flags(DESC.create_flags)?;
    Check(def).ring()?;
    Ok(def.clone())
}

/// Consumer position.
const CONSUMER: u64 = BODY;
/// Producer position; the position of the oldest record that is not committed follows it.
const PRODUCER: u64 = BODY + PAGE;
const PENDING: u64 = PRODUCER + 8;
/// First byte of data.
const DATA: u64 = BODY + 2 * PAGE;
/// Locks of producers and of the consumer.
const PRODUCER_LOCK: u64 = TYPE_WORDS;
const CONSUMER_LOCK: u64 = TYPE_WORDS + 8;
/// List of open records: position + 1, owner.
const OPEN_AT: u64 = 2048;
/// Open records that are listed.
const OPEN: u64 = 128;

const BUSY: u32 = 1 << 31;
const DISCARD: u32 = 1 << 30;
const HEADER: u64 = 8;
/// Longest record (`RINGBUF_MAX_RECORD_SZ`).
const MAX_RECORD: u64 = (u32::MAX / 4) as u64;
/// Bytes ahead of a record that are fetched for those to come: a ring is larger than the caches that are near.
const AHEAD: u64 = 1024;
const NO_WAKEUP: u64 = 1;
const FORCE_WAKEUP: u64 = 2;

/// A ring buffer.
#[derive(Debug)]
pub(super) struct Ring {
    file: MapFile,
    /// Readable when records wait, once somebody asked for it.
    wake: OnceLock<OwnedFd>,
    /// Records of this process that found no room, since somebody asked.
    lost: AtomicU64,
}

/// Bytes that a record of `len` bytes takes.
fn footprint(len: u64) -> u64 {
    (len + HEADER).next_multiple_of(8)
}

impl Ring {
    pub(super) fn new(file: MapFile) -> Ring {
        Ring { file, wake: OnceLock::new(), lost: AtomicU64::new(0) }
    }

    #[inline(always)]
    fn mem(&self) -> &Memory {
        &self.file.mem
    }

    #[inline(always)]
    fn size(&self) -> u64 {
        u64::from(self.file.def.max_entries)
    }

    #[inline(always)]
    fn position(&self, of: u64) -> &AtomicU64 {
        self.mem().u64(of)
    }

    /// A position as it is in the file; `EIO` for one that no record starts at.
    #[inline(always)]
    fn aligned(&self, of: u64) -> Result<u64, Errno> {
        let pos = self.position(of).load(Acquire);
        if pos.is_multiple_of(8) { Ok(pos) } else { Err(Errno::EIO) }
    }

    /// Offset of the record header at a position.
    #[inline(always)]
    fn header(&self, pos: u64) -> u64 {
        DATA + (pos & (self.size() - 1))
    }

    /// Takes the producers' lock.
    #[inline(always)]
    fn produce(&self, me: Owner) -> Result<Guard<'_>, Errno> {
        let guard = Bias(self.mem()).lock(self.position(PRODUCER_LOCK), me)?;
        if let Some(dead) = guard.dead {
            self.forget(dead);
        }
        Ok(guard)
    }

    /// Forgets records that a dead producer listed and did not publish.
    #[cold]
    fn forget(&self, dead: Owner) {
        let published = self.position(PRODUCER).load(Acquire);
        let unpublished = |pos: u64, owner| owner == dead.0 && pos.wrapping_sub(published) < u64::MAX / 2;
        while let Some(entry) = self.listed(unpublished) {
            self.mem().u64(entry).store(0, Release);
        }
    }

    /// Space for a record of `len` bytes: its position. The producers' lock is held.
    #[inline(always)]
    fn space(&self, len: u64) -> Result<u64, Errno> {
        let consumer = self.position(CONSUMER).load(Acquire);
        let producer = self.aligned(PRODUCER)?;
        let pending = self.pending(producer)?;
        let end = producer.wrapping_add(footprint(len));
        let most = self.size() - 1;
        if end.wrapping_sub(consumer) > most || end.wrapping_sub(pending) > most {
            return Err(self.full());
        }
        Ok(producer)
    }

    #[cold]
    fn full(&self) -> Errno {
        self.lost.fetch_add(1, Relaxed);
        Errno::ENOSPC
    }

    /// Moves the pending position over committed records.
    #[inline(always)]
    fn pending(&self, producer: u64) -> Result<u64, Errno> {
        let mut pending = self.aligned(PENDING)?;
        while pending != producer && producer.wrapping_sub(pending) <= self.size() {
            let len = self.mem().u32(self.header(pending)).load(Acquire);
            if len & BUSY != 0 {
                break;
            }
            pending = pending.wrapping_add(footprint(u64::from(len & !DISCARD)));
        }
        self.position(PENDING).store(pending, Relaxed);
        Ok(pending)
    }

    #[inline(always)]
    fn fits(&self, len: u64) -> Result<(), Errno> {
        let fits = len <= MAX_RECORD && footprint(len) <= self.size();
        if fits { Ok(()) } else { Err(Errno::E2BIG) }
    }

    #[inline(always)]
    fn write_header(&self, pos: u64, len: u32) {
        let at = self.header(pos);
        self.mem().u32(at + 4).store((at / PAGE) as u32, Relaxed);
        self.mem().u32(at).store(len, Release);
    }

    /// Offset of the header of the record that is reserved at a payload address.
    #[inline(always)]
    fn reserved(&self, addr: u64) -> Option<u64> {
        let at = self.mem().offset_of(addr)?.checked_sub(HEADER)?;
        if at < DATA || at >= DATA + self.size() || !at.is_multiple_of(8) {
            return None;
        }
        let busy = self.mem().u32(at).load(Acquire) & BUSY != 0;
        let own_page = self.mem().u32(at + 4).load(Relaxed) == (at / PAGE) as u32;
        (busy && own_page).then_some(at)
    }

    #[inline(always)]
    fn commit(&self, addr: u64, discard: bool, wakeup: u64) -> Result<(), Errno> {
        let at = self.reserved(addr).ok_or(Errno::EINVAL)?;
        let offset = at - DATA;
        let mask = self.size() - 1;
        if let Some(entry) = self.listed(|pos, _| pos & mask == offset) {
            self.mem().u64(entry).store(0, Release);
        }
        let word = self.mem().u32(at);
        let len = word.load(Relaxed) & !BUSY;
        let ended = if discard { len | DISCARD } else { len };
        if wakeup & (NO_WAKEUP | FORCE_WAKEUP) == NO_WAKEUP || self.wake.get().is_none() {
            word.store(ended, Release);
            return Ok(());
        }
        // Locked: the consumer's position must not be read before the record can be seen.
        word.swap(ended, AcqRel);
        self.notify(offset, wakeup);
        Ok(())
    }

    /// Wakes the consumer when it has read everything before this record, or as the flags say.
    fn notify(&self, offset: u64, wakeup: u64) {
        let caught_up = self.position(CONSUMER).load(Acquire) & (self.size() - 1) == offset;
        let wanted = wakeup & FORCE_WAKEUP != 0 || caught_up && wakeup & NO_WAKEUP == 0;
        if let Some(fd) = self.wake.get().filter(|_| wanted) {
            // A counter at its limit is readable already.
            let _ = rustix::io::write(fd, &1u64.to_ne_bytes());
        }
    }

    /// Lists an open record with its owner, when there is room in the list.
    #[inline(always)]
    fn list(&self, pos: u64, owner: Owner) {
        let free = (0..OPEN).map(|i| OPEN_AT + i * 16).find(|at| self.mem().u64(*at).load(Relaxed) == 0);
        if let Some(at) = free {
            self.mem().u64(at + 8).store(owner.0, Relaxed);
            self.mem().u64(at).store(pos.wrapping_add(1), Release);
        }
    }

    /// First entry of the list for which `which` holds of position and owner.
    #[inline(always)]
    fn listed(&self, which: impl Fn(u64, u64) -> bool) -> Option<u64> {
        (0..OPEN).map(|i| OPEN_AT + i * 16).find(|at| {
            let listed = self.mem().u64(*at).load(Acquire);
            listed != 0 && which(listed.wrapping_sub(1), self.mem().u64(at + 8).load(Relaxed))
        })
    }

    /// Discards the record at a position if the thread that reserved it has died.
    fn bury(&self, pos: u64) -> bool {
        let Some(at) = self.listed(|listed, _| listed == pos) else { return false };
        if !Owner(self.mem().u64(at + 8).load(Relaxed)).is_dead() {
            return false;
        }
        let word = self.mem().u32(self.header(pos));
        let len = word.load(Relaxed);
        word.store(len & !BUSY | DISCARD, Release);
        self.mem().u64(at).store(0, Release);
        true
    }

    /// Length of the record at `pos`, its bits included; `None` while it is being written.
    fn ready(&self, pos: u64) -> Option<u32> {
        let word = self.mem().u32(self.header(pos));
        let len = word.load(Acquire);
        match len & BUSY != 0 {
            false => Some(len),
            true if self.bury(pos) => Some(word.load(Acquire)),
            true => None,
        }
    }
}

impl RingBuf for Ring {
    #[inline(always)]
    fn reserve(&self, len: u64, flags: u64) -> Result<u64, Errno> {
        if flags != 0 {
            return Err(Errno::EINVAL);
        }
        self.fits(len)?;
        let me = Owner::me();
        let _held = self.produce(me)?;
        let pos = self.space(len)?;
        self.list(pos, me);
        self.mem().prefetch(self.header(pos.wrapping_add(AHEAD)));
        self.write_header(pos, len as u32 | BUSY);
        self.position(PRODUCER).store(pos.wrapping_add(footprint(len)), Release);
        Ok(self.mem().addr(self.header(pos) + HEADER))
    }

    #[inline(always)]
    fn submit(&self, addr: u64, flags: u64) -> Result<(), Errno> {
        self.commit(addr, false, flags)
    }

    #[inline(always)]
    fn discard(&self, addr: u64, flags: u64) -> Result<(), Errno> {
        self.commit(addr, true, flags)
    }

    fn reserved_len(&self, addr: u64) -> Option<u64> {
        let at = self.reserved(addr)?;
        Some(u64::from(self.mem().u32(at).load(Relaxed) & !(BUSY | DISCARD)))
    }

    fn output(&self, data: &[u8], flags: u64) -> Result<(), Errno> {
        if flags & !(NO_WAKEUP | FORCE_WAKEUP) != 0 {
            return Err(Errno::EINVAL);
        }
        let len = data.len() as u64;
        self.fits(len).map_err(|_| Errno::EAGAIN)?;
        let held = self.produce(Owner::me())?;
        let pos = self.space(len).map_err(|e| if e == Errno::ENOSPC { Errno::EAGAIN } else { e })?;
        self.mem().prefetch(self.header(pos.wrapping_add(AHEAD)));
        self.mem().write(self.header(pos) + HEADER, data);
        self.write_header(pos, len as u32);
        self.position(PRODUCER).store(pos.wrapping_add(footprint(len)), Release);
        drop(held);
        self.notify(pos & (self.size() - 1), flags);
        Ok(())
    }

    fn abandon(&self) {
        let me = Owner::me();
        while let Some(entry) = self.listed(|_, owner| owner == me.0) {
            let pos = self.mem().u64(entry).load(Relaxed).wrapping_sub(1);
            if self.commit(self.mem().addr(self.header(pos) + HEADER), true, 0).is_err() {
                self.mem().u64(entry).store(0, Release);
            }
        }
    }

    fn lost(&self) -> Option<u64> {
        Some(self.lost.swap(0, Relaxed))
    }

    fn query(&self, what: u64) -> u64 {
        let consumer = self.position(CONSUMER).load(Acquire);
        let producer = self.position(PRODUCER).load(Acquire);
        match what {
            0 => producer.wrapping_sub(consumer),
            1 => self.size(),
            2 => consumer,
            3 => producer,
            _ => 0,
        }
    }

    fn consume(&self, f: &mut dyn FnMut(&[u8]) -> ControlFlow<()>) -> Result<usize, Errno> {
        let _held = lock(self.position(CONSUMER_LOCK), Owner::me())?;
        if let Some(fd) = self.wake.get() {
            let _ = rustix::io::read(fd, &mut [0u8; 8]);
        }
        let (mut count, mut payload) = (0, Vec::new());
        loop {
            let pos = self.aligned(CONSUMER)?;
            let there = self.position(PRODUCER).load(Acquire).wrapping_sub(pos);
            let Some(len) = (there != 0).then(|| self.ready(pos)).flatten() else { return Ok(count) };
            let bytes = u64::from(len & !DISCARD);
            if footprint(bytes) > there || there > self.size() {
                // Another process wrote nonsense into the positions or headers.
                return Err(Errno::EIO);
            }
            let wanted = len & DISCARD == 0;
            let mut go_on = ControlFlow::Continue(());
            if wanted {
                payload.clear();
                self.mem().append(self.header(pos) + HEADER, bytes as usize, &mut payload);
                count += 1;
                go_on = f(&payload);
            }
            self.position(CONSUMER).store(pos.wrapping_add(footprint(bytes)), Release);
            if go_on.is_break() {
                return Ok(count);
            }
        }
    }

    fn wake_fd(&self) -> Result<BorrowedFd<'_>, Errno> {
        if self.wake.get().is_none() {
            let fd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map_err(errno)?;
            let _ = self.wake.set(fd);
            if self.query(0) != 0 {
                self.notify(0, FORCE_WAKEUP);
            }
        }
        self.wake.get().map(|fd| fd.as_fd()).ok_or(Errno::EIO)
    }
}

impl Map for Ring {
    fn def(&self) -> &MapDef {
        &self.file.def
    }

    fn lookup(&self, _key: &[u8], _cpu: u32) -> Result<Option<u64>, Errno> {
        Err(Errno::ENOTSUPP)
    }

    fn read(&self, _key: &[u8], _out: &mut Vec<u8>) -> Result<(), Errno> {
        Err(Errno::ENOTSUPP)
    }

    fn update(&self, _key: &[u8], _value: &[u8], update: u64, side: Side) -> Result<(), Errno> {
        self.file.may_write(side)?;
        // That there is no lock to take is found before that there is nothing to update.
        Err(if update & flags::LOCK != 0 { Errno::EINVAL } else { Errno::ENOTSUPP })
    }

    fn delete(&self, _key: &[u8], side: Side) -> Result<(), Errno> {
        self.file.may_write(side)?;
        Err(Errno::ENOTSUPP)
    }

    fn lookup_and_delete(&self, _key: &[u8], _out: &mut Vec<u8>) -> Result<(), Errno> {
        self.file.cannot_take()
    }

    fn next_key(&self, _key: Option<&[u8]>, _out: &mut Vec<u8>) -> Result<(), Errno> {
        Err(Errno::ENOTSUPP)
    }

    fn fast_path(&self, op: MapOp) -> Option<FastPath> {
        match op {
            MapOp::Reserve => direct::path(direct::reserve::<Ring>, LastArg::None),
            MapOp::Submit => direct::path(direct::submit::<Ring>, LastArg::Map),
            MapOp::Discard => direct::path(direct::discard::<Ring>, LastArg::Map),
            MapOp::Output => direct::path(direct::output::<Ring>, LastArg::None),
            _ => None,
        }
    }

    fn freeze(&self) -> Result<(), Errno> {
        self.file.freeze()
    }

    fn frozen(&self) -> bool {
        self.file.frozen()
    }

    fn ringbuf(&self) -> Option<&dyn RingBuf> {
        Some(self)
    }

    fn file(&self) -> Option<BorrowedFd<'_>> {
        Some(self.file.mem.file())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
