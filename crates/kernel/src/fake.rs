//! A door for tests: writes down what it is asked and answers as it was told. Descriptors that it gives are of `/dev/null`.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use crate::door::{Door, LogSize, MapCreate, ProgLoad, RingMemory, TestRan, TestRun};
use crate::{Kernel, KernelMap};
use skep_isa::Insn;
use skep_platform::engine::{Engine, EngineError, Platform};
use skep_platform::map::{MapBtf, MapDef, Side};
use skep_platform::{Errno, MapType, ProgType, Program, Version};
use std::fs::File;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex};

type Answer = dyn Fn(&str) -> Result<(), Errno> + Send + Sync;

struct Fake {
    calls: Mutex<Vec<String>>,
    answer: Box<Answer>,
    log: String,
}

impl std::fmt::Debug for Fake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Fake")
    }
}

impl Fake {
    fn new(answer: impl Fn(&str) -> Result<(), Errno> + Send + Sync + 'static) -> Fake {
        Fake { calls: Mutex::default(), answer: Box::new(answer), log: String::new() }
    }

    fn ask(&self, call: String) -> Result<(), Errno> {
        let answer = (self.answer)(&call);
        self.calls.lock().unwrap().push(call);
        answer
    }

    fn fd(&self, call: String) -> Result<OwnedFd, Errno> {
        self.ask(call)?;
        Ok(File::open("/dev/null").unwrap().into())
    }

    fn calls(&self) -> Vec<String> {
        self.calls.lock().unwrap().clone()
    }
}

impl Door for Fake {
    fn map_create(&self, m: &MapCreate<'_>) -> Result<OwnedFd, Errno> {
        let name = String::from_utf8_lossy(&m.name).trim_end_matches('\0').to_string();
        let types = if m.btf.is_some() { " with types" } else { "" };
        let inner = if m.inner.is_some() { " of maps" } else { "" };
        self.fd(format!("map {name} {}/{}/{}{inner}{types}", m.key_size, m.value_size, m.max_entries))
    }
    fn map_lookup(&self, _: BorrowedFd<'_>, key: &[u8], value: &mut [u8], take: bool) -> Result<(), Errno> {
        value.fill(7);
        self.ask(format!("{} {key:?}, {} bytes", if take { "take" } else { "lookup" }, value.len()))
    }
    fn map_update(&self, _: BorrowedFd<'_>, key: &[u8], value: &[u8], flags: u64) -> Result<(), Errno> {
        self.ask(format!("update {key:?} {value:?} {flags}"))
    }
    fn map_delete(&self, _: BorrowedFd<'_>, key: &[u8]) -> Result<(), Errno> {
        self.ask(format!("delete {key:?}"))
    }
    fn map_next_key(&self, _: BorrowedFd<'_>, key: Option<&[u8]>, _: &mut [u8]) -> Result<(), Errno> {
        self.ask(format!("next {key:?}"))
    }
    fn map_freeze(&self, _: BorrowedFd<'_>) -> Result<(), Errno> {
        self.ask("freeze".into())
    }
    fn ring(&self, _: BorrowedFd<'_>, bytes: usize) -> Result<Box<dyn RingMemory>, Errno> {
        self.ask(format!("ring {bytes}"))?;
        Err(Errno::ENOMEM)
    }
    fn btf_load(&self, _: &[u8], _: &mut [u8]) -> Result<OwnedFd, Errno> {
        self.fd("types".into())
    }
    fn prog_load(&self, p: &ProgLoad<'_>, log: &mut [u8]) -> (Result<OwnedFd, Errno>, LogSize) {
        let loaded = self.fd(format!("load {} level {} log {}", p.insns.len(), p.log_level, log.len()));
        if log.is_empty() || loaded.is_ok() {
            return (loaded, LogSize(0));
        }
        let n = self.log.len().min(log.len() - 1);
        log[..n].copy_from_slice(&self.log.as_bytes()[..n]);
        let loaded = if n < self.log.len() { Err(Errno::ENOSPC) } else { loaded };
        (loaded, LogSize(self.log.len() as u32 + 1))
    }
    fn test_run(&self, _: BorrowedFd<'_>, run: &mut TestRun<'_>) -> Result<TestRan, Errno> {
        self.ask(format!(
            "run {} bytes, {} of context, {} times",
            run.data.len(),
            run.ctx.len(),
            run.repeat
        ))?;
        Ok(TestRan { retval: 2, data_len: run.data.len() as u32, ctx_len: 0, duration: 11 })
    }
}

