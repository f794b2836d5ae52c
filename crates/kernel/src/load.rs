//! Programs in the kernel: what is asked of `BPF_PROG_LOAD`, and what its refusals mean.
//!
//! Flow: loaded without a log, which costs nothing when it is accepted → if refused, once more with a log, in a buffer that
//! grows until the whole log fits → the log is read into a [`skep_platform::Refusal`].

use crate::btf::LoadedBtf;
use crate::door::{Door, ProgLoad};
use crate::explain::{self, Asked, Rights};
use crate::log;
use crate::map::{KernelMap, object_name};
use skep_btf::{Btf, Kind, Type};
use skep_platform::{AttachType, EngineError, Errno, Loaded, ProgType, Program};
use std::any::Any;
use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, OnceLock};

/// `BPF_F_SLEEPABLE`.
const SLEEPABLE: u32 = 1 << 4;
/// `BPF_F_XDP_HAS_FRAGS`.
const XDP_HAS_FRAGS: u32 = 1 << 5;
/// First and last size of the log's buffer.
const LOG: (usize, usize) = (64 << 10, 256 << 20);
/// The kernel gives up for a pending signal; how often it is asked again.
const TRIES: usize = 5;

/// A program in the kernel. Dropping it closes its descriptor.
#[derive(Debug)]
pub struct KernelProgram {
    program: Arc<Program>,
    fd: OwnedFd,
    log: String,
    /// The same instructions as a raw tracepoint's program, once they were asked for.
    twin: OnceLock<Option<Box<KernelProgram>>>,
}

impl KernelProgram {
    /// The same instructions as a raw tracepoint's program, which the kernel runs by request; loaded at the first call.
    pub(crate) fn twin(
        &self,
        load: impl FnOnce(&Arc<Program>) -> Option<KernelProgram>,
    ) -> Option<&KernelProgram> {
        let make = || {
            let twin = Program {
                prog_type: ProgType::RawTracepoint,
                attach_type: None,
                ..Program::clone(&self.program)
            };
            load(&Arc::new(twin)).map(Box::new)
        };
        self.twin.get_or_init(make).as_deref()
    }

    /// That program, if it was loaded.
    pub(crate) fn known_twin(&self) -> Option<&KernelProgram> {
        self.twin.get()?.as_deref()
    }

    /// The verifier's log, if one was asked for ([`crate::Options::log_level`]).
    pub fn log(&self) -> &str {
        &self.log
    }
}

