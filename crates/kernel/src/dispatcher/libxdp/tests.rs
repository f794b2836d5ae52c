//! libxdp's form before a kernel of this test's own: objects are files with their numbers, pins are files in a folder.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use super::*;
use crate::dispatcher::{Dispatcher, Form, form};
use crate::door::{LogSize, MapCreate, ProgLoad, RingMemory, TestRan, TestRun};
use crate::netlink::{Attrs, Message, word};
use skep_platform::Version;
use skep_platform::engine::Platform;
use std::collections::HashMap;
use std::ffi::CStr;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

/// What there is in this kernel, by number.
#[derive(Clone, Debug)]
enum Thing {
    Types,
    Map { value: Vec<u8>, frozen: bool },
    Prog { name: String, prog_type: u32, map: Option<u32> },
    Link,
}

#[derive(Debug, Default)]
struct State {
    things: HashMap<u32, Thing>,
    /// The program on the device.
    device: Option<u32>,
    calls: Vec<String>,
    /// A call that begins so is refused.
    refuse: Option<(String, Errno)>,
}

#[derive(Debug)]
struct Model {
    folder: PathBuf,
    state: Mutex<State>,
}

impl Drop for Model {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn name(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim_end_matches('\0').to_owned()
}

/// The number in the file that a descriptor is of.
fn number(fd: i32) -> u32 {
    let mut text = String::new();
    File::open(format!("/proc/self/fd/{fd}")).unwrap().read_to_string(&mut text).unwrap();
    text.parse().unwrap()
}

fn of(fd: BorrowedFd<'_>) -> u32 {
    number(fd.as_raw_fd())
}

impl Model {
    fn new() -> (Kernel, Arc<Model>) {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("skep-libxdp-{}-{n}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let model = Arc::new(Model { folder, state: Mutex::default() });
        let platform =
            Platform { version: Version(6, 18), helpers: &[], kfuncs: &[], prog_types: &[], map_types: &[] };
        (Kernel::with_door(platform, model.clone()), model)
    }

    fn root(&self) -> PathBuf {
        self.folder.join("xdp")
    }

    /// Writes a call down, and answers it.
    fn ask(&self, call: String) -> Result<(), Errno> {
        let mut state = self.state.lock().unwrap();
        let refused = state.refuse.as_ref().filter(|(start, _)| call.starts_with(start)).map(|(_, e)| *e);
        state.calls.push(call);
        refused.map_or(Ok(()), Err)
    }

    fn make(&self, thing: Thing) -> OwnedFd {
        let mut state = self.state.lock().unwrap();
        let id = state.things.len() as u32 + 1;
        state.things.insert(id, thing);
        let at = self.folder.join(id.to_string());
        std::fs::write(&at, id.to_string()).unwrap();
        File::open(at).unwrap().into()
    }

    fn thing(&self, id: u32) -> Result<Thing, Errno> {
        self.state.lock().unwrap().things.get(&id).cloned().ok_or(Errno::EINVAL)
    }

    /// What was asked since the last time.
    fn calls(&self) -> Vec<String> {
        std::mem::take(&mut self.state.lock().unwrap().calls)
    }

    fn refuse(&self, what: Option<(&str, Errno)>) {
        self.state.lock().unwrap().refuse = what.map(|(s, e)| (s.to_owned(), e));
    }

    fn device(&self) -> Option<u32> {
        self.state.lock().unwrap().device
    }

    /// Pins that there are.
    fn pins(&self) -> Vec<String> {
        let mut out = Vec::new();
        for folder in std::fs::read_dir(self.root()).into_iter().flatten().flatten() {
            for file in std::fs::read_dir(folder.path()).unwrap().flatten() {
                out.push(format!("{}/{}", folder.file_name().display(), file.file_name().display()));
            }
        }
        out.sort();
        out
    }
}

impl Door for Model {
    fn map_create(&self, m: &MapCreate<'_>) -> Result<OwnedFd, Errno> {
        let types = m.btf.map_or(0, |(_, _, value)| value);
        self.ask(format!("map {} {} flags {} types {}", name(&m.name), m.value_size, m.flags, types != 0))?;
        Ok(self.make(Thing::Map { value: vec![0; m.value_size as usize], frozen: false }))
    }
    fn map_lookup(&self, fd: BorrowedFd<'_>, _: &[u8], out: &mut [u8], _: bool) -> Result<(), Errno> {
        let Thing::Map { value, .. } = self.thing(of(fd))? else { return Err(Errno::EINVAL) };
        out.copy_from_slice(&value);
        Ok(())
    }
    fn map_update(&self, fd: BorrowedFd<'_>, _: &[u8], new: &[u8], _: u64) -> Result<(), Errno> {
        match self.state.lock().unwrap().things.get_mut(&of(fd)) {
            Some(Thing::Map { value, frozen: false }) => value.copy_from_slice(new),
            _ => return Err(Errno::EPERM),
        }
        Ok(())
    }
    fn map_delete(&self, _: BorrowedFd<'_>, _: &[u8]) -> Result<(), Errno> {
        Err(Errno::EINVAL)
    }
    fn map_next_key(&self, _: BorrowedFd<'_>, _: Option<&[u8]>, _: &mut [u8]) -> Result<(), Errno> {
        Err(Errno::EINVAL)
    }
    fn map_freeze(&self, fd: BorrowedFd<'_>) -> Result<(), Errno> {
        match self.state.lock().unwrap().things.get_mut(&of(fd)) {
            Some(Thing::Map { frozen, .. }) => *frozen = true,
            _ => return Err(Errno::EINVAL),
        }
        Ok(())
    }
    fn ring(&self, _: BorrowedFd<'_>, _: usize) -> Result<Box<dyn RingMemory>, Errno> {
        Err(Errno::EINVAL)
    }
    fn btf_load(&self, _: &[u8], _: &mut [u8]) -> Result<OwnedFd, Errno> {
        Ok(self.make(Thing::Types))
    }
    fn prog_load(&self, p: &ProgLoad<'_>, _: &mut [u8]) -> (Result<OwnedFd, Errno>, LogSize) {
        let onto = p.attach_prog.map_or(String::new(), |fd| format!(" onto {}:{}", of(fd), p.attach_btf_id));
        let (prog, functions) = (name(&p.name), p.func_info.len());
        let call = format!("load {} {prog} functions {functions} flags {}{onto}", p.prog_type, p.flags);
        let map = p.maps.first().map(|fd| of(*fd));
        let frozen = map.is_none_or(|m| matches!(self.thing(m), Ok(Thing::Map { frozen: true, .. })));
        assert!(frozen || prog != NAME, "what a dispatcher is told no longer changes");
        let made = Thing::Prog { name: prog, prog_type: p.prog_type, map };
        (self.ask(call).map(|()| self.make(made)), LogSize(0))
    }
    fn test_run(&self, _: BorrowedFd<'_>, _: &mut TestRun<'_>) -> Result<TestRan, Errno> {
        Err(Errno::EINVAL)
    }
    fn obj_pin(&self, path: &CStr, fd: BorrowedFd<'_>) -> Result<(), Errno> {
        let path = Path::new(std::ffi::OsStr::from_bytes(path.to_bytes()));
        if !path.parent().unwrap().is_dir() {
            return Err(Errno::ENOENT);
        }
        self.ask(format!("pin {}", path.file_name().unwrap().display()))?;
        std::fs::write(path, of(fd).to_string()).unwrap();
        Ok(())
    }
    fn obj_get(&self, path: &CStr, _: u32) -> Result<OwnedFd, Errno> {
        let path = Path::new(std::ffi::OsStr::from_bytes(path.to_bytes()));
        File::open(path).map(OwnedFd::from).map_err(|e| Errno(e.raw_os_error().unwrap()))
    }
    fn by_id(&self, _: IdKind, id: u32) -> Result<OwnedFd, Errno> {
        File::open(self.folder.join(id.to_string())).map(OwnedFd::from).map_err(|_| Errno::ENOENT)
    }
    fn info(
        &self,
        fd: BorrowedFd<'_>,
        info: &mut [u8],
        buffers: &mut [(usize, &mut [u8])],
    ) -> Result<usize, Errno> {
        let id = of(fd);
        let mut put = |at: usize, bytes: &[u8]| info[at..at + bytes.len()].copy_from_slice(bytes);
        put(4, &id.to_ne_bytes());
        match self.thing(id)? {
            Thing::Prog { name, prog_type, map } => {
                put(0, &prog_type.to_ne_bytes());
                put(52, &u32::from(map.is_some()).to_ne_bytes());
                put(64, name.as_bytes());
                if let (Some(map), Some((56, ids))) = (map, buffers.first_mut()) {
                    ids[..4].copy_from_slice(&map.to_ne_bytes());
                }
            }
            Thing::Map { value, .. } => {
                put(0, &MapType::Array.id().to_ne_bytes());
                put(8, &4u32.to_ne_bytes());
                put(12, &(value.len() as u32).to_ne_bytes());
                put(16, &1u32.to_ne_bytes());
            }
            Thing::Types | Thing::Link => return Err(Errno::EINVAL),
        }
        Ok(info.len())
    }
    fn link_create(&self, l: &LinkCreate<'_>) -> Result<OwnedFd, Errno> {
        let (Target::Fd(to), LinkExtra::Tracing { target_btf_id, cookie: 0 }) = (l.target, l.extra) else {
            // A link of a device.
            self.ask("link to a device".into())?;
            return Err(Errno::EBUSY);
        };
        assert_eq!((l.attach_type, l.flags), (0, 0));
        self.ask(format!("link {} to {}:{target_btf_id}", of(l.prog), of(to)))?;
        Ok(self.make(Thing::Link))
    }
    fn netlink(&self, kind: u16, _: u16, payload: &[u8]) -> Result<Vec<(u16, Vec<u8>)>, NetError> {
        let refused = |errno| NetError { errno, text: String::new() };
        let mut state = self.state.lock().unwrap();
        if kind == 18 {
            let mut body = Message::default();
            [0, 9, 0, 0].into_iter().for_each(|w| body.u32(w));
            let mut xdp = Message::default();
            if let Some(id) = state.device {
                xdp.attr(2, &[2]);
                xdp.attr(4, &id.to_ne_bytes());
            }
            body.attr(43, xdp.bytes());
            return Ok(vec![(16, body.bytes().to_vec())]);
        }
        let xdp = Attrs(Attrs(&payload[16..]).find(43).unwrap());
        let fd = xdp.find(1).map(|b| word(b) as i32).unwrap();
        let new = (fd >= 0).then(|| number(fd));
        let old = xdp.find(8).map(|b| number(word(b) as i32));
        let flags = xdp.find(3).map_or(0, word);
        state.calls.push(format!("device {new:?} for {old:?} flags {flags}"));
        if old != state.device {
            return Err(refused(Errno::EEXIST));
        }
        if let Some((_, e)) = state.refuse.as_ref().filter(|(start, _)| start == "device") {
            return Err(refused(*e));
        }
        state.device = new;
        Ok(Vec::new())
    }
}

fn member(name: &str, priority: u32, chain: u32) -> Member {
    let b = &mut BtfBuilder::new();
    let proto = prototype(b).unwrap();
    let btf_id = b.add_func(name, proto, FuncLinkage::Global).unwrap();
    let insns = vec![Insn::new(0xb4, 0, 0, 0, XDP_PASS), Insn::new(0x95, 0, 0, 0, 0)];
    let mut program = Program::from_insns(name, ProgType::Xdp, insns);
    program.subprogs = vec![Subprog { name: name.into(), start: 0, btf_id, global: true }];
    program.btf = Some(Arc::new(b.finish().unwrap()));
    Member { program: Arc::new(program), priority, chain }
}

fn names(set: &Set<'_>) -> Vec<String> {
    set.entries().map(|e| e.name.clone()).collect()
}

#[test]
fn programs_take_slots_by_priority_and_outlive_the_process() {
    let (kernel, model) = Model::new();
    let open = || Set::open(&kernel, 9, XdpMode::Generic, &model.root()).unwrap();
    let mut set = open();
    set.add(&member("late", 50, 4), false).unwrap();
    let first = model.device().unwrap();
    let calls = model.calls();
    // The dispatcher with its twelve functions, and the program in the place of the first slot's.
    let [map, whole, ext, link, prog, linked, device] = &calls[..] else { panic!("{calls:?}") };
    assert_eq!(map, "map xdp_disp.rodata 124 flags 128 types true");
    assert_eq!(whole, "load 6 xdp_dispatcher functions 12 flags 0");
    let types = types().unwrap();
    let slot = |n: usize| types.functions[1 + n];
    assert_eq!(types.btf.name_of(slot(0)), "prog0");
    assert_eq!(*ext, format!("load 28 late functions 1 flags 0 onto {first}:{}", slot(0)));
    let id = set.entries().next().unwrap().id;
    assert_eq!(*link, format!("link {id} to {first}:{}", slot(0)));
    assert_eq!([prog.as_str(), linked], ["pin prog0-prog", "pin prog0-link"]);
    assert_eq!(*device, format!("device Some({first}) for None flags 3"));
    assert_eq!(
        model.pins(),
        [format!("dispatch-9-{first}/prog0-link"), format!("dispatch-9-{first}/prog0-prog")]
    );
    drop(set);

    // Another process: the one that is there moves to the second slot of another dispatcher.
    let mut set = open();
    assert_eq!(names(&set), ["late"]);
    set.add(&member("early", 10, 6), false).unwrap();
    let second = model.device().unwrap();
    let calls = model.calls();
    assert!(calls.contains(&format!("link {id} to {second}:{}", slot(1))), "{calls:?}");
    assert_eq!(*calls.last().unwrap(), format!("device Some({second}) for Some({first}) flags 18"));
    assert!(model.pins().iter().all(|p| p.starts_with(&format!("dispatch-9-{second}/prog"))));
    drop(set);
    let entries = entries_of(kernel.door(), 9, second, &model.root()).unwrap();
    let said: Vec<_> = entries.iter().map(|e| (e.name.as_str(), e.priority, e.chain)).collect();
    assert_eq!(said, [("early", 10, 6 | 1 << 31), ("late", 50, 4 | 1 << 31)]);

    // One goes, then the other, and nothing stays.
    let mut set = open();
    assert!(set.add(&member("late", 50, 4), false).is_err(), "one of each name");
    assert!(!set.remove("nobody").unwrap());
    assert!(set.remove("early").unwrap());
    assert_eq!(names(&set), ["late"]);
    let third = model.device().unwrap();
    model.calls();
    set.clear().unwrap();
    assert_eq!(model.calls(), [format!("device None for Some({third}) flags 18")]);
    assert_eq!((model.device(), model.pins().len()), (None, 0));
}

#[test]
fn a_refusal_leaves_the_old_set() {
    let (kernel, model) = Model::new();
    let mut set = Set::open(&kernel, 9, XdpMode::Any, &model.root()).unwrap();
    set.add(&member("one", 50, 4), false).unwrap();
    let (device, pins) = (model.device(), model.pins());
    for step in ["load 6", "load 28", "link", "pin prog1-prog", "pin prog1-link", "device"] {
        model.refuse(Some((step, Errno::ENOSPC)));
        assert!(set.add(&member("two", 60, 4), false).is_err(), "{step}");
        assert_eq!((model.device(), model.pins(), names(&set)), (device, pins.clone(), vec!["one".into()]));
    }
    model.refuse(None);
    set.add(&member("two", 60, 4), false).unwrap();
    assert_eq!(names(&set), ["one", "two"]);
    // Somebody put another one there meanwhile.
    model.state.lock().unwrap().device = device;
    assert!(set.remove("one").is_err());
    assert_eq!(names(&set), ["one", "two"]);
}

#[test]
fn the_form_is_what_the_kernel_takes() {
    let (kernel, model) = Model::new();
    assert!(matches!(form(&kernel, 9, &model.root()), Ok((Form::Libxdp, None))));
    for (step, errno) in [("load 28", Errno::EPERM), ("link", Errno::ENOTSUPP)] {
        model.refuse(Some((step, errno)));
        let (form, why) = form(&kernel, 9, &model.root()).unwrap();
        assert_eq!(form, Form::Linked);
        assert!(!why.unwrap().to_string().contains('\n'), "one line");
    }
    assert_eq!(model.device(), None, "nothing was put on the device to find out");
    // A device whose set has this form keeps it.
    model.refuse(None);
    Set::open(&kernel, 9, XdpMode::Any, &model.root()).unwrap().add(&member("one", 50, 4), false).unwrap();
    model.calls();
    assert!(matches!(form(&kernel, 9, &model.root()), Ok((Form::Libxdp, None))));
    assert!(model.calls().is_empty(), "nothing is tried then");
    let mut linked = Dispatcher::open(&kernel, 9, XdpMode::Any, &model.root()).unwrap();
    assert!(linked.members().is_empty());
    assert!(linked.add(member("two", 50, 4), false).is_err(), "the device is taken");
}

#[test]
fn pieces_only_where_all_take_them() {
    let (kernel, model) = Model::new();
    let mut set = Set::open(&kernel, 9, XdpMode::Any, &model.root()).unwrap();
    let mut pieces = member("pieces", 50, 4);
    Arc::make_mut(&mut pieces.program).xdp_frags = true;
    set.add(&pieces, false).unwrap();
    set.add(&member("whole", 60, 4), false).unwrap();
    let loads: Vec<String> = model.calls().into_iter().filter(|c| c.starts_with("load 6")).collect();
    assert_eq!(
        loads,
        ["load 6 xdp_dispatcher functions 12 flags 32", "load 6 xdp_dispatcher functions 12 flags 0"]
    );
    let flags: Vec<bool> = set.entries().map(|e| e.frags).collect();
    assert_eq!(flags, [true, false]);
}

#[test]
fn what_is_told_to_a_dispatcher_is_read_back() {
    let slots =
        [Slot { chain: 4, priority: 7, flags: 0 }, Slot { chain: 1 << 31, priority: 9, flags: HAS_FRAGS }];
    let bytes = encode(&slots, true);
    assert_eq!(bytes[..8], [236, 2, 2, 1, 4, 0, 0, 0]);
    assert_eq!((bytes[44], bytes[48], bytes[88]), (7, 9, HAS_FRAGS as u8));
    assert_eq!(decode(&bytes).unwrap(), slots);
    assert!((0..bytes.len()).all(|n| decode(&bytes[..n]).is_none()), "what is cut is refused");
    for (at, wrong) in [(0, 1), (1, 1), (2, 11)] {
        let mut other = bytes;
        other[at] = wrong;
        assert!(decode(&other).is_none(), "{at}");
    }
}

#[test]
fn each_call_and_jump_of_the_code_has_its_target() {
    let code = code();
    let stubs = code.len() - STUB * (SLOTS + 1);
    let calls: Vec<usize> = (0..code.len())
        .filter(|at| code[*at].opcode() == 0x85)
        .map(|at| (at as i32 + 1 + code[at].imm()) as usize)
        .collect();
    assert_eq!(calls, (0..=SLOTS).map(|n| stubs + STUB * n).collect::<Vec<_>>());
    let jumps = (0..stubs).filter(|at| matches!(code[*at].opcode(), 0xb5 | 0x26 | 0x16));
    let targets: Vec<usize> = jumps.map(|at| (at as i16 + 1 + code[at].off()) as usize).collect();
    assert!(targets.iter().all(|t| *t == stubs - 2 || *t == stubs - 1), "{targets:?}");
}
