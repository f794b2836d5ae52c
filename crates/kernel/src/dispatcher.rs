//! Several XDP programs on one device: they are linked into one, which calls them in the order of their priorities.
//!
//! A program's verdict is final unless it is among the actions on which the next one is asked (`chain_call_actions` of libxdp;
//! XDP_PASS unless something else is said); behind the last stands XDP_PASS. libxdp keeps each program apart by freplace ([`libxdp`]),
//! which kernels without trampolines refuse; here each becomes a function of one program, which every kernel takes that knows
//! functions (4.16). Adding or removing one loads a new whole and exchanges it under the link: each packet sees the old
//! set or the new one.
//!
//! Where sets outlive the process, a bpf file system has all there is to know, so that any process may change them:
//!
//! ```text
//! ROOT/link-IFINDEX-NETNS            the link
//! ROOT/linked-IFINDEX-NETNS-ID/      ID: the whole's, as the link says it
//!      progN-code                    a map of one value: a program's head, names and instructions
//!      progN-mapM                    its maps
//! ```

pub mod libxdp;

use crate::door::Door;
use crate::info::{self, Place};
use crate::link::{AttachTo, Link, XdpMode};
use crate::load::KernelProgram;
use crate::map::KernelMap;
use crate::{Kernel, pin};
use skep_btf::{BtfBuilder, FuncLinkage, IntEncoding};
use skep_isa::Insn;
use skep_platform::engine::{Engine, EngineError};
use skep_platform::map::{Map, MapDef, Side};
use skep_platform::{AttachType, Errno, MapType, ProgType, Program, Subprog};
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Priority of programs that ask for none, as libxdp has it. Smaller ones run first.
pub const DEFAULT_PRIORITY: u32 = 50;
/// Actions on which the next program is asked, unless something else is said: XDP_PASS.
pub const DEFAULT_CHAIN: u32 = 1 << 2;
/// Programs that one device takes, as libxdp's dispatcher does.
pub const SLOTS: usize = 10;
/// Folder of sets that outlive processes, as libxdp's.
pub const ROOT: &str = "/sys/fs/bpf/xdp";
/// Name of the whole.
pub const NAME: &str = "skep_dispatcher";

/// `enum xdp_action`, by number.
pub const ACTIONS: [&str; 5] = ["aborted", "drop", "pass", "tx", "redirect"];
/// Bits of a word of actions.
const BITS: i32 = 31;
const XDP_PASS: i32 = 2;

/// How programs share a device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    /// Linked into one ([`Dispatcher`]).
    Linked,
    /// Put on a program of libxdp's form ([`libxdp::Set`]).
    Libxdp,
}

/// The form of a device's set, or of the one that would be made: libxdp's where the kernel takes it, else with its refusal the linked
/// one. Cost: some system calls; where there is no set a dispatcher is loaded to try.
///
/// # Errors
/// Those of [`Dispatcher::open`] and [`libxdp::is_on`].
pub fn form(kernel: &Kernel, ifindex: u32, root: &Path) -> Result<(Form, Option<EngineError>), EngineError> {
    if !Dispatcher::open(kernel, ifindex, XdpMode::Any, root)?.members.is_empty() {
        return Ok((Form::Linked, None));
    }
    if libxdp::is_on(kernel.door(), ifindex, root)? {
        return Ok((Form::Libxdp, None));
    }
    Ok(match libxdp::probe(kernel) {
        Ok(()) => (Form::Libxdp, None),
        Err(e) => (Form::Linked, Some(e)),
    })
}

/// A program of a set.
#[derive(Clone, Debug)]
pub struct Member {
    /// The program, bound to maps of the kernel engine.
    pub program: Arc<Program>,
    /// Smaller ones run first; equal ones in the order in which they came.
    pub priority: u32,
    /// Actions on which the next one is asked: bit 1 << action.
    pub chain: u32,
}

impl Member {
    /// Words for the actions on which the next program is asked.
    pub fn chain_words(&self) -> impl Iterator<Item = &'static str> {
        chain_words(self.chain)
    }
}

/// Words for a set of actions: bit 1 << action.
pub fn chain_words(chain: u32) -> impl Iterator<Item = &'static str> {
    ACTIONS.iter().enumerate().filter(move |(n, _)| chain & 1 << n != 0).map(|(_, word)| *word)
}

