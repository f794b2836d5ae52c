//! The form of libxdp: a program with a global function for each slot, which the programs take the place of (freplace), so that
//! libxdp's own tools and this one change the same set. It needs a kernel that loads `BPF_PROG_TYPE_EXT`.
//!
//! ```text
//! device ── xdp_dispatcher ── prog0() ◄─ link ── program of the smallest priority
//!              │ .rodata      prog1() ◄─ link ── …
//!              └ Config       …
//! ROOT/dispatch-IFINDEX-ID/progN-prog, progN-link      ID: the dispatcher's
//! ```
//!
//! A change makes another dispatcher, puts all programs on it, and exchanges the device's program only if that is still the one it
//! was (`XDP_FLAGS_REPLACE`): each packet sees the old set or the new one.
//!
//! Source: protocol of libxdp (`prog_dispatcher.h`, dispatcher version 2).

use super::{BITS, DEFAULT_CHAIN, DEFAULT_PRIORITY, Member, SLOTS, XDP_PASS, forget, kept, refuse};
use crate::door::{Door, IdKind, LinkCreate, LinkExtra, NetError, Target};
use crate::info::{self, ProgInfo};
use crate::link::XdpMode;
use crate::load::KernelProgram;
use crate::map::KernelMap;
use crate::{Kernel, netlink, pin};
use skep_btf::{BtfBuilder, BuildError, FuncLinkage, IntEncoding, Kind, Param, VarLinkage, VarSecinfo};
use skep_isa::Insn;
use skep_platform::engine::{Engine, EngineError};
use skep_platform::map::{Map, MapBtf, MapDef, Side};
use skep_platform::{Errno, MapType, ProgType, Program, Subprog};
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

#[cfg(test)]
mod tests;

/// Name of the program on the device.
pub const NAME: &str = "xdp_dispatcher";
/// First byte of its configuration.
const MAGIC: u8 = 236;
/// Version of dispatchers that is written, and read.
const VERSION: u8 = 2;
/// What a function returns in whose place no program is.
const EMPTY: i32 = 31;
/// `BPF_F_XDP_HAS_FRAGS`, in the flags of a slot.
const HAS_FRAGS: u32 = 1 << 5;
/// Bytes of `struct xdp_dispatcher_config`.
const CONFIG: usize = 4 + 3 * 4 * SLOTS;
/// The function that stands behind those of the slots.
const PROBE: &str = "compat_test";

/// What a dispatcher knows of one program.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Slot {
    /// Actions on which the next one is asked: bit 1 << action.
    pub chain: u32,
    /// Smaller ones run first.
    pub priority: u32,
    /// `BPF_F_*` that it was loaded with.
    pub flags: u32,
}

/// `struct xdp_dispatcher_config`: magic, version, programs, whether it takes packets in pieces; then of all ten slots the actions
/// on which the next one is asked, the priorities, the flags.
fn encode(slots: &[Slot], frags: bool) -> [u8; CONFIG] {
    let mut bytes = [0; CONFIG];
    bytes[..4].copy_from_slice(&[MAGIC, VERSION, slots.len() as u8, frags.into()]);
    let fields: [fn(&Slot) -> u32; 3] = [|s| s.chain, |s| s.priority, |s| s.flags];
    for (f, field) in fields.iter().enumerate() {
        for (n, slot) in slots.iter().enumerate() {
            let at = 4 + 4 * (f * SLOTS + n);
            bytes[at..at + 4].copy_from_slice(&field(slot).to_ne_bytes());
        }
    }
    bytes
}

fn decode(bytes: &[u8]) -> Option<Vec<Slot>> {
    let (head, words) = bytes.split_at_checked(4)?;
    let count = usize::from(head[2]);
    if head[..2] != [MAGIC, VERSION] || bytes.len() < CONFIG || count > SLOTS {
        return None;
    }
    let words: Vec<u32> = words.as_chunks::<4>().0.iter().map(|w| u32::from_ne_bytes(*w)).collect();
    let slot = |n: usize| Slot { chain: words[n], priority: words[SLOTS + n], flags: words[2 * SLOTS + n] };
    Some((0..count).map(slot).collect())
}

/// Instructions of the function of a slot.
const STUB: usize = 2;

