//! The surroundings that an object is opened in: the target's types, the kernel configuration.

use crate::failure::Failure;
use crate::input;
use flate2::read::GzDecoder;
use skep::Object;
use skep::btf::{Btf, Type};
use skep::descriptors::ProgType;
use skep::descriptors::ctx::UserRun;
use skep::descriptors::helper::{ArgKind, RetType};
use skep::isa::Insn;
use skep::kernel::{Kernel, VMLINUX, vmlinux};
use skep::obj::{Extern, ExternKind, Function, Kconfig, Ksym, MapOrigin};
use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Most bytes that are read of a kernel's configuration: ten times what there is.
const LONGEST_CONFIG: u64 = 4 << 20;

/// Types of the target: those in `given`, else the running kernel's if the object needs any and they can be read.
pub(crate) fn btf(object: &Object, given: Option<&PathBuf>) -> Result<Option<Arc<Btf>>, Failure> {
    if let Some(path) = given {
        return super::btf::read(path, None).map(Some);
    }
    if !object.needs_target() || !Path::new(VMLINUX).exists() {
        return Ok(None);
    }
    match vmlinux() {
        Ok(btf) => Ok(Some(btf)),
        Err(e) => {
            eprintln!("skep: {VMLINUX}: {e}; types are not relocated");
            Ok(None)
        }
    }
}

/// Types given for the kernel engine, which else goes by the running kernel's.
pub(crate) fn given(path: Option<&PathBuf>) -> Result<Option<Arc<Btf>>, Failure> {
    path.map(|path| super::btf::read(path, None)).transpose()
}

/// Types of the target for the verifier of this object, which are not read for programs on packets that have nothing to do with a
/// kernel's types: reading them takes most of the time that a short run takes.
pub(crate) fn judged(object: &Object, given: Option<&PathBuf>) -> Result<Option<Arc<Btf>>, Failure> {
    let plain = |f: &Function| {
        let row = f.entry.as_ref().map(|e| skep::platform().prog_type(e.prog_type));
        // A function without an entry belongs to programs that have one.
        row.is_none_or(|r| r.is_some_and(|r| r.user == UserRun::Packets))
            && !f.insns.iter().any(calls_for_types)
    };
    // Tags are about kernel objects: of arguments, of pointers in map values.
    let tagged = |btf: &Arc<Btf>| {
        btf.types().any(|(_, t)| matches!(t, Type::TypeTag(_))) || btf.own_decl_tags().next().is_some()
    };
    let needless = !object.needs_target()
        && object.functions.iter().all(plain)
        && !object.btf.as_ref().is_some_and(tagged);
    if given.is_none() && needless { Ok(None) } else { all_types(given) }
}

/// `BPF_JMP | BPF_CALL`.
const CALL: u8 = 0x85;

/// Is it a call of a helper that takes or gives objects of the kernel?
fn calls_for_types(insn: &Insn) -> bool {
    if (insn.opcode(), insn.src()) != (CALL, 0) {
        return false;
    }
    let helper = u32::try_from(insn.imm()).ok().and_then(|id| skep::platform().helper(id));
    let of_types = |k| matches!(k, ArgKind::BtfId(_) | ArgKind::BtfIdSockCommon | ArgKind::PercpuBtfId);
    let gives = |ret| matches!(ret, RetType::BtfId { .. } | RetType::MemOrBtfId { .. });
    helper.is_none_or(|h| h.protos.iter().any(|p| gives(p.ret) || p.args.iter().any(|a| of_types(a.kind))))
}

/// Types of the target for the verifier, which may need them for any program: those in `given`, else the running kernel's
/// where they can be read.
pub(crate) fn all_types(given: Option<&PathBuf>) -> Result<Option<Arc<Btf>>, Failure> {
    match given {
        Some(path) => super::btf::read(path, None).map(Some),
        None => Ok(vmlinux().ok()),
    }
}

/// Text of the configuration that the verifier judges by: of `given`, else of the running kernel, if that is whose types
/// and rules are asked for.
pub(crate) fn judged_config(given: Option<&PathBuf>, running: bool) -> Result<Option<Arc<str>>, Failure> {
    match given {
        Some(path) => Ok(Some(String::from_utf8_lossy(&input::file(path)?).into())),
        None if running => Ok(running_config().map(Into::into)),
        None => Ok(None),
    }
}

fn running_config() -> Option<String> {
    std::fs::read_to_string(format!("/boot/config-{}", release().trim())).ok().or_else(own_config)
}

/// Text of a kernel configuration: of `given`, else of the running kernel if the object asks for values.
pub(crate) fn kconfig(object: &Object, given: Option<&PathBuf>) -> Result<String, Failure> {
    if let Some(path) = given {
        return Ok(String::from_utf8_lossy(&input::file(path)?).into_owned());
    }
    if !object.maps.iter().any(|m| m.origin == MapOrigin::Kconfig) {
        return Ok(String::new());
    }
    Ok(running_config().unwrap_or_default())
}

