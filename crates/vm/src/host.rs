//! The outside world of a running program: [`SystemHost`] asks the machine it runs on, [`FixedHost`] answers the same
//! every time, for tests.

use crate::fib::FibTable;
use skep_platform::env::{Answer, Ask, Fib, Host};
use skep_platform::errno::Errno;
use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock};

/// `CONFIG_HZ` of the kernels that distributions ship.
const HZ: u64 = 250;
/// Jiffies start five minutes before they would wrap (`INITIAL_JIFFIES`); as 64 bits they begin there.
const INITIAL_JIFFIES: u64 = (-300 * HZ as i64) as u32 as u64;

/// The machine and process that the engine runs in.
#[derive(Debug)]
pub struct SystemHost {
    cpus: u32,
    cgroup: u64,
    fib: Option<FibTable>,
    /// CPU that programs believe to be on instead of the one that they are on.
    cpu: Option<u32>,
}

impl Default for SystemHost {
    fn default() -> SystemHost {
        SystemHost::new()
    }
}

impl SystemHost {
    /// The machine as it is. Reads the number of CPUs and the process's cgroup once.
    pub fn new() -> SystemHost {
        SystemHost { cpus: possible_cpus(), cgroup: own_cgroup(), fib: None, cpu: None }
    }

    /// The same with a route table for `bpf_fib_lookup`.
    #[must_use]
    pub fn with_fib(mut self, fib: FibTable) -> SystemHost {
        self.fib = Some(fib);
        self
    }

    /// The same with programs believing to be on this CPU all the time, which makes per-CPU maps repeatable. `None` when
    /// the machine has no such CPU.
    pub fn with_cpu(mut self, cpu: u32) -> Option<SystemHost> {
        self.cpu = Some(cpu);
        (cpu < self.cpus).then_some(self)
    }
}

impl Host for SystemHost {
    fn ktime_ns(&self) -> u64 {
        ktime()
    }

    fn ktime_boot_ns(&self) -> u64 {
        ktime_boot()
    }

    fn ktime_coarse_ns(&self) -> u64 {
        ktime_coarse()
    }

    fn ktime_tai_ns(&self) -> u64 {
        ktime_tai()
    }

    fn jiffies64(&self) -> u64 {
        jiffies()
    }

    fn prandom_u32(&self) -> u32 {
        prandom() as u32
    }

    fn direct(&self, ask: Ask) -> Option<Answer> {
        Some(Answer::Call(match ask {
            Ask::Ktime => ktime,
            Ask::KtimeBoot => ktime_boot,
            Ask::KtimeCoarse => ktime_coarse,
            Ask::KtimeTai => ktime_tai,
            Ask::Jiffies => jiffies,
            Ask::Prandom => prandom,
            Ask::NumaNode if one_node() => return Some(Answer::Constant(0)),
            Ask::NumaNode => numa_node,
            Ask::PidTgid => pid_tgid,
            // They change under a process that gives rights up.
            Ask::UidGid => return None,
        }))
    }

    fn cpus(&self) -> u32 {
        self.cpus
    }

    fn current_cpu(&self) -> u32 {
        self.cpu.unwrap_or_else(|| this_cpu().min(self.cpus - 1))
    }

    fn numa_node(&self) -> u32 {
        numa_node() as u32
    }

    fn pid_tgid(&self) -> u64 {
        pid_tgid()
    }

    fn uid_gid(&self) -> u64 {
        // SAFETY: both calls take nothing and cannot fail.
        let (uid, gid) = unsafe { (libc::getuid(), libc::getgid()) };
        u64::from(gid) << 32 | u64::from(uid)
    }

    fn comm(&self) -> [u8; 16] {
        let mut out = [0; 16];
        let text = std::fs::read("/proc/thread-self/comm").unwrap_or_default();
        let name = text.trim_ascii_end();
        let n = name.len().min(15);
        out[..n].copy_from_slice(&name[..n]);
        out
    }

    fn cgroup_id(&self) -> u64 {
        self.cgroup
    }

    fn netns_cookie(&self) -> u64 {
        // The initial namespace has cookie 1; the real one is not told to processes without a socket.
        1
    }

    fn probe_read(&self, addr: u64, out: &mut [u8]) -> Result<(), Errno> {
        let local = libc::iovec { iov_base: out.as_mut_ptr().cast(), iov_len: out.len() };
        let remote = libc::iovec { iov_base: foreign(addr), iov_len: out.len() };
        // SAFETY: the local buffer is a Rust slice; the kernel checks the remote address and says EFAULT.
        let n = unsafe { libc::process_vm_readv(own_pid(), &local, 1, &remote, 1, 0) };
        if n == out.len() as isize { Ok(()) } else { Err(Errno::EFAULT) }
    }

