//! Packet sockets (packet(7)), and signals that end a capture.

use super::{done, last, owned};
use crate::packet::{Received, SockFilter};
use skep_platform::Errno;
use std::ffi::c_int;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::ptr;

const ETH_P_ALL: u16 = 3;
const SOL_PACKET: c_int = 263;
const PACKET_STATISTICS: c_int = 6;
const PACKET_AUXDATA: c_int = 8;
/// `struct tpacket_auxdata`: the tag is told; so is its EtherType.
const VLAN_VALID: u32 = 1 << 4;
const VLAN_TPID_VALID: u32 = 1 << 6;

/// A packet socket that receives nothing yet.
pub(crate) fn socket() -> Result<OwnedFd, Errno> {
    // SAFETY: makes a descriptor.
    let fd = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
    owned(fd.into())
}

fn set<T>(fd: BorrowedFd<'_>, level: c_int, name: c_int, value: &T) -> Result<(), Errno> {
    let len = size_of::<T>() as libc::socklen_t;
    // SAFETY: the option's value is given with its size.
    let n = unsafe { libc::setsockopt(fd.as_raw_fd(), level, name, ptr::from_ref(value).cast(), len) };
    done(n.into())
}

/// Attaches a classic program: packets that it rejects do not arrive.
pub(crate) fn attach_filter(fd: BorrowedFd<'_>, insns: &[SockFilter]) -> Result<(), Errno> {
    let filter = insns.as_ptr().cast_mut().cast();
    let program = libc::sock_fprog { len: insns.len().try_into().map_err(|_| Errno(libc::E2BIG))?, filter };
    // The kernel reads the instructions through the pointer while `insns` is borrowed.
    set(fd, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &program)
}

/// Asks for times in nanoseconds and for the tags that were taken out of packets.
pub(crate) fn ask_for_details(fd: BorrowedFd<'_>) -> Result<(), Errno> {
    set(fd, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, &1i32)?;
    set(fd, SOL_PACKET, PACKET_AUXDATA, &1i32)
}

/// Makes room for so many bytes of packets that wait; beyond the system's limit (`net.core.rmem_max`) where this process
/// may.
pub(crate) fn make_room(fd: BorrowedFd<'_>, bytes: i32) -> Result<(), Errno> {
    set(fd, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, &bytes)
        .or_else(|_| set(fd, libc::SOL_SOCKET, libc::SO_RCVBUF, &bytes))
}

/// Begins to receive what passes this device.
pub(crate) fn bind(fd: BorrowedFd<'_>, ifindex: u32) -> Result<(), Errno> {
    // SAFETY: all zeros are a socket address of no family.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = ETH_P_ALL.to_be();
    address.sll_ifindex = ifindex as i32;
    let len = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: the address is given with its size.
    let n = unsafe { libc::bind(fd.as_raw_fd(), ptr::from_ref(&address).cast(), len) };
    done(n.into())
}

/// Hardware type of a device (`ARPHRD_*`): what its frames begin with.
pub(crate) fn hardware(fd: BorrowedFd<'_>, name: &str) -> Result<u16, Errno> {
    // SAFETY: all zeros are a request of no name.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if name.len() >= request.ifr_name.len() {
        return Err(Errno(libc::ENODEV));
    }
    request.ifr_name.iter_mut().zip(name.bytes()).for_each(|(to, b)| *to = b as libc::c_char);
    // SAFETY: the request has a name that ends with a zero; the kernel writes its address.
    done(unsafe { libc::ioctl(fd.as_raw_fd(), libc::SIOCGIFHWADDR, &raw mut request) }.into())?;
    // SAFETY: the call has filled this member in.
    Ok(unsafe { request.ifr_ifru.ifru_hwaddr.sa_family })
}

/// Packets that arrived, and packets lost since there was no room for them, since the last call.
pub(crate) fn statistics(fd: BorrowedFd<'_>) -> Result<(u32, u32), Errno> {
    let mut counts = [0u32; 2];
    let mut len = size_of_val(&counts) as libc::socklen_t;
    // SAFETY: a buffer with its size.
    let n = unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            SOL_PACKET,
            PACKET_STATISTICS,
            counts.as_mut_ptr().cast(),
            &raw mut len,
        )
    };
    done(n.into()).map(|()| (counts[0], counts[1]))
}

