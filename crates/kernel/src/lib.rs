//! The kernel engine: the same objects, loaded into the running Linux kernel by bpf(2).
//!
//! ```text
//!  Collection ─► Kernel ─► Door ─► bpf(2)
//!                  │         └ Live (raw.rs), or one made for tests
//!                  ├ map.rs, ring.rs   maps, and the ring buffer's memory
//!                  ├ btf.rs            the object's types as the kernel takes them
//!                  ├ ksyms.rs          the kernel's symbols and their addresses
//!                  ├ load.rs, log.rs   programs; the verifier's log read into a `Refusal`
//!                  ├ struct_ops.rs     structures of the kernel whose functions are programs
//!                  ├ dispatcher.rs     several XDP programs on one device; dispatcher/libxdp.rs in libxdp's form
//!                  ├ link/, netlink.rs hooks: what programs are attached to, as links
//!                  ├ pin.rs, info.rs   objects that exist already: pins, ids, what the kernel says of them
//!                  ├ mount.rs          where file systems are
//!                  ├ token.rs          rights handed to a user namespace
//!                  ├ packet.rs         packet sockets: live packets through a classic filter
//!                  ├ probe.rs          what the kernel has, by trying
//!                  ├ profile.rs        what a program costs
//!                  └ explain.rs        which permission or kernel option is missing
//!  seccomp            commands under a filter, by system calls of its own
//! ```
//!
//! Always holds: everything made here is a file descriptor owned by a value, so nothing stays in the kernel once the values
//! are dropped or the process ends, however it ends, but for what was pinned on purpose, for programs that `netlink` and
//! `dispatcher::libxdp` put on a device, and for the three kinds of attachment that are named in `link`.

pub mod auto;
mod btf;
pub mod dispatcher;
pub mod door;
mod engine;
pub mod explain;
pub mod info;
pub mod ksyms;
pub mod link;
mod load;
pub mod log;
mod map;
pub mod mount;
pub mod netlink;
pub mod packet;
mod perf;
pub mod pin;
pub mod pinned;
mod probe;
pub mod profile;
mod raw;
mod ring;
pub mod seccomp;
pub mod struct_ops;
pub mod token;
mod user_ring;
pub mod wait;

#[cfg(test)]
mod fake;

pub use btf::{VMLINUX, vmlinux};
pub use engine::{Kernel, Options, Ran};
pub use link::{AttachTo, Link};
pub use load::KernelProgram;
pub use map::KernelMap;
pub use probe::Found;
pub use raw::{Live, current_cpu, pin_to_cpu};

use std::sync::OnceLock;

/// CPUs that this machine may ever have: per-CPU values have as many parts.
pub fn possible_cpus() -> usize {
    static CPUS: OnceLock<usize> = OnceLock::new();
    *CPUS.get_or_init(|| {
        let text = std::fs::read_to_string("/sys/devices/system/cpu/possible").unwrap_or_default();
        cpu_count(&text).unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
    })
}

/// One more than the highest CPU of a list such as `0-3,8`.
fn cpu_count(list: &str) -> Option<usize> {
    let last = list.trim().rsplit([',', '-']).next()?;
    last.parse::<usize>().ok()?.checked_add(1)
}

#[cfg(test)]
mod tests {
    #[test]
    fn cpu_lists() {
        assert_eq!(super::cpu_count("0-3\n"), Some(4));
        assert_eq!(super::cpu_count("0\n"), Some(1));
        assert_eq!(super::cpu_count("0-3,8-11\n"), Some(12));
        assert_eq!(super::cpu_count(""), None);
    }
}
