//! The platform's tables against the facts in `../shared/uapi/uapi.json`, which were read from the source of Linux 6.12
//! by a program; `SKEP_UAPI` names another place. Where that file is not there, nothing is checked.
//!
//! The file has faults of its own; they stand in [`KNOWN`] with their reasons, and one that goes away must be taken out.

use serde_json::Value;
use skep_platform::helper::{ArgKind, Capability, DynptrKind, Proto, Version};
use skep_platform::{Arg, Helper, MapType, ProgType, RetType};
use std::collections::BTreeSet;
use std::path::Path;

/// Linux version that the file is about.
const FACTS: Version = Version(6, 12);

/// What the file says of a helper and is not so: helper, what is compared, reason.
static KNOWN: &[(&str, &str, &str)] = &[
    (
        "bpf_seq_printf",
        "prototypes",
        "the file has bpf_d_path's: a condition in the source misled its program",
    ),
    ("bpf_seq_printf", "gpl_only", "the same"),
    ("bpf_seq_printf", "program types", "only iterators have it, and system call programs are none"),
    ("bpf_seq_write", "prototypes", "as for bpf_seq_printf"),
    ("bpf_seq_write", "gpl_only", "as for bpf_seq_printf"),
    ("bpf_seq_write", "program types", "as for bpf_seq_printf"),
    ("bpf_seq_printf_btf", "prototypes", "as for bpf_seq_printf"),
    ("bpf_seq_printf_btf", "gpl_only", "as for bpf_seq_printf"),
    ("bpf_seq_printf_btf", "program types", "as for bpf_seq_printf"),
    ("bpf_setsockopt", "program types", "the file does not have what single iterators may call"),
    ("bpf_getsockopt", "program types", "the same"),
    ("bpf_skc_to_tcp6_sock", "prototypes", "the file has bpf_ktime_get_coarse_ns: a fall-through was missed"),
    ("bpf_skc_to_tcp_sock", "prototypes", "the same"),
    ("bpf_skc_to_tcp_timewait_sock", "prototypes", "the same"),
    ("bpf_skc_to_tcp_request_sock", "prototypes", "the same"),
    ("bpf_skc_to_udp6_sock", "prototypes", "the same"),
    ("bpf_skc_to_unix_sock", "prototypes", "the same"),
    ("bpf_skc_to_mptcp_sock", "prototypes", "the same"),
    (
        "bpf_get_stack",
        "prototypes",
        "6.12 does not say that raw tracepoints' buffer is written; later kernels do",
    ),
    ("bpf_fib_lookup", "prototypes", "6.12 does not say that the parameters are written; later kernels do"),
    ("bpf_sysctl_get_name", "prototypes", "6.12 does not say that the buffer is written; later kernels do"),
    (
        "bpf_read_branch_records",
        "prototypes",
        "6.12 does not say that the buffer is written; later kernels do",
    ),
    ("bpf_snprintf_btf", "prototypes", "the buffer is written only; 6.12 does not say so"),
    ("bpf_snprintf", "prototypes", "the buffer is written only; 6.12 does not say so"),
    ("bpf_d_path", "prototypes", "the buffer is written only; 6.12 does not say so"),
    ("bpf_get_retval", "program types", "no attach type of packet filters and socket operations has it"),
    ("bpf_set_retval", "program types", "no attach type of packet filters and socket operations has it"),
    ("bpf_get_attach_cookie", "program types", "system call programs have no trampoline"),
    ("bpf_get_func_arg", "program types", "system call programs have no trampoline"),
    ("bpf_get_func_ret", "program types", "system call programs have no trampoline"),
    ("bpf_get_func_arg_cnt", "program types", "system call programs have no trampoline"),
];

