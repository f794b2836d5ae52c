//! Captures: pcap (microseconds and nanoseconds) and pcapng (several sections and interfaces, any time resolution), both
//! byte orders, read as a stream and written as they came.
//!
//! ```text
//!  file, pipe, bytes ── source::Source (a window of the file) ── pcap | pcapng ──► Record borrowed from the window
//! ```
//!
//! Always holds: packets are not copied one by one; memory stays below [`MAX_BLOCK`] and 16 bytes an interface whatever the
//! file says; every error names the byte it was found at and how many packets came before, and those have been delivered.
//!
//! Why a reader of our own: it is the four fixed structures of two frozen formats. `pcap-parser` 0.17 takes the time
//! offset of big-endian sections for little-endian and knows no binary time resolutions; `pcap-file` 3 is a release
//! candidate with three procedural macros that gives up a capture for one record whose lengths disagree; `pcarp` reads
//! pcapng alone. None says where in the file it stopped. A memory map would be unsafe against a file that shrinks while
//! it is read, and captures are often still being written or come through a pipe.

mod error;
mod pcap;
mod pcapng;
mod source;
mod write;

pub use crate::link::LinkType;
pub use error::{CaptureError, CaptureErrorKind};
pub use write::Writer;

use error::Problem;
use source::Source;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Longest record or block that is read: more than any packet, less than a hostile file may claim.
pub const MAX_BLOCK: u32 = 16 << 20;
/// Longest packet in a capture (`MAXIMUM_SNAPLEN` of other tools).
pub const MAX_CAPTURED: u32 = 256 << 10;
/// Most interfaces of a capture.
pub const MAX_INTERFACES: usize = 1 << 16;

/// One packet as captured.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Record<'a> {
    /// Bytes that were captured.
    pub data: &'a [u8],
    /// Bytes it had on the wire; at least `data.len()`.
    pub orig_len: u32,
    /// Nanoseconds since 1970, 0 where the capture has no time.
    pub time_ns: u64,
    /// Index into [`Capture::interfaces`].
    pub interface: u32,
    /// What stands in front of the network header.
    pub link: LinkType,
    /// Direction, where the capture says one.
    pub direction: Direction,
    /// Byte of the file its record starts at.
    pub offset: u64,
}

/// Which way a packet went.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum Direction {
    Unknown,
    In,
    Out,
}

/// An interface of a capture; a pcap file has one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Interface {
    /// Link type of its packets.
    pub link: LinkType,
    /// Most bytes that were captured of a packet, 0 for no limit.
    pub snaplen: u32,
}

/// How a capture is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Format {
    /// pcapng, else pcap.
    pub pcapng: bool,
    /// Big-endian (of a pcapng: its first section).
    pub big_endian: bool,
    /// Times in nanoseconds, else microseconds. Always set for pcapng, which says its resolution.
    pub nanoseconds: bool,
}

/// A capture being read.
#[derive(Debug)]
pub struct Capture<R> {
    source: Source<R>,
    reader: Reader,
    format: Format,
    packets: u64,
    done: bool,
    keep: Option<Keep>,
}

/// Says which packets are wanted.
struct Keep(Box<Judge>);

/// Whether a packet is wanted, or why that cannot be told.
type Judge = dyn FnMut(&Record<'_>) -> Result<bool, String>;

impl std::fmt::Debug for Keep {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keep")
    }
}

#[derive(Debug)]
enum Reader {
    Pcap(pcap::Reader),
    Pcapng(pcapng::Reader),
}

impl Capture<File> {
    /// Opens a file and reads its header.
    pub fn open(path: &Path) -> Result<Capture<File>, CaptureError> {
        let file = File::open(path).map_err(|e| CaptureError::at(0, 0, Problem::Io(e)))?;
        Capture::new(file)
    }
}

impl<R: Read> Capture<R> {
    /// Reads the header of a capture.
    pub fn new(input: R) -> Result<Capture<R>, CaptureError> {
        let mut source = Source::new(input);
        let (reader, format) = start(&mut source).map_err(|p| CaptureError::at(source.begun(), 0, p))?;
        Ok(Capture { source, reader, format, packets: 0, done: false, keep: None })
    }

    /// How it is written.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Interfaces seen so far: pcapng may declare more between packets.
    pub fn interfaces(&self) -> &[Interface] {
        match &self.reader {
            Reader::Pcap(r) => std::slice::from_ref(r.interface()),
            Reader::Pcapng(r) => r.interfaces(),
        }
    }

