//! `skep doctor`: what of Skep and of eBPF works on this machine, what does not, and what to do about it.
//!
//! Everything is found out by trying or by reading what the kernel shows of itself; nothing is attached to anything that
//! others use, and nothing stays.

use crate::commands::Cmd;
use crate::failure::Failure;
use crate::output::{Out, object};
use serde_json::{Map, Value};
use skep::descriptors::{AttachType, EngineError, Errno, ProgType, Program};
use skep::isa::Insn;
use skep::kernel::auto::function_offset;
use skep::kernel::door::{LinkCreate, LinkExtra, Target};
use skep::kernel::link::{AttachTo, tracefs};
use skep::kernel::mount::mounted;
use skep::kernel::{Kernel, KernelProgram, pin};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;

/// `skep doctor`.
pub(crate) static DOCTOR: Cmd = Cmd {
    path: &["doctor"],
    about: "Check what works on this machine: the user engine, the kernel engine and each kind of hook",
    long: "A line for each check: ok, or what is missing and what to do. The user engine needs nothing of the kernel. Ends with exit code 1 if\n\
           the kernel cannot be used at all, else with 0.\n\nExamples:\n  skep doctor\n  skep doctor -j",
    args: Vec::new,
    run: |_, out| doctor(out),
};

/// Outcome of a check.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Ok,
    Missing,
    Note,
}

struct Finding {
    part: &'static str,
    name: &'static str,
    state: State,
    /// What was found, or why it does not work and what to do.
    text: String,
}

fn ok(part: &'static str, name: &'static str, text: impl Into<String>) -> Finding {
    Finding { part, name, state: State::Ok, text: text.into() }
}

fn missing(part: &'static str, name: &'static str, text: impl Into<String>) -> Finding {
    Finding { part, name, state: State::Missing, text: text.into() }
}

fn note(part: &'static str, name: &'static str, text: impl Into<String>) -> Finding {
    Finding { part, name, state: State::Note, text: text.into() }
}

fn doctor(out: &mut Out) -> Result<(), Failure> {
    let mut all = user_engine();
    all.extend(surroundings());
    let kernel = super::kobj::kernel();
    match &kernel {
        Ok(k) if k.door().has_token() => {
            let text = "a BPF token gives leave to what `skep token list` shows, and to nothing else";
            all.push(note("kernel engine", "bpf(2)", text));
            all.extend(hooks(k));
        }
        Ok(k) => {
            all.push(ok("kernel engine", "bpf(2)", "programs and maps can be loaded"));
            all.extend(hooks(k));
        }
        Err(e) => all.push(missing("kernel engine", "bpf(2)", e.to_string())),
    }
    all.extend(tools());
    if out.is_json() {
        let rows = all.iter().map(|f| {
            let state = match f.state {
                State::Ok => "ok",
                State::Missing => "missing",
                State::Note => "note",
            };
            object([
                ("part", f.part.into()),
                ("check", f.name.into()),
                ("state", state.into()),
                ("text", f.text.clone().into()),
            ])
        });
        let rows: Vec<Map<String, Value>> = rows.collect();
        out.json_rows("checks", rows)?;
    } else {
        let width = all.iter().map(|f| f.name.len()).max().unwrap_or(0);
        let mut part = "";
        for f in &all {
            if f.part != part {
                part = f.part;
                out.line(part)?;
            }
            let mark = match f.state {
                State::Ok => "ok ",
                State::Missing => "no ",
                State::Note => "-- ",
            };
            out.line(&format!("  {mark} {:width$}  {}", f.name, f.text))?;
        }
    }
    match kernel {
        Ok(_) => Ok(()),
        Err(_) => Err(Failure::Failed(
            "the kernel engine cannot be used here; the user engine can (--engine user, the default)".into(),
        )),
    }
}

fn user_engine() -> Vec<Finding> {
    let part = "user engine";
    let tiers: Vec<&str> = skep::vm::Tier::ALL.iter().map(|(_, n)| *n).collect();
    let mut all = vec![ok(part, "tiers", tiers.join(", "))];
    let native = cfg!(target_arch = "x86_64");
    all.push(if native {
        ok(part, "machine code", "compiled for x86-64")
    } else {
        note(
            part,
            "machine code",
            "this processor has no compiler of its own here; --tier interp runs everywhere",
        )
    });
    all
}

fn read(path: &str) -> Option<String> {
    std::fs::read_to_string(path).ok().map(|t| t.trim().to_owned())
}