    fn probe_write(&self, addr: u64, data: &[u8]) -> Result<(), Errno> {
        // Writing wherever a program says would change this very process: refused, as a locked-down kernel does.
        let _ = (addr, data);
        Err(Errno::EPERM)
    }

    fn trace(&self, line: &str) {
        eprintln!("{}", trace_line(self, line));
    }

    fn fib(&self) -> Option<&dyn Fib> {
        self.fib.as_ref().map(|f| f as &dyn Fib)
    }
}

/// A line as `/sys/kernel/tracing/trace_pipe` shows it.
fn trace_line(host: &dyn Host, line: &str) -> String {
    let comm = host.comm();
    let end = comm.iter().position(|b| *b == 0).unwrap_or(comm.len());
    let comm = String::from_utf8_lossy(&comm[..end]);
    let us = host.ktime_ns() / 1000;
    let (pid, cpu) = (host.pid_tgid() as u32, host.current_cpu());
    let message = line.strip_suffix('\n').unwrap_or(line);
    format!(
        "{comm:>16}-{pid:<7} [{cpu:03}] d..21 {:>5}.{:06}: bpf_trace_printk: {message}",
        us / 1_000_000,
        us % 1_000_000
    )
}

fn clock(id: libc::clockid_t) -> u64 {
    let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `t` is a valid place for one timespec; an unknown clock leaves it as it is.
    unsafe { libc::clock_gettime(id, &mut t) };
    t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64
}

extern "C" fn ktime() -> u64 {
    clock(libc::CLOCK_MONOTONIC)
}

extern "C" fn ktime_boot() -> u64 {
    clock(libc::CLOCK_BOOTTIME)
}

extern "C" fn ktime_coarse() -> u64 {
    clock(libc::CLOCK_MONOTONIC_COARSE)
}

extern "C" fn ktime_tai() -> u64 {
    clock(libc::CLOCK_TAI)
}

extern "C" fn jiffies() -> u64 {
    INITIAL_JIFFIES + clock(libc::CLOCK_MONOTONIC_COARSE) / (1_000_000_000 / HZ)
}

thread_local! {
    /// State of this thread's random numbers; 0 before the first.
    static RANDOM: Cell<u64> = const { Cell::new(0) };
    /// CPU that was last asked about, plus 1, and its node.
    static NODE: Cell<(u32, u32)> = const { Cell::new((0, 0)) };
    /// Fork that the ids were asked after, plus 1, and the ids.
    static IDS: Cell<(u64, u64)> = const { Cell::new((0, 0)) };
}

/// Of a counter that each thread has of its own, folded by one multiplication (the wyrand generator), the lower half.
extern "C" fn prandom() -> u64 {
    let mut state = RANDOM.get();
    if state == 0 {
        state = clock(libc::CLOCK_MONOTONIC) ^ u64::from(thread_id()) << 40 | 1;
    }
    let state = state.wrapping_add(0xa076_1d64_78bd_642f);
    RANDOM.set(state);
    let product = u128::from(state) * u128::from(state ^ 0xe703_7ed1_a0b4_28db);
    u64::from(product as u32 ^ (product >> 64) as u32)
}

/// NUMA nodes do not move from CPU to CPU: one system call for each time that the thread did.
extern "C" fn numa_node() -> u64 {
    let (known, node) = NODE.get();
    let cpu = this_cpu();
    if known == cpu.wrapping_add(1) {
        return node.into();
    }
    let (cpu, node) = current_cpu();
    NODE.set((cpu.wrapping_add(1), node));
    node.into()
}

/// Whether the machine can have no other NUMA node than 0.
fn one_node() -> bool {
    static ONE: OnceLock<bool> = OnceLock::new();
    *ONE.get_or_init(|| {
        let possible = std::fs::read_to_string("/sys/devices/system/node/possible");
        possible.is_ok_and(|nodes| nodes.trim() == "0")
    })
}

extern "C" fn pid_tgid() -> u64 {
    let (known, ids) = IDS.get();
    let fork = forks();
    if known == fork + 1 {
        return ids;
    }
    let ids = u64::from(std::process::id()) << 32 | u64::from(thread_id());
    IDS.set((fork + 1, ids));
    ids
}

