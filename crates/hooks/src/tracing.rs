//! Tracing: kprobes, tracepoints, perf events, BTF-typed programs, security hooks, and the programs whose context is
//! whatever their caller gives (`syscall`, `struct_ops`, `ext`).
//!
//! Rights: kernel/trace/bpf_trace.c, kernel/bpf/syscall.c, drivers/media/rc/bpf-lirc.c. Contexts of BTF-typed programs are
//! an array of 64-bit arguments; which are pointers to what stands in the BTF of the function attached to
//! (`btf_ctx_access`), so their fields are of kind [`FieldKind::BtfArg`].

use crate::rights::{NO, R8, RALL, both, read};
use skep_platform::ctx::{Fate, PacketAccess, RetRange, Sleepable, UserRun};
use skep_platform::helper::{Capability, Version};
use skep_platform::uapi::AttachType as A;
use skep_platform::{CtxField, CtxLayout, FieldKind, ProgType, ProgTypeDesc, Rights};

/// Most arguments a traced function may have (`MAX_BPF_FUNC_ARGS`).
pub const MAX_ARGS: u16 = 12;
/// Bytes of a tracepoint record that a program may see (`PERF_MAX_TRACE_SIZE`).
pub const MAX_TRACE_SIZE: u16 = 8192;

/// `struct pt_regs` of x86-64, in the names that the kernel and vmlinux.h use.
const fn pt_regs(rights: Rights) -> [CtxField; 21] {
    const NAMES: [&str; 21] = [
        "r15", "r14", "r13", "r12", "bp", "bx", "r11", "r10", "r9", "r8", "ax", "cx", "dx", "si", "di",
        "orig_ax", "ip", "cs", "flags", "sp", "ss",
    ];
    let mut fields = [read("", 0, 8, rights); 21];
    let mut i = 0;
    while i < 21 {
        fields[i] = read(NAMES[i], i as u16 * 8, 8, rights);
        i += 1;
    }
    fields
}

const KPROBE_FIELDS: [CtxField; 21] = pt_regs(RALL);

static PT_REGS: CtxLayout = CtxLayout { name: "pt_regs", size: 168, fields: &KPROBE_FIELDS };

/// What the tracing rows share.
const fn row(
    prog_type: ProgType,
    doc: &'static str,
    since: Version,
    layouts: &'static [(&'static [A], &'static CtxLayout)],
    user: UserRun,
) -> ProgTypeDesc {
    ProgTypeDesc {
        prog_type,
        doc,
        since,
        layouts,
        returns: &[],
        attach_types: &[],
        needs: &[Capability::Bpf, Capability::Perfmon],
        verdicts: &[],
        other: Fate::Pass,
        packet_access: PacketAccess::None,
        legacy_loads: false,
        sleepable: Sleepable::Never,
        user,
    }
}

/// `BPF_PROG_TYPE_KPROBE`: also uprobes, and their multi and session forms.
pub static KPROBE: ProgTypeDesc = {
    let mut kprobe = row(
        ProgType::Kprobe,
        "functions of the kernel and of programs, by their registers",
        Version(4, 1),
        &[(&[], &PT_REGS)],
        UserRun::Plain,
    );
    kprobe.returns = &[(&[A::TraceKprobeSession, A::TraceUprobeSession], RetRange { min: 0, max: 1 })];
    // Only uprobes really attach sleepable programs; loading does not ask.
    kprobe.sleepable = Sleepable::May;
    kprobe
};

static RECORD: CtxLayout = CtxLayout {
    name: "tracepoint",
    size: MAX_TRACE_SIZE,
    // The first eight bytes are the kernel's own (a pointer to the registers).
    fields: &[read("common", 0, 8, NO), read("record", 8, MAX_TRACE_SIZE - 8, RALL)],
};

/// `BPF_PROG_TYPE_TRACEPOINT`.
pub static TRACEPOINT: ProgTypeDesc = row(
    ProgType::Tracepoint,
    "the kernel's tracepoints, by their records",
    Version(4, 7),
    &[(&[], &RECORD)],
    UserRun::Plain,
);

const PERF_FIELDS: [CtxField; 23] = {
    let regs = pt_regs(R8);
    let mut fields = [read("", 0, 8, R8); 23];
    let mut i = 0;
    while i < 21 {
        fields[i] = regs[i];
        i += 1;
    }
    fields[21] = read("sample_period", 168, 8, RALL);
    fields[22] = read("addr", 176, 8, RALL);
    fields
};

static PERF_EVENT_DATA: CtxLayout =
    CtxLayout { name: "bpf_perf_event_data", size: 184, fields: &PERF_FIELDS };

/// `BPF_PROG_TYPE_PERF_EVENT`.
pub static PERF_EVENT: ProgTypeDesc = row(
    ProgType::PerfEvent,
    "samples of hardware and software counters",
    Version(4, 9),
    &[(&[], &PERF_EVENT_DATA)],
    UserRun::Plain,
);

static RAW_ARGS: CtxLayout = CtxLayout {
    name: "bpf_raw_tracepoint_args",
    size: MAX_ARGS * 8,
    fields: &[read("args", 0, MAX_ARGS * 8, RALL)],
};

/// `BPF_PROG_TYPE_RAW_TRACEPOINT`.
pub static RAW_TRACEPOINT: ProgTypeDesc = row(
    ProgType::RawTracepoint,
    "the kernel's tracepoints, by their raw arguments",
    Version(4, 17),
    &[(&[], &RAW_ARGS)],
    UserRun::Plain,
);