pub(super) fn check(root: &Path) -> Result<Vec<String>, String> {
    let path = std::env::var_os("SKEP_UAPI").map_or(root.join("../shared/uapi/uapi.json"), Into::into);
    let Ok(text) = std::fs::read_to_string(&path) else {
        println!("       {} is not there; the tables were not compared with it", path.display());
        return Ok(Vec::new());
    };
    let facts: Value = serde_json::from_str(&text).map_err(|e| format!("{}: {e}", path.display()))?;
    let mut faults = Vec::new();
    helpers(&facts, &mut faults);
    names(&facts, "prog_types", &prog_types(), &mut faults);
    names(&facts, "map_types", &map_types(), &mut faults);
    Ok(faults)
}

/// Numbers and names that a table of ours has must be the file's, all of them and no more.
fn names(facts: &Value, list: &str, ours: &BTreeSet<(u64, String)>, faults: &mut Vec<String>) {
    let theirs: BTreeSet<_> =
        rows(facts, list).map(|r| (number(r, "id"), text(r, "name").to_owned())).collect();
    // Number 0 is "unspecified"; a deprecated name is a second name of a number.
    let row = |(id, name): &(u64, String)| *id != 0 && !name.ends_with("_DEPRECATED");
    let theirs: BTreeSet<_> = theirs.into_iter().filter(row).collect();
    faults.extend(theirs.difference(ours).map(|(id, n)| format!("{list}: no row for {n} ({id})")));
    faults.extend(ours.difference(&theirs).map(|(id, n)| format!("{list}: {n} ({id}) is not in the facts")));
}

fn prog_types() -> BTreeSet<(u64, String)> {
    let id = |t: ProgType| (u64::from(t.id()), t.uapi_name().to_owned());
    skep_hooks::PROG_TYPES.iter().map(|d| id(d.prog_type)).collect()
}

fn map_types() -> BTreeSet<(u64, String)> {
    let id = |t: MapType| (u64::from(t.id()), t.uapi_name().to_owned());
    skep_maps::MAP_TYPES.iter().map(|d| id(d.map_type)).collect()
}

fn helpers(facts: &Value, faults: &mut Vec<String>) {
    let mut known: BTreeSet<(&str, &str)> = KNOWN.iter().map(|(h, what, _)| (*h, *what)).collect();
    for row in rows(facts, "helpers") {
        let name = text(row, "name");
        let Some(ours) = skep_helpers::HELPERS.iter().find(|h| h.name == name) else {
            faults.push(format!("helpers: no row for {name}"));
            continue;
        };
        for (what, fault) in differences(ours, row) {
            if !known.remove(&(ours.name, what)) {
                faults.push(format!("{name}, {what}: {fault}"));
            }
        }
    }
    faults.extend(
        known.iter().map(|(h, what)| format!("{h}, {what}: listed as known in tables.rs, and now equal")),
    );
}

fn differences(h: &Helper, row: &Value) -> Vec<(&'static str, String)> {
    let mut out = Vec::new();
    let mut differ = |what, ours: String, theirs: String| {
        if ours != theirs {
            out.push((what, format!("ours {ours}, the facts {theirs}")));
        }
    };
    differ("number", h.id.to_string(), number(row, "id").to_string());
    differ("signature", h.signature.into(), text(row, "signature").into());
    let then: Vec<&Proto> = h.protos.iter().filter(|p| p.since <= FACTS).collect();
    let types: BTreeSet<String> = then.iter().flat_map(|p| types(p)).collect();
    let theirs: BTreeSet<String> = strings(row, "prog_types").collect();
    differ("program types", list(&types), list(&theirs));
    let gpl = then.iter().all(|p| p.gpl_only);
    differ("gpl_only", gpl.to_string(), (row["gpl_only"] == true).to_string());
    let ours: BTreeSet<String> = then.iter().map(|p| proto(p)).collect();
    let theirs: BTreeSet<String> = rows(row, "protos").map(fact_proto).collect();
    differ("prototypes", list(&ours), list(&theirs));
    if let Some(caps) = row["cap_by_prog_type"].as_object() {
        let theirs: BTreeSet<String> = caps.values().filter_map(Value::as_str).map(str::to_owned).collect();
        let ours: BTreeSet<String> = then.iter().filter_map(|p| p.capability).map(capability).collect();
        differ("capability", list(&ours), list(&theirs));
    }
    out
}