/// Forks that made this process, counted since its first ancestor that asked.
fn forks() -> u64 {
    static FORKS: AtomicU64 = AtomicU64::new(0);
    static WATCHED: OnceLock<bool> = OnceLock::new();
    extern "C" fn forked() {
        FORKS.fetch_add(1, Ordering::Relaxed);
    }
    // SAFETY: the handler only counts.
    let watched = *WATCHED.get_or_init(|| unsafe { libc::pthread_atfork(None, None, Some(forked)) } == 0);
    // Unwatched, every question is asked anew.
    if watched { FORKS.load(Ordering::Relaxed) } else { FORKS.fetch_add(1, Ordering::Relaxed) }
}

/// The CPU that the calling thread is on: as the kernel keeps it for the thread's restartable sequences, where the C library
/// has registered those (a load), else by asking.
fn this_cpu() -> u32 {
    if let Some(cpu) = rseq_cpu() {
        return cpu;
    }
    // SAFETY: takes nothing. Negative on failure, which the C library's own fallback does not know.
    u32::try_from(unsafe { libc::sched_getcpu() }).unwrap_or(0)
}

/// `cpu_id` of `struct rseq`, which lies at a constant distance from the thread pointer (glibc 2.35: `__rseq_offset`).
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
#[inline(always)]
fn rseq_cpu() -> Option<u32> {
    /// Offset of `cpu_id` from the thread pointer; 0 where there is none.
    static OFFSET: OnceLock<isize> = OnceLock::new();
    let offset = *OFFSET.get_or_init(|| {
        // SAFETY: asks for symbols by name.
        let [offset, size] = unsafe {
            [c"__rseq_offset", c"__rseq_size"].map(|name| libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()))
        };
        if offset.is_null() || size.is_null() {
            return 0;
        }
        // SAFETY: the C library defines them with these types and never changes them after its start.
        match unsafe { (*offset.cast::<isize>(), *size.cast::<u32>()) } {
            (_, 0..8) => 0,
            (offset, _) => offset + 4,
        }
    });
    if offset == 0 {
        return None;
    }
    let cpu: u32;
    // SAFETY: every thread of a process whose C library has registered rseq has it there, as long as it lives.
    unsafe {
        std::arch::asm!("mov {cpu:e}, fs:[{offset}]", cpu = out(reg) cpu, offset = in(reg) offset,
            options(nostack, preserves_flags, readonly));
    }
    // A thread that could not be registered has a negative number.
    (cpu as i32 >= 0).then_some(cpu)
}

#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
fn rseq_cpu() -> Option<u32> {
    None
}

/// CPU and NUMA node of the calling thread.
fn current_cpu() -> (u32, u32) {
    let (mut cpu, mut node) = (0u32, 0u32);
    // SAFETY: two valid places for the numbers; the third argument is unused since Linux 2.6.24.
    unsafe { libc::syscall(libc::SYS_getcpu, &mut cpu, &mut node, std::ptr::null_mut::<u8>()) };
    (cpu, node)
}

fn thread_id() -> u32 {
    // SAFETY: takes nothing and cannot fail.
    unsafe { libc::gettid() as u32 }
}

fn own_pid() -> libc::pid_t {
    std::process::id() as libc::pid_t
}

fn foreign(addr: u64) -> *mut libc::c_void {
    std::ptr::without_provenance_mut(addr as usize)
}

/// CPUs that per-CPU maps have: those of `/sys/devices/system/cpu/possible`, else as many as are online.
fn possible_cpus() -> u32 {
    let text = std::fs::read_to_string("/sys/devices/system/cpu/possible").unwrap_or_default();
    let last = text.trim().rsplit([',', '-']).next().and_then(|n| n.parse::<u32>().ok());
    let online = || std::thread::available_parallelism().map_or(1, |n| n.get() as u32);
    last.map_or_else(online, |n| n + 1).clamp(1, 8192)
}

/// The cgroup id is the inode of its folder in the unified hierarchy; 1, the root's, when it cannot be seen.
fn own_cgroup() -> u64 {
    use std::os::unix::fs::MetadataExt;
    let text = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let path = text.lines().find_map(|l| l.strip_prefix("0::")).unwrap_or("/");
    std::fs::metadata(format!("/sys/fs/cgroup{path}")).map_or(1, |m| m.ino())
}

/// splitmix64, upper half.
fn next_random(state: &AtomicU64) -> u32 {
    mixed(state.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP))
}

const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

fn mixed(z: u64) -> u32 {
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ (z >> 31)) >> 32) as u32
}

/// A host that answers the same in every run: clocks that start at 1 s and advance 1 µs a question, a counted random
/// sequence, CPU 0 of `cpus`. Traced lines are kept.
#[derive(Debug)]
pub struct FixedHost {
    cpus: u32,
    now: AtomicU64,
    random: AtomicU64,
    lines: Mutex<Vec<String>>,
    fib: Option<FibTable>,
}

