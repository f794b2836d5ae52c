//! rtnetlink(7) and programs on sockets.

use super::{done, last, owned};
use crate::door::NetError;
use skep_platform::Errno;
use std::ffi::{CStr, CString};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

/// `struct nlmsghdr`.
const HEADER: usize = 16;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const REQUEST: u16 = 1;
const ACK: u16 = 4;
/// Bits of an error's header: its request is cut off; attributes follow.
const CAPPED: u16 = 0x100;
const HAS_TLVS: u16 = 0x200;
const ATTR_MSG: u16 = 1;
const SOL_NETLINK: i32 = 270;
const EXT_ACK: i32 = 11;

impl From<Errno> for NetError {
    fn from(errno: Errno) -> NetError {
        NetError { errno, text: String::new() }
    }
}

fn socket() -> Result<OwnedFd, Errno> {
    // SAFETY: makes a descriptor.
    let fd =
        unsafe { libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, libc::NETLINK_ROUTE) };
    let fd = owned(fd.into())?;
    let one = 1i32;
    // SAFETY: the option's value is given with its size. Kernels that do not know the option answer without words.
    unsafe { libc::setsockopt(fd.as_raw_fd(), SOL_NETLINK, EXT_ACK, (&raw const one).cast(), 4) };
    Ok(fd)
}

/// Sends one request, reads its answers until the kernel says that they are complete.
pub(super) fn request(kind: u16, flags: u16, payload: &[u8]) -> Result<Vec<(u16, Vec<u8>)>, NetError> {
    let socket = socket()?;
    let len = HEADER + payload.len();
    let mut message = Vec::with_capacity(len);
    message.extend_from_slice(&(len as u32).to_ne_bytes());
    message.extend_from_slice(&kind.to_ne_bytes());
    message.extend_from_slice(&(flags | REQUEST | ACK).to_ne_bytes());
    message.extend_from_slice(&[1, 0, 0, 0, 0, 0, 0, 0]);
    message.extend_from_slice(payload);
    // SAFETY: bytes and their length.
    let sent = unsafe { libc::send(socket.as_raw_fd(), message.as_ptr().cast(), message.len(), 0) };
    done(sent as libc::c_long)?;
    let mut answers = Vec::new();
    let mut buffer = vec![0u8; 256 << 10];
    loop {
        // SAFETY: a buffer and its length.
        let n = unsafe { libc::recv(socket.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), 0) };
        if n < 0 {
            match last() {
                Errno::EINTR => continue,
                e => return Err(e.into()),
            }
        }
        if take(&buffer[..n as usize], &mut answers)? {
            return Ok(answers);
        }
    }
}

/// Reads the messages of one datagram; whether the last answer has come.
fn take(mut rest: &[u8], answers: &mut Vec<(u16, Vec<u8>)>) -> Result<bool, NetError> {
    let half = |b: &[u8], at: usize| b.get(at..at + 2).map_or(0, |b| u16::from_ne_bytes([b[0], b[1]]));
    let word =
        |b: &[u8], at: usize| b.get(at..at + 4).map_or(0, |b| u32::from_ne_bytes([b[0], b[1], b[2], b[3]]));
    while rest.len() >= HEADER {
        let len = (word(rest, 0) as usize).clamp(HEADER, rest.len());
        let (kind, flags, body) = (half(rest, 4), half(rest, 6), &rest[HEADER..len]);
        match kind {
            NLMSG_ERROR => {
                let errno = -(word(body, 0) as i32);
                if errno == 0 {
                    return Ok(true);
                }
                // Behind the number stands the request: its header alone, or all of it.
                let echoed = if flags & CAPPED != 0 { HEADER } else { word(body, 4) as usize };
                let text = if flags & HAS_TLVS != 0 { words(body.get(4 + echoed..)) } else { None };
                return Err(NetError { errno: Errno(errno), text: text.unwrap_or_default() });
            }
            NLMSG_DONE => return Ok(true),
            _ => answers.push((kind, body.to_vec())),
        }
        rest = rest.get((len + 3) & !3..).unwrap_or_default();
    }
    Ok(false)
}

/// The kernel's words among an error's attributes.
fn words(attributes: Option<&[u8]>) -> Option<String> {
    let mut rest = attributes?;
    while let [a, b, c, d, ..] = *rest {
        let (len, kind) = (usize::from(u16::from_ne_bytes([a, b])), u16::from_ne_bytes([c, d]));
        let body = rest.get(4..len)?;
        if kind == ATTR_MSG {
            let text = CStr::from_bytes_until_nul(body).ok()?;
            return Some(text.to_string_lossy().into_owned());
        }
        rest = rest.get((len + 3) & !3..)?;
    }
    None
}

pub(super) fn socket_attach(
    socket: BorrowedFd<'_>,
    prog: BorrowedFd<'_>,
    reuseport: bool,
) -> Result<(), Errno> {
    let option = if reuseport { libc::SO_ATTACH_REUSEPORT_EBPF } else { libc::SO_ATTACH_BPF };
    let fd = prog.as_raw_fd();
    // SAFETY: the option's value is a descriptor, given with its size.
    let n =
        unsafe { libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, option, (&raw const fd).cast(), 4) };
    done(n.into())
}

/// Index of a network device of this name.
pub(crate) fn ifindex(name: &str) -> Option<u32> {
    let name = CString::new(name).ok()?;
    // SAFETY: a C string that lives through the call.
    let n = unsafe { libc::if_nametoindex(name.as_ptr()) };
    (n != 0).then_some(n)
}

/// Name of the network device of this index.
pub(crate) fn ifname(index: u32) -> Option<String> {
    let mut name = [0u8; libc::IF_NAMESIZE];
    // SAFETY: the buffer has the size that the function asks for.
    let found = unsafe { libc::if_indextoname(index, name.as_mut_ptr().cast()) };
    if found.is_null() {
        return None;
    }
    Some(CStr::from_bytes_until_nul(&name).ok()?.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_carry_the_kernels_words() {
        let mut m = Vec::new();
        let text = b"busy\0\0\0\0";
        let len = HEADER + 4 + HEADER + 4 + text.len();
        m.extend((len as u32).to_ne_bytes());
        m.extend(NLMSG_ERROR.to_ne_bytes());
        m.extend((CAPPED | HAS_TLVS).to_ne_bytes());
        m.extend([0; 8]);
        m.extend((-16i32).to_ne_bytes());
        m.extend([0; HEADER]);
        m.extend(9u16.to_ne_bytes());
        m.extend(ATTR_MSG.to_ne_bytes());
        m.extend(text);
        let refused = take(&m, &mut Vec::new());
        assert_eq!(refused, Err(NetError { errno: Errno::EBUSY, text: "busy".into() }));
        for cut in 0..m.len() {
            let _ = take(&m[..cut], &mut Vec::new());
        }
    }
}