fn list(items: &BTreeSet<String>) -> String {
    items.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
}

fn capability(c: Capability) -> String {
    match c {
        Capability::Bpf => "CAP_BPF".into(),
        Capability::Perfmon => "CAP_PERFMON".into(),
        other => format!("{other:?}"),
    }
}

/// Program types as the file names them.
fn types(p: &Proto) -> Vec<String> {
    let plain = p.prog_types.iter().filter(|t| **t != ProgType::StructOps);
    let plain = plain.map(|t| t.uapi_name().trim_start_matches("BPF_PROG_TYPE_").to_owned());
    let members = p.struct_ops.iter().filter(|_| p.prog_types.contains(&ProgType::StructOps));
    plain.chain(members.map(|s| format!("STRUCT_OPS:{s}"))).collect()
}

/// Everything but who may call, as one text.
fn proto(p: &Proto) -> String {
    let args: Vec<String> = p.args.iter().map(arg).collect();
    let flags = [(p.gpl_only, " gpl"), (p.pkt_access, " pkt"), (p.might_sleep, " sleep")];
    let flags: String = flags.iter().filter(|(on, _)| *on).map(|(_, f)| *f).collect();
    format!("({}) {}{flags}", args.join("; "), ret(p.ret))
}

fn fact_proto(row: &Value) -> String {
    let args: Vec<String> = strings(row, "args").map(|a| normal(&a)).collect();
    let ret = row["ret"].as_str().unwrap_or("RET_INTEGER").to_owned();
    let flags = [("gpl_only", " gpl"), ("pkt_access", " pkt"), ("might_sleep", " sleep")];
    let flags: String = flags.iter().filter(|(key, _)| row[*key] == true).map(|(_, f)| *f).collect();
    format!("({}) {}{flags}", args.join("; "), normal(&ret))
}

/// Flags in one order, and the short forms that stand for flags written out.
fn normal(uapi: &str) -> String {
    let mut words = uapi.split(" | ");
    let mut base = words.next().unwrap_or("").to_owned();
    let mut flags: BTreeSet<&str> = words.collect();
    if base == "ARG_PTR_TO_UNINIT_MEM" {
        base = "ARG_PTR_TO_MEM".into();
        flags.extend(["MEM_UNINIT", "MEM_WRITE"]);
    }
    if let Some(short) = base.strip_suffix("_OR_NULL").filter(|b| b.starts_with("ARG_PTR")) {
        base = short.into();
        flags.insert("PTR_MAYBE_NULL");
    }
    if base.starts_with("RET") {
        // That what comes back may only be read follows from its kind.
        flags.remove("MEM_RDONLY");
        if flags.remove("PTR_MAYBE_NULL") {
            base.push_str("_OR_NULL");
        }
    }
    std::iter::once(base.as_str()).chain(flags).collect::<Vec<_>>().join("|")
}

fn arg(a: &Arg) -> String {
    let mut flags = Vec::new();
    let base = match a.kind {
        ArgKind::Dynptr(kind) => {
            flags.extend(dynptr(kind));
            "ARG_PTR_TO_DYNPTR"
        }
        kind => arg_base(kind),
    };
    let on = [
        (a.nullable, "PTR_MAYBE_NULL"),
        (a.rdonly, "MEM_RDONLY"),
        (a.uninit, "MEM_UNINIT"),
        (a.write, "MEM_WRITE"),
        (a.aligned, "MEM_ALIGNED"),
        (a.release, "OBJ_RELEASE"),
    ];
    flags.extend(on.iter().filter(|(on, _)| *on).map(|(_, f)| *f));
    flags.sort_unstable();
    std::iter::once(base).chain(flags).collect::<Vec<_>>().join("|")
}

fn dynptr(kind: DynptrKind) -> Option<&'static str> {
    match kind {
        DynptrKind::Local => Some("DYNPTR_TYPE_LOCAL"),
        DynptrKind::Ringbuf => Some("DYNPTR_TYPE_RINGBUF"),
        _ => None,
    }
}

