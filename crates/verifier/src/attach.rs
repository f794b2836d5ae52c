//! Where a program is attached, when BTF says what it is given there: the kernel function, trace point, LSM hook,
//! iterator or structure member, with the types of its arguments and the range of what it may return.

use crate::machine::Vm;
use crate::mem::How;
use crate::options::Options;
use crate::reject::{Check, refuse};
use crate::value::{Base, BtfType, Flags, Reg};
use skep_btf::{Btf, Kind, Type};
use skep_platform::{AttachType, ProgType, Program};

/// What is known of the attach point.
#[derive(Clone, Debug, Default)]
pub(crate) struct Attach {
    /// Its name in BTF.
    name: String,
    /// The context is an array of typed arguments.
    typed: bool,
    /// Types of the arguments.
    args: Vec<u32>,
    /// Arguments that may be NULL.
    nullable: Vec<bool>,
    /// Type of the result; 0: none.
    ret: u32,
    /// The result comes after the arguments.
    sees_ret: bool,
    /// Range of the program's own result.
    range: Option<(i32, i32)>,
    /// Any result, or none, is fine.
    free: bool,
    /// Arguments are trusted.
    trusted: bool,
    /// Pointers to void among the arguments are buffers: a map's key, read-only, and its value.
    buffers: bool,
}

impl Attach {
    /// The context's arguments are described by BTF.
    pub(crate) fn typed_ctx(&self) -> bool {
        self.typed
    }

    /// Nobody looks at the result.
    pub(crate) fn returns_nothing(&self) -> bool {
        self.free
    }

    /// Sockets of congestion control are TCP sockets (`bpf_tcp_ca_is_valid_access`, net/ipv4/bpf_tcp_ca.c).
    fn promoted(&self, b: &Btf, id: u32) -> u32 {
        if self.name.starts_with("tcp_congestion_ops/") && b.name_of(id) == "sock" {
            return b.find_by_name_kind("tcp_sock", Kind::Struct).unwrap_or(id);
        }
        id
    }

    /// May the program write these bytes of a kernel structure (`btf_struct_access` of its type)?
    pub(crate) fn writable(&self, prog: ProgType, b: &Btf, ty: &str, off: i64, size: u32) -> Check {
        let holder = self.name.split('/').next().unwrap_or("");
        let row = WRITABLE.iter().find(|w| {
            w.prog_types.contains(&prog) && (prog != ProgType::StructOps || w.struct_ops == holder)
        });
        let Some(w) = row.filter(|w| w.types.contains(&ty)) else {
            refuse!(BadPointer, "only read is supported");
        };
        let inside = |path: &&[&str]| {
            let Some((at, len)) = member_at(b, w.types[0], path) else { return false };
            off >= at as i64 && off + size as i64 <= (at + len) as i64
        };
        if !w.members.is_empty() && !w.members.iter().any(inside) {
            refuse!(BadPointer, "no write support to {} at off {off}", w.types[0]);
        }
        Ok(())
    }

    /// The program is at a security hook that may sleep, in an iterator, or traces one of these functions.
    pub(crate) fn sleeps_or_is(&self, p: &Program, places: &[&str]) -> bool {
        match p.prog_type {
            ProgType::Lsm => self.name.strip_prefix("bpf_lsm_").is_some_and(|h| SLEEPABLE_HOOKS.contains(&h)),
            _ if p.attach_type == Some(AttachType::TraceIter) => true,
            _ => places.contains(&self.name.as_str()),
        }
    }

    /// The program traces a function whose name begins so.
    pub(crate) fn traces(&self, p: &Program, prefix: &str) -> bool {
        let traced =
            Some(AttachType::TraceFentry) == p.attach_type || Some(AttachType::TraceFexit) == p.attach_type;
        p.prog_type == ProgType::Tracing && traced && self.name.starts_with(prefix)
    }

    /// Is it this member of a structure of functions?
    pub(crate) fn is_member(&self, member: &str) -> bool {
        self.name == member
    }

    /// Range of the result, where BTF or the attach type decides.
    pub(crate) fn returns(&self) -> Option<(i32, i32)> {
        self.range
    }