/// The programs of one device, and the link that holds them there. Without a root the set goes when this is dropped.
#[derive(Debug)]
pub struct Dispatcher<'k> {
    kernel: &'k Kernel,
    ifindex: u32,
    mode: XdpMode,
    members: Vec<Member>,
    link: Option<Link>,
    root: Option<PathBuf>,
    /// Held while a set that others may change is open.
    _lock: Option<File>,
    /// Folder of the members.
    folder: Option<PathBuf>,
}

impl<'k> Dispatcher<'k> {
    /// An empty set of this process's own.
    pub fn new(kernel: &'k Kernel, ifindex: u32, mode: XdpMode) -> Dispatcher<'k> {
        let (members, link, root, folder) = (Vec::new(), None, None, None);
        Dispatcher { kernel, ifindex, mode, members, link, root, _lock: None, folder }
    }

    /// The set of a device as it is kept in a folder of a bpf file system, which is locked for others meanwhile; empty where there
    /// is none. `mode` counts when the first program comes. Cost: some system calls a program.
    ///
    /// # Errors
    /// The file system's; [`EngineError::Unsupported`] for what was not written by this version.
    pub fn open(
        kernel: &'k Kernel,
        ifindex: u32,
        mode: XdpMode,
        root: &Path,
    ) -> Result<Dispatcher<'k>, EngineError> {
        let mut set = Dispatcher::new(kernel, ifindex, mode);
        set._lock = Some(lock(root)?);
        set.root = Some(root.into());
        let at = set.link_path(root)?;
        let door = kernel.door();
        let fd = match pin::open(&**door, &at) {
            Ok(fd) => fd,
            Err(e) if e.errno == Errno::ENOENT => return Ok(set),
            Err(e) => return Err(kept(root, e.why)),
        };
        let link = info::link(&**door, fd.as_fd()).map_err(|e| kept(&at, e))?;
        if link.place != Place::Xdp(ifindex) {
            // The device it was of is gone.
            pin::unpin(&at).map_err(|e| kept(&e.path, &e.why))?;
            return Ok(set);
        }
        let folder = folder(root, ifindex, link.prog_id)?;
        leftovers(&folder);
        set.members = read_all(door, &folder)?;
        set.folder = Some(folder);
        set.link = Some(Link::from_fd(door, fd, format!("xdp of device {ifindex}")));
        Ok(set)
    }

    /// Programs in the order in which they run.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// Id of the whole; `None` for an empty set.
    pub fn id(&self) -> Option<u32> {
        let link = self.link.as_ref()?.fds().next()?;
        info::link(&**self.kernel.door(), link).ok().map(|l| l.prog_id)
    }

    /// Adds a program, or with `replace` puts it in the place of the one of its name. Cost: loading all of the set.
    ///
    /// # Errors
    /// [`EngineError::Load`] for programs that cannot be linked and for a full set; those of loading and attaching.
    pub fn add(&mut self, member: Member, replace: bool) -> Result<(), EngineError> {
        let name = &member.program.name;
        let mut members = self.members.clone();
        room(members.iter().position(|m| m.program.name == *name), &mut members, name, replace)?;
        // Alone first: a refusal is then about this program and nothing else.
        self.kernel.load_program(&member.program)?;
        let at = members.partition_point(|m| m.priority <= member.priority);
        members.insert(at, member);
        self.become_(members)
    }

    /// Takes a program off; with the last one the link goes. Whether there was one of this name.
    ///
    /// # Errors
    /// Those of loading the rest, and the file system's.
    pub fn remove(&mut self, name: &str) -> Result<bool, EngineError> {
        let mut members = self.members.clone();
        members.retain(|m| m.program.name != name);
        if members.len() == self.members.len() {
            return Ok(false);
        }
        self.become_(members).map(|()| true)
    }

    /// Takes all programs off.
    ///
    /// # Errors
    /// The file system's.
    pub fn clear(&mut self) -> Result<(), EngineError> {
        self.become_(Vec::new())
    }

