//! Links in the running kernel. Devices are made in a network namespace of the test's own, tracing hooks see the test's own
//! process only; nothing stays.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may panic and say why it was skipped")]

use skep_isa::Insn;
use skep_kernel::auto::{self, Given};
use skep_kernel::link::{AttachTo, Netfilter, XdpMode, ifindex, tracefs};
use skep_kernel::{Kernel, KernelMap, KernelProgram, Link, info, netlink, pin};
use skep_platform::map::{MapDef, Side};
use skep_platform::{
    AttachType, Engine, EngineError, Errno, Map, MapType, Platform, ProgType, Program, Version,
};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

fn kernel() -> Option<Kernel> {
    let platform =
        Platform { version: Version(6, 18), helpers: &[], kfuncs: &[], prog_types: &[], map_types: &[] };
    Kernel::open(platform).inspect_err(|e| println!("skipped: {e}")).ok()
}

fn def(map_type: MapType, key_size: u32, value_size: u32) -> MapDef {
    MapDef {
        name: "count".into(),
        map_type,
        key_size,
        value_size,
        max_entries: 1,
        flags: 0,
        map_extra: 0,
        numa_node: 0,
        pin_by_name: false,
        inner: None,
        btf: None,
    }
}

/// Counts its runs in a map and returns a number.
struct Counter {
    map: Arc<dyn Map>,
    program: KernelProgram,
}

impl Counter {
    fn new(
        kernel: &Kernel,
        section: &str,
        prog_type: ProgType,
        attach: Option<AttachType>,
        ret: i32,
    ) -> Counter {
        Counter::make(kernel, section, prog_type, attach, ret, false)
    }

    /// `own`: counts only what this process does.
    fn make(
        kernel: &Kernel,
        section: &str,
        prog_type: ProgType,
        attach: Option<AttachType>,
        ret: i32,
        own: bool,
    ) -> Counter {
        let map = kernel.create_map(&def(MapType::Array, 4, 8)).unwrap();
        let mut insns = Vec::new();
        if own {
            insns.extend([
                Insn::new(0x85, 0, 0, 0, 14),
                Insn::new(0x77, 0, 0, 0, 32),
                Insn::new(0x55, 0, 0, 4, std::process::id() as i32),
            ]);
        }
        insns.extend([
            Insn::new(0x18, 1, 6, 0, 0),
            Insn::new(0, 0, 0, 0, 0),
            Insn::new(0xb7, 2, 0, 0, 1),
            Insn::new(0xdb, 1, 2, 0, 0),
            Insn::new(0xb7, 0, 0, 0, ret),
            Insn::new(0x95, 0, 0, 0, 0),
        ]);
        let mut p = Program { license: "GPL".into(), ..Program::from_insns("counter", prog_type, insns) };
        (p.section, p.attach_type, p.maps) = (section.into(), attach, vec![map.clone()]);
        let program = kernel.load_program(&Arc::new(p)).unwrap_or_else(|e| panic!("{e}"));
        Counter { map, program }
    }

    fn count(&self) -> u64 {
        let mut out = Vec::new();
        self.map.read(&[0; 4], &mut out).unwrap();
        u64::from_ne_bytes(out[..8].try_into().unwrap())
    }
}

fn run(command: &str) -> bool {
    let mut words = command.split(' ');
    let done = Command::new(words.next().unwrap()).args(words).output();
    done.is_ok_and(|o| o.status.success())
}

/// Runs in a network and mount namespace of its own, with loopback and a pair of devices up.
fn in_namespace(test: impl FnOnce(&Kernel) + Send + 'static) {
    let Some(kernel) = kernel() else { return };
    let thread = std::thread::spawn(move || {
        // SAFETY: changes the namespaces of this thread alone.
        if unsafe { libc::unshare(libc::CLONE_NEWNET | libc::CLONE_NEWNS) } != 0 {
            println!("skipped: no namespaces here: {}", std::io::Error::last_os_error());
            return;
        }
        let up = [
            "ip link set lo up",
            "ip link add va type veth peer name vb",
            "ip link set va up",
            "ip link set vb up",
        ];
        if !run("mount --make-rprivate /") || !up.into_iter().all(run) {
            println!("skipped: `ip` or `mount` is missing, or may not make devices");
            return;
        }
        test(&kernel);
    });
    thread.join().unwrap();
}