    /// What a program is attached to.
    pub(crate) fn of(program: &Program, kernel: Option<&Btf>, _options: &Options) -> Check<Attach> {
        let mut a = Attach::default();
        let target = program.attach_target.clone().unwrap_or_default();
        let target = target.rsplit('/').next().unwrap_or("").to_owned();
        if program.sleepable {
            may_sleep(program)?;
        }
        let Some(b) = kernel else { return Ok(a) };
        match (program.prog_type, program.attach_type) {
            (ProgType::Tracing, Some(AttachType::TraceRawTp)) => {
                a.name = format!("btf_trace_{target}");
                let Some(proto) = b.find_by_name_kind(&a.name, Kind::Typedef).and_then(|t| tracepoint(b, t))
                else {
                    return Ok(a);
                };
                a.take(b, proto, 1);
                (a.free, a.trusted) = (true, true);
            }
            (
                ProgType::Tracing,
                Some(t @ (AttachType::TraceFentry | AttachType::TraceFexit | AttachType::ModifyReturn)),
            ) => {
                a.function(b, &target);
                a.sees_ret = t != AttachType::TraceFentry;
                a.free = t == AttachType::ModifyReturn;
                a.range = (!a.free).then_some((0, 0));
                a.trusted = false;
            }
            (ProgType::Tracing, Some(AttachType::TraceIter)) => {
                a.function(b, &format!("bpf_iter_{target}"));
                a.range = Some((0, 1));
                a.trusted = true;
                // The last item is NULL: the end of the walk.
                let whole = matches!(target.as_str(), "bpf_map_elem" | "bpf_sk_storage_map" | "sockmap");
                for (i, n) in a.nullable.iter_mut().enumerate() {
                    *n = i > usize::from(whole);
                }
                a.buffers = whole;
            }
            (ProgType::Lsm, _) => {
                if DISABLED_HOOKS.contains(&target.as_str()) {
                    refuse!(Load, "attach_btf_id points to disabled hook bpf_lsm_{target}");
                }
                a.function(b, &format!("bpf_lsm_{target}"));
                a.trusted = !UNTRUSTED_HOOKS.contains(&target.as_str());
                if program.attach_type == Some(AttachType::LsmCgroup) {
                    a.range = Some(if a.ret == 0 { (1, 1) } else { (0, 1) });
                } else if a.ret == 0 {
                    a.free = true;
                } else if bool_hook(&target) {
                    a.range = Some((0, 1));
                } else {
                    a.range = Some((-4095, 0));
                }
            }
            (ProgType::StructOps, _) => a.member(b, program)?,
            _ => {}
        }
        Ok(a)
    }

    /// A member of a structure of functions (`check_struct_ops_btf_id`).
    fn member(&mut self, b: &Btf, program: &Program) -> Check {
        let target = program.attach_target.as_deref().unwrap_or("");
        if !program.gpl_compatible() {
            refuse!(Load, "struct ops programs must have a GPL compatible license");
        }
        let Some((ty, member)) = target.split_once('/') else { return Ok(()) };
        let ty = skep_btf::essential_name(ty);
        let closed = CLOSED_MEMBERS.contains(&(ty, member))
            || (program.sleepable && ty == "bpf_dummy_ops" && member != "test_sleepable");
        if closed {
            refuse!(Load, "attach to unsupported member {member} of struct {ty}");
        }
        let Some(Type::Struct(s)) = b.find_by_name_kind(ty, Kind::Struct).and_then(|id| b.type_by_id(id))
        else {
            return Ok(());
        };
        let Some(m) = s.members.into_iter().find(|m| m.name == member) else { return Ok(()) };
        let Some((_, Type::Ptr(to))) = b.resolve(m.type_id) else { return Ok(()) };
        let Some(proto) = b.skip_mods_and_typedefs(to) else { return Ok(()) };
        self.take(b, proto, 0);
        // Stubs of the members tell by their parameters' names what may be NULL.
        let stub = b.find_by_name_kind(&format!("{ty}__{member}"), Kind::Func);
        if let Some(list) = stub.and_then(|f| crate::btfs::params(b, f)) {
            self.nullable = list.iter().map(|(n, _)| n.ends_with("__nullable")).collect();
        }
        self.name = target.to_owned();
        self.trusted = true;
        self.free = self.ret == 0;
        Ok(())
    }