/// The main function, then those of the slots and [`PROBE`].
fn code() -> Vec<Insn> {
    // Before the first slot, for each slot, for the probe, the end.
    let (front, step, probe) = (4, 8, 4);
    let pass = front + step * SLOTS + probe;
    let (exit, stubs) = (pass + 1, pass + 2);
    let to = |at: usize, target: usize| (target - at - 1) as i16;
    let call = |at: usize, n: usize| Insn::new(0x85, 0, 1, 0, (stubs + STUB * n - at - 1) as i32);
    let mut insns = vec![
        Insn::new(0xbf, 6, 1, 0, 0),
        // BPF_PSEUDO_MAP_IDX_VALUE: the first map's value.
        Insn::new(0x18, 8, 6, 0, 0),
        Insn::new(0, 0, 0, 0, 0),
        Insn::new(0x71, 7, 8, 2, 0),
    ];
    for n in 0..SLOTS {
        let at = insns.len();
        insns.extend([
            Insn::new(0xb5, 7, 0, to(at, pass), n as i32),
            Insn::new(0xbf, 1, 6, 0, 0),
            call(at + 2, n),
            // A verdict beyond the word of actions is final.
            Insn::new(0x26, 0, 0, to(at + 3, exit), BITS),
            Insn::new(0x61, 1, 8, (4 + 4 * n) as i16, 0),
            Insn::new(0x7c, 1, 0, 0, 0),
            Insn::new(0x54, 1, 0, 0, 1),
            Insn::new(0x16, 1, 0, to(at + 7, exit), 0),
        ]);
    }
    let at = insns.len();
    insns.extend([
        Insn::new(0xb5, 7, 0, to(at, pass), SLOTS as i32),
        Insn::new(0xbf, 1, 6, 0, 0),
        call(at + 2, SLOTS),
        Insn::new(0x16, 0, 0, to(at + 3, exit), 0),
        Insn::new(0xb4, 0, 0, 0, XDP_PASS),
        Insn::new(0x95, 0, 0, 0, 0),
    ]);
    for _ in 0..=SLOTS {
        insns.extend([Insn::new(0xb4, 0, 0, 0, EMPTY), Insn::new(0x95, 0, 0, 0, 0)]);
    }
    insns
}

/// The dispatcher's types.
struct Types {
    btf: Arc<skep_btf::Btf>,
    /// Type of the section `.rodata`.
    config: u32,
    /// Types of the functions: the main one, those of the slots, the probe.
    functions: Vec<u32>,
}

fn int(b: &mut BtfBuilder, name: &str, size: u32, signed: bool) -> Result<u32, BuildError> {
    b.add_int(name, size, IntEncoding { signed, ..IntEncoding::default() })
}

/// `int f(struct xdp_md *ctx)`.
fn prototype(b: &mut BtfBuilder) -> Result<u32, BuildError> {
    let (int, word) = (int(b, "int", 4, true)?, int(b, "unsigned int", 4, false)?);
    let names = ["data", "data_end", "data_meta", "ingress_ifindex", "rx_queue_index", "egress_ifindex"];
    let member =
        |(n, name)| skep_btf::Member { name, type_id: word, bit_offset: 32 * n as u32, bitfield_size: 0 };
    let members: Vec<_> = names.into_iter().enumerate().map(member).collect();
    let context = b.add_struct("xdp_md", 24, &members)?;
    let pointer = b.add_ptr(context)?;
    b.add_func_proto(int, &[Param { name: "ctx", type_id: pointer }])
}

fn function_names() -> impl Iterator<Item = String> {
    let slots = (0..SLOTS).map(|n| format!("prog{n}"));
    std::iter::once(NAME.to_owned()).chain(slots).chain([PROBE.to_owned()])
}

