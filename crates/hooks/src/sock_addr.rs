//! Cgroup hooks on socket addresses: bind, connect, sendmsg, recvmsg and the names of both ends.
//!
//! `struct bpf_sock_addr` shows the address fields of the attach type's family alone (`sock_addr_is_valid_access`,
//! net/core/filter.c); address arrays may also be accessed eight bytes at a time.

use crate::rights::{NO, R4, R124, both, pointer, read};
use crate::sock::DENY_ALLOW;
use skep_platform::ctx::{Fate, PacketAccess, RetRange, Sleepable, UserRun};
use skep_platform::helper::{Capability, Version};
use skep_platform::uapi::AttachType as A;
use skep_platform::{CtxField, CtxLayout, FieldKind, ProgType, ProgTypeDesc, Rights};

const WIDE_READ: Rights = Rights::any(1 | 2 | 4 | 8);
const WIDE_WRITE: Rights = Rights::any(4 | 8);

const IP4: usize = 1;
const IP6: usize = 2;
const SRC_IP4: usize = 7;
const SRC_IP6: usize = 8;

const FIELDS: [CtxField; 10] = [
    read("user_family", 0, 4, R4),
    both("user_ip4", 4, 4, R124, R4),
    both("user_ip6", 8, 16, WIDE_READ, WIDE_WRITE),
    both("user_port", 24, 4, R124, R4),
    read("family", 28, 4, R4),
    read("type", 32, 4, R4),
    read("protocol", 36, 4, R4),
    both("msg_src_ip4", 40, 4, R124, R4),
    both("msg_src_ip6", 44, 16, WIDE_READ, WIDE_WRITE),
    pointer("sk", 64, FieldKind::Socket),
];

/// All fields but the addresses that are not among `shown`.
const fn only(shown: &[usize]) -> [CtxField; 10] {
    let mut fields = FIELDS;
    let addresses = [IP4, IP6, SRC_IP4, SRC_IP6];
    let mut i = 0;
    while i < addresses.len() {
        let f = addresses[i];
        let mut k = 0;
        while k < shown.len() && shown[k] != f {
            k += 1;
        }
        if k == shown.len() {
            (fields[f].read, fields[f].write) = (NO, NO);
        }
        i += 1;
    }
    fields
}

const INET4_FIELDS: [CtxField; 10] = only(&[IP4]);
const INET6_FIELDS: [CtxField; 10] = only(&[IP6]);
const SEND4_FIELDS: [CtxField; 10] = only(&[IP4, SRC_IP4]);
const SEND6_FIELDS: [CtxField; 10] = only(&[IP6, SRC_IP6]);
const UNIX_FIELDS: [CtxField; 10] = only(&[]);

const fn sock_addr(fields: &'static [CtxField]) -> CtxLayout {
    CtxLayout { name: "bpf_sock_addr", size: 72, fields }
}

static INET4: CtxLayout = sock_addr(&INET4_FIELDS);
static INET6: CtxLayout = sock_addr(&INET6_FIELDS);
static SEND4: CtxLayout = sock_addr(&SEND4_FIELDS);
static SEND6: CtxLayout = sock_addr(&SEND6_FIELDS);
static UNIX: CtxLayout = sock_addr(&UNIX_FIELDS);

/// `BPF_PROG_TYPE_CGROUP_SOCK_ADDR`.
pub static CGROUP_SOCK_ADDR: ProgTypeDesc = ProgTypeDesc {
    prog_type: ProgType::CgroupSockAddr,
    doc: "addresses that processes of a cgroup bind, connect and send to",
    since: Version(4, 17),
    layouts: &[
        (
            &[
                A::CgroupInet4Bind,
                A::CgroupInet4Connect,
                A::CgroupInet4Getpeername,
                A::CgroupInet4Getsockname,
                A::CgroupUdp4Recvmsg,
            ],
            &INET4,
        ),
        (
            &[
                A::CgroupInet6Bind,
                A::CgroupInet6Connect,
                A::CgroupInet6Getpeername,
                A::CgroupInet6Getsockname,
                A::CgroupUdp6Recvmsg,
            ],
            &INET6,
        ),
        (&[A::CgroupUdp4Sendmsg], &SEND4),
        (&[A::CgroupUdp6Sendmsg], &SEND6),
        (
            &[
                A::CgroupUnixConnect,
                A::CgroupUnixSendmsg,
                A::CgroupUnixRecvmsg,
                A::CgroupUnixGetpeername,
                A::CgroupUnixGetsockname,
            ],
            &UNIX,
        ),
    ],
    returns: &[
        (
            &[
                A::CgroupUdp4Recvmsg,
                A::CgroupUdp6Recvmsg,
                A::CgroupUnixRecvmsg,
                A::CgroupInet4Getpeername,
                A::CgroupInet6Getpeername,
                A::CgroupUnixGetpeername,
                A::CgroupInet4Getsockname,
                A::CgroupInet6Getsockname,
                A::CgroupUnixGetsockname,
            ],
            RetRange { min: 1, max: 1 },
        ),
        (&[A::CgroupInet4Bind, A::CgroupInet6Bind], RetRange { min: 0, max: 3 }),
        (&[], RetRange { min: 0, max: 1 }),
    ],
    attach_types: &[
        A::CgroupInet4Bind,
        A::CgroupInet6Bind,
        A::CgroupInet4Connect,
        A::CgroupInet6Connect,
        A::CgroupUdp4Sendmsg,
        A::CgroupUdp6Sendmsg,
        A::CgroupUdp4Recvmsg,
        A::CgroupUdp6Recvmsg,
        A::CgroupInet4Getpeername,
        A::CgroupInet6Getpeername,
        A::CgroupInet4Getsockname,
        A::CgroupInet6Getsockname,
        A::CgroupUnixConnect,
        A::CgroupUnixSendmsg,
        A::CgroupUnixRecvmsg,
        A::CgroupUnixGetpeername,
        A::CgroupUnixGetsockname,
    ],
    needs: &[Capability::Bpf, Capability::NetAdmin],
    verdicts: DENY_ALLOW,
    other: Fate::Pass,
    packet_access: PacketAccess::None,
    legacy_loads: false,
    sleepable: Sleepable::Never,
    user: UserRun::Plain,
};