    fn become_(&mut self, members: Vec<Member>) -> Result<(), EngineError> {
        if members.is_empty() {
            if let Some(link) = self.link.take() {
                link.detach().map_err(|e| kept(Path::new("the link"), e))?;
            }
            if let Some(root) = &self.root {
                let at = self.link_path(root)?;
                if at.exists() {
                    pin::unpin(&at).map_err(|e| kept(&e.path, &e.why))?;
                }
            }
        } else {
            let whole = self.kernel.load_program(&Arc::new(linked(&members)?))?;
            let folder = self.keep(&whole, &members)?;
            if let Err(e) = self.switch(&whole) {
                folder.iter().for_each(|f| forget(f));
                return Err(e);
            }
            if let Some(old) = std::mem::replace(&mut self.folder, folder) {
                forget(&old);
            }
            self.members = members;
            return Ok(());
        }
        if let Some(old) = self.folder.take() {
            forget(&old);
        }
        self.members = members;
        Ok(())
    }

    /// From now on packets go through this whole.
    fn switch(&mut self, whole: &KernelProgram) -> Result<(), EngineError> {
        if let Some(link) = &mut self.link {
            return link.replace(whole);
        }
        let to = AttachTo::Xdp { ifindex: self.ifindex, mode: self.mode };
        let mut link = self.kernel.attach_to(whole, &to)?;
        if let Some(root) = &self.root {
            link.pin(&self.link_path(root)?).map_err(|e| kept(&e.path, &e.why))?;
        }
        self.link = Some(link);
        Ok(())
    }

    fn link_path(&self, root: &Path) -> Result<PathBuf, EngineError> {
        Ok(root.join(format!("link-{}-{}", self.ifindex, netns()?)))
    }

    /// Writes the members down, where the set is to outlive the process.
    fn keep(&self, whole: &KernelProgram, members: &[Member]) -> Result<Option<PathBuf>, EngineError> {
        let Some(root) = &self.root else { return Ok(None) };
        let door = self.kernel.door();
        let id = info::prog(&**door, whole.as_fd()).map_err(|e| kept(root, e))?.id;
        let folder = folder(root, self.ifindex, id)?;
        let write = || {
            for (n, member) in members.iter().enumerate() {
                write(self.kernel, &folder, n, member)?;
            }
            Ok(())
        };
        match write() {
            Ok(()) => Ok(Some(folder)),
            Err(e) => {
                forget(&folder);
                Err(e)
            }
        }
    }
}

/// Makes room for a program where one of its name may be.
fn room<M>(same: Option<usize>, members: &mut Vec<M>, name: &str, replace: bool) -> Result<(), EngineError> {
    match same {
        Some(at) if replace => drop(members.remove(at)),
        Some(_) => {
            return Err(refuse(
                name,
                "a program of this name is on the device already; replace it, or detach it",
            ));
        }
        None => {}
    }
    if members.len() == SLOTS {
        return Err(refuse(name, "ten programs are on the device already, as many as there may be"));
    }
    Ok(())
}

/// Keeps others from the sets of a folder, which is made if need be.
fn lock(root: &Path) -> Result<File, EngineError> {
    pin::folder(root).map_err(|e| kept(root, e.why))?;
    File::open(root).and_then(|f| f.lock().map(|()| f)).map_err(|e| kept(root, e))
}

fn refuse(name: &str, why: &str) -> EngineError {
    EngineError::Load { prog: name.to_owned(), insn: None, why: why.to_owned() }
}

fn kept(at: &Path, why: impl std::fmt::Display) -> EngineError {
    EngineError::Unsupported { what: "a set of XDP programs".into(), why: format!("{}: {why}", at.display()) }
}

/// The network namespace: devices of several share their numbers.
fn netns() -> Result<u64, EngineError> {
    let own = Path::new("/proc/thread-self/ns/net");
    Ok(std::fs::metadata(own).map_err(|e| kept(own, e))?.ino())
}

/// Where the members of a whole are kept.
fn folder(root: &Path, ifindex: u32, id: u32) -> Result<PathBuf, EngineError> {
    Ok(root.join(format!("linked-{ifindex}-{}-{id}", netns()?)))
}

/// Takes away what changes to the same set left that were killed on their way.
fn leftovers(current: &Path) {
    let stem = |p: &Path| Some(p.file_name()?.to_str()?.rsplit_once('-')?.0.to_owned());
    let (Some(root), Some(mine)) = (current.parent(), stem(current)) else { return };
    for entry in std::fs::read_dir(root).into_iter().flatten().flatten() {
        let path = entry.path();
        if path != current && stem(&path).as_ref() == Some(&mine) {
            forget(&path);
        }
    }
}

