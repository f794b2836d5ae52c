//! Live packets: a packet socket on one network device, with a classic filter in the kernel.
//!
//! ```text
//!  socket (receives nothing) ─ attach the filter ─► bind to the device ─► wait ─► receive … ─► statistics
//! ```
//!
//! Always holds: the filter is attached before the first packet can arrive; the process sleeps while there is none; dropping
//! the value closes the socket, and nothing stays in the kernel.

use crate::raw::packet as raw;
use skep_platform::Errno;
use std::fmt;
use std::os::fd::{AsFd, OwnedFd};

/// One classic instruction as the kernel takes it (`struct sock_filter`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct SockFilter {
    /// Operation.
    pub code: u16,
    /// Instructions to skip when the condition holds.
    pub jt: u8,
    /// Instructions to skip when it does not.
    pub jf: u8,
    /// The constant.
    pub k: u32,
}

/// What the kernel told of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Received {
    /// Its length, of which the buffer has as much as fits.
    pub len: usize,
    pub time_ns: u64,
    /// A tag that was taken out: EtherType and TCI.
    pub vlan: Option<(u16, u16)>,
}

/// Why a device cannot be listened to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PacketError {
    /// What was asked of the kernel.
    pub what: &'static str,
    /// Its answer.
    pub errno: Errno,
}

impl fmt::Display for PacketError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {}: {}", self.what, self.errno)
    }
}

impl std::error::Error for PacketError {}

fn at(what: &'static str) -> impl Fn(Errno) -> PacketError {
    move |errno| PacketError { what, errno }
}

/// A live packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Live<'a> {
    /// Its bytes, as many as were asked for. A tag that the device took out is where it was.
    pub data: &'a [u8],
    /// Its length on the wire.
    pub len: u32,
    /// Nanoseconds since 1970.
    pub time_ns: u64,
}

/// What waiting ended with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// Packets may be there.
    Packets,
    /// SIGINT or SIGTERM has come.
    Stop,
}

/// A socket that receives the packets of a device.
#[derive(Debug)]
pub struct PacketSocket {
    fd: OwnedFd,
    signals: OwnedFd,
    buffer: Vec<u8>,
    hardware: u16,
}

/// Room for packets that wait, in bytes: as much as tcpdump asks for.
const ROOM: i32 = 2 << 20;
/// Room in front of a packet for a tag that is put back.
const TAG: usize = 4;
/// Addresses in front of the tag.
const ADDRESSES: usize = 12;

impl PacketSocket {
    /// A socket for a device that is there. It receives nothing before [`PacketSocket::start`]. From here on SIGINT and
    /// SIGTERM do not end the process: [`PacketSocket::wait`] tells of them.
    pub fn open(device: &str) -> Result<PacketSocket, PacketError> {
        let fd = raw::socket().map_err(at("make a packet socket"))?;
        let hardware = raw::hardware(fd.as_fd(), device).map_err(at("find the network device"))?;
        let signals = raw::signals().map_err(at("wait for signals"))?;
        Ok(PacketSocket { fd, signals, buffer: Vec::new(), hardware })
    }

    /// What its frames begin with (`ARPHRD_*`: 1 Ethernet, 772 loopback).
    pub fn hardware(&self) -> u16 {
        self.hardware
    }

    /// Begins to receive what the filter accepts, up to so many bytes of each packet. Fails with `EINVAL` if the kernel does
    /// not take the filter.
    pub fn start(&mut self, device: &str, filter: &[SockFilter], snaplen: usize) -> Result<(), PacketError> {
        let index =
            crate::raw::ifindex(device).ok_or(Errno::ENODEV).map_err(at("find the network device"))?;
        self.buffer = vec![0; TAG + snaplen];
        raw::attach_filter(self.fd.as_fd(), filter).map_err(at("attach the filter"))?;
        raw::make_room(self.fd.as_fd(), ROOM).map_err(at("make room for packets"))?;
        raw::ask_for_details(self.fd.as_fd()).map_err(at("ask for times and tags"))?;
        raw::bind(self.fd.as_fd(), index).map_err(at("listen to the network device"))
    }

    /// Sleeps until there is something.
    pub fn wait(&self) -> Result<Event, PacketError> {
        loop {
            match raw::wait(self.fd.as_fd(), self.signals.as_fd()).map_err(at("wait for packets"))? {
                (_, true) => return Ok(Event::Stop),
                (true, _) => return Ok(Event::Packets),
                _ => {}
            }
        }
    }

    /// The next packet that has arrived; `None` when there is none.
    pub fn receive(&mut self) -> Result<Option<Live<'_>>, PacketError> {
        let got = raw::receive(self.fd.as_fd(), &mut self.buffer[TAG..]).map_err(at("receive a packet"))?;
        let Some(got) = got else { return Ok(None) };
        let have = got.len.min(self.buffer.len() - TAG);
        let (from, len) = match got.vlan {
            Some((tpid, tci)) if have >= ADDRESSES => {
                self.buffer.copy_within(TAG..TAG + ADDRESSES, 0);
                let tag = [tpid.to_be_bytes(), tci.to_be_bytes()].concat();
                self.buffer[ADDRESSES..ADDRESSES + TAG].copy_from_slice(&tag);
                (0, got.len + TAG)
            }
            _ => (TAG, got.len),
        };
        // A tag that is put back does not make a packet longer than what was asked for.
        let end = (TAG + have).min(from + self.buffer.len() - TAG);
        Ok(Some(Live { data: &self.buffer[from..end], len: len as u32, time_ns: got.time_ns }))
    }

    /// Packets that the filter accepted, and those of them that were lost since there was no room, since the last call.
    pub fn statistics(&self) -> Result<(u32, u32), PacketError> {
        raw::statistics(self.fd.as_fd()).map_err(at("ask for the counts"))
    }
}
