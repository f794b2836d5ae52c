//! The table asked of the running kernel.
//!
//! Who may call: a program of every type that does nothing but call the helper is loaded, and the kernel either does not
//! let it or complains about something else (the arguments). With what: a call that is made up from the row's arguments
//! is loaded, and the kernel must take it.
//!
//! Needs root and a kernel as new as the table's newest; prints why it skips otherwise.

use skep_helpers::HELPERS;
use skep_isa::Insn;
use skep_platform::helper::{ArgKind, Caller, Helper, Proto, Version};
use skep_platform::uapi::{AttachType, MapType, ProgType};
use skep_testkit::kernel_oracle::{KernelMap, Load, Oracle};

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

#[test]
fn the_kernel_takes_the_arguments_of_the_rows_and_no_others() {
    let oracle = match Oracle::open() {
        Ok(oracle) => oracle,
        Err(why) => return println!("skipped: {why}"),
    };
    let (mut asked, mut wrong) = (0, Vec::new());
    for h in HELPERS.iter().filter(|h| !OPTIONAL.contains(&h.name)) {
        for p in h.protos.iter().filter(|p| p.since <= running()) {
            let Some(kind) = KINDS.iter().find(|k| is_for(p, k)) else { continue };
            let Some(objection) = call(&oracle, h, p, *kind, None) else { continue };
            asked += 1;
            if let Some(why) = objection {
                wrong.push(format!("{} for {kind:?}: {why}", h.name));
            }
            for (i, arg) in p.args.iter().enumerate().filter(|(_, a)| is_pointer(a.kind)) {
                if let Some(None) = call(&oracle, h, p, *kind, Some(Other::Number(i))) {
                    wrong.push(format!("{} for {kind:?}: a number is taken for {arg:?}", h.name));
                }
                let read_only = match is_memory(arg.kind) {
                    true => call(&oracle, h, p, *kind, Some(Other::ReadOnly(i))),
                    false => None,
                };
                if let Some(objection) = read_only.filter(|o| o.is_some() != arg.write) {
                    wrong.push(format!(
                        "{} for {kind:?}: read-only memory for {arg:?}: {objection:?}",
                        h.name
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {asked} differ:\n{}", wrong.len(), wrong.join("\n"));
    assert!(asked > 150 || running() < Version(6, 12), "only {asked} calls were made up");
}

fn is_memory(kind: ArgKind) -> bool {
    matches!(kind, ArgKind::Mem | ArgKind::FixedMem(_) | ArgKind::MapKey | ArgKind::MapValue)
}

fn is_pointer(kind: ArgKind) -> bool {
    !matches!(
        kind,
        ArgKind::Anything | ArgKind::Scalar | ArgKind::Size | ArgKind::SizeOrZero | ArgKind::AllocSizeOrZero
    )
}

fn is_for(p: &Proto, (prog_type, attach, sleepable): &Kind) -> bool {
    let by_attach = p.attach_types.is_empty() || attach.is_some_and(|a| p.attach_types.contains(&a));
    p.prog_types.contains(prog_type)
        && by_attach
        && p.sleepable.is_none_or(|s| s == *sleepable)
        && (!p.might_sleep || *sleepable)
}

/// What stands in for an argument (counted from 0).
#[derive(Clone, Copy)]
enum Other {
    /// A number.
    Number(usize),
    /// Memory that programs may only read.
    ReadOnly(usize),
}

/// Makes a call up from the row and loads it: `None` when an argument is of a kind that cannot be made up here, else the
/// kernel's objection, if it has one. One argument may be something else instead.
fn call(oracle: &Oracle, h: &Helper, p: &Proto, kind: Kind, other: Option<Other>) -> Option<Option<String>> {
    let (prog_type, attach_type, sleepable) = kind;
    let map = a_map(oracle, h)?;
    let strings = oracle.create_map(MapType::Array, 4, 64, 1, 1 << 7).ok()?;
    strings.update(&[0; 4], &[b"text".as_slice(), &[0; 60]].concat(), 0).ok()?;
    strings.freeze().ok()?;
    let mut insns = vec![Insn::new(0xbf, 6, 1, 0, 0)];
    insns.extend((1..=16).map(|i| Insn::new(0x7a, 10, 0, -8 * i, 0)));
    for (i, (reg, arg)) in (1..).zip(p.args).enumerate() {
        match other {
            Some(Other::Number(at)) if at == i => insns.push(Insn::new(0xb7, reg, 0, 0, 1)),
            Some(Other::ReadOnly(at)) if at == i => insns.extend(argument(reg, ArgKind::ConstStr)?),
            _ => insns.extend(argument(reg, arg.kind)?),
        }
    }
    insns.extend([
        Insn::new(0x85, 0, 0, 0, h.id as i32),
        Insn::new(0xb7, 0, 0, 0, 1),
        Insn::new(0x95, 0, 0, 0, 0),
    ]);
    let maps = [&map, &strings];
    let flags = if sleepable { SLEEPABLE } else { 0 };
    let load = Load { attach_type, flags, maps: &maps, log_level: 1, ..Load::new(prog_type, &insns) };
    let Err(refused) = oracle.load(&load) else { return Some(None) };
    let excused = refused.log.contains("Unreleased reference");
    let line = refused.log.lines().rev().nth(1).unwrap_or(&refused.log).to_owned();
    Some((!excused).then_some(line))
}

/// Instructions that put an argument of this kind into a register.
fn argument(reg: u8, kind: ArgKind) -> Option<Vec<Insn>> {
    let map = |pseudo, index| vec![Insn::new(0x18, reg, pseudo, 0, index), Insn::new(0, 0, 0, 0, 0)];
    Some(match kind {
        ArgKind::Ctx => vec![Insn::new(0xbf, reg, 6, 0, 0)],
        ArgKind::ConstMapPtr => map(5, 0),
        ArgKind::ConstStr => map(6, 1),
        ArgKind::MapKey | ArgKind::MapValue | ArgKind::Mem | ArgKind::FixedMem(_) => {
            vec![Insn::new(0xbf, reg, 10, 0, 0), Insn::new(0x07, reg, 0, 0, -64)]
        }
        ArgKind::Size | ArgKind::SizeOrZero | ArgKind::AllocSizeOrZero => vec![Insn::new(0xb7, reg, 0, 0, 8)],
        ArgKind::Anything | ArgKind::Scalar => vec![Insn::new(0xb7, reg, 0, 0, 0)],
        _ => return None,
    })
}

/// A map that the helper takes.
fn a_map(oracle: &Oracle, h: &Helper) -> Option<KernelMap> {
    let map_type = h.map_types.first().copied().unwrap_or(MapType::Array);
    let (key, value, entries) = match map_type {
        MapType::Ringbuf | MapType::UserRingbuf => (0, 0, 4096),
        MapType::Queue | MapType::Stack => (0, 8, 1),
        MapType::Array | MapType::StackTrace | MapType::PercpuArray => (4, 8, 1),
        _ => (4, 4, 1),
    };
    oracle.create_map(map_type, key, value, entries, 0).ok()
}