fn types() -> Result<Types, Box<dyn std::error::Error>> {
    let b = &mut BtfBuilder::new();
    let proto = prototype(b)?;
    let functions = function_names()
        .map(|name| b.add_func(&name, proto, FuncLinkage::Global))
        .collect::<Result<Vec<u32>, _>>()?;
    let (byte, word) = (int(b, "__u8", 1, false)?, int(b, "__u32", 4, false)?);
    let signed = int(b, "int", 4, true)?;
    let words = b.add_array(word, word, SLOTS as u32)?;
    let (head, rest) = (
        ["magic", "dispatcher_version", "num_progs_enabled", "is_xdp_frags"],
        ["chain_call_actions", "run_prios", "program_flags"],
    );
    let member = |name, type_id, bit_offset| skep_btf::Member { name, type_id, bit_offset, bitfield_size: 0 };
    let head = head.into_iter().enumerate().map(|(n, name)| member(name, byte, 8 * n as u32));
    let rest = rest.into_iter().enumerate();
    let rest = rest.map(|(n, name)| member(name, words, 32 * (1 + n * SLOTS) as u32));
    let fields: Vec<_> = head.chain(rest).collect();
    let config = b.add_struct("xdp_dispatcher_config", CONFIG as u32, &fields)?;
    let config = b.add_modifier(Kind::Const, config)?;
    let config = b.add_var("conf", config, VarLinkage::Static)?;
    let whole = VarSecinfo { type_id: config, offset: 0, size: CONFIG as u32 };
    let config = b.add_datasec(".rodata", CONFIG as u32, &[whole])?;
    // The version, as the length of an array that a pointer points to.
    let version = b.add_array(signed, word, VERSION.into())?;
    let version = b.add_ptr(version)?;
    let version = b.add_var("dispatcher_version", version, VarLinkage::GlobalAllocated)?;
    let whole = VarSecinfo { type_id: version, offset: 0, size: 8 };
    b.add_datasec("xdp_metadata", 8, &[whole])?;
    Ok(Types { btf: Arc::new(b.finish()?), config, functions })
}

/// A dispatcher in the kernel.
#[derive(Debug)]
struct Whole {
    program: KernelProgram,
    /// Types of the slots' functions.
    slots: Vec<u32>,
}

impl Whole {
    fn load(kernel: &Kernel, slots: &[Slot]) -> Result<Whole, EngineError> {
        let types = types().map_err(|e| refuse(NAME, &e.to_string()))?;
        let stubs = types.functions[1..=SLOTS].to_vec();
        Ok(Whole { program: load(kernel, slots, types)?, slots: stubs })
    }

    /// Puts an extension in the place of a slot's function.
    fn link(
        &self,
        door: &dyn Door,
        n: usize,
        name: &str,
        program: BorrowedFd<'_>,
    ) -> Result<OwnedFd, EngineError> {
        let request = LinkCreate {
            prog: program,
            target: Target::Fd(self.program.as_fd()),
            attach_type: 0,
            flags: 0,
            extra: LinkExtra::Tracing { target_btf_id: self.slots[n], cookie: 0 },
        };
        door.link_create(&request)
            .map_err(|e| refuse(name, &format!("it cannot take the place of a dispatcher's function: {e}")))
    }
}

/// Loads a dispatcher with these slots in use, and no program in them yet: each lets the next one be asked. Cost: types, a map and a
/// program.
///
/// # Errors
/// As [`Kernel::load_program`]; more than ten slots.
pub fn dispatcher_with(kernel: &Kernel, slots: &[Slot]) -> Result<KernelProgram, EngineError> {
    Whole::load(kernel, slots).map(|whole| whole.program)
}

fn load(kernel: &Kernel, slots: &[Slot], types: Types) -> Result<KernelProgram, EngineError> {
    if slots.len() > SLOTS {
        return Err(refuse(NAME, "a dispatcher has ten slots"));
    }
    let frags = !slots.is_empty() && slots.iter().all(|s| s.flags & HAS_FRAGS != 0);
    let def = MapDef {
        name: "xdp_disp.rodata".into(),
        map_type: MapType::Array,
        key_size: 4,
        value_size: CONFIG as u32,
        max_entries: 1,
        flags: skep_platform::map::flags::RDONLY_PROG,
        map_extra: 0,
        numa_node: 0,
        pin_by_name: false,
        inner: None,
        btf: Some(MapBtf { btf: types.btf.clone(), key: 0, value: types.config }),
    };
    let failed = |e: &dyn std::fmt::Display| refuse(NAME, &e.to_string());
    let map = kernel.create_map(&def).map_err(|e| failed(&e))?;
    map.update(&0u32.to_ne_bytes(), &encode(slots, frags), 0, Side::User).map_err(|e| failed(&e))?;
    map.freeze().map_err(|e| failed(&e))?;
    let mut program = Program::from_insns(NAME, ProgType::Xdp, code());
    program.license = "GPL".into();
    program.xdp_frags = frags;
    program.maps = vec![map];
    let stubs = program.insns.len() - STUB * (SLOTS + 1);
    let start = |n: usize| if n == 0 { 0 } else { stubs + STUB * (n - 1) };
    let functions = function_names().zip(&types.functions).enumerate();
    program.subprogs = functions
        .map(|(n, (name, id))| Subprog { name, start: start(n), btf_id: *id, global: true })
        .collect();
    program.btf = Some(types.btf);
    kernel.load_program(&Arc::new(program))
}