    /// Passes over packets for which this says no; they are still counted. Where it cannot tell, reading ends with its words.
    pub fn keep(&mut self, judge: impl FnMut(&Record<'_>) -> Result<bool, String> + 'static) {
        self.keep = Some(Keep(Box::new(judge)));
    }

    /// Packets read so far.
    pub fn packets(&self) -> u64 {
        self.packets
    }

    /// The next packet; `None` at the end. After an error the capture is at its end. Cost: no copy of the packet.
    pub fn next_packet(&mut self) -> Result<Option<Record<'_>>, CaptureError> {
        let found = self.advance()?;
        Ok(found.map(|at| at.record(self.source.bytes(at.data))))
    }

    /// The next packet, and the interfaces as [`Writer::write`] wants them.
    pub fn next_described(&mut self) -> Result<Option<(Record<'_>, &[Interface])>, CaptureError> {
        let found = self.advance()?;
        Ok(found.map(|at| (at.record(self.source.bytes(at.data)), self.interfaces())))
    }

    /// Finds the next packet that is wanted.
    fn advance(&mut self) -> Result<Option<Found>, CaptureError> {
        while !self.done {
            let found = match &mut self.reader {
                Reader::Pcap(r) => r.next(&mut self.source),
                Reader::Pcapng(r) => r.next(&mut self.source),
            };
            let wanted = match (found, &mut self.keep) {
                (Ok(Some(at)), Some(keep)) => keep.0(&at.record(self.source.bytes(at.data)))
                    .map(|w| Some((at, w)))
                    .map_err(Problem::Filter),
                (found, _) => found.map(|f| f.map(|at| (at, true))),
            };
            match wanted {
                Ok(Some((at, wanted))) => {
                    self.packets += 1;
                    if wanted {
                        return Ok(Some(at));
                    }
                }
                Ok(None) => self.done = true,
                Err(problem) => {
                    self.done = true;
                    return Err(CaptureError::at(self.source.begun(), self.packets, problem));
                }
            }
        }
        Ok(None)
    }
}

/// A packet found in the window: what [`Record`] says, with its bytes as a range.
#[derive(Clone, Copy, Debug)]
struct Found {
    /// Start and length of the packet in the window.
    data: (usize, usize),
    orig_len: u32,
    time_ns: u64,
    interface: u32,
    link: LinkType,
    direction: Direction,
    offset: u64,
}

impl Found {
    fn record(self, data: &[u8]) -> Record<'_> {
        Record {
            data,
            orig_len: self.orig_len.max(data.len() as u32),
            time_ns: self.time_ns,
            interface: self.interface,
            link: self.link,
            direction: self.direction,
            offset: self.offset,
        }
    }
}

/// Recognises the format by the first four bytes.
fn start<R: Read>(source: &mut Source<R>) -> Result<(Reader, Format), Problem> {
    let magic = match source.peek(4)? {
        Some(m) => [m[0], m[1], m[2], m[3]],
        None => return Err(if source.is_empty() { Problem::Empty } else { Problem::NotACapture([0; 4]) }),
    };
    if magic == pcapng::SECTION.to_le_bytes() {
        let reader = pcapng::Reader::start(source)?;
        let format = Format { pcapng: true, big_endian: reader.big_endian(), nanoseconds: true };
        return Ok((Reader::Pcapng(reader), format));
    }
    let (reader, format) = pcap::Reader::start(source, magic)?;
    Ok((Reader::Pcap(reader), format))
}

/// Reads integers of one byte order from a slice whose length was checked.
#[derive(Clone, Copy, Debug)]
struct Order {
    big: bool,
}

impl Order {
    fn u16(self, b: &[u8], at: usize) -> u16 {
        let v = [b[at], b[at + 1]];
        if self.big { u16::from_be_bytes(v) } else { u16::from_le_bytes(v) }
    }

    fn u32(self, b: &[u8], at: usize) -> u32 {
        let v = [b[at], b[at + 1], b[at + 2], b[at + 3]];
        if self.big { u32::from_be_bytes(v) } else { u32::from_le_bytes(v) }
    }

    fn i64(self, b: &[u8; 8]) -> i64 {
        if self.big { i64::from_be_bytes(*b) } else { i64::from_le_bytes(*b) }
    }
}