fn arg_base(kind: ArgKind) -> &'static str {
    match kind {
        ArgKind::Anything => "ARG_ANYTHING",
        ArgKind::Scalar => "ARG_SCALAR",
        ArgKind::Ctx => "ARG_PTR_TO_CTX",
        ArgKind::ConstMapPtr => "ARG_CONST_MAP_PTR",
        ArgKind::MapKey => "ARG_PTR_TO_MAP_KEY",
        ArgKind::MapValue => "ARG_PTR_TO_MAP_VALUE",
        ArgKind::Mem => "ARG_PTR_TO_MEM",
        ArgKind::FixedMem(_) => "ARG_PTR_TO_FIXED_SIZE_MEM",
        ArgKind::Size => "ARG_CONST_SIZE",
        ArgKind::SizeOrZero => "ARG_CONST_SIZE_OR_ZERO",
        ArgKind::AllocSizeOrZero => "ARG_CONST_ALLOC_SIZE_OR_ZERO",
        ArgKind::SockCommon => "ARG_PTR_TO_SOCK_COMMON",
        ArgKind::BtfIdSockCommon => "ARG_PTR_TO_BTF_ID_SOCK_COMMON",
        ArgKind::Socket => "ARG_PTR_TO_SOCKET",
        ArgKind::BtfId(_) => "ARG_PTR_TO_BTF_ID",
        ArgKind::PercpuBtfId => "ARG_PTR_TO_PERCPU_BTF_ID",
        ArgKind::SpinLock => "ARG_PTR_TO_SPIN_LOCK",
        ArgKind::Timer => "ARG_PTR_TO_TIMER",
        ArgKind::Func => "ARG_PTR_TO_FUNC",
        ArgKind::Stack => "ARG_PTR_TO_STACK",
        ArgKind::RingbufMem => "ARG_PTR_TO_RINGBUF_MEM",
        ArgKind::Dynptr(_) => "ARG_PTR_TO_DYNPTR",
        ArgKind::ConstStr => "ARG_PTR_TO_CONST_STR",
        ArgKind::KptrXchgDest => "ARG_KPTR_XCHG_DEST",
    }
}

fn ret(r: RetType) -> String {
    let null = |base: &str, nullable: bool| format!("{base}{}", if nullable { "_OR_NULL" } else { "" });
    match r {
        RetType::Integer => "RET_INTEGER".into(),
        RetType::Void => "RET_VOID".into(),
        RetType::MapValue { nullable } => null("RET_PTR_TO_MAP_VALUE", nullable),
        RetType::SocketOrNull => "RET_PTR_TO_SOCKET_OR_NULL".into(),
        RetType::SockCommonOrNull => "RET_PTR_TO_SOCK_COMMON_OR_NULL".into(),
        RetType::TcpSockOrNull => "RET_PTR_TO_TCP_SOCK_OR_NULL".into(),
        RetType::RingbufMemOrNull => "RET_PTR_TO_RINGBUF_MEM_OR_NULL".into(),
        RetType::DynptrMemOrNull => "RET_PTR_TO_DYNPTR_MEM_OR_NULL".into(),
        RetType::MemOrBtfId { nullable } => null("RET_PTR_TO_MEM_OR_BTF_ID", nullable),
        RetType::BtfId { trusted: true, .. } => "RET_PTR_TO_BTF_ID_TRUSTED".into(),
        RetType::BtfId { nullable, .. } => null("RET_PTR_TO_BTF_ID", nullable),
    }
}

fn rows<'a>(v: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    v[key].as_array().into_iter().flatten()
}

fn text<'a>(v: &'a Value, key: &str) -> &'a str {
    v[key].as_str().unwrap_or("")
}

fn number(v: &Value, key: &str) -> u64 {
    v[key].as_u64().unwrap_or(0)
}

fn strings(v: &Value, key: &str) -> impl Iterator<Item = String> {
    rows(v, key).filter_map(Value::as_str).map(str::to_owned)
}