    fn function(&mut self, b: &Btf, name: &str) {
        self.name = name.to_owned();
        let Some(id) = b.find_by_name_kind(name, Kind::Func) else { return };
        let Some(Type::Func(f)) = b.type_by_id(id) else { return };
        self.take(b, f.type_id, 0);
    }

    fn take(&mut self, b: &Btf, proto: u32, skip: usize) {
        let Some(Type::FuncProto(p)) = b.type_by_id(proto) else { return };
        self.typed = true;
        self.ret = p.return_type_id;
        self.args = p.params.skip(skip).map(|p| p.type_id).collect();
        self.nullable = p.params.skip(skip).map(|p| p.name.ends_with("__nullable")).collect();
    }
}

/// Program types and attach types that may be sleepable (`can_be_sleepable`).
fn may_sleep(p: &Program) -> Check {
    let ok = match p.prog_type {
        ProgType::Tracing => matches!(
            p.attach_type,
            Some(
                AttachType::TraceFentry
                    | AttachType::TraceFexit
                    | AttachType::ModifyReturn
                    | AttachType::TraceIter
            )
        ),
        ProgType::Lsm => p.attach_type != Some(AttachType::LsmCgroup),
        ProgType::Kprobe | ProgType::StructOps | ProgType::Syscall => true,
        _ => false,
    };
    if !ok {
        refuse!(
            Load,
            "Only fentry/fexit/fmod_ret, lsm, iter, uprobe, and struct_ops programs can be sleepable"
        );
    }
    Ok(())
}

/// Kernel structures of which programs may write members.
struct Writable {
    prog_types: &'static [ProgType],
    /// Structure of functions, for programs that are a member of one.
    struct_ops: &'static str,
    types: &'static [&'static str],
    /// Members by path; none: every byte.
    members: &'static [&'static [&'static str]],
}

/// By the kernel's `btf_struct_access` functions (net/ipv4/bpf_tcp_ca.c, net/bpf/bpf_dummy_struct_ops.c,
/// net/netfilter/nf_conntrack_bpf.c).
const WRITABLE: &[Writable] = &[
    Writable {
        prog_types: &[ProgType::StructOps],
        struct_ops: "tcp_congestion_ops",
        types: &["tcp_sock"],
        members: TCP_WRITABLE,
    },
    Writable {
        prog_types: &[ProgType::StructOps],
        struct_ops: "bpf_dummy_ops",
        types: &["bpf_dummy_ops_state"],
        members: &[],
    },
    Writable {
        prog_types: &[ProgType::SchedCls, ProgType::SchedAct, ProgType::Xdp],
        struct_ops: "",
        types: &["nf_conn", "nf_conn___init"],
        members: &[&["mark"]],
    },
];

/// Members of `struct tcp_sock` that congestion control may write, by path.
const TCP_WRITABLE: &[&[&str]] = &[
    &["inet_conn", "icsk_inet", "sk", "sk_pacing_rate"],
    &["inet_conn", "icsk_inet", "sk", "sk_pacing_status"],
    &["inet_conn", "icsk_ca_priv"],
    &["inet_conn", "icsk_ack", "pending"],
    &["snd_cwnd"],
    &["snd_cwnd_cnt"],
    &["snd_cwnd_stamp"],
    &["snd_ssthresh"],
    &["ecn_flags"],
    &["app_limited"],
];

/// Offset and bytes of a member of a member of a structure.
fn member_at(b: &Btf, ty: &str, path: &[&str]) -> Option<(u32, u32)> {
    let mut id = b.find_by_name_kind(ty, Kind::Struct)?;
    let mut at = 0;
    for name in path {
        let (Type::Struct(s) | Type::Union(s)) = b.type_by_id(b.skip_mods_and_typedefs(id)?)? else {
            return None;
        };
        let m = s.members.into_iter().find(|m| m.name == *name)?;
        at += m.bit_offset / 8;
        id = m.type_id;
    }
    Some((at, b.size_of(id)?))
}

/// Members that programs may not stand for.
const CLOSED_MEMBERS: &[(&str, &str)] = &[("tcp_congestion_ops", "get_info")];