fn surroundings() -> Vec<Finding> {
    let part = "kernel";
    let mut all = vec![ok(part, "version", read("/proc/sys/kernel/osrelease").unwrap_or_default())];
    all.push(if Path::new("/sys/kernel/btf/vmlinux").exists() {
        ok(part, "types", "/sys/kernel/btf/vmlinux: CO-RE, fentry and kernel functions can be resolved")
    } else {
        missing(
            part,
            "types",
            "no /sys/kernel/btf/vmlinux: programs that need kernel types take them from --btf FILE; build the kernel with \
             CONFIG_DEBUG_INFO_BTF=y",
        )
    });
    all.push(match read("/proc/sys/net/core/bpf_jit_enable").as_deref() {
        Some("0") => missing(part, "compiler", "off: sysctl net.core.bpf_jit_enable=1"),
        Some(_) => ok(part, "compiler", "on"),
        None => note(
            part,
            "compiler",
            "net.core.bpf_jit_enable cannot be read here (always on, or a network namespace)",
        ),
    });
    all.push(match read("/proc/sys/kernel/unprivileged_bpf_disabled").as_deref() {
        Some("0") => {
            note(part, "users", "every user may load socket filters (kernel.unprivileged_bpf_disabled=0)")
        }
        Some(_) => ok(part, "users", "only users with CAP_BPF may load programs"),
        None => note(part, "users", "kernel.unprivileged_bpf_disabled cannot be read"),
    });
    if let Some(text) = read("/sys/kernel/security/lockdown")
        && !text.contains("[none]")
    {
        all.push(note(part, "lockdown", format!("{text}: programs cannot read kernel memory")));
    }
    all.push(match pin::mounts().first() {
        Some(at) => ok(part, "pins", format!("bpf file system at {}", at.display())),
        None => missing(part, "pins", "no bpf file system is mounted: mount -t bpf bpf /sys/fs/bpf"),
    });
    all.push(match mounted("cgroup2").first() {
        Some(at) => ok(part, "cgroups", format!("version 2 at {}", at.display())),
        None => missing(part, "cgroups", "version 2 is not mounted: mount -t cgroup2 none /sys/fs/cgroup"),
    });
    all.push(match tracefs() {
        Some(at) => ok(part, "tracefs", at.display().to_string()),
        None => missing(
            part,
            "tracefs",
            "not mounted; classic tracepoints and bpf_printk need it: mount -t tracefs tracefs /sys/kernel/tracing",
        ),
    });
    all
}

/// A program that returns 0.
fn zero(
    kernel: &Kernel,
    t: ProgType,
    attach: Option<AttachType>,
    target: Option<&str>,
) -> Result<KernelProgram, EngineError> {
    let insns = vec![Insn::new(0xb7, 0, 0, 0, 0), Insn::new(0x95, 0, 0, 0, 0)];
    let mut p = Program { license: "GPL".into(), ..Program::from_insns("doctor", t, insns) };
    (p.attach_type, p.attach_target) = (attach, target.map(str::to_owned));
    kernel.load_program(&Arc::new(p))
}

/// Whether the kernel knows a kind of link, by asking for one on a target that cannot be: it names the target's fault then.
fn knows(
    kernel: &Kernel,
    prog: &KernelProgram,
    target: Target<'_>,
    t: AttachType,
    extra: LinkExtra<'_>,
) -> Result<(), Errno> {
    let request = LinkCreate { prog: prog.as_fd(), target, attach_type: t.id(), flags: 0, extra };
    kernel.door().link_create(&request).map(drop)
}

