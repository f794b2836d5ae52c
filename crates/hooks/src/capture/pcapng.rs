//! The pcapng format: blocks of a type, a length, a body and the length again; a section header says the byte order.
//!
//! Facts: draft-ietf-opsawg-pcapng. Read: section headers, interface descriptions (link type, `if_tsresol`,
//! `if_tsoffset`), enhanced, simple and the obsolete packet blocks. Other blocks are skipped without being kept.
//!
//! Interfaces are numbered through all sections, so that a packet names its interface by one number.

use super::error::{Problem, What};
use super::source::Source;
use super::{Direction, Found, Interface, LinkType, MAX_BLOCK, MAX_CAPTURED, MAX_INTERFACES, Order};
use std::io::Read;

/// Block type of a section header: the same in both byte orders.
pub(super) const SECTION: u32 = 0x0a0d_0d0a;
/// What a section header says in its own byte order.
pub(super) const BYTE_ORDER: u32 = 0x1a2b_3c4d;
pub(super) const INTERFACE: u32 = 1;
const OBSOLETE_PACKET: u32 = 2;
const SIMPLE_PACKET: u32 = 3;
pub(super) const ENHANCED_PACKET: u32 = 6;

/// `if_tsresol`, `if_tsoffset` of interfaces; `epb_flags` of packets.
pub(super) const IF_TSRESOL: u16 = 9;
const IF_TSOFFSET: u16 = 14;
pub(super) const EPB_FLAGS: u16 = 2;

/// Block type, length, and length again.
const FRAME: u32 = 12;

#[derive(Debug)]
pub(super) struct Reader {
    order: Order,
    interfaces: Vec<Interface>,
    clocks: Vec<Clock>,
    /// Interface of this section's number 0.
    base: usize,
}

impl Reader {
    /// Reads the first section header.
    pub(super) fn start<R: Read>(source: &mut Source<R>) -> Result<Reader, Problem> {
        let order = Order { big: false };
        let mut reader = Reader { order, interfaces: Vec::new(), clocks: Vec::new(), base: 0 };
        reader.next_block(source)?;
        Ok(reader)
    }

    pub(super) fn big_endian(&self) -> bool {
        self.order.big
    }

    pub(super) fn interfaces(&self) -> &[Interface] {
        &self.interfaces
    }

    /// Finds the next packet, taking in what stands before it.
    pub(super) fn next<R: Read>(&mut self, source: &mut Source<R>) -> Result<Option<Found>, Problem> {
        loop {
            match self.next_block(source)? {
                Block::End => return Ok(None),
                Block::Other => {}
                Block::Packet(found) => return Ok(Some(found)),
            }
        }
    }

    fn next_block<R: Read>(&mut self, source: &mut Source<R>) -> Result<Block, Problem> {
        source.begin();
        let Some(h) = source.peek(12)? else {
            return match source.available() as u64 {
                0 => Ok(Block::End),
                have => Err(Problem::Truncated { what: What::Block, needed: 12, have }),
            };
        };
        if (Order { big: false }).u32(h, 0) == SECTION {
            self.order = section_order(h)?;
        }
        let (kind, len) = (self.order.u32(h, 0), self.order.u32(h, 4));
        if len < FRAME || !len.is_multiple_of(4) {
            return Err(Problem::BlockLength(len));
        }
        if !matches!(kind, SECTION | INTERFACE | OBSOLETE_PACKET | SIMPLE_PACKET | ENHANCED_PACKET) {
            return self.skip(source, len);
        }
        if len > MAX_BLOCK {
            return Err(Problem::TooLong { what: What::Block, len, max: MAX_BLOCK });
        }
        let Some(block) = source.peek(len as usize)? else {
            let have = source.available() as u64;
            return Err(Problem::Truncated { what: What::Block, needed: len as u64, have });
        };
        let again = self.order.u32(block, len as usize - 4);
        if again != len {
            return Err(Problem::BlockLengths(len, again));
        }
        let found = self.take_in(kind, &block[8..len as usize - 4])?;
        let offset = source.begun();
        let at = source.consume(len as usize);
        Ok(match found {
            None => Block::Other,
            Some(mut f) => {
                (f.data.0, f.offset) = (f.data.0 + at + 8, offset);
                Block::Packet(f)
            }
        })
    }

    fn skip<R: Read>(&self, source: &mut Source<R>, len: u32) -> Result<Block, Problem> {
        let left = source.skip(len as u64)?;
        if left == 0 {
            return Ok(Block::Other);
        }
        let needed = len as u64;
        Err(Problem::Truncated { what: What::Block, needed, have: needed - left })
    }

    /// What a block's body says; the range of a packet is counted from the body's start.
    fn take_in(&mut self, kind: u32, body: &[u8]) -> Result<Option<Found>, Problem> {
        match kind {
            SECTION => self.section(body).map(|()| None),
            INTERFACE => self.interface(body).map(|()| None),
            SIMPLE_PACKET => self.simple(body).map(Some),
            _ => self.packet(kind, body).map(Some),
        }
    }

    fn section(&mut self, body: &[u8]) -> Result<(), Problem> {
        need(body, 16, "section header")?;
        let version = (self.order.u16(body, 4), self.order.u16(body, 6));
        if version.0 != 1 {
            return Err(Problem::Version(version.0, version.1));
        }
        self.base = self.interfaces.len();
        Ok(())
    }

