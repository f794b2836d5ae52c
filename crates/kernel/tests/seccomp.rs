//! Policies in the real kernel: compiled programs as filters of a thread, which then makes calls of every number with
//! argument values around those of the rules, by the 64-bit and the 32-bit entry. Actions are mapped to error numbers, so that no
//! call is made and every decision can be seen. Filters need no rights; where there are none the test says so and passes.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may panic and say why it was skipped")]
#![cfg(target_arch = "x86_64")]

use skep_cbpf::Insn;
use skep_cbpf::seccomp::calls::{X32_BIT, calls};
use skep_cbpf::seccomp::measure::corner_args;
use skep_cbpf::seccomp::{Action, Arch, Compare, Condition, Data, Policy, Rule, compile, numbered};
use std::arch::asm;

/// The last argument of the calls that are judged; all others pass, so that the thread can live.
const MARK: u32 = 0x5eed_ca11;

/// Stands for an action, as an error number that no call returns by itself.
fn code(a: Action) -> u16 {
    let all = [
        Action::KillProcess,
        Action::KillThread,
        Action::Trap,
        Action::UserNotif,
        Action::Log,
        Action::Allow,
    ];
    match a {
        Action::Errno(n) => 2000 + n % 1000,
        Action::Trace(n) => 3000 + n % 1000,
        other => 1000 + all.iter().position(|b| *b == other).unwrap() as u16,
    }
}

/// A sequence that is the same every time (xorshift).
struct Random(u64);

impl Random {
    fn next(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % below
    }
}

fn policy(seed: u64) -> Policy {
    let mut r = Random(0x9e37_79b9_7f4a_7c15 ^ ((seed + 1) * 0x1234_5678_9abc));
    let action = |r: &mut Random| match r.next(8) {
        0 => Action::KillProcess,
        1 => Action::Log,
        2 => Action::Trace(r.next(900) as u16),
        3 | 4 => Action::Errno(r.next(900) as u16),
        _ => Action::Allow,
    };
    let mut rules = Vec::new();
    for c in calls() {
        if r.next(3) == 0 {
            continue;
        }
        for _ in 0..1 + r.next(2) {
            let values = [0, 1, 16, 0xffff_ffff, 0x1_0000_0001, r.next(1 << 40), u64::MAX];
            let mut conditions = Vec::new();
            while r.next(4) == 0 {
                let k = values[r.next(7) as usize];
                let mask = values[r.next(7) as usize];
                let compare = [
                    Compare::Eq(k),
                    Compare::Ne(k),
                    Compare::Lt(k),
                    Compare::Ge(k),
                    Compare::Masked { mask, value: k & mask },
                ][r.next(5) as usize];
                // The last argument carries the mark.
                conditions.push(Condition { arg: r.next(5) as u8, compare });
            }
            rules.push(Rule { call: c.name.into(), action: action(&mut r), conditions });
        }
    }
    let archs = [vec![Arch::X86_64], vec![Arch::X86_64, Arch::I386, Arch::X32], vec![Arch::I386]];
    let archs = &archs[seed as usize % 3];
    Policy::new(archs, Action::Errno(1), Action::KillThread, rules).unwrap()
}

/// Puts a filter on this thread: `args[5] == MARK ? program : allow`.
fn install(program: &[Insn]) -> std::io::Result<()> {
    let load = Insn { code: 0x20, jt: 0, jf: 0, k: 16 + 5 * 8 };
    let test = Insn { code: 0x15, jt: 1, jf: 0, k: MARK };
    let allow = Insn { code: 0x06, jt: 0, jf: 0, k: Action::Allow.value() };
    let all: Vec<[u8; 8]> = [load, test, allow].iter().chain(program).map(|i| i.to_bytes()).collect();
    #[repr(C)]
    struct Fprog(u16, *const [u8; 8]);
    let fprog = Fprog(all.len() as u16, all.as_ptr());
    // SAFETY: numbers, and a filter that lives through the call.
    let done = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
            && libc::syscall(libc::SYS_seccomp, 1, 0, std::ptr::from_ref(&fprog)) == 0
    };
    if done { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

/// Makes a call by the 64-bit entry: what it returns.
fn call64(nr: u32, args: &[u64; 6]) -> i64 {
    let ret: i64;
    // SAFETY: the filter returns an error for every call with the mark, so none is made.
    unsafe {
        asm!("syscall", inlateout("rax") u64::from(nr) => ret, in("rdi") args[0], in("rsi") args[1], in("rdx") args[2],
            in("r10") args[3], in("r8") args[4], in("r9") args[5], lateout("rcx") _, lateout("r11") _);
    }
    ret
}

/// Makes a call by the 32-bit entry.
fn call32(nr: u32, args: &[u64; 6]) -> i64 {
    let ret: u64;
    let [a, _, _, _, _, mark] = args.map(|v| v & 0xffff_ffff);
    // SAFETY: as above; rbx and rbp, which the compiler keeps for itself, are put back.
    unsafe {
        asm!("push rbp", "push rbx", "mov rbx, r8", "mov rbp, r9", "int 0x80", "pop rbx", "pop rbp",
            inlateout("rax") u64::from(nr) => ret, inlateout("r8") a => _, inlateout("r9") mark => _, in("rcx") args[1] & 0xffff_ffff,
            in("rdx") args[2] & 0xffff_ffff, in("rsi") args[3] & 0xffff_ffff, in("rdi") args[4] & 0xffff_ffff,
            lateout("r10") _, lateout("r11") _);
    }
    i64::from(ret as u32 as i32)
}

/// All numbers with corner arguments: how many decisions, or why no filter can be had.
fn judge(p: &Policy) -> std::io::Result<usize> {
    let coded = p.mapped(|a| Action::Errno(code(a)));
    let program = compile(&coded).unwrap().program;
    install(program.insns())?;
    let numbers: Vec<u32> =
        (0..620).flat_map(|n| [n, n | X32_BIT]).chain([0x3fff_ffff, 0x7fff_ffff, 0x8000_0001]).collect();
    let mut decisions = 0;
    for (audit, low_half, call) in [
        (Arch::X86_64.audit(), false, call64 as fn(u32, &[u64; 6]) -> i64),
        (Arch::I386.audit(), true, call32),
    ] {
        for nr in &numbers {
            let known = Arch::of(audit, *nr).and_then(|a| numbered(a, *nr));
            // Since Linux 6.14 these are made whatever a filter says; outside of a trampoline they end the process.
            if !low_half && known.is_some_and(|c| matches!(c.name, "uretprobe" | "uprobe")) {
                continue;
            }
            for mut args in known.map_or(vec![[0; 6]], |c| corner_args(p, c.name)) {
                args[5] = MARK.into();
                if low_half {
                    args = args.map(|v| v & 0xffff_ffff);
                }
                let data = Data { nr: *nr, arch: audit, ip: 0, args };
                let got = call(*nr, &args);
                assert_eq!(got, -i64::from(code(p.decide(&data).action)), "{data:x?}");
                decisions += 1;
            }
        }
    }
    Ok(decisions)
}

#[test]
fn the_kernel_decides_as_the_rules_do() {
    for seed in 0..3 {
        // A filter stays on its thread.
        let judged = std::thread::spawn(move || judge(&policy(seed))).join().unwrap();
        match judged {
            Ok(n) => assert!(n > 2000, "{n}"),
            Err(e) => {
                println!("skipped: no filter can be put on a thread here: {e}");
                return;
            }
        }
    }
}
