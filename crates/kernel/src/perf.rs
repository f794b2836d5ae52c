//! Perf event arrays, the consumer's side: a ring of records for each CPU (tools/include/uapi/linux/perf_event.h,
//! kernel/events/ring_buffer.c).

use crate::door::{Door, PerfEvent, RingMemory};
use skep_platform::Errno;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

const PERF_TYPE_SOFTWARE: u32 = 1;
const PERF_COUNT_SW_BPF_OUTPUT: u64 = 10;
const PERF_SAMPLE_RAW: u64 = 1 << 10;
const RECORD_LOST: u32 = 2;
const RECORD_SAMPLE: u32 = 9;
/// `struct perf_event_header`.
const HEADER: u64 = 8;

/// One CPU's ring.
#[derive(Debug)]
struct Ring {
    cpu: u32,
    event: OwnedFd,
    memory: Box<dyn RingMemory>,
}

/// The rings of a perf event array.
#[derive(Debug, Default)]
pub(crate) struct Rings(Vec<Ring>);

impl Rings {
    /// Opens the ring of a CPU with `pages` pages of data and puts it into the map.
    pub(crate) fn open(
        &mut self,
        door: &dyn Door,
        map: BorrowedFd<'_>,
        cpu: u32,
        pages: usize,
    ) -> Result<(), Errno> {
        if self.0.iter().any(|r| r.cpu == cpu) {
            return Ok(());
        }
        let event = door.perf_event(&PerfEvent {
            kind: PERF_TYPE_SOFTWARE,
            config: PERF_COUNT_SW_BPF_OUTPUT,
            sample: 1,
            sample_type: PERF_SAMPLE_RAW,
            wakeup: 1,
            pid: -1,
            cpu: cpu as i32,
            ..PerfEvent::default()
        })?;
        let memory = door.perf_ring(event.as_fd(), pages)?;
        door.map_update(map, &cpu.to_ne_bytes(), &event.as_raw_fd().to_ne_bytes(), 0)?;
        door.perf_enable(event.as_fd(), true)?;
        self.0.push(Ring { cpu, event, memory });
        Ok(())
    }

    pub(crate) fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.0.iter().map(|r| r.event.as_fd())
    }

    /// Calls `f` with each sample that is there; samples that the kernel had to drop.
    pub(crate) fn consume(&mut self, f: &mut dyn FnMut(u32, &[u8]) -> ControlFlow<()>) -> Result<u64, Errno> {
        let mut lost = 0;
        for ring in &mut self.0 {
            lost += consume(&mut *ring.memory, &mut |sample| f(ring.cpu, sample));
        }
        Ok(lost)
    }
}

fn consume(ring: &mut dyn RingMemory, f: &mut dyn FnMut(&[u8]) -> ControlFlow<()>) -> u64 {
    let (mut at, mut lost, mut body) = (ring.consumer(), 0, Vec::new());
    let end = ring.producer();
    while end.wrapping_sub(at) >= HEADER {
        let (kind, size) = (ring.word(at), u64::from(ring.word(at + 4) >> 16));
        if size < HEADER || size > end.wrapping_sub(at) {
            // Not a record: the ring is not what it should be; what is left of it is given up.
            ring.set_consumer(end);
            return lost;
        }
        body.clear();
        ring.copy(at + HEADER, (size - HEADER) as usize, &mut body);
        at += size;
        let mut flow = ControlFlow::Continue(());
        match kind {
            RECORD_SAMPLE => {
                let len = body.get(..4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_ne_bytes);
                flow = f(body.get(4..4 + len as usize).unwrap_or_default());
            }
            RECORD_LOST => {
                lost += body.get(8..16).and_then(|b| b.try_into().ok()).map_or(0, u64::from_ne_bytes);
            }
            _ => {}
        }
        ring.set_consumer(at);
        if flow.is_break() {
            return lost;
        }
    }
    lost
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
        fn put(&mut self, kind: u32, body: &[u8]) {
            let mut r = kind.to_le_bytes().to_vec();
            r.extend([0, 0]);
            r.extend((8 + body.len() as u16).to_le_bytes());
            r.extend(body);
            for b in r {
                let n = self.bytes.len() as u64;
                self.bytes[(self.written % n) as usize] = b;
                self.written += 1;
            }
        }
    }

    #[test]
    fn samples_and_losses_across_the_end() {
        let mut ring = Fake { bytes: vec![0; 64], read: 56, written: 56 };
        ring.put(RECORD_SAMPLE, &[3, 0, 0, 0, 7, 8, 9, 0]);
        ring.put(RECORD_LOST, &[0, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0]);
        let mut got = Vec::new();
        let lost = consume(&mut ring, &mut |s| {
            got.push(s.to_vec());
            ControlFlow::Continue(())
        });
        assert_eq!((lost, got), (5, vec![vec![7, 8, 9]]));
        assert_eq!(ring.read, ring.written);
        // Bytes that are no record end the reading.
        ring.put(RECORD_SAMPLE, &[]);
        ring.bytes[(ring.read % 64) as usize + 6] = 0;
        assert_eq!(consume(&mut ring, &mut |_| ControlFlow::Continue(())), 0);
        assert_eq!(ring.read, ring.written);
    }
}