static WRITABLE_ARGS: CtxLayout = CtxLayout {
    name: "bpf_raw_tracepoint_args",
    size: MAX_ARGS * 8,
    // The first argument is a buffer and is loaded as a whole; its other bytes are numbers like the rest
    // (raw_tp_writable_prog_is_valid_access looks at offset 0 alone).
    fields: &[
        CtxField::plain("buffer", 0, 1, FieldKind::TpBuffer, Rights::start(8), NO),
        read("buffer_rest", 1, 7, RALL),
        read("args", 8, MAX_ARGS * 8 - 8, RALL),
    ],
};

/// `BPF_PROG_TYPE_RAW_TRACEPOINT_WRITABLE`.
pub static RAW_TRACEPOINT_WRITABLE: ProgTypeDesc = row(
    ProgType::RawTracepointWritable,
    "raw tracepoints that let programs change their first argument",
    Version(5, 2),
    &[(&[], &WRITABLE_ARGS)],
    UserRun::Plain,
);

/// Arguments are accessed from their first byte on, numbers in any size, pointers as a whole; how many there are and
/// which are pointers stands in the BTF (`btf_ctx_access`).
const ARG_FIELDS: [CtxField; MAX_ARGS as usize] = {
    const NAMES: [&str; MAX_ARGS as usize] =
        ["arg0", "arg1", "arg2", "arg3", "arg4", "arg5", "arg6", "arg7", "arg8", "arg9", "arg10", "arg11"];
    let mut fields = [read("", 0, 8, NO); MAX_ARGS as usize];
    let mut i = 0;
    while i < fields.len() {
        let rights = Rights::start(1 | 2 | 4 | 8);
        fields[i] = CtxField::plain(NAMES[i], i as u16 * 8, 8, FieldKind::BtfArg, rights, NO);
        i += 1;
    }
    fields
};

static BTF_ARGS: CtxLayout = CtxLayout { name: "args", size: MAX_ARGS * 8, fields: &ARG_FIELDS };

/// `BPF_PROG_TYPE_TRACING`.
pub static TRACING: ProgTypeDesc = {
    let mut tracing = row(
        ProgType::Tracing,
        "kernel functions, tracepoints and iterators by BTF-typed arguments",
        Version(5, 5),
        &[(&[], &BTF_ARGS)],
        UserRun::Plain,
    );
    tracing.returns = &[
        (&[A::TraceFentry, A::TraceFexit], RetRange { min: 0, max: 0 }),
        (&[A::TraceIter], RetRange { min: 0, max: 1 }),
    ];
    tracing.attach_types = &[A::TraceRawTp, A::TraceFentry, A::TraceFexit, A::ModifyReturn, A::TraceIter];
    tracing.sleepable = Sleepable::MayFor(&[A::TraceFentry, A::TraceFexit, A::ModifyReturn, A::TraceIter]);
    tracing
};

/// `BPF_PROG_TYPE_LSM`. What a hook that is not a cgroup's may return depends on the hook (`bpf_lsm_get_retval_range`).
pub static LSM: ProgTypeDesc = {
    let mut lsm = row(
        ProgType::Lsm,
        "security decisions of the kernel",
        Version(5, 7),
        &[(&[], &BTF_ARGS)],
        UserRun::Plain,
    );
    lsm.returns = &[(&[A::LsmCgroup], RetRange { min: 0, max: 1 })];
    lsm.attach_types = &[A::LsmMac, A::LsmCgroup];
    lsm.sleepable = Sleepable::MayExcept(&[A::LsmCgroup]);
    lsm
};

/// `BPF_PROG_TYPE_STRUCT_OPS`.
pub static STRUCT_OPS: ProgTypeDesc = {
    let mut ops = row(
        ProgType::StructOps,
        "functions of a kernel structure: congestion control, schedulers, …",
        Version(5, 6),
        &[(&[], &BTF_ARGS)],
        UserRun::No("it implements a function of a kernel structure; load it into the kernel"),
    );
    ops.sleepable = Sleepable::May;
    ops
};

/// `BPF_PROG_TYPE_EXT`: takes everything from the program it extends.
pub static EXT: ProgTypeDesc = {
    let mut ext = row(
        ProgType::Ext,
        "replacements of functions in other programs",
        Version(5, 6),
        &[],
        UserRun::No("it replaces a function of another program; run that program"),
    );
    ext.needs = &[Capability::Bpf, Capability::NetAdmin, Capability::Perfmon];
    ext
};

static SYSCALL_CTX: CtxLayout = CtxLayout {
    name: "syscall",
    // One byte less than the kernel's bound matters to nobody: offsets in instructions end at 32767.
    size: u16::MAX,
    fields: &[both("bytes", 0, u16::MAX, RALL, RALL)],
};

/// `BPF_PROG_TYPE_SYSCALL`.
pub static SYSCALL: ProgTypeDesc = {
    let mut syscall = row(
        ProgType::Syscall,
        "called by a process, with bpf(2) at hand",
        Version(5, 14),
        &[(&[], &SYSCALL_CTX)],
        UserRun::Plain,
    );
    syscall.needs = &[Capability::Bpf];
    syscall.sleepable = Sleepable::Must;
    syscall
};

static SAMPLE: CtxLayout =
    CtxLayout { name: "lirc_mode2", size: 4, fields: &[read("sample", 0, 4, Rights::start(4))] };

/// `BPF_PROG_TYPE_LIRC_MODE2`.
pub static LIRC_MODE2: ProgTypeDesc = {
    let mut lirc = row(
        ProgType::LircMode2,
        "pulses and spaces of an infrared receiver",
        Version(4, 18),
        &[(&[], &SAMPLE)],
        UserRun::Plain,
    );
    lirc.needs = &[Capability::Bpf];
    lirc
};
