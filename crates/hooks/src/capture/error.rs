//! What can be wrong with a capture, where, and what to do about it.

use super::{MAX_CAPTURED, MAX_INTERFACES};
use std::{fmt, io};

/// Why a capture could not be read further. Packets before it were delivered.
#[derive(Debug)]
pub struct CaptureError {
    /// Byte of the file at which the record or block in question starts.
    pub offset: u64,
    /// Packets that were read before it.
    pub packets: u64,
    /// What is wrong.
    pub kind: CaptureErrorKind,
}

/// What is wrong with a capture.
#[derive(Debug)]
pub enum CaptureErrorKind {
    /// Reading failed.
    Io(io::Error),
    /// Not a byte in it.
    Empty,
    /// Not pcap and not pcapng: its first four bytes.
    NotACapture([u8; 4]),
    /// A version of the format that is not known: major, minor.
    Version(u16, u16),
    /// The file ends inside something.
    Truncated {
        /// Inside what.
        what: What,
        /// Bytes it needs.
        needed: u64,
        /// Bytes there are.
        have: u64,
    },
    /// Something claims to be longer than anything sensible.
    TooLong {
        /// What.
        what: What,
        /// Bytes claimed.
        len: u32,
        /// Most that is read.
        max: u32,
    },
    /// A pcapng block of a length that no block has.
    BlockLength(u32),
    /// The two lengths of a block differ.
    BlockLengths(u32, u32),
    /// A section that says no byte order.
    ByteOrder([u8; 4]),
    /// A block too short for what it has to hold.
    ShortBlock {
        /// Which block.
        what: &'static str,
        /// Bytes it needs.
        needed: usize,
        /// Bytes it has.
        have: usize,
    },
    /// A packet of an interface that was not described.
    NoInterface {
        /// Interface number.
        number: u32,
        /// Interfaces described so far.
        known: usize,
    },
    /// More interfaces than [`MAX_INTERFACES`].
    TooManyInterfaces,
    /// An `if_tsresol` whose unit is too small to count.
    TimeResolution(u8),
    /// The filter cannot judge the packet.
    Filter(String),
}

/// What a file ended in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum What {
    FileHeader,
    Record,
    Block,
}

pub(super) use CaptureErrorKind as Problem;

impl CaptureError {
    pub(super) fn at(offset: u64, packets: u64, kind: CaptureErrorKind) -> CaptureError {
        CaptureError { offset, packets, kind }
    }
}

impl fmt::Display for CaptureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.packets, self.offset) {
            (0, 0) => {}
            (0, at) => write!(f, "byte {at}: ")?,
            (1, at) => write!(f, "byte {at}, after 1 packet that was read: ")?,
            (n, at) => write!(f, "byte {at}, after {n} packets that were read: ")?,
        }
        write!(f, "{}", self.kind)
    }
}

impl std::error::Error for CaptureError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.kind {
            Problem::Io(e) => Some(e),
            _ => None,
        }
    }
}

impl fmt::Display for CaptureErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Problem::Io(e) => write!(f, "{e}"),
            Problem::Empty => {
                f.write_str("the capture is empty: not even a file header; was anything captured?")
            }
            Problem::NotACapture(magic) => not_a_capture(f, *magic),
            Problem::Version(a, b) => {
                write!(f, "version {a}.{b} of the format is not known; pcap 2 and pcapng 1 are")
            }
            Problem::Truncated { what, needed, have } => write!(
                f,
                "the file ends inside a {what}: it needs {needed} bytes and {have} are there; the capture was cut off, \
                 or is still being written"
            ),
            Problem::TooLong { what, len, max } => write!(
                f,
                "a {what} of {len} bytes, more than the {max} that any has; the file is damaged from here on"
            ),
            Problem::BlockLength(len) => write!(
                f,
                "a block of {len} bytes: blocks have at least 12 and a multiple of 4; the file is damaged from here on"
            ),
            Problem::BlockLengths(a, b) => write!(
                f,
                "a block is {a} bytes long by its head and {b} by its tail; the file is damaged from here on"
            ),
            Problem::ByteOrder(b) => write!(
                f,
                "a section header with byte order mark {b:02x?}, which is neither 1a2b3c4d nor 4d3c2b1a; the file is \
                 damaged from here on"
            ),
            Problem::ShortBlock { what, needed, have } => write!(
                f,
                "a {what} block that needs {needed} bytes has {have}; the file is damaged from here on"
            ),
            Problem::NoInterface { number, known } => write!(
                f,
                "a packet of interface {number}, and {known} interfaces are described in this section; the file is \
                 damaged, or blocks were taken out"
            ),
            Problem::TooManyInterfaces => write!(f, "more than {MAX_INTERFACES} interfaces"),
            Problem::Filter(why) => write!(f, "{why}"),
            Problem::TimeResolution(r) => {
                write!(f, "an interface counts time in a unit too small to count (if_tsresol {r:#x})")
            }
        }
    }
}

fn not_a_capture(f: &mut fmt::Formatter<'_>, magic: [u8; 4]) -> fmt::Result {
    let packed = match magic {
        [0x1f, 0x8b, ..] => Some(("gzip", "gunzip")),
        [0x28, 0xb5, 0x2f, 0xfd] => Some(("zstd", "unzstd")),
        [0xfd, b'7', b'z', b'X'] => Some(("xz", "unxz")),
        [0x04, 0x22, 0x4d, 0x18] => Some(("lz4", "unlz4")),
        _ => None,
    };
    match packed {
        Some((format, tool)) => write!(f, "the file is packed with {format}; unpack it with {tool} first"),
        None => write!(
            f,
            "not a capture: it starts with {:02x} {:02x} {:02x} {:02x}, and pcap and pcapng files do not; captures are \
             made by tcpdump -w, dumpcap or tshark",
            magic[0], magic[1], magic[2], magic[3]
        ),
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            What::FileHeader => "file header",
            What::Record => "packet",
            What::Block => "block",
        })
    }
}

const _: () = assert!(MAX_CAPTURED < super::MAX_BLOCK);