/// Takes a folder of pins away. What cannot be removed stays, as nobody looks at it any more.
fn forget(folder: &Path) {
    let _ = std::fs::remove_dir_all(folder);
}

/// Whether it is a program for devices.
fn check(m: &Member) -> Result<(), EngineError> {
    let hook = m.program.attach_type.unwrap_or(AttachType::Xdp);
    if m.program.prog_type == ProgType::Xdp && hook == AttachType::Xdp {
        return Ok(());
    }
    Err(refuse(&m.program.name, "only XDP programs for devices can share one"))
}

/// One program that calls these in turn.
///
/// # Errors
/// [`EngineError::Load`] for programs of another type or for another hook.
pub fn linked(members: &[Member]) -> Result<Program, EngineError> {
    members.iter().try_for_each(check)?;
    let mut whole = Program::from_insns(NAME, ProgType::Xdp, calls(members));
    whole.attach_type = Some(AttachType::Xdp);
    whole.xdp_frags = members.iter().all(|m| m.program.xdp_frags);
    let strict = members.iter().find(|m| !m.program.gpl_compatible());
    whole.license = strict.map_or("GPL", |m| m.program.license.as_str()).into();
    for m in members {
        append(&mut whole, &m.program);
    }
    name_functions(&mut whole).map_err(|e| refuse(NAME, &e.to_string()))?;
    Ok(whole)
}

/// Instructions that one member takes in the main function.
const STEP: usize = 7;

/// The main function: calls of the members, whose instructions stand behind it.
fn calls(members: &[Member]) -> Vec<Insn> {
    let exit = 1 + STEP * members.len() + 1;
    let mut start = exit + 1;
    let mut insns = vec![Insn::new(0xbf, 6, 1, 0, 0)];
    for m in members {
        let to_exit = |at: usize| (exit - at - 1) as i16;
        let at = insns.len();
        insns.extend([
            Insn::new(0xbf, 1, 6, 0, 0),
            Insn::new(0x85, 0, 1, 0, (start - at - 2) as i32),
            // A verdict beyond the word of actions is final.
            Insn::new(0x26, 0, 0, to_exit(at + 2), BITS),
            Insn::new(0xb4, 1, 0, 0, m.chain as i32),
            Insn::new(0x7c, 1, 0, 0, 0),
            Insn::new(0x54, 1, 0, 0, 1),
            Insn::new(0x16, 1, 0, to_exit(at + 6), 0),
        ]);
        start += m.program.insns.len();
    }
    insns.push(Insn::new(0xb4, 0, 0, 0, XDP_PASS));
    insns.push(Insn::new(0x95, 0, 0, 0, 0));
    insns
}

/// `BPF_PSEUDO_MAP_IDX` and `BPF_PSEUDO_MAP_IDX_VALUE`.
const MAP_IDX: [u8; 2] = [5, 6];

/// Puts a program behind the others; its functions are no longer verified on their own.
fn append(whole: &mut Program, program: &Program) {
    let (base, maps) = (whole.insns.len(), whole.maps.len() as i32);
    whole.insns.extend(&program.insns);
    for insn in &mut whole.insns[base..] {
        if insn.is_ldimm64() && MAP_IDX.contains(&insn.src()) {
            *insn = insn.with_imm(insn.imm() + maps);
        }
    }
    whole.maps.extend(program.maps.iter().cloned());
    let moved = program.subprogs.iter().map(|s| Subprog {
        name: s.name.clone(),
        start: base + s.start,
        btf_id: 0,
        global: false,
    });
    whole.subprogs.extend(moved);
    whole.poisoned.extend(program.poisoned.iter().map(|(at, why)| (base + at, why.clone())));
    if whole.kernel_btf.is_none() {
        whole.kernel_btf.clone_from(&program.kernel_btf);
    }
}

