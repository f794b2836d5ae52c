//! Writing captures: pcap as it came (byte order, time unit), pcapng with nanosecond interfaces.

use super::pcapng::{BYTE_ORDER, ENHANCED_PACKET, EPB_FLAGS, IF_TSRESOL, INTERFACE, SECTION};
use super::{Direction, Format, Interface, MAX_CAPTURED, Record};
use std::io::{self, Write};

/// `if_tsresol` of nanoseconds.
const NANOSECONDS: u8 = 9;

/// Writes packets into a capture.
#[derive(Debug)]
pub struct Writer<W: Write> {
    out: W,
    format: Format,
    /// Interfaces described so far.
    described: usize,
    /// One record, put together before it is written.
    buf: Vec<u8>,
}

impl<W: Write> Writer<W> {
    /// Begins a capture. `first` is the interface of a pcap file; pcapng describes interfaces as packets need them.
    /// Give it a buffered output: a packet is one write.
    pub fn new(out: W, format: Format, first: Interface) -> io::Result<Writer<W>> {
        let mut w = Writer { out, format, described: 0, buf: Vec::new() };
        if format.pcapng {
            w.section()
        } else {
            w.file_header(first)
        }
        w.flush_record()?;
        Ok(w)
    }

    /// Writes a packet. `interfaces` are those of the capture it comes from: [`Record::interface`] counts in them, and
    /// pcapng output describes the ones up to it, and a
    /// packet of one beyond is an error. Times after 2106 do not fit into pcap and are written as its last.
    pub fn write(&mut self, packet: &Record<'_>, interfaces: &[Interface]) -> io::Result<()> {
        if self.format.pcapng {
            let known = interfaces.get(self.described..=packet.interface as usize).unwrap_or(&[]);
            for i in known {
                self.interface(*i);
            }
            self.described += known.len();
            if packet.interface as usize >= self.described {
                let why =
                    format!("packet of interface {}, which the capture does not describe", packet.interface);
                return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
            }
            self.enhanced(packet);
        } else {
            self.record(packet);
        }
        self.flush_record()
    }

    /// Writes what is buffered below and gives the output back.
    pub fn finish(mut self) -> io::Result<W> {
        self.out.flush()?;
        Ok(self.out)
    }

    fn flush_record(&mut self) -> io::Result<()> {
        self.out.write_all(&self.buf)?;
        self.buf.clear();
        Ok(())
    }

    fn u16(&mut self, v: u16) {
        let b = if self.format.big_endian { v.to_be_bytes() } else { v.to_le_bytes() };
        self.buf.extend(b);
    }

    fn u32(&mut self, v: u32) {
        let b = if self.format.big_endian { v.to_be_bytes() } else { v.to_le_bytes() };
        self.buf.extend(b);
    }

    fn u32s(&mut self, all: &[u32]) {
        for v in all {
            self.u32(*v);
        }
    }

    fn file_header(&mut self, interface: Interface) {
        self.u32(if self.format.nanoseconds { 0xa1b2_3c4d } else { 0xa1b2_c3d4 });
        self.u16(2);
        self.u16(4);
        self.u32s(&[0, 0, interface.snaplen.max(MAX_CAPTURED), interface.link.0]);
    }

    fn record(&mut self, p: &Record<'_>) {
        let frac = (p.time_ns % 1_000_000_000) as u32;
        let frac = if self.format.nanoseconds { frac } else { frac / 1000 };
        let seconds = u32::try_from(p.time_ns / 1_000_000_000).unwrap_or(u32::MAX);
        self.u32s(&[seconds, frac, p.data.len() as u32, p.orig_len]);
        self.buf.extend_from_slice(p.data);
    }

    fn section(&mut self) {
        self.u32s(&[SECTION, 28, BYTE_ORDER]);
        self.u16(1);
        self.u16(0);
        // Section length: not known.
        self.u32s(&[u32::MAX, u32::MAX, 28]);
    }

    fn interface(&mut self, i: Interface) {
        self.u32s(&[INTERFACE, 32]);
        self.u16(i.link.0 as u16);
        self.u16(0);
        self.u32(0);
        self.u16(IF_TSRESOL);
        self.u16(1);
        self.buf.extend([NANOSECONDS, 0, 0, 0]);
        self.u32s(&[0, 32]);
    }

    fn enhanced(&mut self, p: &Record<'_>) {
        let captured = p.data.len() as u32;
        let flags = match p.direction {
            Direction::Unknown => None,
            Direction::In => Some(1),
            Direction::Out => Some(2),
        };
        let options = if flags.is_some() { 12 } else { 0 };
        let len = 32 + captured.next_multiple_of(4) + options;
        let (high, low) = ((p.time_ns >> 32) as u32, p.time_ns as u32);
        self.u32s(&[ENHANCED_PACKET, len, p.interface, high, low, captured, p.orig_len]);
        self.buf.extend_from_slice(p.data);
        self.buf.resize(self.buf.len().next_multiple_of(4), 0);
        if let Some(flags) = flags {
            self.u16(EPB_FLAGS);
            self.u16(4);
            self.u32s(&[flags, 0]);
        }
        self.u32(len);
    }
}
