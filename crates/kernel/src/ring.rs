//! The consumer's side of a kernel ring buffer (kernel/bpf/ringbuf.c): records are a word of length and flags, a word of
//! no concern, the bytes, and padding to eight.
//!
//! Always holds: positions only grow; a record that is still being written ends the reading, since those behind it are not
//! to be seen before it.

use crate::door::RingMemory;
use skep_platform::Errno;
use std::ops::ControlFlow;

/// The record is being written.
const BUSY: u32 = 1 << 31;
/// The record was given up.
const DISCARDED: u32 = 1 << 30;
/// Bytes in front of a record.
const HEADER: u64 = 8;

/// Calls `f` with what is there; number of records.
pub(crate) fn consume(
    ring: &mut dyn RingMemory,
    f: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
) -> Result<usize, Errno> {
    let (mut at, mut records, mut record) = (ring.consumer(), 0, Vec::new());
    loop {
        let end = ring.producer();
        if at >= end {
            return Ok(records);
        }
        while at < end {
            let word = ring.word(at);
            if word & BUSY != 0 {
                return Ok(records);
            }
            let len = word & !(BUSY | DISCARDED);
            let next = at + (HEADER + u64::from(len)).next_multiple_of(8);
            let mut flow = ControlFlow::Continue(());
            if word & DISCARDED == 0 {
                record.clear();
                ring.copy(at + HEADER, len as usize, &mut record);
                records += 1;
                flow = f(&record);
            }
            at = next;
            ring.set_consumer(at);
            if flow.is_break() {
                return Ok(records);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Fake {
        bytes: Vec<u8>,
        read: u64,
        written: u64,
    }

    impl RingMemory for Fake {
        fn consumer(&self) -> u64 {
            self.read
        }
        fn set_consumer(&mut self, at: u64) {
            self.read = at;
        }
        fn producer(&self) -> u64 {
            self.written
        }
        fn word(&self, at: u64) -> u32 {
            let mut b = Vec::new();
            self.copy(at, 4, &mut b);
            u32::from_le_bytes([b[0], b[1], b[2], b[3]])
        }
        fn copy(&self, at: u64, len: usize, out: &mut Vec<u8>) {
            out.extend((0..len).map(|i| self.bytes[(at as usize + i) % self.bytes.len()]));
        }
    }

    impl Fake {
        fn put(&mut self, flags: u32, data: &[u8]) {
            let mut r = (data.len() as u32 | flags).to_le_bytes().to_vec();
            r.extend([0; 4]);
            r.extend(data);
            r.resize(r.len().next_multiple_of(8), 0);
            for b in r {
                let n = self.bytes.len() as u64;
                self.bytes[(self.written % n) as usize] = b;
                self.written += 1;
            }
        }
    }

    fn all(ring: &mut Fake) -> Vec<Vec<u8>> {
        let mut got = Vec::new();
        let n = consume(ring, &mut |r| {
            got.push(r.to_vec());
            ControlFlow::Continue(())
        });
        assert_eq!(n, Ok(got.len()));
        got
    }

    #[test]
    fn records_in_order_across_the_end_without_the_discarded() {
        let mut ring = Fake { bytes: vec![0; 64], read: 40, written: 40 };
        ring.put(0, b"first");
        ring.put(DISCARDED, b"never");
        ring.put(0, b"second record");
        assert_eq!(all(&mut ring), [b"first".to_vec(), b"second record".to_vec()]);
        assert_eq!(ring.read, ring.written);
        assert!(all(&mut ring).is_empty());
    }

    #[test]
    fn a_busy_record_holds_up_those_behind_it() {
        let mut ring = Fake { bytes: vec![0; 64], read: 0, written: 0 };
        ring.put(0, b"a");
        ring.put(BUSY, b"b");
        ring.put(0, b"c");
        assert_eq!(all(&mut ring), [b"a".to_vec()]);
        assert_eq!(ring.read, 16);
    }

    #[test]
    fn breaking_leaves_the_rest() {
        let mut ring = Fake { bytes: vec![0; 64], read: 0, written: 0 };
        ring.put(0, b"a");
        ring.put(0, b"b");
        assert_eq!(consume(&mut ring, &mut |_| ControlFlow::Break(())), Ok(1));
        assert_eq!(all(&mut ring), [b"b".to_vec()]);
    }
}