fn kernel(fake: Fake) -> (Kernel, Arc<Fake>) {
    let fake = Arc::new(fake);
    let platform =
        Platform { version: Version(6, 18), helpers: &[], kfuncs: &[], prog_types: &[], map_types: &[] };
    (Kernel::with_door(platform, fake.clone()), fake)
}

fn def(map_type: MapType) -> MapDef {
    MapDef {
        name: "a-name that is long".into(),
        map_type,
        key_size: 4,
        value_size: 12,
        max_entries: 3,
        flags: 0,
        map_extra: 0,
        numa_node: 0,
        pin_by_name: false,
        inner: None,
        btf: None,
    }
}

fn program() -> Arc<Program> {
    let exit = vec![Insn::new(0xb7, 0, 0, 0, 0), Insn::new(0x95, 0, 0, 0, 0)];
    Arc::new(Program::from_insns("p", ProgType::Xdp, exit))
}

#[test]
fn a_map_that_takes_no_types_is_made_without_them() {
    let refuse = |call: &str| if call.ends_with("with types") { Err(Errno::ENOTSUPP) } else { Ok(()) };
    let (kernel, fake) = kernel(Fake::new(refuse));
    let btf = Arc::new(skep_btf::Btf::empty());
    let map = kernel
        .create_map(&MapDef {
            btf: Some(MapBtf { btf: btf.clone(), key: 1, value: 1 }),
            ..def(MapType::Hash)
        })
        .unwrap();
    assert_eq!(map.def().value_size, 12);
    assert_eq!(untyped(&*map), Some(Errno::ENOTSUPP), "and that is told");
    assert_eq!(
        fake.calls(),
        ["types", "map a_name_that_is_ 4/12/3 with types", "map a_name_that_is_ 4/12/3"]
    );
    // Types that no kernel takes are not sent.
    let map = kernel
        .create_map(&MapDef { btf: Some(MapBtf { btf, key: 1, value: 1 }), ..def(MapType::Sockmap) })
        .unwrap();
    assert_eq!(untyped(&*map), None);
    assert_eq!(fake.calls().last().unwrap(), "map a_name_that_is_ 4/12/3");
}

fn untyped(map: &dyn skep_platform::Map) -> Option<Errno> {
    map.as_any().downcast_ref::<KernelMap>().unwrap().untyped()
}

#[test]
fn types_that_are_refused_are_asked_for_once() {
    let (kernel, fake) = kernel(Fake::new(|c| if c == "types" { Err(Errno::EINVAL) } else { Ok(()) }));
    let btf = Arc::new(skep_btf::Btf::empty());
    let def = MapDef { btf: Some(MapBtf { btf, key: 1, value: 1 }), ..def(MapType::Hash) };
    let made = [kernel.create_map(&def), kernel.create_map(&def)];
    assert!(made.iter().all(|m| untyped(&**m.as_ref().unwrap()) == Some(Errno::EINVAL)));
    assert_eq!(fake.calls().iter().filter(|c| *c == "types").count(), 1);
}

#[test]
fn sizes_of_keys_and_values_are_checked_before_the_kernel_sees_them() {
    let (kernel, fake) = kernel(Fake::new(|_| Ok(())));
    let map = kernel.create_map(&def(MapType::PercpuHash)).unwrap();
    let mut out = Vec::new();
    assert_eq!(map.read(&[0; 3], &mut out), Err(Errno::EINVAL));
    assert_eq!(map.update(&[0; 4], &[0; 12], 0, Side::User), Err(Errno::EINVAL));
    assert_eq!(map.next_key(Some(&[]), &mut out), Err(Errno::EINVAL));
    assert_eq!(map.delete(&[0; 5], Side::User), Err(Errno::EINVAL));
    assert_eq!(fake.calls().len(), 1, "only the creation");
    map.read(&[0; 4], &mut out).unwrap();
    assert_eq!(out.len(), 16 * crate::possible_cpus());
}