/// Types that name the functions, for those who list the program.
fn name_functions(whole: &mut Program) -> Result<(), Box<dyn std::error::Error>> {
    let mut types = BtfBuilder::new();
    let int = types.add_int("int", 4, IntEncoding { signed: true, ..IntEncoding::default() })?;
    let proto = types.add_func_proto(int, &[])?;
    for s in &mut whole.subprogs {
        s.btf_id = types.add_func(&s.name, proto, FuncLinkage::Static)?;
    }
    whole.btf = Some(Arc::new(types.finish()?));
    Ok(())
}

/// Version of what `progN-code` has: words, then the texts and instructions that they measure.
const VERSION: u32 = 1;
/// Version, priority, actions, flags, and lengths: name, licence, instructions, functions, maps.
const HEAD: usize = 9;
const FRAGS: u32 = 1;

fn write(kernel: &Kernel, folder: &Path, n: usize, member: &Member) -> Result<(), EngineError> {
    let bytes = encode(member);
    let def = MapDef {
        name: format!("prog{n}_code"),
        map_type: MapType::Array,
        key_size: 4,
        value_size: bytes.len() as u32,
        max_entries: 1,
        flags: 0,
        map_extra: 0,
        numa_node: 0,
        pin_by_name: false,
        inner: None,
        btf: None,
    };
    let map = kernel.create_map(&def).map_err(|e| kept(folder, e))?;
    map.update(&0u32.to_ne_bytes(), &bytes, 0, Side::User).map_err(|e| kept(folder, e))?;
    map.freeze().map_err(|e| kept(folder, e))?;
    let pinned = |map: &dyn Map, name: String| {
        let mine = map.as_any().downcast_ref::<KernelMap>();
        let mine = mine.ok_or_else(|| refuse(&member.program.name, "its maps are in another engine"))?;
        pin::pin(&**kernel.door(), &folder.join(name), mine.as_fd()).map_err(|e| kept(&e.path, &e.why))
    };
    pinned(&*map, format!("prog{n}-code"))?;
    for (m, map) in member.program.maps.iter().enumerate() {
        pinned(&**map, format!("prog{n}-map{m}"))?;
    }
    Ok(())
}

fn read(door: &Arc<dyn Door>, folder: &Path, n: usize, fd: OwnedFd) -> Result<Member, EngineError> {
    let mut bytes = Vec::new();
    let code = KernelMap::open(door, fd).map_err(|e| kept(folder, e))?;
    code.read(&0u32.to_ne_bytes(), &mut bytes).map_err(|e| kept(folder, e))?;
    let (mut program, priority, chain, maps) = decode(&bytes).ok_or_else(|| {
        kept(folder, format!("prog{n}-code was written by another version of this program"))
    })?;
    for m in 0..maps {
        let at = folder.join(format!("prog{n}-map{m}"));
        let fd = pin::open(&**door, &at).map_err(|e| kept(&e.path, &e.why))?;
        program.maps.push(Arc::new(KernelMap::open(door, fd).map_err(|e| kept(&at, e))?));
    }
    Ok(Member { program: Arc::new(program), priority, chain })
}

fn encode(member: &Member) -> Vec<u8> {
    let p = &member.program;
    let names: Vec<&str> = p.subprogs.iter().map(|s| s.name.as_str()).collect();
    let name = names.join("\n");
    let flags = if p.xdp_frags { FRAGS } else { 0 };
    let lens = [name.len(), p.license.len(), p.insns.len(), p.subprogs.len(), p.maps.len()];
    let mut bytes = Vec::new();
    let head = [VERSION, member.priority, member.chain, flags].into_iter().chain(lens.map(|n| n as u32));
    let starts = p.subprogs.iter().map(|s| s.start as u32);
    head.chain(starts).for_each(|word| bytes.extend(word.to_ne_bytes()));
    bytes.extend(name.as_bytes());
    bytes.extend(p.license.as_bytes());
    p.insns.iter().for_each(|i| bytes.extend(i.to_bytes()));
    bytes
}