/// Takes the next packet, if there is one. `Ok(None)`: none is waiting.
pub(crate) fn receive(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<Option<Received>, Errno> {
    let mut control = [0u64; 32];
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: all zeros are an empty message.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = size_of_val(&control);
    // SAFETY: the message names a buffer and a control buffer with their sizes; both live through the call.
    let n = unsafe { libc::recvmsg(fd.as_raw_fd(), &raw mut message, libc::MSG_DONTWAIT | libc::MSG_TRUNC) };
    if n < 0 {
        return match last() {
            Errno(libc::EAGAIN | libc::EINTR) => Ok(None),
            // The device went down: nothing more comes, until it is up again.
            Errno(libc::ENETDOWN) => Ok(None),
            e => Err(e),
        };
    }
    let mut out = Received { len: n as usize, time_ns: 0, vlan: None };
    // SAFETY: the message is as the kernel left it.
    let mut head = unsafe { libc::CMSG_FIRSTHDR(&raw const message) };
    while !head.is_null() {
        // SAFETY: the macros stay inside the control buffer; what they point to may be unaligned for its type.
        let (h, data) = unsafe { (ptr::read_unaligned(head), libc::CMSG_DATA(head)) };
        match (h.cmsg_level, h.cmsg_type) {
            (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) => {
                // SAFETY: the kernel puts a `timespec` there.
                let time: libc::timespec = unsafe { ptr::read_unaligned(data.cast()) };
                out.time_ns = time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64;
            }
            (SOL_PACKET, PACKET_AUXDATA) => {
                // SAFETY: the kernel puts a `struct tpacket_auxdata` of 20 bytes there.
                let words: [u32; 5] = unsafe { ptr::read_unaligned(data.cast()) };
                let [tci, tpid] = [words[4] as u16, (words[4] >> 16) as u16];
                if words[0] & VLAN_VALID != 0 {
                    out.vlan = Some((if words[0] & VLAN_TPID_VALID != 0 { tpid } else { 0x8100 }, tci));
                }
            }
            _ => {}
        }
        // SAFETY: as above.
        head = unsafe { libc::CMSG_NXTHDR(&raw const message, head) };
    }
    Ok(Some(out))
}

/// SIGINT and SIGTERM as something to wait for: from now on they do not end this process.
pub(crate) fn signals() -> Result<OwnedFd, Errno> {
    // SAFETY: the set is made empty before it is used.
    let fd = unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGINT);
        libc::sigaddset(&raw mut set, libc::SIGTERM);
        libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, ptr::null_mut());
        libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK)
    };
    owned(fd.into())
}

/// Sleeps until one of the two can be read; which.
pub(crate) fn wait(a: BorrowedFd<'_>, b: BorrowedFd<'_>) -> Result<(bool, bool), Errno> {
    let one = |fd: BorrowedFd<'_>| libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    let mut both = [one(a), one(b)];
    // SAFETY: two entries and their number.
    let n = unsafe { libc::poll(both.as_mut_ptr(), 2, -1) };
    match done(n.into()) {
        Ok(()) => Ok((both[0].revents != 0, both[1].revents != 0)),
        Err(Errno(libc::EINTR)) => Ok((false, false)),
        Err(e) => Err(e),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn room_is_made_for_packets_that_wait() {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
        let room = || {
            let (mut bytes, mut len) = (0i32, size_of::<i32>() as libc::socklen_t);
            let out = (&raw mut bytes).cast();
            // SAFETY: the option is a number, for which there is room.
            let n = unsafe {
                libc::getsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_RCVBUF, out, &raw mut len)
            };
            done(n.into()).map(|()| bytes).expect("the option is known")
        };
        let before = room();
        make_room(socket.as_fd(), 2 << 20).expect("a limit makes it smaller, and no error");
        assert!(room() > before, "{} bytes instead of {before}", room());
    }
}