/// A bpf file system that goes with the mount namespace.
fn bpffs() -> PathBuf {
    let folder = std::env::temp_dir().join(format!(
        "skep-bpffs-{}-{:?}",
        std::process::id(),
        std::thread::current().id()
    ));
    std::fs::create_dir_all(&folder).unwrap();
    assert!(run(&format!("mount -t bpf bpf {}", folder.display())), "a bpf file system");
    folder
}

fn unmount(folder: &Path) {
    assert!(run(&format!("umount {}", folder.display())));
    std::fs::remove_dir(folder).unwrap();
}

fn ping() {
    let to = UdpSocket::bind("127.0.0.1:0").unwrap();
    let from = UdpSocket::bind("127.0.0.1:0").unwrap();
    from.send_to(b"ping", to.local_addr().unwrap()).unwrap();
    to.set_read_timeout(Some(std::time::Duration::from_millis(200))).unwrap();
    let _ = to.recv(&mut [0; 8]);
}

#[test]
fn xdp_on_a_device() {
    in_namespace(|kernel| {
        let va = ifindex("va").unwrap();
        let drop_all = Counter::new(kernel, "xdp", ProgType::Xdp, Some(AttachType::Xdp), 1);
        let pass = Counter::new(kernel, "xdp", ProgType::Xdp, Some(AttachType::Xdp), 2);
        for (mode, found) in [(XdpMode::Generic, XdpMode::Generic), (XdpMode::Any, XdpMode::Native)] {
            let mut link = kernel.attach_to(&drop_all.program, &AttachTo::Xdp { ifindex: va, mode }).unwrap();
            let id = info::prog(&**kernel.door(), drop_all.program.as_fd()).unwrap().id;
            let state = netlink::xdp(&**kernel.door(), va).unwrap();
            assert_eq!(state.any(), Some((id, found)));
            let busy = kernel.attach_to(&pass.program, &AttachTo::Xdp { ifindex: va, mode }).unwrap_err();
            let EngineError::Attach { errno, why, .. } = &busy else { panic!("{busy}") };
            assert!(*errno == Errno::EBUSY && why.contains(&format!("program {id}")), "{busy}");
            link.replace(&pass.program).unwrap();
            let fd = link.fds().next().unwrap();
            let l = info::link(&**kernel.door(), fd).unwrap();
            assert_eq!(l.place, info::Place::Xdp(va));
            assert_eq!(l.prog_id, info::prog(&**kernel.door(), pass.program.as_fd()).unwrap().id);
            drop(link);
            assert_eq!(netlink::xdp(&**kernel.door(), va).unwrap().any(), None);
        }
        let gone = kernel.attach_to(&pass.program, &AttachTo::Xdp { ifindex: 9999, mode: XdpMode::Any });
        assert!(gone.unwrap_err().to_string().contains("no device with index 9999"));
        let given = Given { device: Some("nosuch"), ..Given::default() };
        let unknown = auto::attach(kernel, &pass.program, &given).unwrap_err().to_string();
        assert!(unknown.contains("no network device \"nosuch\""), "{unknown}");
    });
}

