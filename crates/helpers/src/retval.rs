//! Return values of cgroup hooks.

use crate::row::*;

/// The rows of this family.
pub(crate) const ROWS: &[&Helper] = &[&bpf_get_retval, &bpf_set_retval];

helper! { bpf_get_retval = 186, since: (5, 18),
    signature: "int bpf_get_retval(void)",
    doc: "The return value that the system call will have.",
    protos: [
        { who: who(&[
              P::CgroupSock, P::CgroupDevice, P::CgroupSockAddr, P::CgroupSysctl, P::CgroupSockopt, P::Lsm,
          ]).attached(&[
              A::CgroupInetSockCreate, A::CgroupInetSockRelease, A::CgroupInet4PostBind,
              A::CgroupInet6PostBind, A::CgroupDevice, A::CgroupInet4Bind, A::CgroupInet6Bind,
              A::CgroupInet4Connect, A::CgroupInet6Connect, A::CgroupUnixConnect, A::CgroupUdp4Sendmsg,
              A::CgroupUdp6Sendmsg, A::CgroupUnixSendmsg, A::CgroupSysctl, A::CgroupGetsockopt,
              A::CgroupSetsockopt, A::LsmCgroup,
          ]), since: (5, 18),
          args: [], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::None,
    body: Body::Absent(absent::CGROUP_RETVAL),
}

helper! { bpf_set_retval = 187, since: (5, 18),
    signature: "int bpf_set_retval(int retval)",
    doc: "Sets the return value that the system call will have.",
    protos: [
        { who: who(&[
              P::CgroupSock, P::CgroupDevice, P::CgroupSockAddr, P::CgroupSysctl, P::CgroupSockopt, P::Lsm,
          ]).attached(&[
              A::CgroupInetSockCreate, A::CgroupInetSockRelease, A::CgroupInet4PostBind,
              A::CgroupInet6PostBind, A::CgroupDevice, A::CgroupInet4Bind, A::CgroupInet6Bind,
              A::CgroupInet4Connect, A::CgroupInet6Connect, A::CgroupUnixConnect, A::CgroupUdp4Sendmsg,
              A::CgroupUdp6Sendmsg, A::CgroupUnixSendmsg, A::CgroupSysctl, A::CgroupGetsockopt,
              A::CgroupSetsockopt, A::LsmCgroup,
          ]), since: (5, 18),
          args: [ANY], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::SetsRetval,
    body: Body::Absent(absent::CGROUP_RETVAL),
}