/// LSM hooks that programs are not let into (`bpf_lsm_disabled_hooks`, kernel/bpf/bpf_lsm.c).
const DISABLED_HOOKS: &[&str] = &[
    "vm_enough_memory",
    "inode_need_killpriv",
    "inode_getsecurity",
    "inode_listsecurity",
    "inode_copy_up_xattr",
    "getselfattr",
    "getprocattr",
    "setprocattr",
    "perf_event_open",
    "bpf_map_alloc",
    "xfrm_decode_session",
    "key_getsecurity",
    "audit_rule_known",
    "xfrm_state_pol_flow_match",
    "sb_set_mnt_opts",
    "setselfattr",
    "ismaclabel",
];

/// LSM hooks whose arguments are half made or half gone (`untrusted_lsm_hooks`).
const UNTRUSTED_HOOKS: &[&str] = &[
    "bpf_map_free",
    "bpf_prog_free",
    "file_alloc_security",
    "file_free_security",
    "sk_alloc_security",
    "sk_free_security",
    "task_free",
];

/// LSM hooks that may sleep (`sleepable_lsm_hooks`, kernel/bpf/bpf_lsm.c).
#[rustfmt::skip]
const SLEEPABLE_HOOKS: &[&str] = &[
    "bpf",
    "bpf_map",
    "bpf_map_create",
    "bpf_map_free",
    "bpf_prog",
    "bpf_prog_load",
    "bpf_token_create",
    "bpf_token_free",
    "bpf_token_cmd",
    "bpf_token_capable",
    "bprm_check_security",
    "bprm_committed_creds",
    "bprm_committing_creds",
    "bprm_creds_for_exec",
    "bprm_creds_from_file",
    "capget",
    "capset",
    "cred_prepare",
    "file_ioctl",
    "file_lock",
    "file_open",
    "file_post_open",
    "file_receive",
    "inode_create",
    "inode_free_security",
    "inode_getattr",
    "inode_getxattr",
    "inode_mknod",
    "inode_need_killpriv",
    "inode_post_setxattr",
    "inode_readlink",
    "inode_rename",
    "inode_rmdir",
    "inode_setattr",
    "inode_setxattr",
    "inode_symlink",
    "inode_unlink",
    "kernel_module_request",
    "kernel_read_file",
    "kernfs_init_security",
    "path_unlink",
    "path_mkdir",
    "path_rmdir",
    "path_truncate",
    "path_symlink",
    "path_link",
    "path_rename",
    "path_chmod",
    "path_chown",
    "mmap_file",
    "netlink_send",
    "path_notify",
    "release_secctx",
    "sb_alloc_security",
    "sb_eat_lsm_opts",
    "sb_kern_mount",
    "sb_mount",
    "sb_remount",
    "sb_set_mnt_opts",
    "sb_show_options",
    "sb_statfs",
    "sb_umount",
    "settime",
    "socket_accept",
    "socket_bind",
    "socket_connect",
    "socket_create",
    "socket_getpeername",
    "socket_getpeersec_dgram",
    "socket_getsockname",
    "socket_getsockopt",
    "socket_listen",
    "socket_post_create",
    "socket_recvmsg",
    "socket_sendmsg",
    "socket_shutdown",
    "socket_socketpair",
    "syslog",
    "task_alloc",
    "current_getsecid_subj",
    "task_getsecid_obj",
    "task_prctl",
    "task_setscheduler",
    "userns_create",
];

/// LSM hooks that answer yes or no.
fn bool_hook(name: &str) -> bool {
    matches!(name, "audit_rule_known" | "inode_xattr_skipcap")
}

fn tracepoint(b: &Btf, typedef: u32) -> Option<u32> {
    let (_, ty) = b.resolve(typedef)?;
    let Type::Ptr(to) = ty else { return None };
    b.skip_mods_and_typedefs(to)
}

