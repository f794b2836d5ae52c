//! The window through which a capture is read: a buffer that is refilled behind what was consumed.
//!
//! Always holds: `start <= end <= buf.len()`; the buffer grows to the largest request and no further, and only as far as
//! input really came.

use super::error::Problem;
use std::io::{ErrorKind, Read};

/// Bytes read at a time.
const CHUNK: usize = 256 << 10;

/// A window on an input.
#[derive(Debug)]
pub(super) struct Source<R> {
    input: R,
    buf: Vec<u8>,
    start: usize,
    end: usize,
    /// Offset in the file of `buf[start]`.
    offset: u64,
    /// Offset of the record or block being read.
    begun: u64,
}

impl<R: Read> Source<R> {
    pub(super) fn new(input: R) -> Source<R> {
        Source { input, buf: Vec::new(), start: 0, end: 0, offset: 0, begun: 0 }
    }

    /// A record or block begins here.
    pub(super) fn begin(&mut self) {
        self.begun = self.offset;
    }

    /// Offset in the file of the record or block that began last.
    pub(super) fn begun(&self) -> u64 {
        self.begun
    }

    /// Whether nothing is in the window.
    pub(super) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Bytes in the window.
    pub(super) fn available(&self) -> usize {
        self.end - self.start
    }

    /// The next `n` bytes without consuming them; `None` when the input ends before them.
    pub(super) fn peek(&mut self, n: usize) -> Result<Option<&[u8]>, Problem> {
        while self.available() < n {
            if !self.refill(n)? {
                return Ok(None);
            }
        }
        Ok(Some(&self.buf[self.start..self.start + n]))
    }

    /// Consumes `n` bytes that were peeked at; where they start in the window, for [`Source::bytes`].
    pub(super) fn consume(&mut self, n: usize) -> usize {
        let at = self.start;
        let n = n.min(self.available());
        self.start += n;
        self.offset += n as u64;
        at
    }

    /// Skips `n` bytes without keeping them; how many of them the input did not have.
    pub(super) fn skip(&mut self, mut n: u64) -> Result<u64, Problem> {
        while n > 0 {
            if self.is_empty() && !self.refill(1)? {
                break;
            }
            let step = n.min(self.available() as u64);
            self.consume(step as usize);
            n -= step;
        }
        Ok(n)
    }

    /// Bytes consumed last; valid until the window is asked for more.
    pub(super) fn bytes(&self, (at, len): (usize, usize)) -> &[u8] {
        &self.buf[at..at + len]
    }

    /// Reads more, making room for `n` bytes in a row. False at the end of the input.
    fn refill(&mut self, n: usize) -> Result<bool, Problem> {
        if self.start > 0 {
            self.buf.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        // Grow by what came, not by what was promised: a block of 16 MiB has to be there to be paid for.
        let room = (self.end + CHUNK).min(n.max(CHUNK));
        if self.buf.len() < room {
            self.buf.resize(room, 0);
        }
        loop {
            match self.input.read(&mut self.buf[self.end..]) {
                Ok(0) => return Ok(false),
                Ok(got) => {
                    self.end += got;
                    return Ok(true);
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(Problem::Io(e)),
            }
        }
    }
}