#[test]
fn inner_maps_come_first_and_ring_buffers_are_whole_pages() {
    let (kernel, fake) = kernel(Fake::new(|_| Ok(())));
    let inner = Some(Box::new(MapDef { name: "inner".into(), ..def(MapType::Array) }));
    kernel.create_map(&MapDef { inner, value_size: 4, ..def(MapType::ArrayOfMaps) }).unwrap();
    let ring = MapDef { key_size: 0, value_size: 0, max_entries: 5000, ..def(MapType::Ringbuf) };
    let ring = kernel.create_map(&ring).unwrap();
    assert_eq!(
        fake.calls(),
        ["map inner 4/12/3", "map a_name_that_is_ 4/4/3 of maps", "map a_name_that_is_ 0/0/8192"]
    );
    assert!(ring.as_any().downcast_ref::<KernelMap>().is_some());
}

#[test]
fn a_refusal_is_asked_for_again_with_a_log_that_grows_until_it_fits() {
    let mut fake = Fake::new(|c| if c.starts_with("load") { Err(Errno::EACCES) } else { Ok(()) });
    fake.log = format!("{}1: (95) exit\nR0 !read_ok\nprocessed 2 insns\n", "; x\n".repeat(100_000));
    let whole = fake.log.len();
    let (kernel, fake) = kernel(fake);
    let Err(EngineError::Refused(r)) = kernel.load_program(&program()) else { panic!("not refused") };
    assert_eq!((r.message.as_str(), r.insn, r.errno), ("R0 !read_ok", Some(1), Errno::EACCES));
    assert_eq!(r.log.len(), whole);
    assert_eq!(r.tail(2).next(), Some("R0 !read_ok"));
    let logs =
        ["load 2 level 0 log 0", "load 2 level 1 log 65536", &format!("load 2 level 1 log {}", whole + 1)];
    assert_eq!(fake.calls(), logs);
}

#[test]
fn errors_without_a_log_are_permissions_or_words() {
    for (errno, permission) in [(Errno::EPERM, true), (Errno::EINVAL, false), (Errno::ENOSYS, false)] {
        let (kernel, _) = kernel(Fake::new(move |_| Err(errno)));
        match kernel.load_program(&program()) {
            Err(EngineError::Permission { why, .. }) => assert!(permission && !why.is_empty()),
            Err(EngineError::Load { why, .. }) => assert!(!permission && why.len() > 20, "{why}"),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_pending_signal_is_no_refusal() {
    let times = Mutex::new(0);
    let (kernel, fake) = kernel(Fake::new(move |_| {
        let mut n = times.lock().unwrap();
        *n += 1;
        if *n < 3 { Err(Errno::EAGAIN) } else { Ok(()) }
    }));
    assert!(kernel.load_program(&program()).is_ok());
    assert_eq!(fake.calls().len(), 3);
}

#[test]
fn runs_without_a_packet_take_no_repetition() {
    let (kernel, fake) = kernel(Fake::new(|_| Ok(())));
    let raw = Program { prog_type: ProgType::RawTracepoint, ..(*program()).clone() };
    let raw = kernel.load_program(&Arc::new(raw)).unwrap();
    assert_eq!(kernel.run(&raw, &[], &[0; 8], 2).unwrap().retval, 2);
    let xdp = kernel.load_program(&program()).unwrap();
    let ran = kernel.run(&xdp, &[1; 60], &[], 5).unwrap();
    assert_eq!((ran.data.len(), ran.ns), (60, 11));
    let runs: Vec<String> = fake.calls().into_iter().filter(|c| c.starts_with("run")).collect();
    let once = "run 0 bytes, 8 of context, 0 times";
    assert_eq!(runs, [once, once, "run 60 bytes, 0 of context, 5 times"]);
}
