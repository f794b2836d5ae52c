//! What programs see of frames that really arrive, against [`Arrival::Receive`]: two ends of a virtual cable in a network
//! namespace of this test, frames sent into one, programs at the other that note what their contexts show. Needs root
//! and the `ip` command; says so and passes without.

#![allow(clippy::print_stdout, clippy::unwrap_used)]

use skep_hooks::PROG_TYPES;
use skep_hooks::capture::{Direction, LinkType, Record};
use skep_hooks::packet::{Arrival, Feeder};
use skep_platform::env::CtxData;
use skep_platform::{AttachType, CtxAccess, CtxField, FieldKind, ProgType, ProgTypeDesc};
use skep_testkit::kernel_oracle::{KernelMap, KernelProg};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::process::Command;
use std::time::{Duration, Instant};

mod kernel;
use kernel::frames::{frames, kept};
use kernel::{EXIT, insn, mov, size_bits};

/// Address of the receiving end.
const MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];
/// Where a program says that it ran.
const RAN: usize = 248;

/// A thread in a namespace of its own, with a cable: index of its far end.
fn cable() -> Option<u32> {
    // SAFETY: only this thread's network namespace changes.
    if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
        return None;
    }
    let ip = |args: &str| Command::new("ip").args(args.split(' ')).output().is_ok_and(|o| o.status.success());
    let made = ip("link add near type veth peer name far")
        && ip("link set near addrgenmode none")
        && ip("link set far addrgenmode none")
        && ip("link set far address 02:00:00:00:00:02")
        && ip("link set near up")
        && ip("link set far up");
    // SAFETY: the name ends in NUL.
    made.then(|| unsafe { libc::if_nametoindex(c"far".as_ptr()) })
}

/// A raw packet socket bound to an interface.
fn packet_socket(name: &std::ffi::CStr) -> OwnedFd {
    // SAFETY: the address is a `sockaddr_ll` of the size given; the descriptor is new and owned by nobody else.
    unsafe {
        let all = (libc::ETH_P_ALL as u16).to_be();
        let fd = libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, all as i32);
        assert!(fd >= 0);
        let mut address: libc::sockaddr_ll = std::mem::zeroed();
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = all;
        address.sll_ifindex = libc::if_nametoindex(name.as_ptr()) as i32;
        let size = size_of::<libc::sockaddr_ll>() as u32;
        assert_eq!(libc::bind(fd, (&raw const address).cast(), size), 0);
        OwnedFd::from_raw_fd(fd)
    }
}

fn send(socket: &OwnedFd, frame: &[u8]) {
    // SAFETY: the frame lives through the call.
    let sent = unsafe { libc::send(socket.as_raw_fd(), frame.as_ptr().cast(), frame.len(), 0) };
    assert_eq!(sent, frame.len() as isize);
}

/// Numbers that say something of how a packet arrived. Not: clocks, hashes, queues of the driver.
fn fields(row: &'static ProgTypeDesc) -> Vec<&'static CtxField> {
    const NOT: [&str; 5] = ["tstamp", "hwtstamp", "napi_id", "hash", "queue_mapping"];
    let layout = row.layout(None).unwrap();
    let plain = layout.fields.iter().filter(|f| f.kind == FieldKind::Scalar && matches!(f.size, 1 | 4 | 8));
    let readable = plain.filter(|f| f.allows(f.off as u32, f.size as u32, CtxAccess::Load));
    readable.filter(|f| !NOT.contains(&&*f.name)).collect()
}

/// A program that notes its context's numbers in a map and lets the packet go on.
fn noting(row: &'static ProgTypeDesc, map: &KernelMap, pass: i32) -> KernelProg {
    let mut program = kernel::map_value(7, map).to_vec();
    for f in fields(row) {
        let size = size_bits(f.size as u32);
        program.push(insn(0x61 | size, 2, 1, f.off as i16, 0));
        program.push(insn(0x63 | size, 7, 2, f.off as i16, 0));
    }
    program.extend([mov(2, 1), insn(0x63, 7, 2, RAN as i16, 0), mov(0, pass), EXIT]);
    kernel::load(row.prog_type, None, 0, &program).unwrap()
}

/// Sends a frame and waits for what the program notes of it.
fn noted(map: &KernelMap, near: &OwnedFd, frame: &[u8]) -> Option<[u8; 256]> {
    map.update(&[0; 4], &[0; 256], 0).unwrap();
    send(near, frame);
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(10) {
        let value = map.lookup(&[0; 4]).unwrap();
        if value[RAN] == 1 {
            return value.try_into().ok();
        }
    }
    None
}

/// Attaches a noting program of this type to the far end; what keeps it attached.
fn listen(row: &'static ProgTypeDesc, map: &KernelMap, far: u32) -> Vec<OwnedFd> {
    const GENERIC_XDP: u32 = 2;
    match row.prog_type {
        ProgType::Xdp => {
            vec![kernel::attach(&noting(row, map, 2), far, AttachType::Xdp, GENERIC_XDP).unwrap()]
        }
        ProgType::SchedCls => {
            vec![kernel::attach(&noting(row, map, -1), far, AttachType::TcxIngress, 0).unwrap()]
        }
        _ => {
            let (socket, program) = (packet_socket(c"far"), noting(row, map, 0));
            let fd = program.fd();
            // SAFETY: the option takes a descriptor of four bytes.
            let set = unsafe {
                let at = (&raw const fd).cast();
                libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_ATTACH_BPF, at, 4)
            };
            assert_eq!(set, 0);
            vec![socket]
        }
    }
}

#[test]
fn arriving_packets_show_what_the_kernel_shows() {
    let Some(far) = cable() else {
        println!("skipped: this process may not make network interfaces");
        return;
    };
    let near = packet_socket(c"near");
    let map = kernel::one_value().unwrap();
    let (mut asked, mut wrong) = (0, Vec::new());
    for t in [ProgType::Xdp, ProgType::SchedCls, ProgType::SocketFilter] {
        let row = PROG_TYPES.iter().find(|r| r.prog_type == t).unwrap();
        let attached = listen(row, &map, far);
        let feeder = Feeder::new(row, None, Arrival::Receive { mac: Some(MAC) }).unwrap();
        let mut ctx = feeder.context();
        for (i, frame) in frames().iter().enumerate() {
            let kernel =
                noted(&map, &near, frame).unwrap_or_else(|| panic!("{t:?} frame {i} did not arrive"));
            let record = Record {
                data: frame,
                orig_len: frame.len() as u32,
                time_ns: 0,
                interface: far - 1,
                link: LinkType::ETHERNET,
                direction: Direction::Unknown,
                offset: 0,
            };
            feeder.feed(&record, &mut ctx).unwrap();
            let CtxData::Packet(p) = &ctx.data else { panic!("a packet") };
            for f in fields(row) {
                let at = f.off as usize;
                let theirs = kernel[at..at + f.size as usize].iter().rev().fold(0, |v, b| v << 8 | *b as u64);
                let ours = kept(&p.ctx, f);
                asked += 1;
                if theirs != ours {
                    wrong.push(format!("{t:?} {} frame {i}: kernel {theirs:#x}, here {ours:#x}", f.name));
                }
            }
        }
        drop(attached);
    }
    println!("{asked} fields of frames");
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}
