//! Programs on real hooks of the running kernel: devices between network namespaces of the test's own, sockets in them, a cgroup
//! of the test's own. Where the kernel may not be used, or namespaces cannot be made, each test says so and passes.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may panic and say why it was skipped")]

mod hosts;

use hosts::{Host, alone, cable, kernel};
use skep::descriptors::map::Side;
use skep::kernel::auto::{self, Given};
use skep::kernel::door::Target;
use skep::kernel::link::{XdpMode, ifindex};
use skep::kernel::wait::{Event, Waiter};
use skep::kernel::{Kernel, KernelMap, KernelProgram, Link, netlink};
use skep::{Collection, Map, Object, Options};
use std::io::Read;
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::ops::ControlFlow;
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

fn open(kernel: &Kernel) -> Collection {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/objects/hooks.o");
    let object = Object::parse(&std::fs::read(path).unwrap()).unwrap();
    let c = Collection::open(object, kernel, &Options::default(), &mut skep::verify::unverified).unwrap();
    assert!(c.skipped.is_empty() && c.missing.is_empty(), "{:?} {:?}", c.missing, c.skipped);
    c
}

fn program<'c>(c: &'c Collection, name: &str) -> &'c KernelProgram {
    c.program(name).unwrap().loaded.as_any().downcast_ref().unwrap()
}

fn map<'c>(c: &'c Collection, name: &str) -> &'c KernelMap {
    c.map(name).unwrap().as_any().downcast_ref().unwrap()
}

/// The variables of `.bss`, by their place in the source.
struct Globals<'c>(&'c KernelMap, &'c Collection);

impl Globals<'_> {
    fn new(c: &Collection) -> Globals<'_> {
        Globals(map(c, ".bss"), c)
    }

    fn offset(&self, name: &str) -> usize {
        let btf = self.1.object.btf.as_ref().unwrap();
        let (_, t) = btf.types().find(|(id, _)| btf.name_of(*id) == ".bss").unwrap();
        let skep::btf::Type::Datasec(s) = t else { panic!("no section") };
        let var = s.vars.into_iter().find(|v| btf.name_of(v.type_id) == name).unwrap();
        var.offset as usize
    }

    fn get(&self, name: &str) -> u64 {
        let mut all = Vec::new();
        self.0.read(&[0; 4], &mut all).unwrap();
        let at = self.offset(name);
        u64::from_ne_bytes(all[at..at + 8].try_into().unwrap())
    }

    fn set(&self, name: &str, bytes: &[u8]) {
        let mut all = Vec::new();
        self.0.read(&[0; 4], &mut all).unwrap();
        let at = self.offset(name);
        all[at..at + bytes.len()].copy_from_slice(bytes);
        self.0.update(&[0; 4], &all, 0, Side::User).unwrap();
    }
}

fn attach(kernel: &Kernel, c: &Collection, name: &str, device: &str, mode: XdpMode) -> Link {
    let given = Given { device: Some(device), mode, ..Given::default() };
    auto::attach(kernel, program(c, name), &given).unwrap_or_else(|e| panic!("{e}"))
}

fn udp(address: &str) -> UdpSocket {
    let socket = UdpSocket::bind(address).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    socket
}

fn receives(socket: &UdpSocket) -> bool {
    socket.recv(&mut [0; 64]).is_ok()
}

#[test]
fn objects_are_fitted_to_the_running_kernel_by_default() {
    let Some(kernel) = kernel() else { return };
    let Ok(types) = skep::kernel::vmlinux().inspect_err(|e| println!("skipped: no types: {e}")) else {
        return;
    };
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/switches/switches.bpf.o");
    let object = Object::parse(&std::fs::read(path).unwrap()).unwrap();
    let opened = |options: &Options<'_>| {
        let c = Collection::open(object.clone(), &kernel, options, &mut skep::verify::unverified).unwrap();
        assert!(c.skipped.is_empty(), "{:?}", c.skipped);
        c.programs.iter().map(|p| p.loaded.program().insns.clone()).collect::<Vec<_>>()
    };
    let mut told = Options::default();
    told.target_btf = Some(types);
    let fitted = opened(&told);
    assert_eq!(opened(&Options::default()), fitted);
    let index = object.functions.iter().position(|f| !f.core.is_empty()).expect("it has relocations");
    let plain =
        object.bind_index(index, &mut skep::obj::BindEnv::new(&vec![None; object.maps.len()])).unwrap();
    assert!(fitted.iter().all(|f| *f != plain.insns), "without types it is another program");
}