/// Whether the kernel takes dispatchers of this form: loads one and puts a program on it, for nobody to run. Cost: some system
/// calls.
///
/// # Errors
/// The refusal.
pub fn probe(kernel: &Kernel) -> Result<(), EngineError> {
    let slot = Slot { chain: DEFAULT_CHAIN, priority: DEFAULT_PRIORITY, flags: 0 };
    let whole = Whole::load(kernel, &[slot])?;
    let types = || -> Result<_, Box<dyn std::error::Error>> {
        let b = &mut BtfBuilder::new();
        let proto = prototype(b)?;
        let id = b.add_func("probe", proto, FuncLinkage::Global)?;
        Ok((b.finish()?, id))
    };
    let (btf, btf_id) = types().map_err(|e| refuse("probe", &e.to_string()))?;
    let exit = vec![Insn::new(0xb4, 0, 0, 0, XDP_PASS), Insn::new(0x95, 0, 0, 0, 0)];
    let mut program = Program::from_insns("probe", ProgType::Xdp, exit);
    program.license = "GPL".into();
    program.subprogs = vec![Subprog { name: "probe".into(), start: 0, btf_id, global: true }];
    program.btf = Some(Arc::new(btf));
    let program = kernel.load_onto(&Arc::new(program), Some((whole.program.as_fd(), whole.slots[0])))?;
    whole.link(&**kernel.door(), 0, "probe", program.as_fd()).map(drop)
}

/// A program of a set, in the order in which they run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Its name; of what others loaded at most 15 bytes.
    pub name: String,
    /// Id of the program.
    pub id: u32,
    /// Smaller ones run first.
    pub priority: u32,
    /// Actions on which the next one is asked: bit 1 << action.
    pub chain: u32,
    /// It takes packets in pieces.
    pub frags: bool,
}

/// A program that is kept, and the extension that it is.
#[derive(Clone, Debug)]
struct Kept {
    entry: Entry,
    fd: Arc<OwnedFd>,
}

/// The programs of one device in libxdp's form. They stay when this is dropped.
#[derive(Debug)]
pub struct Set<'k> {
    kernel: &'k Kernel,
    ifindex: u32,
    mode: XdpMode,
    root: PathBuf,
    _lock: File,
    /// The dispatcher that is on the device, and its id.
    current: Option<(OwnedFd, u32)>,
    members: Vec<Kept>,
}

/// A dispatcher of this form on a device.
struct Current {
    fd: OwnedFd,
    id: u32,
    mode: XdpMode,
    slots: Vec<Slot>,
}

fn current(door: &Arc<dyn Door>, ifindex: u32) -> Result<Option<Current>, EngineError> {
    let state = netlink::xdp(&**door, ifindex).map_err(|e| network(ifindex, &e))?;
    let Some((id, mode)) = state.any() else { return Ok(None) };
    Ok(dispatcher(door, id)?.map(|(fd, slots)| Current { fd, id, mode, slots }))
}

/// The program of this id, and what it says, if it is a dispatcher.
fn dispatcher(door: &Arc<dyn Door>, id: u32) -> Result<Option<(OwnedFd, Vec<Slot>)>, EngineError> {
    let asked = |e: Errno| refuse(NAME, &format!("program {id} cannot be asked what it is: {e}"));
    let fd = door.by_id(IdKind::Prog, id).map_err(asked)?;
    let info = info::prog(&**door, fd.as_fd()).map_err(asked)?;
    let (NAME, Some(map)) = (info.name.as_str(), info.map_ids.first()) else { return Ok(None) };
    let map = door.by_id(IdKind::Map, *map).map_err(asked)?;
    let map = KernelMap::open(door, map).map_err(asked)?;
    let mut bytes = Vec::new();
    map.read(&0u32.to_ne_bytes(), &mut bytes).map_err(asked)?;
    let why =
        "the dispatcher is of a version that is not known here; change the set by the libxdp that made it";
    decode(&bytes).map(|slots| Some((fd, slots))).ok_or_else(|| refuse(NAME, why))
}