impl AsFd for KernelProgram {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Loaded for KernelProgram {
    fn program(&self) -> &Arc<Program> {
        &self.program
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn into_handle(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}

/// What a program is loaded with beside itself.
pub(crate) struct Surroundings<'a> {
    pub(crate) door: &'a dyn Door,
    /// Its types, where the kernel took them.
    pub(crate) btf: Option<&'a LoadedBtf>,
    /// The kernel's types, to find what it attaches to.
    pub(crate) kernel: Option<&'a Btf>,
    pub(crate) log_level: u32,
    pub(crate) flags: u32,
    /// The function of a program, by its type, that it takes the place of: then it is loaded as an extension.
    pub(crate) onto: Option<(BorrowedFd<'a>, u32)>,
}

/// Loads a program.
pub(crate) fn load(program: &Arc<Program>, with: &Surroundings<'_>) -> Result<KernelProgram, EngineError> {
    let wrong = |why: String| EngineError::Load { prog: program.name.clone(), insn: None, why };
    let insns: Vec<[u8; 8]> = program.insns.iter().map(|i| i.to_bytes()).collect();
    let license =
        CString::new(program.license.as_str()).map_err(|_| wrong("its licence has a NUL".into()))?;
    let maps: Option<Vec<BorrowedFd<'_>>> =
        program.maps.iter().map(|m| m.as_any().downcast_ref::<KernelMap>().map(AsFd::as_fd)).collect();
    let maps = maps.ok_or_else(|| wrong("its maps are in another engine".into()))?;
    let (func_info, line_info) = with.btf.map(|b| infos(program, b)).unwrap_or_default();
    let attach = match with.onto {
        // The kernel takes the type of the program that it becomes a part of.
        Some((_, btf_id)) => AttachPoint { attach_type: 0, btf_id },
        None => attach_point(program, with.kernel)?,
    };
    let mut request = ProgLoad {
        prog_type: with.onto.map_or(program.prog_type, |_| ProgType::Ext).id(),
        attach_type: attach.attach_type,
        flags: with.flags
            | if program.sleepable { SLEEPABLE } else { 0 }
            | if program.xdp_frags { XDP_HAS_FRAGS } else { 0 },
        name: object_name(&program.name),
        insns: &insns,
        license: &license,
        maps: &maps,
        btf: with.btf.filter(|_| !func_info.is_empty()).map(|b| b.fd.as_fd()),
        func_info: &func_info,
        line_info: &line_info,
        attach_btf_id: attach.btf_id,
        attach_prog: with.onto.map(|(fd, _)| fd),
        log_level: with.log_level,
    };
    let (mut loaded, mut text) = ask(with.door, &request);
    if loaded.is_err() && request.log_level == 0 {
        request.log_level = 1;
        (loaded, text) = ask(with.door, &request);
    }
    match loaded {
        Ok(fd) => Ok(KernelProgram { program: program.clone(), fd, log: text, twin: OnceLock::new() }),
        Err(errno) => Err(refused(program, errno, text)),
    }
}

/// Asks, with as big a log as it takes.
fn ask(door: &dyn Door, request: &ProgLoad<'_>) -> (Result<OwnedFd, Errno>, String) {
    let mut log = vec![0; if request.log_level == 0 { 0 } else { LOG.0 }];
    let mut tries = 0;
    loop {
        let (loaded, size) = door.prog_load(request, &mut log);
        match loaded {
            Err(Errno::EAGAIN) if tries < TRIES => tries += 1,
            Err(Errno::ENOSPC) if !log.is_empty() && log.len() < LOG.1 => {
                let wanted = (size.0 as usize).max(log.len() * 4).min(LOG.1);
                log = vec![0; wanted];
            }
            _ => {
                let end = log.iter().position(|b| *b == 0).unwrap_or(log.len());
                return (loaded, String::from_utf8_lossy(&log[..end]).into_owned());
            }
        }
    }
}

fn refused(program: &Program, errno: Errno, text: String) -> EngineError {
    if log::message(&text).is_some() {
        return EngineError::Refused(Box::new(log::refusal(program, errno, text)));
    }
    let why = explain::why(Asked::Load, errno, &Rights::own());
    if explain::is_permission(errno) {
        return EngineError::Permission { what: format!("loading program {}", program.name), why };
    }
    EngineError::Load { prog: program.name.clone(), insn: None, why }
}

/// `struct bpf_func_info` and `struct bpf_line_info`: all functions have their record or none has, and so for the lines at
/// their starts, as `check_btf_func` and `check_btf_line` demand.
fn infos(program: &Program, btf: &LoadedBtf) -> (Vec<[u32; 2]>, Vec<[u32; 4]>) {
    let subprogs = &program.subprogs;
    if subprogs.is_empty() || subprogs.iter().any(|s| s.btf_id == 0) {
        return Default::default();
    }
    let functions = subprogs.iter().map(|s| [s.start as u32, s.btf_id]).collect();
    let mut lines = btf.lines(&program.lines);
    lines.dedup_by_key(|l| l[0]);
    // The second half of a wide instruction has no operation.
    lines.retain(|l| program.insns.get(l[0] as usize).is_some_and(|i| i.to_bytes()[0] != 0));
    let has_line = |start: usize| lines.binary_search_by_key(&(start as u32), |l| l[0]).is_ok();
    if !subprogs.iter().all(|s| has_line(s.start)) {
        lines.clear();
    }
    (functions, lines)
}

/// What a program is loaded for.
struct AttachPoint {
    /// Expected attach type; of struct_ops the member's index.
    attach_type: u32,
    /// The kernel's type that it attaches to; 0 for those that name none.
    btf_id: u32,
}

fn attach_point(program: &Program, kernel: Option<&Btf>) -> Result<AttachPoint, EngineError> {
    let attach_type = program.attach_type.map_or(0, |a| a.id());
    let Some((prefix, kind)) = attach_names(program) else {
        return Ok(AttachPoint { attach_type, btf_id: 0 });
    };
    let wrong = |why: String| EngineError::Load { prog: program.name.clone(), insn: None, why };
    let target = program.attach_target.as_deref().unwrap_or_default();
    if target.is_empty() {
        return Err(wrong(format!(
            "section {:?} does not say what it attaches to; name it, as in fentry/FUNCTION",
            program.section
        )));
    }
    let kernel = kernel.ok_or_else(|| {
        wrong(format!(
            "it attaches to {target}, which is found in the kernel's types, and there are none: the kernel was built \
             without CONFIG_DEBUG_INFO_BTF=y (/sys/kernel/btf/vmlinux)"
        ))
    })?;
    let (holder, member) = match target.split_once('/') {
        Some((holder, member)) if program.prog_type == ProgType::StructOps => {
            (skep_btf::essential_name(holder), Some(member))
        }
        _ => (target, None),
    };
    let name = format!("{prefix}{holder}");
    let none = |name: &str| {
        wrong(format!(
            "the kernel's types have no {name}; `skep btf dump /sys/kernel/btf/vmlinux` lists what they have"
        ))
    };
    let btf_id = kernel.find_by_name_kind(&name, kind).ok_or_else(|| none(&name))?;
    let Some(member) = member else { return Ok(AttachPoint { attach_type, btf_id }) };
    let Some(Type::Struct(mut s)) = kernel.type_by_id(btf_id) else { return Err(none(&name)) };
    let index = s.members.position(|m| m.name == member);
    let index = index.ok_or_else(|| none(&format!("member {member} of struct {holder}")))?;
    Ok(AttachPoint { attach_type: index as u32, btf_id })
}

/// Prefix and kind of the type that such a program attaches to.
fn attach_names(program: &Program) -> Option<(&'static str, Kind)> {
    Some(match (program.prog_type, program.attach_type) {
        (ProgType::Tracing, Some(AttachType::TraceRawTp)) => ("btf_trace_", Kind::Typedef),
        (ProgType::Tracing, Some(AttachType::TraceIter)) => ("bpf_iter_", Kind::Func),
        (ProgType::Tracing, _) => ("", Kind::Func),
        (ProgType::Lsm, _) => ("bpf_lsm_", Kind::Func),
        // Functions outside of any structure are for nobody to call.
        (ProgType::StructOps, _) if program.attach_target.is_some() => ("", Kind::Struct),
        _ => return None,
    })
}
