//! Which program may call which helper, asked of the running kernel: a program of every type that does nothing but call
//! the helper is loaded, and the kernel either does not let it or complains about something else (the arguments).
//!
//! Needs root and a kernel as new as the table's newest; prints why it skips otherwise.

use skep_helpers::HELPERS;
use skep_isa::Insn;
use skep_platform::helper::{Caller, Version};
use skep_platform::uapi::{AttachType, ProgType};
use skep_testkit::kernel_oracle::{Load, Oracle};

/// A kind of program to ask for.
type Kind = (ProgType, Option<AttachType>, bool);

/// Program types that load without a target, with attach types that make a difference.
const KINDS: &[Kind] = &[
    (ProgType::SocketFilter, None, false),
    (ProgType::Kprobe, None, false),
    (ProgType::Kprobe, None, true),
    (ProgType::Kprobe, Some(AttachType::TraceKprobeMulti), false),
    (ProgType::Kprobe, Some(AttachType::TraceUprobeMulti), false),
    (ProgType::SchedCls, None, false),
    (ProgType::SchedAct, None, false),
    (ProgType::Tracepoint, None, false),
    (ProgType::Xdp, None, false),
    (ProgType::PerfEvent, None, false),
    (ProgType::CgroupSkb, Some(AttachType::CgroupInetIngress), false),
    (ProgType::CgroupSkb, Some(AttachType::CgroupInetEgress), false),
    (ProgType::CgroupSock, Some(AttachType::CgroupInetSockCreate), false),
    (ProgType::CgroupSock, Some(AttachType::CgroupInet4PostBind), false),
    (ProgType::LwtIn, None, false),
    (ProgType::LwtOut, None, false),
    (ProgType::LwtXmit, None, false),
    (ProgType::SockOps, None, false),
    (ProgType::SkSkb, None, false),
    (ProgType::CgroupDevice, Some(AttachType::CgroupDevice), false),
    (ProgType::SkMsg, None, false),
    (ProgType::RawTracepoint, None, false),
    (ProgType::RawTracepointWritable, None, false),
    (ProgType::CgroupSockAddr, Some(AttachType::CgroupInet4Connect), false),
    (ProgType::CgroupSockAddr, Some(AttachType::CgroupInet6Bind), false),
    (ProgType::CgroupSockAddr, Some(AttachType::CgroupUdp4Recvmsg), false),
    (ProgType::LwtSeg6local, None, false),
    (ProgType::SkReuseport, None, false),
    (ProgType::FlowDissector, None, false),
    (ProgType::CgroupSysctl, Some(AttachType::CgroupSysctl), false),
    (ProgType::CgroupSockopt, Some(AttachType::CgroupGetsockopt), false),
    (ProgType::CgroupSockopt, Some(AttachType::CgroupSetsockopt), false),
    (ProgType::SkLookup, Some(AttachType::SkLookup), false),
    (ProgType::Syscall, None, true),
    (ProgType::Netfilter, Some(AttachType::Netfilter), false),
];

/// Helpers that a kernel may lack by configuration or lock-down.
const OPTIONAL: &[&str] = &["bpf_override_return", "bpf_probe_write_user"];

const SLEEPABLE: u32 = 1 << 4;

#[test]
fn the_kernel_lets_the_same_programs_call() {
    let oracle = match Oracle::open() {
        Ok(oracle) => oracle,
        Err(why) => return println!("skipped: {why}"),
    };
    let newest = HELPERS.iter().flat_map(|h| h.protos).map(|p| p.since).max().expect("a table");
    let running = running();
    if running < newest {
        return println!("skipped: Linux {running} is older than the table's newest row, {newest}");
    }
    let mut wrong = Vec::new();
    for kind in KINDS {
        for h in HELPERS.iter().filter(|h| !OPTIONAL.contains(&h.name)) {
            let (prog_type, attach, sleepable) = *kind;
            let caller = Caller { prog_type, attach, struct_ops: None, sleepable, version: running };
            let ours = h.proto_for(&caller).is_some();
            let theirs = may_call(&oracle, *kind, h.id);
            if ours != theirs {
                wrong.push(format!("{} for {kind:?}: ours {ours}, the kernel {theirs}", h.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}

fn may_call(oracle: &Oracle, (prog_type, attach_type, sleepable): Kind, id: u32) -> bool {
    let insns = [
        Insn::new(0xb7, 0, 0, 0, 0),
        Insn::new(0x85, 0, 0, 0, id as i32),
        Insn::new(0xb7, 0, 0, 0, 1),
        Insn::new(0x95, 0, 0, 0, 0),
    ];
    let flags = if sleepable { SLEEPABLE } else { 0 };
    let load = Load { attach_type, flags, log_level: 1, ..Load::new(prog_type, &insns) };
    match oracle.load(&load) {
        Ok(_) => true,
        Err(e) => {
            assert!(
                !e.log.is_empty(),
                "{prog_type:?} {attach_type:?} does not load at all: error {}",
                e.errno
            );
            !e.log.contains("cannot use helper") && !e.log.contains("unknown func")
        }
    }
}

fn running() -> Version {
    let text = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut parts = text.split(['.', '-']).map_while(|p| p.trim().parse().ok());
    Version(parts.next().unwrap_or(0), parts.next().unwrap_or(0))
}
