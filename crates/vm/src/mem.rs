//! The one place where guest memory is touched: loads, stores, copies and atomics inside a [`Span`], and ([`load`],
//! [`store`]) the plain accesses of verified programs, which nobody checks.
//!
//! A guest pointer is a native address, but an address alone opens nothing here. Every access names a span and an
//! offset, and is checked against the span's length on the spot. Spans are made by [`crate::region`] only, from memory
//! whose owner promises that it stays mapped while the span is in use: the machine's own stack, the bytes and the
//! context of the packet that the run borrows, values of maps that the run keeps alive, regions that helpers hand out.
//!
//! Guest memory may be shared with other threads and processes (maps), so single aligned accesses are relaxed atomic
//! ones; unaligned accesses and copies may see another writer's half-written value, as on the machine itself.

use skep_isa::{AtomicOp, Size, Width};
use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering};

/// Memory that may be touched: address and length.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    addr: u64,
    len: u64,
}

/// Why a single access was not made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Refused {
    /// Outside the span.
    Outside,
    /// Not aligned, and it has to be.
    Unaligned,
}

/// How a load or store is ordered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Order {
    /// An ordinary access.
    Plain,
    /// `load_acquire`, `store_release`: must be aligned.
    AcquireRelease,
}

impl Span {
    /// No memory.
    pub(crate) const EMPTY: Span = Span { addr: 0, len: 0 };

    /// Declares `len` bytes at `addr` to be memory that stays mapped, and may be read and written in place, for as long
    /// as the span is used. See the top of the file for who may say so. A span that would wrap around is empty.
    pub(crate) fn declare(addr: u64, len: u64) -> Span {
        if addr == 0 || addr.checked_add(len).is_none() || len > isize::MAX as u64 {
            return Span { addr, len: 0 };
        }
        Span { addr, len }
    }

    /// Address of the first byte.
    pub(crate) const fn addr(self) -> u64 {
        self.addr
    }

    /// Bytes.
    pub(crate) const fn len(self) -> u64 {
        self.len
    }

    /// The address of `size` bytes at `at`, if they lie inside.
    fn inside(self, at: u64, size: u64) -> Option<*mut u8> {
        let fits = at <= self.len && size <= self.len - at;
        fits.then(|| std::ptr::with_exposed_provenance_mut((self.addr + at) as usize))
    }

    /// Loads `size` bytes at offset `at`, zero-extended.
    pub(crate) fn load(self, at: u64, size: Size, order: Order) -> Result<u64, Refused> {
        let p = self.inside(at, size.bytes() as u64).ok_or(Refused::Outside)?;
        if !(p as usize).is_multiple_of(size.bytes()) {
            return if order == Order::Plain { Ok(load_unaligned(p, size)) } else { Err(Refused::Unaligned) };
        }
        let order = if order == Order::Plain { Ordering::Relaxed } else { Ordering::Acquire };
        // SAFETY: `inside` checked that all bytes lie in the span, which is mapped by its declaration; the address was
        // just found to be aligned to the size of the atomic type.
        Ok(unsafe {
            match size {
                Size::B => u64::from(AtomicU8::from_ptr(p).load(order)),
                Size::H => u64::from(AtomicU16::from_ptr(p.cast()).load(order)),
                Size::W => u64::from(AtomicU32::from_ptr(p.cast()).load(order)),
                Size::Dw => AtomicU64::from_ptr(p.cast()).load(order),
            }
        })
    }

    /// Stores the lower `size` bytes of `v` at offset `at`.
    pub(crate) fn store(self, at: u64, size: Size, v: u64, order: Order) -> Result<(), Refused> {
        let p = self.inside(at, size.bytes() as u64).ok_or(Refused::Outside)?;
        if !(p as usize).is_multiple_of(size.bytes()) {
            return match order {
                Order::Plain => self.write(at, &v.to_le_bytes()[..size.bytes()]),
                Order::AcquireRelease => Err(Refused::Unaligned),
            };
        }
        let order = if order == Order::Plain { Ordering::Relaxed } else { Ordering::Release };
        // SAFETY: as in `load`.
        unsafe {
            match size {
                Size::B => AtomicU8::from_ptr(p).store(v as u8, order),
                Size::H => AtomicU16::from_ptr(p.cast()).store(v as u16, order),
                Size::W => AtomicU32::from_ptr(p.cast()).store(v as u32, order),
                Size::Dw => AtomicU64::from_ptr(p.cast()).store(v, order),
            }
        }
        Ok(())
    }

    /// Copies out.
    pub(crate) fn read(self, at: u64, out: &mut [u8]) -> Result<(), Refused> {
        let p = self.inside(at, out.len() as u64).ok_or(Refused::Outside)?;
        // SAFETY: the source lies in the span (checked), the destination is a Rust slice of the same length; `copy`
        // allows them to overlap.
        unsafe { std::ptr::copy(p, out.as_mut_ptr(), out.len()) };
        Ok(())
    }

    /// Copies in.
    pub(crate) fn write(self, at: u64, data: &[u8]) -> Result<(), Refused> {
        let p = self.inside(at, data.len() as u64).ok_or(Refused::Outside)?;
        // SAFETY: the destination lies in the span (checked), the source is a Rust slice of the same length; `copy`
        // allows them to overlap.
        unsafe { std::ptr::copy(data.as_ptr(), p, data.len()) };
        Ok(())
    }