/// The program without its maps, its priority and actions, and how many maps it has.
fn decode(bytes: &[u8]) -> Option<(Program, u32, u32, usize)> {
    let mut rest = bytes;
    let mut take = |n: usize| {
        let (front, back) = rest.split_at_checked(n)?;
        rest = back;
        Some(front)
    };
    let words = |b: &[u8]| -> Vec<u32> {
        b.chunks_exact(4).map(|w| u32::from_ne_bytes([w[0], w[1], w[2], w[3]])).collect()
    };
    let head = words(take(HEAD * 4)?);
    let [version, priority, chain, flags, name, license, insns, functions, maps] = head[..] else {
        return None;
    };
    if version != VERSION || functions == 0 {
        return None;
    }
    let starts = words(take((functions as usize).checked_mul(4)?)?);
    let names = String::from_utf8(take(name as usize)?.to_vec()).ok()?;
    let license = String::from_utf8(take(license as usize)?.to_vec()).ok()?;
    let insns = Insn::slice_from_bytes(take((insns as usize).checked_mul(8)?)?).ok()?;
    let names: Vec<&str> = names.split('\n').collect();
    if names.len() != starts.len() || starts.iter().any(|s| *s as usize >= insns.len()) {
        return None;
    }
    let mut program = Program::from_insns(names[0], ProgType::Xdp, insns);
    program.license = license;
    program.xdp_frags = flags & FRAGS != 0;
    program.attach_type = Some(AttachType::Xdp);
    let functions = names.iter().zip(&starts);
    program.subprogs = functions
        .map(|(name, start)| Subprog {
            name: (*name).into(),
            start: *start as usize,
            btf_id: 0,
            global: false,
        })
        .collect();
    Some((program, priority, chain, maps as usize))
}

/// The programs of the whole of this id, in the order in which they run; none if it is no whole that was kept in `root`.
///
/// # Errors
/// [`EngineError::Unsupported`] for what was not written by this version.
pub fn members_of(
    door: &Arc<dyn Door>,
    ifindex: u32,
    id: u32,
    root: &Path,
) -> Result<Vec<Member>, EngineError> {
    read_all(door, &folder(root, ifindex, id)?)
}

fn read_all(door: &Arc<dyn Door>, folder: &Path) -> Result<Vec<Member>, EngineError> {
    let mut members = Vec::new();
    for n in 0..SLOTS {
        match pin::open(&**door, &folder.join(format!("prog{n}-code"))) {
            Ok(fd) => members.push(read(door, folder, n, fd)?),
            Err(e) if e.errno == Errno::ENOENT => break,
            Err(e) => return Err(kept(&e.path, &e.why)),
        }
    }
    Ok(members)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    fn member(name: &str, verdict: i32, priority: u32, chain: u32) -> Member {
        let insns = vec![Insn::new(0xb7, 0, 0, 0, verdict), Insn::new(0x95, 0, 0, 0, 0)];
        let mut program = Program::from_insns(name, ProgType::Xdp, insns);
        program.license = "GPL".into();
        Member { program: Arc::new(program), priority, chain }
    }

    #[test]
    fn what_is_written_is_read() {
        let mut m = member("one", 1, 7, 6);
        Arc::make_mut(&mut m.program).xdp_frags = true;
        let bytes = encode(&m);
        let (p, priority, chain, maps) = decode(&bytes).unwrap();
        assert_eq!((priority, chain, maps, p.xdp_frags, p.name.as_str()), (7, 6, 0, true, "one"));
        assert_eq!(p.insns, m.program.insns);
        assert!((0..bytes.len()).all(|n| decode(&bytes[..n]).is_none()), "what is cut is refused");
        let mut other = bytes;
        other[0] = 2;
        assert!(decode(&other).is_none());
    }

    #[test]
    fn the_whole_calls_each() {
        let whole = linked(&[member("one", 2, 1, 4), member("two", 1, 2, 4)]).unwrap();
        let names: Vec<_> = whole.subprogs.iter().map(|s| (s.name.as_str(), s.start)).collect();
        assert_eq!(names, [(NAME, 0), ("one", 17), ("two", 19)]);
        for (at, insn) in whole.insns.iter().enumerate().filter(|(_, i)| i.opcode() == 0x85) {
            let to = at + 1 + insn.imm() as usize;
            assert!(whole.subprogs.iter().any(|s| s.start == to), "{at}");
        }
        for (at, insn) in whole.insns.iter().enumerate().filter(|(_, i)| matches!(i.opcode(), 0x26 | 0x16)) {
            assert_eq!(whole.insns[at + 1 + insn.off() as usize].opcode(), 0x95, "{at}");
        }
    }
}
