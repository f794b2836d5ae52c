//! `BPF_MAP_TYPE_USER_RINGBUF`: records from user space to programs (kernel/bpf/ringbuf.c, Linux 6.1). The file is that of a ring
//! buffer; only who produces and who consumes has changed places.

use super::ringbuf::{self, Ring};
use crate::check::Check;
use crate::storage::Storage;
use skep_platform::helper::Version;
use skep_platform::map::{Create, Map, MapDef, MapTypeDesc, RingBuf, Side, flags};
use skep_platform::{Errno, MapType};
use std::any::Any;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

/// The row.
pub static DESC: MapTypeDesc = MapTypeDesc {
    map_type: MapType::UserRingbuf,
    doc: "records from user space to programs",
    since: Version(6, 1),
    create_flags: flags::NUMA_NODE,
    helpers: &[209],
    exclusive_helpers: &[209],
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
    check: |def| {
        Check(def).flags(DESC.create_flags)?;
        Check(def).ring()?;
        Ok(def.clone())
    },
    layout: ringbuf::STORAGE.layout,
    init: |_| {},
    attach: |file| Arc::new(UserRing(Ring::new(file))),
};

/// A ring buffer that programs drain.
#[derive(Debug)]
struct UserRing(Ring);

impl Map for UserRing {
    fn def(&self) -> &MapDef {
        self.0.def()
    }

    fn lookup(&self, key: &[u8], cpu: u32) -> Result<Option<u64>, Errno> {
        self.0.lookup(key, cpu)
    }

    fn read(&self, key: &[u8], out: &mut Vec<u8>) -> Result<(), Errno> {
        self.0.read(key, out)
    }

    fn update(&self, key: &[u8], value: &[u8], update: u64, side: Side) -> Result<(), Errno> {
        self.0.update(key, value, update, side)
    }

    fn delete(&self, key: &[u8], side: Side) -> Result<(), Errno> {
        self.0.delete(key, side)
    }

    fn lookup_and_delete(&self, key: &[u8], out: &mut Vec<u8>) -> Result<(), Errno> {
        self.0.lookup_and_delete(key, out)
    }

    fn next_key(&self, key: Option<&[u8]>, out: &mut Vec<u8>) -> Result<(), Errno> {
        self.0.next_key(key, out)
    }

    /// A record of any length; `ENOSPC` until a program has drained enough.
    fn push(&self, record: &[u8], flags: u64) -> Result<(), Errno> {
        self.0.output(record, flags).map_err(|e| if e == Errno::EAGAIN { Errno::ENOSPC } else { e })
    }

    fn freeze(&self) -> Result<(), Errno> {
        self.0.freeze()
    }

    fn frozen(&self) -> bool {
        self.0.frozen()
    }

    fn user_ringbuf(&self) -> Option<&dyn RingBuf> {
        Some(&self.0)
    }

    fn file(&self) -> Option<BorrowedFd<'_>> {
        self.0.file()
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