impl FixedHost {
    /// A host with this many CPUs.
    pub fn new(cpus: u32) -> FixedHost {
        FixedHost {
            cpus: cpus.max(1),
            now: AtomicU64::new(1_000_000_000),
            random: AtomicU64::new(0),
            lines: Mutex::default(),
            fib: None,
        }
    }

    /// The same with a route table.
    #[must_use]
    pub fn with_fib(mut self, fib: FibTable) -> FixedHost {
        self.fib = Some(fib);
        self
    }

    /// Takes the lines traced so far.
    pub fn take_lines(&self) -> Vec<String> {
        std::mem::take(&mut *self.lines.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    fn tick(&self) -> u64 {
        self.now.fetch_add(1000, Ordering::Relaxed)
    }
}

impl Host for FixedHost {
    fn ktime_ns(&self) -> u64 {
        self.tick()
    }

    fn ktime_boot_ns(&self) -> u64 {
        self.tick()
    }

    fn ktime_coarse_ns(&self) -> u64 {
        self.tick()
    }

    fn ktime_tai_ns(&self) -> u64 {
        self.tick()
    }

    fn jiffies64(&self) -> u64 {
        INITIAL_JIFFIES + self.tick() / (1_000_000_000 / HZ)
    }

    fn prandom_u32(&self) -> u32 {
        next_random(&self.random)
    }

    fn cpus(&self) -> u32 {
        self.cpus
    }

    fn current_cpu(&self) -> u32 {
        0
    }

    fn numa_node(&self) -> u32 {
        0
    }

    fn pid_tgid(&self) -> u64 {
        1000 << 32 | 1001
    }

    fn uid_gid(&self) -> u64 {
        100 << 32 | 1000
    }

    fn comm(&self) -> [u8; 16] {
        *b"skep\0\0\0\0\0\0\0\0\0\0\0\0"
    }

    fn cgroup_id(&self) -> u64 {
        1
    }

    fn netns_cookie(&self) -> u64 {
        1
    }

    fn probe_read(&self, addr: u64, out: &mut [u8]) -> Result<(), Errno> {
        let local = libc::iovec { iov_base: out.as_mut_ptr().cast(), iov_len: out.len() };
        let remote = libc::iovec { iov_base: foreign(addr), iov_len: out.len() };
        // SAFETY: as in `SystemHost::probe_read`.
        let n = unsafe { libc::process_vm_readv(own_pid(), &local, 1, &remote, 1, 0) };
        if n == out.len() as isize { Ok(()) } else { Err(Errno::EFAULT) }
    }

    fn probe_write(&self, _: u64, _: &[u8]) -> Result<(), Errno> {
        Err(Errno::EPERM)
    }

    fn trace(&self, line: &str) {
        let mut lines = self.lines.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        lines.push(line.strip_suffix('\n').unwrap_or(line).to_string());
    }

    fn fib(&self) -> Option<&dyn Fib> {
        self.fib.as_ref().map(|f| f as &dyn Fib)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probe_read_survives_any_address() {
        let host = SystemHost::new();
        let data = *b"readable";
        let mut out = [0; 8];
        assert_eq!(host.probe_read(data.as_ptr().expose_provenance() as u64, &mut out), Ok(()));
        assert_eq!(out, data);
        for addr in [0, 1, 0xffff_8000_0000_0000, u64::MAX] {
            assert_eq!(host.probe_read(addr, &mut out), Err(Errno::EFAULT), "{addr:#x}");
        }
    }

    #[test]
    fn the_machine_answers() {
        let host = SystemHost::new();
        assert!(host.ktime_ns() > 0 && host.cpus() > 0 && host.current_cpu() < host.cpus());
        assert_eq!(host.pid_tgid() >> 32, u64::from(std::process::id()));
        assert_ne!(host.comm(), [0; 16]);
        assert_ne!(host.prandom_u32(), host.prandom_u32());
    }

    #[test]
    fn trace_lines_look_like_the_kernels() {
        let line = trace_line(&FixedHost::new(2), "hello\n");
        assert_eq!(line, "            skep-1001    [000] d..21     1.000000: bpf_trace_printk: hello");
    }

    #[test]
    fn fixed_hosts_repeat() {
        let run = |h: FixedHost| (h.ktime_ns(), h.ktime_ns(), h.prandom_u32());
        assert_eq!(run(FixedHost::new(1)), run(FixedHost::new(1)));
    }
}