#[test]
fn xdp_drops_passes_and_answers() {
    let _one = alone();
    let (Some(kernel), Some((a, b))) = (kernel(), cable()) else { return };
    let c = open(&kernel);
    for mode in [XdpMode::Generic, XdpMode::Native] {
        let link = b.with(|| attach(&kernel, &c, "discard", "vb", mode));
        let (nine, ten) = b.run(|| (udp("10.0.0.2:9"), udp("10.0.0.2:10")));
        a.run(|| {
            let socket = udp("10.0.0.1:0");
            (0..3).for_each(|_| assert!(socket.send_to(b"x", "10.0.0.2:9").is_ok()));
            socket.send_to(b"x", "10.0.0.2:10").unwrap();
        });
        assert!(receives(&ten), "{mode:?}: port 10 is let through");
        assert!(!receives(&nine), "{mode:?}: port 9 is dropped");
        drop(link);
        a.run(|| udp("10.0.0.1:0").send_to(b"x", "10.0.0.2:9").unwrap());
        assert!(receives(&nine), "{mode:?}: nothing is dropped any more");
    }
    let _link = b.with(|| attach(&kernel, &c, "echo", "vb", XdpMode::Generic));
    let answered = a.run(|| {
        let socket = udp("10.0.0.1:0");
        socket.connect("10.0.0.2:7").unwrap();
        socket.send(b"hello").unwrap();
        let mut answer = [0; 16];
        socket.recv(&mut answer).map(|n| answer[..n].to_vec())
    });
    assert_eq!(answered.unwrap(), b"hello");
}

#[test]
fn xdp_redirects_between_three_namespaces() {
    let _one = alone();
    let Some(kernel) = kernel() else { return };
    let (Some(left), Some(middle), Some(right)) = (Host::new(), Host::new(), Host::new()) else { return };
    middle.sh(&format!(
        "ip link add ml type veth peer name vl netns {}; ip link add mr type veth peer name vr netns {}; \
         ip link set ml up; ip link set mr up",
        left.thread, right.thread
    ));
    left.sh("ip addr add 10.0.0.1/24 dev vl; ip link set vl up");
    right.sh("ip addr add 10.0.0.2/24 dev vr; ip link set vr up");
    let c = open(&kernel);
    let ports = map(&c, "ports");
    let _links = middle.with(|| {
        let (ml, mr) = (ifindex("ml").unwrap(), ifindex("mr").unwrap());
        ports.update(&0u32.to_ne_bytes(), &mr.to_ne_bytes(), 0, Side::User).unwrap();
        ports.update(&1u32.to_ne_bytes(), &ml.to_ne_bytes(), 0, Side::User).unwrap();
        let mode = XdpMode::Generic;
        [attach(&kernel, &c, "forward", "ml", mode), attach(&kernel, &c, "back", "mr", mode)]
    });
    // ARP and a whole TCP connection cross the middle, which has no address.
    let server = right.run(|| TcpListener::bind("10.0.0.2:80").unwrap());
    let answer = std::thread::spawn(move || {
        let (mut s, from) = server.accept().unwrap();
        let mut text = String::new();
        s.read_to_string(&mut text).unwrap();
        (text, from.ip().to_string())
    });
    left.run(|| {
        use std::io::Write;
        let address = "10.0.0.2:80".parse().unwrap();
        let mut s = TcpStream::connect_timeout(&address, Duration::from_secs(10)).unwrap();
        s.write_all(&[b'x'; 100_000]).unwrap();
    });
    let (text, from) = answer.join().unwrap();
    assert_eq!((text.len(), from.as_str()), (100_000, "10.0.0.1"));
}