#[test]
fn pins_hold_links() {
    in_namespace(|kernel| {
        let folder = bpffs();
        let va = ifindex("va").unwrap();
        let c = Counter::new(kernel, "xdp", ProgType::Xdp, Some(AttachType::Xdp), 2);
        let mut link =
            kernel.attach_to(&c.program, &AttachTo::Xdp { ifindex: va, mode: XdpMode::Any }).unwrap();
        let at = folder.join("links/va");
        assert!(!link.outlives());
        link.pin(&at).unwrap();
        assert!(link.outlives());
        drop(link);
        assert!(netlink::xdp(&**kernel.door(), va).unwrap().any().is_some());
        let mut found = Vec::new();
        pin::walk(&**kernel.door(), &folder, &mut |p, _| found.push(p.to_owned()));
        assert_eq!(found, std::slice::from_ref(&at));
        let fd = pin::open(&**kernel.door(), &at).unwrap();
        assert_eq!(info::link(&**kernel.door(), fd.as_fd()).unwrap().place, info::Place::Xdp(va));
        pin::unpin(&at).unwrap();
        drop(fd);
        assert_eq!(netlink::xdp(&**kernel.door(), va).unwrap().any(), None);
        let outside =
            pin::pin(&**kernel.door(), &std::env::temp_dir().join("skep-no-pin"), c.program.as_fd());
        assert!(outside.unwrap_err().why.contains("bpf file system"));
        assert_eq!(pin::open(&**kernel.door(), &at).unwrap_err().errno, Errno::ENOENT);
        unmount(&folder);
    });
}

#[test]
fn traffic_control() {
    in_namespace(|kernel| {
        let lo = ifindex("lo").unwrap();
        let c = Counter::new(kernel, "tc", ProgType::SchedCls, None, -1);
        let mut link =
            kernel.attach_to(&c.program, &AttachTo::Tc { ifindex: lo, egress: false, beside: None }).unwrap();
        ping();
        assert!(c.count() > 0);
        let attached = kernel
            .door()
            .prog_query(skep_kernel::door::Target::Ifindex(lo), AttachType::TcxIngress.id(), 0)
            .unwrap();
        let id = info::prog(&**kernel.door(), c.program.as_fd()).unwrap().id;
        assert_eq!(attached.progs, [id]);
        let other = Counter::new(kernel, "tc", ProgType::SchedCls, None, -1);
        link.replace(&other.program).unwrap();
        let before = c.count();
        ping();
        assert!(other.count() > 0 && c.count() == before);
        link.detach().unwrap();
        let before = other.count();
        ping();
        assert_eq!(other.count(), before);
    });
}

#[test]
fn a_network_namespace_and_netfilter() {
    in_namespace(|kernel| {
        // Loopback only, and the namespace is the thread's.
        let netns = Path::new("/proc/thread-self/ns/net");
        let c = Counter::new(kernel, "sk_lookup", ProgType::SkLookup, Some(AttachType::SkLookup), 1);
        let given = Given { netns: Some(netns), ..Given::default() };
        let link = auto::attach(kernel, &c.program, &given).unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        assert!(c.count() > 0);
        assert!(matches!(
            info::link(&**kernel.door(), link.fds().next().unwrap()).unwrap().place,
            info::Place::Netns(_, 36)
        ));
        drop(link);

        let c = Counter::new(kernel, "netfilter", ProgType::Netfilter, Some(AttachType::Netfilter), 1);
        let place = Netfilter { pf: 2, hook: 1, priority: -128, defrag: false };
        let given = Given { netfilter: Some(place), ..Given::default() };
        let _link = auto::attach(kernel, &c.program, &given).unwrap();
        ping();
        assert!(c.count() > 0);
        let twice = auto::attach(kernel, &c.program, &given).unwrap_err();
        assert!(twice.to_string().contains("priority"), "{twice}");
    });
}

