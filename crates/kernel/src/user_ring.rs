//! The producer's side of a user ring buffer (`BPF_MAP_TYPE_USER_RINGBUF`, kernel/bpf/ringbuf.c): records from user space, which
//! programs take by `bpf_user_ringbuf_drain`. A record is a word of length and flags, a word of no concern, the bytes, and
//! padding to eight.
//!
//! Always holds: positions only grow; a record is whole before the kernel is told of it, so that a producer that dies leaves nothing
//! half done. One producer at a time: what others write to the same map meanwhile is not locked out.

use crate::door::UserRingMemory;
use skep_platform::Errno;

/// Bytes in front of a record.
const HEADER: u64 = 8;

/// Writes a record into a ring of `size` bytes.
pub(crate) fn push(ring: &mut dyn UserRingMemory, size: u64, record: &[u8]) -> Result<(), Errno> {
    let footprint = (HEADER + record.len() as u64).next_multiple_of(8);
    if footprint > size {
        return Err(Errno::E2BIG);
    }
    let at = ring.producer();
    let used = at.wrapping_sub(ring.consumer());
    if used > size || size - used < footprint {
        return Err(Errno::ENOSPC);
    }
    // No more than the size of a map: less than 4 GB.
    let header = u64::from(record.len() as u32);
    ring.write(at, &header.to_le_bytes());
    ring.write(at.wrapping_add(HEADER), record);
    ring.set_producer(at.wrapping_add(footprint));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Fake {
        bytes: [u8; 32],
        read: u64,
        written: u64,
    }

    impl UserRingMemory for Fake {
        fn consumer(&self) -> u64 {
            self.read
        }
        fn producer(&self) -> u64 {
            self.written
        }
        fn set_producer(&mut self, at: u64) {
            self.written = at;
        }
        fn write(&mut self, at: u64, bytes: &[u8]) {
            for (i, b) in bytes.iter().enumerate() {
                self.bytes[(at as usize + i) % 32] = *b;
            }
        }
    }

    #[test]
    fn records_stand_behind_each_other_until_there_is_no_room() {
        let mut ring = Fake { bytes: [0; 32], read: 24, written: 24 };
        assert_eq!(push(&mut ring, 32, b"abc"), Ok(()));
        assert_eq!(ring.written, 40);
        assert_eq!((&ring.bytes[24..32], &ring.bytes[..3]), (&[3, 0, 0, 0, 0, 0, 0, 0][..], &b"abc"[..]));
        assert_eq!(push(&mut ring, 32, b"123456789"), Err(Errno::ENOSPC));
        assert_eq!(push(&mut ring, 32, b"12345678"), Ok(()));
        assert_eq!(push(&mut ring, 32, b""), Err(Errno::ENOSPC));
        ring.read = 56;
        assert_eq!(push(&mut ring, 32, &[0; 25]), Err(Errno::E2BIG));
        assert_eq!(push(&mut ring, 32, &[7; 24]), Ok(()));
        assert_eq!(ring.written, 88);
    }
}
