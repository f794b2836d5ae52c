//! User statically defined tracepoints: places in a file that `<sys/sdt.h>` marks, with where their arguments are.
//!
//! Programs read arguments by libbpf's `usdt.bpf.h`: this file fills the maps `__bpf_usdt_specs` and
//! `__bpf_usdt_ip_to_spec_id` that it declares, in its layout. Marks: systemtap's SDT notes
//! (sourceware.org/systemtap/wiki/UserSpaceProbeImplementation).

use super::Given;
use super::symbols::File;
use crate::link::AttachTo;
use crate::{Kernel, KernelProgram, Link};
use skep_platform::engine::{EngineError, Loaded};
use skep_platform::map::Side;
use skep_platform::{Errno, Map};
use std::path::Path;
use std::sync::Arc;

/// `BPF_USDT_MAX_ARG_CNT`.
const ARGS: usize = 12;
/// `struct __bpf_usdt_arg_spec`.
const ARG_SIZE: usize = 16;
/// Bytes of `struct __bpf_usdt_spec`: arguments, cookie, count.
const SPEC_SIZE: usize = ARGS * ARG_SIZE + 16;
/// `NT_STAPSDT`.
const NOTE: u32 = 3;

/// Where an argument is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Arg {
    /// Constant, or what is added to the register.
    value: u64,
    /// 0: constant, 1: register, 2: memory at a register.
    kind: u32,
    /// Offset of the register in `struct pt_regs`.
    register: i16,
    signed: bool,
    /// Bits to shift left and right again.
    shift: u8,
}

/// A mark.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Mark {
    address: u64,
    semaphore: u64,
    args: String,
}

pub(super) fn attach(
    kernel: &Kernel,
    program: &KernelProgram,
    path: &Path,
    provider: &str,
    name: &str,
    given: &Given<'_>,
) -> Result<Link, EngineError> {
    let p = Loaded::program(program);
    let wrong = |why: String| EngineError::Unsupported {
        what: format!("attaching program {} to usdt {}:{provider}:{name}", p.name, path.display()),
        why,
    };
    let file = File::open(path).map_err(wrong)?;
    let marks = marks(&file, provider, name).map_err(wrong)?;
    let specs = p.maps.iter().find(|m| m.def().name.starts_with("__bpf_usdt_spe"));
    let mut ids: Vec<(Vec<u8>, u32)> = Vec::new();
    let (mut offsets, mut semaphores, mut cookies) = (Vec::new(), Vec::new(), Vec::new());
    for mark in &marks {
        let offset = file.offset_of(mark.address).map_err(wrong)?;
        let spec = spec(&mark.args, given.cookie).map_err(wrong)?;
        let known = ids.iter().find(|(s, _)| *s == spec).map(|(_, id)| *id);
        let id = match known {
            Some(id) => id,
            None => {
                let id = ids.len() as u32;
                if let Some(map) = specs {
                    put(map, id, &spec).map_err(|e| wrong(format!("map {}: {e}", map.def().name)))?;
                }
                ids.push((spec, id));
                id
            }
        };
        offsets.push(offset);
        cookies.push(u64::from(id));
        semaphores.push(if mark.semaphore == 0 {
            0
        } else {
            file.offset_of(mark.semaphore).map_err(wrong)?
        });
    }
    let with_semaphores = semaphores.iter().any(|s| *s != 0);
    if let [offset] = offsets[..] {
        let (pid, cookie, ref_ctr) = (given.pid, cookies[0], semaphores[0]);
        let to = AttachTo::Uprobe { path, offset, ret: false, pid, cookie, ref_ctr };
        return kernel.attach_to(program, &to);
    }
    // Several places of one name: one link each, held together.
    let mut link: Option<Link> = None;
    for i in 0..offsets.len() {
        let to = AttachTo::Uprobe {
            path,
            offset: offsets[i],
            ret: false,
            pid: given.pid,
            cookie: cookies[i],
            ref_ctr: if with_semaphores { semaphores[i] } else { 0 },
        };
        let one = kernel.attach_to(program, &to)?;
        link = Some(match link {
            Some(l) => l.with(one),
            None => one,
        });
    }
    link.ok_or_else(|| wrong(format!("{} has no such mark", path.display())))
}

fn put(map: &Arc<dyn Map>, id: u32, spec: &[u8]) -> Result<(), Errno> {
    let size = map.def().value_size as usize;
    if size < SPEC_SIZE - 8 {
        return Err(Errno::EINVAL);
    }
    let mut value = spec.to_vec();
    value.resize(size, 0);
    map.update(&id.to_ne_bytes(), &value, 0, Side::User)
}

/// Marks of this name in a file.
fn marks(file: &File, provider: &str, name: &str) -> Result<Vec<Mark>, String> {
    let Some((_, notes)) = file.section(".note.stapsdt")? else {
        return Err("the file has no tracepoints (no section .note.stapsdt)".into());
    };
    // Prelinked files have moved; how far, the section's address tells.
    let base = file.section(".stapsdt.base")?.map(|(address, _)| address);
    let mut found = Vec::new();
    let mut names = Vec::new();
    let mut rest = notes;
    while let Some((kind, body, next)) = note(rest) {
        rest = next;
        if kind != NOTE || body.len() < 24 {
            continue;
        }
        let word = |i: usize| body[i * 8..i * 8 + 8].try_into().map_or(0, u64::from_le_bytes);
        let mut texts = body[24..].split(|b| *b == 0).map(|t| String::from_utf8_lossy(t).into_owned());
        let (p, n, args) = (
            texts.next().unwrap_or_default(),
            texts.next().unwrap_or_default(),
            texts.next().unwrap_or_default(),
        );
        let moved = base.map_or(0, |b| b.wrapping_sub(word(1)));
        if p == provider && n == name {
            let semaphore = if word(2) == 0 { 0 } else { word(2).wrapping_add(moved) };
            found.push(Mark { address: word(0).wrapping_add(moved), semaphore, args });
        } else {
            names.push(format!("{p}:{n}"));
        }
    }
    if found.is_empty() {
        names.sort();
        names.dedup();
        names.truncate(20);
        return Err(format!("the file has no tracepoint {provider}:{name}; it has {}", names.join(", ")));
    }
    Ok(found)
}