#[test]
fn a_cgroup() {
    let Some(kernel) = kernel() else { return };
    let table = std::fs::read_to_string("/proc/self/mounts").unwrap();
    let mount =
        table.lines().map(|l| l.split(' ').collect::<Vec<_>>()).find(|f| f.get(2) == Some(&"cgroup2"));
    let Some(root) = mount.map(|f| PathBuf::from(f[1])) else {
        println!("skipped: no cgroup of version 2 is mounted");
        return;
    };
    let folder = root.join(format!("skep-test-{}", std::process::id()));
    if let Err(e) = std::fs::create_dir(&folder) {
        println!("skipped: {}: {e}", folder.display());
        return;
    }
    let connect = AttachType::CgroupInet4Connect;
    let c = Counter::new(&kernel, "cgroup/connect4", ProgType::CgroupSockAddr, Some(connect), 0);
    let given = Given { cgroup: Some(&folder), ..Given::default() };
    let link = auto::attach(&kernel, &c.program, &given);
    let place =
        link.as_ref().ok().map(|l| info::link(&**kernel.door(), l.fds().next().unwrap()).unwrap().place);
    // A child in the cgroup may not connect.
    let script = format!("echo $$ > {}/cgroup.procs; exec 3<>/dev/tcp/127.0.0.1/9", folder.display());
    let out = Command::new("bash").args(["-c", &script]).output().unwrap();
    let counted = c.count();
    let plain = Given { cgroup: Some(Path::new("/tmp")), ..Given::default() };
    let no_cgroup = auto::attach(&kernel, &c.program, &plain).unwrap_err();
    drop(link.unwrap());
    // The kernel lets go of the child a little after it has ended.
    for _ in 0..100 {
        if std::fs::remove_dir(&folder).is_ok() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert!(!folder.exists());
    assert!(matches!(place, Some(info::Place::Cgroup(_, t)) if t == connect.id()));
    assert_eq!(counted, 1, "{}", String::from_utf8_lossy(&out.stderr));
    assert!(String::from_utf8_lossy(&out.stderr).contains("not permitted"));
    assert!(no_cgroup.to_string().contains("no cgroup of version 2"), "{no_cgroup}");
}

#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn skep_attach_test_probe(n: u64) -> u64 {
    std::hint::black_box(n + 1)
}

#[test]
fn tracing_of_the_own_process() {
    let Some(kernel) = kernel() else { return };
    let me = Some(std::process::id());
    let c = Counter::make(&kernel, "raw_tp/sys_enter", ProgType::RawTracepoint, None, 0, true);
    let link = auto::attach(&kernel, &c.program, &Given::default()).unwrap();
    let place = info::link(&**kernel.door(), link.fds().next().unwrap()).unwrap().place;
    drop(link);
    assert_eq!(place, info::Place::RawTracepoint("sys_enter".into()));
    assert!(c.count() > 0);
    let c = Counter::make(&kernel, "raw_tp/no_such", ProgType::RawTracepoint, None, 0, true);
    let none = auto::attach(&kernel, &c.program, &Given::default()).unwrap_err();
    assert!(none.to_string().contains("no tracepoint"), "{none}");

    let exe = std::env::current_exe().unwrap();
    let target = format!("{}:skep_attach_test_probe", exe.display());
    let c = Counter::new(&kernel, "uprobe", ProgType::Kprobe, None, 0);
    let given = Given { pid: me, target: Some(&target), ..Given::default() };
    let link = auto::attach(&kernel, &c.program, &given).unwrap();
    (0..5).for_each(|n| assert_eq!(skep_attach_test_probe(n), n + 1));
    assert_eq!(c.count(), 5);
    let place = info::link(&**kernel.door(), link.fds().next().unwrap()).unwrap().place;
    assert!(matches!(&place, info::Place::PerfEvent(1, path, ..) if path.contains("attach")), "{place:?}");
    link.detach().unwrap();
    skep_attach_test_probe(1);
    assert_eq!(c.count(), 5);

    let c = Counter::new(&kernel, "uprobe.multi", ProgType::Kprobe, Some(AttachType::TraceUprobeMulti), 0);
    let given = Given { pid: me, target: Some(&target), ..Given::default() };
    let link = auto::attach(&kernel, &c.program, &given).unwrap();
    skep_attach_test_probe(1);
    assert_eq!(c.count(), 1);
    drop(link);
    let given = Given { target: Some("/proc/self/exe:no_such_function"), ..Given::default() };
    let none = auto::attach(&kernel, &c.program, &given).unwrap_err();
    assert!(none.to_string().contains("no function like no_such_function"), "{none}");

    // PERF_TYPE_SOFTWARE, PERF_COUNT_SW_CPU_CLOCK, a thousand times a second.
    let c = Counter::new(&kernel, "perf_event", ProgType::PerfEvent, None, 0);
    // SAFETY: asks for a number.
    let thread = unsafe { libc::gettid() } as u32;
    let given = Given { pid: Some(thread), perf: Some((1, 0, 1000)), freq: true, ..Given::default() };
    let _link = auto::attach(&kernel, &c.program, &given).unwrap();
    let began = std::time::Instant::now();
    while c.count() == 0 {
        assert!(began.elapsed().as_secs() < 10, "no sample");
    }
}