fn hooks(kernel: &Kernel) -> Vec<Finding> {
    let part = "hooks of the kernel";
    let mut all = Vec::new();
    let words = |e: &EngineError| e.to_string();
    match zero(kernel, ProgType::Xdp, Some(AttachType::Xdp), None) {
        Ok(_) => all.push(ok(part, "xdp", "network devices, with links since Linux 5.9")),
        Err(e) => all.push(missing(part, "xdp", words(&e))),
    }
    match zero(kernel, ProgType::SchedCls, None, None) {
        Ok(p) => {
            let none = LinkExtra::Beside { relative: None, revision: 0 };
            let tcx = knows(kernel, &p, Target::Ifindex(0), AttachType::TcxIngress, none);
            all.push(match tcx {
                Err(Errno::EINVAL) => note(
                    part,
                    "traffic control",
                    "no tcx (Linux 6.6): classifiers of a clsact queue are used, which outlive a killed process",
                ),
                _ => ok(part, "traffic control", "by tcx links"),
            });
        }
        Err(e) => all.push(missing(part, "traffic control", words(&e))),
    }
    all.push(match zero(kernel, ProgType::CgroupSkb, Some(AttachType::CgroupInetIngress), None) {
        Ok(_) => ok(part, "cgroup", "programs load; a cgroup of version 2 is where they go"),
        Err(e) => missing(part, "cgroup", words(&e)),
    });
    all.push(match zero(kernel, ProgType::SkLookup, Some(AttachType::SkLookup), None) {
        Ok(_) => ok(part, "sk_lookup", "network namespaces"),
        Err(e) => missing(part, "sk_lookup", words(&e)),
    });
    match zero(kernel, ProgType::Netfilter, Some(AttachType::Netfilter), None) {
        Ok(p) => {
            let extra = LinkExtra::Netfilter { pf: 0, hook: 0, priority: 0, flags: 0 };
            let known = knows(kernel, &p, Target::None, AttachType::Netfilter, extra);
            all.push(match known {
                Err(Errno::EINVAL) => {
                    missing(part, "netfilter", "no links: CONFIG_NETFILTER_BPF_LINK=y, Linux 6.4")
                }
                _ => ok(part, "netfilter", "by links"),
            });
        }
        Err(e) => all.push(missing(part, "netfilter", words(&e))),
    }
    all.push(match zero(kernel, ProgType::RawTracepoint, None, None) {
        Ok(_) => ok(part, "raw tracepoints", "programs load"),
        Err(e) => missing(part, "raw tracepoints", words(&e)),
    });
    all.push(trampolines(kernel, part));
    all.extend(probes(kernel, part));
    all
}

/// fentry and what else changes the start of a kernel function, tried on a function that only the kernel's own tests call.
fn trampolines(kernel: &Kernel, part: &'static str) -> Finding {
    let name = "fentry, fexit, lsm";
    let target = Some("bpf_fentry_test1");
    let loaded = zero(kernel, ProgType::Tracing, Some(AttachType::TraceFentry), target);
    let attached = loaded.and_then(|p| kernel.attach_to(&p, &AttachTo::Trace { cookie: 0 }).map(drop));
    match attached {
        Ok(()) => ok(part, name, "programs attach"),
        Err(e) => missing(part, name, e.to_string()),
    }
}

/// Probes, tried on this program's own code in this process only.
fn probes(kernel: &Kernel, part: &'static str) -> Vec<Finding> {
    let uprobe = || -> Result<(), String> {
        let program = zero(kernel, ProgType::Kprobe, None, None).map_err(|e| e.to_string())?;
        let me = std::env::current_exe().map_err(|e| e.to_string())?;
        let offset =
            function_offset(&me, "main").or_else(|_| function_offset(&me, "_start")).unwrap_or(0x1000);
        let pid = Some(std::process::id());
        let to = AttachTo::Uprobe { path: &me, offset, ret: false, pid, cookie: 0, ref_ctr: 0 };
        kernel.attach_to(&program, &to).map(drop).map_err(|e| e.to_string())
    };
    let devices = Path::new("/sys/bus/event_source/devices");
    vec![
        match uprobe() {
            Ok(()) => ok(part, "uprobes, USDT", "programs attach"),
            Err(e) => missing(part, "uprobes, USDT", e),
        },
        if devices.join("kprobe").exists() {
            ok(part, "kprobes", "the kernel has them")
        } else {
            missing(
                part,
                "kprobes",
                "the kernel was built without CONFIG_KPROBES=y and CONFIG_KPROBE_EVENTS=y",
            )
        },
        match read("/proc/sys/kernel/perf_event_paranoid").and_then(|t| t.parse::<i32>().ok()) {
            Some(n) if n > 2 => {
                note(part, "perf events", format!("kernel.perf_event_paranoid={n}: only with CAP_PERFMON"))
            }
            Some(_) => ok(
                part,
                "perf events",
                "software clocks everywhere; hardware counters where the machine shows them",
            ),
            None => missing(part, "perf events", "the kernel was built without CONFIG_PERF_EVENTS=y"),
        },
    ]
}

/// Programs beside Skep that some commands use.
fn tools() -> Vec<Finding> {
    let part = "tools";
    let folders: Vec<_> = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).collect();
    let have = |names: &[&str]| {
        names.iter().find(|n| folders.iter().any(|f| f.join(n).is_file())).map(|n| (*n).to_owned())
    };
    vec![match have(&["clang-19", "clang-20", "clang-21", "clang"]) {
        Some(name) => ok(part, "clang", format!("{name}: compiles C to eBPF objects")),
        None => {
            note(part, "clang", "not installed; it is needed to compile C to eBPF objects, not to run them")
        }
    }]
}