#[test]
fn traffic_control_rewrites_ports() {
    let _one = alone();
    let (Some(kernel), Some((a, b))) = (kernel(), cable()) else { return };
    let c = open(&kernel);
    let link = a.with(|| {
        let given = Given { device: Some("va"), egress: Some(true), ..Given::default() };
        auto::attach(&kernel, program(&c, "rewrite"), &given).unwrap()
    });
    let wanted = b.run(|| udp("10.0.0.2:2222"));
    let send = || {
        a.run(|| {
            let socket = udp("10.0.0.1:0");
            socket.send_to(b"x", "10.0.0.2:1111").unwrap();
        });
    };
    send();
    assert!(receives(&wanted));
    drop(link);
    send();
    assert!(!receives(&wanted));
}

#[test]
fn one_listener_on_a_thousand_ports() {
    let _one = alone();
    let (Some(kernel), Some(host)) = (kernel(), Host::new()) else { return };
    let c = open(&kernel);
    let netns = PathBuf::from(format!("/proc/self/task/{}/ns/net", host.thread));
    let given = Given { netns: Some(&netns), ..Given::default() };
    let _link = auto::attach(&kernel, program(&c, "steer"), &given).unwrap();
    let server = host.run(|| TcpListener::bind((Ipv4Addr::LOCALHOST, 7777)).unwrap());
    let fd = server.as_fd().as_raw_fd() as u64;
    map(&c, "listener").update(&[0; 4], &fd.to_ne_bytes(), 0, Side::User).unwrap();
    let accepted = std::thread::spawn(move || {
        (0..1000).map(|_| server.accept().unwrap().0.local_addr().unwrap().port()).collect::<Vec<u16>>()
    });
    let outside = host.run(|| {
        for port in 10_000..11_000 {
            TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        }
        TcpStream::connect((Ipv4Addr::LOCALHOST, 11_000)).is_err()
    });
    assert_eq!(accepted.join().unwrap(), (10_000..11_000).collect::<Vec<u16>>());
    assert!(outside);
}

/// A cgroup of the test's own; removed when the value is dropped.
struct Cgroup(PathBuf);