#[test]
fn a_tracepoint_of_the_own_process() {
    in_namespace(|kernel| {
        let folder = std::env::temp_dir().join(format!("skep-tracefs-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let mounted = tracefs().is_some() || run(&format!("mount -t tracefs tracefs {}", folder.display()));
        let section = "tp/syscalls/sys_enter_getpid";
        let c = Counter::new(kernel, section, ProgType::Tracepoint, None, 0);
        if mounted && tracefs().is_some() {
            // SAFETY: asks for a number.
            let thread = unsafe { libc::gettid() } as u32;
            let link =
                auto::attach(kernel, &c.program, &Given { pid: Some(thread), ..Given::default() }).unwrap();
            // SAFETY: asks for a number.
            unsafe { libc::syscall(libc::SYS_getpid) };
            assert!(c.count() > 0);
            drop(link);
            let c = Counter::new(kernel, "tp/syscalls/no_such", ProgType::Tracepoint, None, 0);
            let none = auto::attach(kernel, &c.program, &Given::default()).unwrap_err();
            assert!(none.to_string().contains("no tracepoint syscalls/no_such"), "{none}");
            if !run(&format!("umount {}", folder.display())) {
                println!("tracefs was mounted already");
            }
        } else {
            println!("skipped: no tracefs here");
        }
        std::fs::remove_dir(&folder).unwrap();
    });
}

#[test]
fn info_of_programs_and_maps() {
    let Some(kernel) = kernel() else { return };
    let c = Counter::new(&kernel, "xdp", ProgType::Xdp, Some(AttachType::Xdp), 2);
    let door = &**kernel.door();
    let p = info::prog(door, c.program.as_fd()).unwrap();
    assert_eq!((p.prog_type, p.name.as_str(), p.gpl_compatible), (6, "counter", true));
    let map = c.map.as_any().downcast_ref::<KernelMap>().unwrap();
    let m = info::map(door, map.as_fd()).unwrap();
    assert_eq!(p.map_ids, [m.id]);
    assert_eq!((m.map_type, m.key_size, m.value_size, m.name.as_str()), (2, 4, 8, "count"));
    let code = info::prog_code(door, c.program.as_fd()).unwrap();
    assert_eq!(code.xlated.len(), p.xlated_len as usize);
    assert_eq!(code.xlated.len(), 6 * 8);
    assert!(info::ids(door, skep_kernel::door::IdKind::Prog).unwrap().contains(&p.id));
    let again = door.by_id(skep_kernel::door::IdKind::Prog, p.id).unwrap();
    assert_eq!(info::prog(door, again.as_fd()).unwrap().tag, p.tag);
    assert!(
        info::map(door, c.program.as_fd()).is_ok_and(|m| m.map_type == 6),
        "info is by the descriptor's kind"
    );
    c.map.update(&[0; 4], &9u64.to_ne_bytes(), 0, Side::User).unwrap();
    assert_eq!(c.count(), 9);
    fn is_link<T: Send>() {}
    is_link::<Link>();
}