fn network(ifindex: u32, e: &NetError) -> EngineError {
    let words = if e.text.is_empty() { e.errno.to_string() } else { e.text.clone() };
    refuse(NAME, &format!("device {ifindex}: {words}"))
}

fn folder(root: &Path, ifindex: u32, id: u32) -> PathBuf {
    root.join(format!("dispatch-{ifindex}-{id}"))
}

/// Opens the programs that are kept in a folder.
fn read(door: &dyn Door, folder: &Path, slots: &[Slot]) -> Result<Vec<Kept>, EngineError> {
    let one = |(n, slot): (usize, &Slot)| {
        let at = folder.join(format!("prog{n}-prog"));
        let fd = pin::open(door, &at).map_err(|e| kept(&e.path, &e.why))?;
        let info: ProgInfo = info::prog(door, fd.as_fd()).map_err(|e| kept(&at, e))?;
        let entry = Entry {
            name: info::full_name(door, fd.as_fd(), &info).unwrap_or_default(),
            id: info.id,
            priority: slot.priority,
            chain: slot.chain,
            frags: slot.flags & HAS_FRAGS != 0,
        };
        Ok(Kept { entry, fd: Arc::new(fd) })
    };
    slots.iter().enumerate().map(one).collect()
}

/// The programs of the dispatcher of this id, in the order in which they run, whoever made it; none if it is no dispatcher. Cost:
/// some system calls a program.
///
/// # Errors
/// The file system's, and of dispatchers of another version.
pub fn entries_of(
    door: &Arc<dyn Door>,
    ifindex: u32,
    id: u32,
    root: &Path,
) -> Result<Vec<Entry>, EngineError> {
    let Some((_, slots)) = dispatcher(door, id)? else { return Ok(Vec::new()) };
    let kept = read(&**door, &folder(root, ifindex, id), &slots)?;
    Ok(kept.into_iter().map(|k| k.entry).collect())
}

/// Whether a device has a dispatcher of this form whose programs are kept in `root`.
///
/// # Errors
/// The kernel's, and of dispatchers of another version.
pub fn is_on(door: &Arc<dyn Door>, ifindex: u32, root: &Path) -> Result<bool, EngineError> {
    Ok(current(door, ifindex)?.is_some_and(|c| folder(root, ifindex, c.id).is_dir()))
}