impl Vm<'_> {
    /// A load of a typed argument (`btf_ctx_access`).
    pub(crate) fn typed_ctx(&mut self, n: usize, off: i64, size: u32, how: How) -> Check {
        let _ = n;
        if how.writes() || off < 0 || off % 8 != 0 || size != 8 {
            let aligned = off >= 0 && off % size as i64 == 0;
            if aligned && !how.writes() && off % 8 == 0 {
                return self.narrow_arg(off, size, how);
            }
            refuse!(ContextAccess, "invalid bpf_context access off={off} size={size}");
        }
        let arg = (off / 8) as usize;
        let Some(&ty) = self.attach.args.get(arg) else {
            if arg == self.attach.args.len() && self.attach.sees_ret {
                self.loaded(&how, size, Reg::UNKNOWN);
                return Ok(());
            }
            let name = &self.attach.name;
            refuse!(ContextAccess, "func '{name}' doesn't have {}-th argument", arg + 1);
        };
        let r = self.typed_value(arg, ty)?;
        self.loaded(&how, size, r);
        Ok(())
    }

    fn narrow_arg(&mut self, off: i64, size: u32, how: How) -> Check {
        let arg = (off / 8) as usize;
        let number = self.attach.args.get(arg).is_some_and(|t| {
            self.kernel.as_ref().is_some_and(|b| !matches!(b.resolve(*t), Some((_, Type::Ptr(_)))))
        });
        if !number {
            refuse!(ContextAccess, "invalid bpf_context access off={off} size={size}");
        }
        self.loaded(&how, size, Reg::UNKNOWN);
        Ok(())
    }

    fn typed_value(&mut self, arg: usize, ty: u32) -> Check<Reg> {
        let Some(b) = self.kernel.clone() else { refuse!(NotYet, "typed context needs the kernel's BTF") };
        let Some((_, Type::Ptr(to))) = b.resolve(ty) else { return Ok(Reg::UNKNOWN) };
        let mut tags = Flags::NONE;
        let mut at = to;
        while let Some(Type::TypeTag(t)) = b.type_by_id(at) {
            tags = match t.name {
                "user" => tags.with(Flags::USER),
                "percpu" => tags.with(Flags::PERCPU),
                _ => tags,
            };
            at = t.type_id;
        }
        if self.attach.buffers && b.skip_mods(at) == Some(0) {
            let key = arg + 1 < self.attach.args.len();
            let flags = if key { Flags::RDONLY } else { Flags::NONE };
            let mut r = Reg::flagged(Base::Buf, flags.with(Flags::MAYBE_NULL));
            r.id = self.new_id();
            return Ok(r);
        }
        let Some((id, Type::Struct(_) | Type::Union(_))) = b.resolve(at) else { return Ok(Reg::UNKNOWN) };
        let id = self.attach.promoted(&b, id);
        let trusted = if self.attach.trusted { Flags::TRUSTED } else { Flags::NONE };
        let null = if self.attach.nullable.get(arg) == Some(&true) { Flags::MAYBE_NULL } else { Flags::NONE };
        let mut r = Reg::flagged(Base::Btf(BtfType { own: false, id }), trusted.with(tags).with(null));
        if r.maybe_null() {
            r.id = self.new_id();
        }
        Ok(r)
    }

    /// Address of a kernel variable (`check_pseudo_btf_id`).
    pub(crate) fn kernel_variable(&mut self, id: i32) -> Check<Reg> {
        let Some(b) = self.kernel.clone() else {
            refuse!(NotYet, "kernel variables need the kernel's BTF");
        };
        let (ty, percpu) = match b.type_by_id(id as u32) {
            Some(Type::Var(v)) => (v.type_id, percpu_var(&b, id as u32)),
            Some(Type::Func(_)) => return Ok(Reg::flagged(Base::Mem(0), Flags::RDONLY)),
            _ => refuse!(TypeInfo, "pseudo btf_id {id} in ldimm64 isn't KIND_VAR or KIND_FUNC."),
        };
        Ok(match b.resolve(ty) {
            _ if percpu => Reg::flagged(
                Base::Btf(BtfType { own: false, id: b.skip_mods_and_typedefs(ty).unwrap_or(ty) }),
                Flags::PERCPU,
            ),
            Some((t, Type::Struct(_) | Type::Union(_))) => {
                Reg::pointer(Base::Btf(BtfType { own: false, id: t }))
            }
            _ => match b.size_of(ty) {
                Some(size) => Reg::flagged(Base::Mem(size), Flags::RDONLY),
                None => {
                    refuse!(TypeInfo, "ldimm64 unable to resolve the size of type '{}': -22", b.name_of(ty))
                }
            },
        })
    }
}

/// Is the variable in the per-CPU section?
fn percpu_var(b: &Btf, var: u32) -> bool {
    let Some(id) = b.find_by_name_kind(".data..percpu", Kind::Datasec) else { return false };
    let Some(Type::Datasec(d)) = b.type_by_id(id) else { return false };
    d.vars.into_iter().any(|v| v.type_id == var)
}
