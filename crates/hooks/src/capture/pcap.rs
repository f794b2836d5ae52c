//! The pcap format: a header of 24 bytes, then records of 16 bytes and the packet.
//!
//! Facts: pcap-savefile(5), draft-ietf-opsawg-pcap. Also read: the "modified" format of old Red Hat systems, whose record
//! headers have eight more bytes.

use super::error::{Problem, What};
use super::source::Source;
use super::{Direction, Format, Found, Interface, LinkType, MAX_CAPTURED, Order};
use std::io::Read;

/// Microseconds, nanoseconds, and the modified format.
const MICROSECONDS: u32 = 0xa1b2_c3d4;
const NANOSECONDS: u32 = 0xa1b2_3c4d;
const MODIFIED: u32 = 0xa1b2_cd34;

/// Bits of the link type field that are the link type; the others tell of frame check sequences.
const LINK_MASK: u32 = 0x03ff_ffff;

#[derive(Debug)]
pub(super) struct Reader {
    order: Order,
    interface: Interface,
    nanoseconds: bool,
    record_header: usize,
}

impl Reader {
    /// Reads the file header.
    pub(super) fn start<R: Read>(
        source: &mut Source<R>,
        magic: [u8; 4],
    ) -> Result<(Reader, Format), Problem> {
        let known = |m: u32| [MICROSECONDS, NANOSECONDS, MODIFIED].contains(&m);
        let (little, big) = (u32::from_le_bytes(magic), u32::from_be_bytes(magic));
        let (order, number) = match (known(little), known(big)) {
            (true, _) => (Order { big: false }, little),
            (_, true) => (Order { big: true }, big),
            _ => return Err(Problem::NotACapture(magic)),
        };
        let have = source.available();
        let Some(h) = source.peek(24)? else {
            return Err(Problem::Truncated { what: What::FileHeader, needed: 24, have: have as u64 });
        };
        let version = (order.u16(h, 4), order.u16(h, 6));
        if version.0 != 2 {
            return Err(Problem::Version(version.0, version.1));
        }
        let interface =
            Interface { link: LinkType::from_file(order.u32(h, 20) & LINK_MASK), snaplen: order.u32(h, 16) };
        source.consume(24);
        let nanoseconds = number == NANOSECONDS;
        let record_header = if number == MODIFIED { 24 } else { 16 };
        let format = Format { pcapng: false, big_endian: order.big, nanoseconds };
        Ok((Reader { order, interface, nanoseconds, record_header }, format))
    }

    pub(super) fn interface(&self) -> &Interface {
        &self.interface
    }

    /// Finds the next record.
    pub(super) fn next<R: Read>(&mut self, source: &mut Source<R>) -> Result<Option<Found>, Problem> {
        source.begin();
        let header = self.record_header;
        let Some(h) = source.peek(header)? else {
            return match source.available() {
                0 => Ok(None),
                have => {
                    Err(Problem::Truncated { what: What::Record, needed: header as u64, have: have as u64 })
                }
            };
        };
        let [sec, frac, captured, orig_len] = [0, 4, 8, 12].map(|at| self.order.u32(h, at));
        if captured > MAX_CAPTURED {
            return Err(Problem::TooLong { what: What::Record, len: captured, max: MAX_CAPTURED });
        }
        let total = header + captured as usize;
        if source.peek(total)?.is_none() {
            let have = source.available() as u64;
            return Err(Problem::Truncated { what: What::Record, needed: total as u64, have });
        }
        let offset = source.begun();
        let at = source.consume(total);
        let frac_ns = if self.nanoseconds { frac as u64 } else { frac as u64 * 1000 };
        Ok(Some(Found {
            data: (at + header, captured as usize),
            orig_len,
            time_ns: sec as u64 * 1_000_000_000 + frac_ns,
            interface: 0,
            link: self.interface.link,
            direction: Direction::Unknown,
            offset,
        }))
    }
}