    /// Atomic read-modify-write; the old value, zero-extended.
    pub(crate) fn atomic(
        self,
        at: u64,
        op: AtomicOp,
        width: Width,
        src: u64,
        r0: u64,
    ) -> Result<u64, Refused> {
        let p = self.inside(at, width.bytes() as u64).ok_or(Refused::Outside)?;
        if !(p as usize).is_multiple_of(width.bytes()) {
            return Err(Refused::Unaligned);
        }
        // SAFETY: the bytes lie in the span (checked) and the address is aligned to the width (checked).
        Ok(unsafe {
            match width {
                Width::W32 => u64::from(atomic32(AtomicU32::from_ptr(p.cast()), op, src as u32, r0 as u32)),
                Width::W64 => atomic64(AtomicU64::from_ptr(p.cast()), op, src, r0),
            }
        })
    }
}

fn load_unaligned(p: *mut u8, size: Size) -> u64 {
    // SAFETY: called by `Span::load` alone, after it checked that `size` bytes at `p` lie in the span.
    unsafe {
        match size {
            Size::B => u64::from(p.read()),
            Size::H => u64::from(p.cast::<u16>().read_unaligned()),
            Size::W => u64::from(p.cast::<u32>().read_unaligned()),
            Size::Dw => p.cast::<u64>().read_unaligned(),
        }
    }
}

/// Loads `size` bytes at an address, zero-extended. As the machine does it, aligned or not.
///
/// # Safety
/// The bytes are mapped and may be read by the running program: the verifier has said so.
#[inline(always)]
pub(crate) unsafe fn load(addr: u64, size: Size) -> u64 {
    let p: *const u8 = std::ptr::with_exposed_provenance(addr as usize);
    // SAFETY: the caller's promise.
    unsafe {
        match size {
            Size::B => u64::from(p.read()),
            Size::H => u64::from(p.cast::<u16>().read_unaligned()),
            Size::W => u64::from(p.cast::<u32>().read_unaligned()),
            Size::Dw => p.cast::<u64>().read_unaligned(),
        }
    }
}

/// Stores the lower `size` bytes of `v` at an address.
///
/// # Safety
/// The bytes are mapped and may be written by the running program: the verifier has said so.
#[inline(always)]
pub(crate) unsafe fn store(addr: u64, size: Size, v: u64) {
    let p: *mut u8 = std::ptr::with_exposed_provenance_mut(addr as usize);
    // SAFETY: the caller's promise.
    unsafe {
        match size {
            Size::B => p.write(v as u8),
            Size::H => p.cast::<u16>().write_unaligned(v as u16),
            Size::W => p.cast::<u32>().write_unaligned(v as u32),
            Size::Dw => p.cast::<u64>().write_unaligned(v),
        }
    }
}

const SEQ: Ordering = Ordering::SeqCst;

fn atomic32(a: &AtomicU32, op: AtomicOp, src: u32, r0: u32) -> u32 {
    match op {
        AtomicOp::Add { .. } => a.fetch_add(src, SEQ),
        AtomicOp::Or { .. } => a.fetch_or(src, SEQ),
        AtomicOp::And { .. } => a.fetch_and(src, SEQ),
        AtomicOp::Xor { .. } => a.fetch_xor(src, SEQ),
        AtomicOp::Xchg => a.swap(src, SEQ),
        AtomicOp::Cmpxchg => a.compare_exchange(r0, src, SEQ, SEQ).unwrap_or_else(|old| old),
    }
}

fn atomic64(a: &AtomicU64, op: AtomicOp, src: u64, r0: u64) -> u64 {
    match op {
        AtomicOp::Add { .. } => a.fetch_add(src, SEQ),
        AtomicOp::Or { .. } => a.fetch_or(src, SEQ),
        AtomicOp::And { .. } => a.fetch_and(src, SEQ),
        AtomicOp::Xor { .. } => a.fetch_xor(src, SEQ),
        AtomicOp::Xchg => a.swap(src, SEQ),
        AtomicOp::Cmpxchg => a.compare_exchange(r0, src, SEQ, SEQ).unwrap_or_else(|old| old),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_touched_outside() {
        let mut buf = [0x11u8; 16];
        let s = Span::declare(buf.as_mut_ptr().expose_provenance() as u64, 8);
        assert_eq!(s.load(0, Size::Dw, Order::Plain), Ok(0x1111_1111_1111_1111));
        assert_eq!(s.load(1, Size::Dw, Order::Plain), Err(Refused::Outside));
        assert_eq!(s.load(u64::MAX, Size::B, Order::Plain), Err(Refused::Outside));
        assert_eq!(s.store(7, Size::H, 0, Order::Plain), Err(Refused::Outside));
        assert_eq!(s.write(8, &[]), Ok(()));
        assert_eq!(s.write(4, &[0; 5]), Err(Refused::Outside));
        assert_eq!(buf, [0x11; 16]);
    }

    #[test]
    fn atomics_want_alignment() {
        let mut buf = [0u64; 2];
        let s = Span::declare(buf.as_mut_ptr().expose_provenance() as u64, 16);
        let add = AtomicOp::Add { fetch: false };
        assert_eq!(s.atomic(4, add, Width::W64, 1, 0), Err(Refused::Unaligned));
        assert_eq!(s.atomic(4, add, Width::W32, 7, 0), Ok(0));
        assert_eq!(s.load(4, Size::W, Order::AcquireRelease), Ok(7));
        assert_eq!(s.load(5, Size::W, Order::AcquireRelease), Err(Refused::Unaligned));
        assert_eq!(s.load(3, Size::W, Order::Plain), Ok(0x700));
    }
}