/// The next note: kind, contents, what follows.
fn note(b: &[u8]) -> Option<(u32, &[u8], &[u8])> {
    let word = |i: usize| b.get(i..i + 4).and_then(|w| w.try_into().ok()).map(u32::from_le_bytes);
    let (name, len, kind) = (word(0)? as usize, word(4)? as usize, word(8)?);
    let start = 12 + name.next_multiple_of(4);
    let body = b.get(start..start.checked_add(len)?)?;
    let next = b.get(start + len.next_multiple_of(4)..).unwrap_or_default();
    Some((kind, body, next))
}

/// The bytes of `struct __bpf_usdt_spec` for arguments such as `-4@%eax 8@-16(%rbp) 4@$5`.
fn spec(args: &str, cookie: u64) -> Result<Vec<u8>, String> {
    let mut out = vec![0u8; SPEC_SIZE];
    let mut count = 0u16;
    for text in args.split_whitespace() {
        if usize::from(count) == ARGS {
            return Err(format!("the tracepoint has more than {ARGS} arguments"));
        }
        let a = arg(text).ok_or_else(|| {
            format!(
                "argument {text:?} of the tracepoint is in a place that programs cannot read (of {args:?})"
            )
        })?;
        let at = usize::from(count) * ARG_SIZE;
        out[at..at + 8].copy_from_slice(&a.value.to_le_bytes());
        out[at + 8..at + 12].copy_from_slice(&a.kind.to_le_bytes());
        out[at + 12..at + 14].copy_from_slice(&a.register.to_le_bytes());
        (out[at + 14], out[at + 15]) = (a.signed.into(), a.shift);
        count += 1;
    }
    out[ARGS * ARG_SIZE..][..8].copy_from_slice(&cookie.to_le_bytes());
    out[ARGS * ARG_SIZE + 8..][..2].copy_from_slice(&count.to_le_bytes());
    Ok(out)
}

fn arg(text: &str) -> Option<Arg> {
    let (size, place) = text.split_once('@')?;
    let size: i32 = size.parse().ok()?;
    if !matches!(size.unsigned_abs(), 1 | 2 | 4 | 8) {
        return None;
    }
    let signed = size < 0;
    let shift = (64 - size.unsigned_abs() * 8) as u8;
    let made = |value: i64, kind, register| Arg { value: value as u64, kind, register, signed, shift };
    if let Some(n) = place.strip_prefix('$') {
        return Some(made(number(n)?, 0, 0));
    }
    if let Some((offset, register)) = place.strip_suffix(')').and_then(|p| p.split_once("(%")) {
        let offset = if offset.is_empty() { 0 } else { number(offset)? };
        return Some(made(offset, 2, pt_regs(register)?));
    }
    Some(made(0, 1, pt_regs(place.strip_prefix('%')?)?))
}

fn number(text: &str) -> Option<i64> {
    match text.strip_prefix("0x") {
        Some(hex) => i64::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    }
}

/// Registers in the order of x86-64's `struct pt_regs`, with the names of their parts.
const REGISTERS: [&[&str]; 21] = [
    &["r15", "r15d", "r15w", "r15b"],
    &["r14", "r14d", "r14w", "r14b"],
    &["r13", "r13d", "r13w", "r13b"],
    &["r12", "r12d", "r12w", "r12b"],
    &["rbp", "ebp", "bp", "bpl"],
    &["rbx", "ebx", "bx", "bl"],
    &["r11", "r11d", "r11w", "r11b"],
    &["r10", "r10d", "r10w", "r10b"],
    &["r9", "r9d", "r9w", "r9b"],
    &["r8", "r8d", "r8w", "r8b"],
    &["rax", "eax", "ax", "al"],
    &["rcx", "ecx", "cx", "cl"],
    &["rdx", "edx", "dx", "dl"],
    &["rsi", "esi", "si", "sil"],
    &["rdi", "edi", "di", "dil"],
    &["orig_rax"],
    &["rip"],
    &["cs"],
    &["eflags"],
    &["rsp", "esp", "sp", "spl"],
    &["ss"],
];

fn pt_regs(name: &str) -> Option<i16> {
    let at = REGISTERS.iter().position(|names| names.contains(&name))?;
    Some(at as i16 * 8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments() {
        let a = |value: i64, kind, register, signed, shift| {
            Some(Arg { value: value as u64, kind, register, signed, shift })
        };
        assert_eq!(arg("-4@%eax"), a(0, 1, 80, true, 32));
        assert_eq!(arg("8@-16(%rbp)"), a(-16, 2, 32, false, 0));
        assert_eq!(arg("4@$5"), a(5, 0, 0, false, 32));
        assert_eq!(arg("8@(%rsp)"), a(0, 2, 152, false, 0));
        for bad in ["", "8", "3@%eax", "8@%xmm0", "8@sym(%rip)", "8@8(%rax,%rbx,4)"] {
            assert_eq!(arg(bad), None, "{bad}");
        }
        let s = spec("-4@%eax 8@-16(%rbp)", 7).unwrap_or_default();
        assert_eq!((s.len(), s[ARGS * ARG_SIZE], s[ARGS * ARG_SIZE + 8]), (SPEC_SIZE, 7, 2));
        assert!(spec(&"8@%rax ".repeat(13), 0).is_err());
    }
}