/// The configuration that the running kernel shows of itself, where it was built to (CONFIG_IKCONFIG_PROC).
fn own_config() -> Option<String> {
    let (mut text, file) = (String::new(), File::open("/proc/config.gz").ok()?);
    GzDecoder::new(file).take(LONGEST_CONFIG).read_to_string(&mut text).ok()?;
    Some(text)
}

fn release() -> String {
    std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default()
}

/// Version of the running kernel as `LINUX_KERNEL_VERSION` has it. Distributions whose release is no version say elsewhere
/// which one it is: Ubuntu at the end of `/proc/version_signature`, Debian behind its name in the build's text.
pub(crate) fn running_version() -> Option<u32> {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    distribution_version(&read("/proc/version_signature"), &read("/proc/sys/kernel/version"))
        .or_else(|| version_code(&release()))
}

fn distribution_version(signature: &str, build: &str) -> Option<u32> {
    let ubuntu = signature.split_whitespace().next_back().filter(|_| signature.starts_with("Ubuntu"));
    let debian = build.split_once("Debian ").and_then(|(_, rest)| rest.split_whitespace().next());
    version_code(ubuntu.or(debian)?)
}

/// Symbols of the running kernel for externs without a type. Programs that are not loaded there only need to know which ones
/// there are; an address that is hidden is a number like any other for them.
pub(crate) fn ksyms(object: &Object, in_kernel: bool) -> HashMap<String, Ksym> {
    const SOMEWHERE: u64 = 0xffff_ffff_8100_0000;
    let untyped = |e: &&Extern| matches!(e.kind, ExternKind::KsymTypeless | ExternKind::Undefined);
    let wanted: Vec<&str> = object.externs.iter().filter(untyped).map(|e| e.name.as_str()).collect();
    let mut found = skep::kernel::ksyms::running(&wanted).unwrap_or_else(|e| {
        eprintln!("skep: {}: {e}; the kernel's symbols are not known", skep::kernel::ksyms::KALLSYMS);
        HashMap::new()
    });
    if !in_kernel {
        found.values_mut().filter(|k| **k == Ksym::Hidden).for_each(|k| *k = Ksym::At(SOMEWHERE));
    }
    found
}

/// `KERNEL_VERSION(a, b, c)` of a release's name; sublevels stop at 255.
fn version_code(release: &str) -> Option<u32> {
    let mut numbers = release.trim().split(['.', '-', '+']).map_while(|n| n.parse::<u32>().ok());
    let (major, minor) = (numbers.next()?, numbers.next()?);
    Some(major << 16 | minor << 8 | numbers.next().unwrap_or(0).min(255))
}

/// The kernel that configuration externs see: the newest that the tables know.
pub(crate) fn kernel(text: &str) -> Kconfig<'_> {
    let v = skep::platform().version;
    let newest = u32::from(v.0) << 16 | u32::from(v.1) << 8;
    Kconfig { text, kernel_version: newest, has_bpf_cookie: true, has_syscall_wrapper: true }
}

/// The running kernel as configuration externs see it. What it has is asked for only where the object wants to know.
pub(crate) fn running<'a>(text: &'a str, object: &Object, kernel: &Kernel) -> Kconfig<'a> {
    let wants = |name: &str| object.externs.iter().any(|e| e.name == name);
    Kconfig {
        text,
        kernel_version: running_version().unwrap_or_else(|| self::kernel(text).kernel_version),
        has_bpf_cookie: wants("LINUX_HAS_BPF_COOKIE")
            && kernel.has_helper(ProgType::Kprobe, GET_ATTACH_COOKIE),
        has_syscall_wrapper: wants("LINUX_HAS_SYSCALL_WRAPPER") && skep::kernel::ksyms::has_syscall_wrapper(),
    }
}

/// `bpf_get_attach_cookie`.
const GET_ATTACH_COOKIE: u32 = 174;

#[cfg(test)]
mod tests {
    use super::{distribution_version, version_code};

    #[test]
    fn versions_of_releases() {
        assert_eq!(version_code("6.18.44-fc-v669\n"), Some(6 << 16 | 18 << 8 | 44));
        assert_eq!(version_code("4.19.300"), Some(4 << 16 | 19 << 8 | 255));
        assert_eq!(version_code("6.1-rc3"), Some(6 << 16 | 1 << 8));
        assert_eq!(version_code("unknown"), None);
        let debian = "#1 SMP PREEMPT_DYNAMIC Debian 6.1.55-1 (2023-09-29)";
        assert_eq!(distribution_version("", debian), Some(6 << 16 | 1 << 8 | 55));
        let ubuntu = "Ubuntu 5.4.0-12.15-generic 5.4.8\n";
        assert_eq!(distribution_version(ubuntu, "#15-Ubuntu SMP"), Some(5 << 16 | 4 << 8 | 8));
        assert_eq!(distribution_version("", "#1 SMP PREEMPT"), None);
    }
}