    fn interface(&mut self, body: &[u8]) -> Result<(), Problem> {
        need(body, 8, "interface description")?;
        if self.interfaces.len() == MAX_INTERFACES {
            return Err(Problem::TooManyInterfaces);
        }
        let mut clock = Clock::default();
        for (code, value) in options(self.order, &body[8..]) {
            match (code, value) {
                (IF_TSRESOL, [resolution, ..]) => clock.units = units(*resolution)?,
                (IF_TSOFFSET, [a, b, c, d, e, f, g, h]) => {
                    clock.offset = self.order.i64(&[*a, *b, *c, *d, *e, *f, *g, *h]);
                }
                _ => {}
            }
        }
        let link = LinkType::from_file(self.order.u16(body, 0) as u32);
        self.interfaces.push(Interface { link, snaplen: self.order.u32(body, 4) });
        self.clocks.push(clock);
        Ok(())
    }

    /// A packet without time or interface number: the section's first interface.
    fn simple(&mut self, body: &[u8]) -> Result<Found, Problem> {
        need(body, 4, "simple packet")?;
        let (at, interface) = self.interface_at(0)?;
        let orig_len = self.order.u32(body, 0);
        let limit = if interface.snaplen == 0 { u32::MAX } else { interface.snaplen };
        let captured = (orig_len.min(limit) as usize).min(body.len() - 4);
        packet_fits(captured, body.len() - 4)?;
        let link = interface.link;
        Ok(found(at, link, (4, captured), orig_len))
    }

    /// An enhanced packet, or an obsolete one: it has a drop counter in the upper half of the interface number.
    fn packet(&mut self, kind: u32, body: &[u8]) -> Result<Found, Problem> {
        need(body, 20, "packet")?;
        let number = match kind {
            OBSOLETE_PACKET => self.order.u16(body, 0) as u32,
            _ => self.order.u32(body, 0),
        };
        let (at, interface) = self.interface_at(number)?;
        let link = interface.link;
        let [high, low, captured, orig_len] = [4, 8, 12, 16].map(|at| self.order.u32(body, at));
        packet_fits(captured as usize, body.len() - 20)?;
        let mut f = found(at, link, (20, captured as usize), orig_len);
        f.time_ns = self.clocks[at].nanoseconds((high as u64) << 32 | low as u64);
        let options_at = (20 + captured as usize).next_multiple_of(4).min(body.len());
        f.direction = direction(self.order, &body[options_at..]);
        Ok(f)
    }

    fn interface_at(&self, number: u32) -> Result<(usize, &Interface), Problem> {
        let at = self.base.saturating_add(number as usize);
        let known = self.interfaces.len() - self.base;
        self.interfaces.get(at).map(|i| (at, i)).ok_or(Problem::NoInterface { number, known })
    }
}

/// What stood in the file.
enum Block {
    End,
    Other,
    Packet(Found),
}

fn found(interface: usize, link: LinkType, data: (usize, usize), orig_len: u32) -> Found {
    let direction = Direction::Unknown;
    Found { data, orig_len, time_ns: 0, interface: interface as u32, link, direction, offset: 0 }
}

/// Byte order of a section, from the third word of its header.
fn section_order(header: &[u8]) -> Result<Order, Problem> {
    [false, true]
        .map(|big| Order { big })
        .into_iter()
        .find(|o| o.u32(header, 8) == BYTE_ORDER)
        .ok_or(Problem::ByteOrder([header[8], header[9], header[10], header[11]]))
}

fn need(body: &[u8], needed: usize, what: &'static str) -> Result<(), Problem> {
    if body.len() < needed { Err(Problem::ShortBlock { what, needed, have: body.len() }) } else { Ok(()) }
}

fn packet_fits(captured: usize, room: usize) -> Result<(), Problem> {
    if captured > MAX_CAPTURED as usize {
        let len = captured as u32;
        return Err(Problem::TooLong { what: What::Record, len, max: MAX_CAPTURED });
    }
    if captured > room {
        return Err(Problem::ShortBlock { what: "packet", needed: captured, have: room });
    }
    Ok(())
}

/// Options of a block: code and value, until the end marker or the first that does not fit.
fn options(order: Order, mut rest: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        if rest.len() < 4 {
            return None;
        }
        let (code, len) = (order.u16(rest, 0), order.u16(rest, 2) as usize);
        let value = rest.get(4..4 + len)?;
        if code == 0 {
            return None;
        }
        rest = rest.get(4 + len.next_multiple_of(4)..).unwrap_or(&[]);
        Some((code, value))
    })
}

fn direction(order: Order, rest: &[u8]) -> Direction {
    let flags = options(order, rest).find(|(code, v)| *code == EPB_FLAGS && v.len() == 4);
    match flags.map(|(_, v)| order.u32(v, 0) & 3) {
        Some(1) => Direction::In,
        Some(2) => Direction::Out,
        _ => Direction::Unknown,
    }
}

/// How an interface counts time.
#[derive(Clone, Copy, Debug)]
struct Clock {
    /// Units in a second.
    units: u64,
    /// Seconds to add.
    offset: i64,
}

impl Default for Clock {
    fn default() -> Clock {
        Clock { units: 1_000_000, offset: 0 }
    }
}

impl Clock {
    /// Nanoseconds since 1970; times outside of what 64 bits hold are clamped.
    fn nanoseconds(self, time: u64) -> u64 {
        let units = self.units as i128;
        let ns = time as i128 * 1_000_000_000 / units + self.offset as i128 * 1_000_000_000;
        ns.clamp(0, u64::MAX as i128) as u64
    }
}

/// Units in a second of an `if_tsresol`: a power of ten, or of two with the highest bit set.
fn units(resolution: u8) -> Result<u64, Problem> {
    let units = match resolution {
        0x80.. => 1u64.checked_shl((resolution & 0x7f) as u32),
        _ => 10u64.checked_pow(resolution as u32),
    };
    units.ok_or(Problem::TimeResolution(resolution))
}