impl<'k> Set<'k> {
    /// The set of a device, empty where no dispatcher is on it; other users of `root` wait meanwhile. `mode` counts when the first
    /// program comes. Cost: some system calls a program.
    ///
    /// # Errors
    /// The file system's, and of dispatchers of another version.
    pub fn open(
        kernel: &'k Kernel,
        ifindex: u32,
        mode: XdpMode,
        root: &Path,
    ) -> Result<Set<'k>, EngineError> {
        let _lock = super::lock(root)?;
        let (root, members) = (root.to_owned(), Vec::new());
        let mut set = Set { kernel, ifindex, mode, root, _lock, current: None, members };
        if let Some(c) = current(kernel.door(), ifindex)? {
            set.members = read(&**kernel.door(), &folder(&set.root, ifindex, c.id), &c.slots)?;
            set.mode = c.mode;
            set.current = Some((c.fd, c.id));
        }
        Ok(set)
    }

    /// Programs in the order in which they run.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.members.iter().map(|m| &m.entry)
    }

    /// Adds a program, or with `replace` puts it in the place of the one of its name. Cost: a dispatcher, and a link for each
    /// program.
    ///
    /// # Errors
    /// [`EngineError::Load`] for programs of another type and for a full set; those of loading and attaching.
    pub fn add(&mut self, member: &Member, replace: bool) -> Result<(), EngineError> {
        let name = &member.program.name;
        super::check(member)?;
        let mut rest = self.members.clone();
        super::room(rest.iter().position(|m| m.entry.name == *name), &mut rest, name, replace)?;
        let at = rest.partition_point(|m| m.entry.priority <= member.priority);
        self.become_(rest, Some((at, member)))
    }

    /// Takes a program off; with the last one the dispatcher goes. Whether there was one of this name.
    ///
    /// # Errors
    /// Those of loading another dispatcher, and the file system's.
    pub fn remove(&mut self, name: &str) -> Result<bool, EngineError> {
        let mut rest = self.members.clone();
        rest.retain(|m| m.entry.name != name);
        if rest.len() == self.members.len() {
            return Ok(false);
        }
        self.become_(rest, None).map(|()| true)
    }

    /// Takes all programs off.
    ///
    /// # Errors
    /// The kernel's.
    pub fn clear(&mut self) -> Result<(), EngineError> {
        self.become_(Vec::new(), None)
    }

    /// The set is these from now on, and the new one at its place among them.
    fn become_(&mut self, rest: Vec<Kept>, new: Option<(usize, &Member)>) -> Result<(), EngineError> {
        let door = &**self.kernel.door();
        let (members, current) = if rest.is_empty() && new.is_none() {
            self.switch(-1)?;
            (rest, None)
        } else {
            let slot = |chain, priority, frags| {
                // What stands in a slot says also that the next one is asked where no program is.
                Slot { chain: chain | 1 << EMPTY, priority, flags: if frags { HAS_FRAGS } else { 0 } }
            };
            let of = |e: &Entry| slot(e.chain, e.priority, e.frags);
            let mut slots: Vec<Slot> = rest.iter().map(|m| of(&m.entry)).collect();
            if let Some((at, m)) = new {
                slots.insert(at, slot(m.chain, m.priority, m.program.xdp_frags));
            }
            let whole = Whole::load(self.kernel, &slots)?;
            let asked = |e: Errno| refuse(NAME, &e.to_string());
            let mut members = rest;
            if let Some((at, m)) = new {
                let onto = Some((whole.program.as_fd(), whole.slots[at]));
                let program = self.kernel.load_onto(&m.program, onto)?;
                let fd = program.as_fd().try_clone_to_owned();
                let fd = fd.map_err(|e| refuse(&m.program.name, &e.to_string()))?;
                let id = info::prog(door, fd.as_fd()).map_err(asked)?.id;
                let (name, slot) = (m.program.name.clone(), slots[at]);
                let frags = slot.flags & HAS_FRAGS != 0;
                let entry = Entry { name, id, priority: slot.priority, chain: slot.chain, frags };
                members.insert(at, Kept { entry, fd: Arc::new(fd) });
            }
            let id = info::prog(door, whole.program.as_fd()).map_err(asked)?.id;
            let folder = folder(&self.root, self.ifindex, id);
            let done = self.keep(&whole, &members, &folder);
            if let Err(e) = done.and_then(|()| self.switch(whole.program.as_fd().as_raw_fd())) {
                forget(&folder);
                return Err(e);
            }
            let fd = whole.program.as_fd().try_clone_to_owned();
            (members, Some((fd.map_err(|e| refuse(NAME, &e.to_string()))?, id)))
        };
        if let Some((_, old)) = std::mem::replace(&mut self.current, current) {
            forget(&folder(&self.root, self.ifindex, old));
        }
        self.members = members;
        Ok(())
    }

    /// Puts the programs on a dispatcher and pins them.
    fn keep(&self, whole: &Whole, members: &[Kept], folder: &Path) -> Result<(), EngineError> {
        let door = &**self.kernel.door();
        for (n, member) in members.iter().enumerate() {
            let link = whole.link(door, n, &member.entry.name, member.fd.as_fd())?;
            let pins = [("prog", member.fd.as_fd()), ("link", link.as_fd())];
            for (word, fd) in pins {
                let at = folder.join(format!("prog{n}-{word}"));
                pin::pin(door, &at, fd).map_err(|e| kept(&e.path, &e.why))?;
            }
        }
        Ok(())
    }

    /// From now on packets go through this dispatcher, or with -1 through none.
    fn switch(&self, fd: i32) -> Result<(), EngineError> {
        let door = &**self.kernel.door();
        let done = match &self.current {
            Some((old, _)) => netlink::replace_xdp(door, self.ifindex, fd, self.mode, old.as_fd()),
            None if fd < 0 => return Ok(()),
            None => netlink::set_xdp(door, self.ifindex, fd, self.mode, false),
        };
        done.map_err(|e| match e.errno {
            Errno::EEXIST | Errno::EBUSY => refuse(
                NAME,
                "another program is on the device, which is no dispatcher, or has taken its place; `skep net` shows it",
            ),
            _ => network(self.ifindex, &e),
        })
    }
}
