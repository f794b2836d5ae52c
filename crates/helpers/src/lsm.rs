//! Security hooks.

use crate::row::*;

/// The rows of this family.
pub(crate) const ROWS: &[&Helper] = &[&bpf_bprm_opts_set, &bpf_ima_inode_hash, &bpf_ima_file_hash];

helper! { bpf_bprm_opts_set = 159, since: (5, 11),
    signature: "long bpf_bprm_opts_set(struct linux_binprm *bprm, u64 flags)",
    doc: "Asks for a secure execution of the program that is being started.",
    protos: [
        { who: LSM, since: (5, 11),
          args: [btf(&["linux_binprm"]), ANY], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::None,
    body: Body::Absent(absent::LSM_HOOKS),
}

helper! { bpf_ima_inode_hash = 161, since: (5, 11),
    signature: "long bpf_ima_inode_hash(struct inode *inode, void *dst, u32 size)",
    doc: "Hash of an inode as the integrity subsystem has it.",
    protos: [
        { who: LSM.sleepable(true), since: (5, 11),
          args: [btf(&["inode"]), UNINIT_MEM, SIZE], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: true, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::Places(&[]),
    body: Body::Absent(absent::LSM_HOOKS),
}

helper! { bpf_ima_file_hash = 193, since: (5, 18),
    signature: "long bpf_ima_file_hash(struct file *file, void *dst, u32 size)",
    doc: "Hash of a file as the integrity subsystem computes it.",
    protos: [
        { who: LSM.sleepable(true), since: (5, 18),
          args: [btf(&["file"]), UNINIT_MEM, SIZE], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: true, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::Places(&[]),
    body: Body::Absent(absent::LSM_HOOKS),
}
