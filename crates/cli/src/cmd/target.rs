//! The surroundings that an object is opened in: the target's types, the kernel configuration.

use crate::failure::Failure;
use crate::input;
use skep::Object;
use skep::btf::Btf;
use skep::obj::{ExternKind, Kconfig, MapOrigin};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where the running kernel shows its types.
const KERNEL_BTF: &str = "/sys/kernel/btf/vmlinux";

/// Types of the target: those in `given`, else the running kernel's if the object needs any and they can be read.
pub(crate) fn btf(object: &Object, given: Option<&PathBuf>) -> Result<Option<Arc<Btf>>, Failure> {
    if let Some(path) = given {
        return super::btf::read(path, None).map(Some);
    }
    let needs_types = |e: &ExternKind| matches!(e, ExternKind::Kfunc { .. } | ExternKind::KsymTyped { .. });
    let needed = object.functions.iter().any(|f| !f.core.is_empty())
        || object.externs.iter().any(|e| needs_types(&e.kind));
    let path = Path::new(KERNEL_BTF);
    if !needed || !path.exists() {
        return Ok(None);
    }
    match super::btf::read(path, None) {
        Ok(btf) => Ok(Some(btf)),
        Err(e) => {
            eprintln!("skep: {e}; types are not relocated");
            Ok(None)
        }
    }
}

/// Types of the target for the verifier, which may need them for any program: those in `given`, else the running kernel's
/// where they can be read.
pub(crate) fn all_types(given: Option<&PathBuf>) -> Result<Option<Arc<Btf>>, Failure> {
    match given {
        Some(path) => super::btf::read(path, None).map(Some),
        None => Ok(super::btf::read(Path::new(KERNEL_BTF), None).ok()),
    }
}

/// Text of a kernel configuration: of `given`, else of the running kernel if the object asks for values.
pub(crate) fn kconfig(object: &Object, given: Option<&PathBuf>) -> Result<String, Failure> {
    if let Some(path) = given {
        return Ok(String::from_utf8_lossy(&input::file(path)?).into_owned());
    }
    if !object.maps.iter().any(|m| m.origin == MapOrigin::Kconfig) {
        return Ok(String::new());
    }
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let text = std::fs::read_to_string(format!("/boot/config-{}", release.trim()));
    Ok(text.unwrap_or_default())
}

/// The kernel that configuration externs see: the newest that the tables know.
pub(crate) fn kernel(text: &str) -> Kconfig<'_> {
    let v = skep::platform().version;
    Kconfig {
        text,
        kernel_version: u32::from(v.0) << 16 | u32::from(v.1) << 8,
        has_bpf_cookie: false,
        has_syscall_wrapper: true,
    }
}