impl Cgroup {
    fn new() -> Option<Cgroup> {
        let table = std::fs::read_to_string("/proc/self/mounts").unwrap();
        let fields = table.lines().map(|l| l.split(' ').collect::<Vec<_>>());
        let Some(root) = fields.filter(|f| f.get(2) == Some(&"cgroup2")).map(|f| PathBuf::from(f[1])).next()
        else {
            println!("skipped: no cgroup of version 2 is mounted");
            return None;
        };
        let folder = root.join(format!("skep-network-{}", std::process::id()));
        match std::fs::create_dir(&folder) {
            Ok(()) => Some(Cgroup(folder)),
            Err(e) => {
                println!("skipped: {}: {e}", folder.display());
                None
            }
        }
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let began = Instant::now();
        while std::fs::remove_dir(&self.0).is_err() && began.elapsed() < Duration::from_secs(5) {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

#[test]
fn connections_are_balanced_as_they_are_made() {
    let _one = alone();
    let (Some(kernel), Some(cgroup)) = (kernel(), Cgroup::new()) else { return };
    let c = open(&kernel);
    let servers = [(); 2].map(|()| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
    let ports: Vec<u8> =
        servers.iter().flat_map(|s| u32::from(s.local_addr().unwrap().port()).to_ne_bytes()).collect();
    Globals::new(&c).set("backends", &ports);
    let given = Given { cgroup: Some(&cgroup.0), ..Given::default() };
    let link = auto::attach(&kernel, program(&c, "balance"), &given).unwrap();
    let script = format!(
        "echo $$ > {}/cgroup.procs; for i in 1 2 3 4 5 6; do exec 3<>/dev/tcp/10.9.9.9/80; exec 3>&-; done",
        cgroup.0.display()
    );
    let out = Command::new("bash").args(["-ec", &script]).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    for s in &servers {
        s.set_nonblocking(true).unwrap();
        assert_eq!((0..10).filter(|_| s.accept().is_ok()).count(), 3);
    }
    drop(link);
}

#[test]
fn programs_are_replaced_under_traffic_without_loss() {
    const EXCHANGES: usize = 10;
    let _one = alone();
    let (Some(kernel), Some((a, b))) = (kernel(), cable()) else { return };
    let c = open(&kernel);
    let mut link = b.with(|| attach(&kernel, &c, "first", "vb", XdpMode::Native));
    let sink = b.run(|| UdpSocket::bind("10.0.0.2:5000").unwrap());
    sink.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    let arrived = Arc::new(AtomicU64::new(0));
    let enough = Arc::new(AtomicBool::new(false));
    let receiver = std::thread::spawn({
        let (arrived, enough) = (arrived.clone(), enough.clone());
        move || loop {
            match sink.recv(&mut [0; 64]) {
                Ok(_) => drop(arrived.fetch_add(1, Ordering::Relaxed)),
                Err(_) if enough.load(Ordering::Relaxed) => return,
                Err(_) => {}
            }
        }
    });
    let sender = std::thread::spawn({
        let (arrived, enough) = (arrived.clone(), enough.clone());
        move || {
            a.run(move || {
                let socket = udp("10.0.0.1:0");
                socket.connect("10.0.0.2:5000").unwrap();
                let mut sent = 0;
                while !enough.load(Ordering::Relaxed) {
                    socket.send(b"x").unwrap();
                    sent += 1;
                    // The queues of device and receiver are finite; a packet that is lost ends the waiting.
                    let began = Instant::now();
                    while sent > arrived.load(Ordering::Relaxed) + 32 && began.elapsed().as_millis() < 500 {
                        std::thread::yield_now();
                    }
                }
                sent
            })
        }
    });
    let programs = [program(&c, "second"), program(&c, "first")];
    for i in 0..EXCHANGES {
        std::thread::sleep(Duration::from_millis(5));
        link.replace(programs[i % 2]).unwrap();
    }
    enough.store(true, Ordering::Relaxed);
    let sent = sender.join().unwrap();
    receiver.join().unwrap();
    let globals = Globals::new(&c);
    let (first, second) = (globals.get("first_runs"), globals.get("second_runs"));
    println!("{sent} sent, {first} through the first and {second} through the second");
    assert_eq!(arrived.load(Ordering::Relaxed), sent);
    assert_eq!(first + second, sent, "every packet went through one of the two ({first} and {second})");
    assert!(first > 0 && second > 0, "{first} and {second}");
}

/// Reads a ring buffer, asleep in epoll while it is empty, until `done` says so; records, and whether they came in order.
fn consume(records: &KernelMap, done: &dyn Fn(u64) -> bool) -> u64 {
    let waiter = Waiter::new().unwrap();
    let fds = records.wake_fds().unwrap();
    fds.iter().for_each(|fd| waiter.add(fd.as_fd(), 0).unwrap());
    let mut received = 0;
    loop {
        let ring = records.ringbuf().unwrap();
        let n = ring.consume(&mut |r| {
            assert_eq!(r.len(), 64);
            ControlFlow::Continue(())
        });
        received += n.unwrap() as u64;
        if done(received) {
            return received;
        }
        let woken = waiter.wait(Some(100)).unwrap();
        assert!(woken.iter().all(|e| *e == Event::Ready(0)));
    }
}

#[test]
fn a_ring_buffer_at_a_million_records_a_second() {
    const RECORDS: u64 = 1_000_000;
    /// Records that the producer writes in one run of its program.
    const BURST: u64 = 1000;
    let _one = alone();
    let Some(kernel) = kernel() else { return };
    let kernel = Arc::new(kernel);
    let c = open(&kernel);
    let globals = Globals::new(&c);
    let producer = program(&c, "produce");
    let began = Instant::now();
    let (received, spent) = std::thread::scope(|scope| {
        let finished = scope.spawn(|| {
            for i in 0..RECORDS / BURST {
                kernel.run(producer, &[], &BURST.to_ne_bytes(), 1).unwrap();
                // A million a second: a burst a millisecond, unless the machine is slower than that.
                let next = began + Duration::from_millis(i + 1);
                std::thread::sleep(next.saturating_duration_since(Instant::now()));
            }
            began.elapsed()
        });
        let received = consume(map(&c, "records"), &|n| {
            finished.is_finished() && globals.get("produced") == n + globals.get("refused")
        });
        (received, finished.join().unwrap())
    });
    let (produced, lost) = (globals.get("produced"), globals.get("refused"));
    println!("{produced} produced = {received} received + {lost} lost, in {spent:?}");
    assert_eq!(produced, RECORDS);
    assert_eq!(produced, received + lost);
}

#[test]
fn perf_samples_are_received_or_counted_as_lost() {
    const PACKETS: u64 = 5000;
    let _one = alone();
    let (Some(kernel), Some((a, b))) = (kernel(), cable()) else { return };
    let c = open(&kernel);
    let samples = map(&c, "samples");
    // Two pages a CPU: they overflow as nobody reads meanwhile.
    samples.open_rings(2 * 4096).unwrap();
    let _link = b.with(|| attach(&kernel, &c, "sample", "vb", XdpMode::Generic));
    a.run(|| {
        let socket = udp("10.0.0.1:0");
        (0..PACKETS).for_each(|_| assert!(socket.send_to(b"x", "10.0.0.2:9").is_ok()));
    });
    let globals = Globals::new(&c);
    let began = Instant::now();
    while globals.get("sampled") < PACKETS && began.elapsed() < Duration::from_secs(5) {
        std::thread::sleep(Duration::from_millis(10));
    }
    let sampled = globals.get("sampled");
    let events = samples.perf_events().unwrap();
    let mut received = 0;
    let mut read = || {
        events
            .consume(&mut |_, s| {
                received += 1;
                assert!(s.len() >= 64);
                ControlFlow::Continue(())
            })
            .unwrap()
    };
    let mut lost = read();
    // The kernel tells of losses when it writes the next sample.
    a.run(|| {
        let socket = udp("10.0.0.1:0");
        (0..2).for_each(|_| assert!(socket.send_to(b"x", "10.0.0.2:9").is_ok()));
    });
    while globals.get("sampled") < sampled + 2 && began.elapsed() < Duration::from_secs(9) {
        std::thread::sleep(Duration::from_millis(10));
    }
    lost += read();
    let sampled = globals.get("sampled");
    println!("{sampled} sampled = {received} received + {lost} lost; {} refused", globals.get("not_sampled"));
    assert!(received > 0 && lost > 0);
    assert_eq!(sampled, received + lost);
    assert_eq!(globals.get("not_sampled"), lost);
}

#[test]
fn nothing_stays_when_the_values_go() {
    let _one = alone();
    let (Some(kernel), Some((_a, b))) = (kernel(), cable()) else { return };
    let c = open(&kernel);
    let attached = || {
        b.with(|| {
            let vb = ifindex("vb").unwrap();
            let xdp = netlink::xdp(&**kernel.door(), vb).unwrap().any().is_some();
            let tc = kernel.door().prog_query(Target::Ifindex(vb), 46, 0).unwrap();
            (xdp, tc.progs.len())
        })
    };
    let link = b.with(|| attach(&kernel, &c, "discard", "vb", XdpMode::Any));
    let tc = b.with(|| {
        let given = Given { device: Some("vb"), ..Given::default() };
        auto::attach(&kernel, program(&c, "rewrite"), &given).unwrap()
    });
    assert_eq!(attached(), (true, 1));
    drop((link, tc));
    assert_eq!(attached(), (false, 0));
}
