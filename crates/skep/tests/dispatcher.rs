//! Several XDP programs on one device of the running kernel, between network namespaces of the test's own. Where the kernel may
//! not be used, or namespaces cannot be made, the test says so and passes.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may panic and say why it was skipped")]

mod hosts;

use hosts::{alone, cable, kernel, with_bpffs};
use skep::kernel::dispatcher::libxdp::{self, Slot};
use skep::kernel::dispatcher::{DEFAULT_CHAIN, DEFAULT_PRIORITY, Dispatcher, Form, Member, form};
use skep::kernel::link::{XdpMode, ifindex};
use skep::kernel::{Kernel, KernelMap, info, netlink, pin};
use skep::{Collection, Map, Object, Options};
use std::net::UdpSocket;
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

fn open(kernel: &Kernel) -> Collection {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/objects/xdp_chain.o");
    let object = Object::parse(&std::fs::read(path).unwrap()).unwrap();
    Collection::open(object, kernel, &Options::default(), &mut skep::verify::unverified).unwrap()
}

/// A program with what its object says of it.
fn member(c: &Collection, name: &str) -> Member {
    let config = c.object.xdp_run_config(name);
    Member {
        program: c.program(name).unwrap().loaded.program().clone(),
        priority: config.priority.unwrap_or(DEFAULT_PRIORITY),
        chain: config.chain_of(DEFAULT_CHAIN),
    }
}

/// How many datagrams each of `count`, `guard` and `other` has seen.
fn seen(c: &Collection) -> [u64; 3] {
    let map: &KernelMap = c.map("seen").unwrap().as_any().downcast_ref().unwrap();
    [0u32, 1, 2].map(|who| {
        let mut value = Vec::new();
        map.read(&who.to_ne_bytes(), &mut value).unwrap();
        u64::from_ne_bytes(value.try_into().unwrap())
    })
}

fn names<'d>(set: &'d Dispatcher<'_>) -> Vec<&'d str> {
    set.members().iter().map(|m| m.program.name.as_str()).collect()
}

#[test]
fn what_objects_ask_for() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/objects/xdp_chain.o");
    let object = Object::parse(&std::fs::read(path).unwrap()).unwrap();
    let asked = ["count", "guard", "other", "none"].map(|name| {
        let config = object.xdp_run_config(name);
        (config.priority, config.chain_of(DEFAULT_CHAIN))
    });
    assert_eq!(asked, [(Some(10), 4), (Some(20), 4), (Some(30), 2), (None, 4)]);
}

#[test]
fn three_programs_run_in_order_and_change_under_traffic() {
    let _one = alone();
    let (Some(kernel), Some((a, b))) = (kernel(), cable()) else { return };
    let c = open(&kernel);
    let device = b.with(|| ifindex("vb").unwrap());
    let send = |port: u16| {
        a.run(move || {
            let socket = UdpSocket::bind("10.0.0.1:0").unwrap();
            socket.send_to(b"x", ("10.0.0.2", port)).unwrap();
        });
    };
    let (nine, ten) = b.run(|| {
        let bind = |port: u16| {
            let socket = UdpSocket::bind(("10.0.0.2", port)).unwrap();
            socket.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
            socket
        };
        (bind(9), bind(10))
    });
    let receives = |socket: &UdpSocket| socket.recv(&mut [0; 64]).is_ok();

    let mut set = Dispatcher::new(&kernel, device, XdpMode::Generic);
    // Neighbours have to be known before packets are counted.
    send(10);
    assert!(receives(&ten));
    b.with(|| {
        // In an order that is not theirs.
        for name in ["other", "count", "guard"] {
            set.add(member(&c, name), false).unwrap_or_else(|e| panic!("{e}"));
        }
    });
    assert_eq!(names(&set), ["count", "guard", "other"]);
    send(10);
    assert!(receives(&ten), "all let it pass");
    assert_eq!(seen(&c), [1, 1, 1]);
    send(9);
    assert!(!receives(&nine), "the second drops it");
    assert_eq!(seen(&c), [2, 2, 1], "the third is not asked");

    // Where a drop asks the next one, that one decides.
    let lenient = Member { chain: 1 << 1 | 1 << 2, ..member(&c, "guard") };
    b.with(|| set.add(lenient, true).unwrap());
    send(9);
    assert!(receives(&nine), "the third lets it pass");
    assert_eq!(seen(&c), [3, 3, 2]);
    b.with(|| assert!(set.add(member(&c, "guard"), false).is_err(), "one of each name"));

    // Programs come and go while packets flow: none is lost, and the first program misses none.
    let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let counted = b.run(move || {
        let socket = ten.try_clone().unwrap();
        std::thread::spawn(move || {
            let mut n = 0;
            while socket.recv(&mut [0; 64]).is_ok() {
                n += 1;
            }
            n
        })
    });
    let before = seen(&c)[0];
    let sender = {
        let (stop, sent) = (stop.clone(), sent.clone());
        a.run(move || {
            let socket = UdpSocket::bind("10.0.0.1:0").unwrap();
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    socket.send_to(b"x", "10.0.0.2:10").unwrap();
                    sent.fetch_add(1, Ordering::Relaxed);
                    std::thread::sleep(Duration::from_micros(200));
                }
            })
        })
    };
    let (end, mut changes) = (Instant::now() + Duration::from_secs(1), 0);
    b.with(|| {
        while Instant::now() < end || changes < 4 {
            assert!(set.remove("other").unwrap());
            set.add(member(&c, "other"), false).unwrap();
            changes += 2;
        }
    });
    stop.store(true, Ordering::Relaxed);
    sender.join().unwrap();
    let received: u64 = counted.join().unwrap();
    let sent = sent.load(Ordering::Relaxed);
    println!("{changes} changes, {sent} datagrams sent, {received} received");
    assert_eq!((received, seen(&c)[0] - before), (sent, sent));

    // With the set everything goes.
    drop(set);
    let before = seen(&c);
    send(9);
    assert!(receives(&nine));
    assert_eq!(seen(&c), before);
}

/// A dispatcher of libxdp's form: the kernel takes it, with slots in use it lets every packet pass until programs are in them, and
/// what it says is read by this and by libxdp's own tool, if that is installed.
#[test]
fn a_dispatcher_of_libxdps_form() {
    let _one = alone();
    let (Some(kernel), Some((a, b))) = (kernel(), cable()) else { return };
    let c = open(&kernel);
    let slots = ["count", "other"].map(|name| {
        let m = member(&c, name);
        Slot { chain: m.chain | 1 << 31, priority: m.priority, flags: 0 }
    });
    let (all, strict) = ([slots[0]; 10], [Slot { chain: 0, ..slots[0] }]);
    let run = |slots: &[Slot]| {
        let program = libxdp::dispatcher_with(&kernel, slots).unwrap_or_else(|e| panic!("{e}"));
        kernel.run(&program, &[0; 64], &[], 1).unwrap().retval
    };
    // An empty slot says 31, which is final only where it is not among the actions.
    assert_eq!([run(&[]), run(&slots), run(&all), run(&strict)], [2, 2, 2, 31]);
    assert!(libxdp::dispatcher_with(&kernel, &[slots[0]; 11]).is_err());

    let socket = b.run(|| {
        let socket = UdpSocket::bind("10.0.0.2:10").unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        socket
    });
    let door = kernel.door();
    let seen = with_bpffs(|folder| {
        b.join();
        let device = ifindex("vb").unwrap();
        let root = folder.join("xdp");
        let whole = libxdp::dispatcher_with(&kernel, &slots).unwrap();
        let id = info::prog(&**door, whole.as_fd()).unwrap().id;
        netlink::set_xdp(&**door, device, whole.as_fd().as_raw_fd(), XdpMode::Generic, false).unwrap();
        a.run(|| {
            let socket = UdpSocket::bind("10.0.0.1:0").unwrap();
            socket.send_to(b"x", "10.0.0.2:10").unwrap();
        });
        assert!(socket.recv(&mut [0; 64]).is_ok(), "it lets packets pass");
        // Programs where libxdp keeps them.
        for (n, name) in ["count", "other"].iter().enumerate() {
            let program = kernel.load_program(&member(&c, name).program).unwrap();
            let at = root.join(format!("dispatch-{device}-{id}/prog{n}-prog"));
            pin::pin(&**door, &at, program.as_fd()).unwrap();
        }
        let entries = libxdp::entries_of(door, device, id, &root).unwrap();
        assert!(libxdp::is_on(door, device, &root).unwrap());
        assert_eq!(form(&kernel, device, &root).unwrap().0, Form::Libxdp, "the device keeps its form");
        let status = Command::new("xdp-loader").args(["status", "vb"]).env("LIBXDP_BPFFS", folder).output();
        match status {
            Ok(o) => {
                let text = String::from_utf8_lossy(&o.stdout);
                let line = |what: &[&str]| {
                    let has = |l: &str| what.iter().all(|w| l.split_whitespace().any(|x| x.contains(w)));
                    assert!(
                        text.lines().any(has),
                        "{what:?} in {text}{}",
                        String::from_utf8_lossy(&o.stderr)
                    );
                };
                line(&["vb", "xdp_dispatcher", "skb"]);
                line(&["10", "count", "XDP_PASS"]);
                line(&["30", "other", "XDP_DROP"]);
            }
            Err(e) => println!("xdp-loader is not asked: {e}"),
        }
        // The device's program goes if it is this one, and not if it is another.
        let other = libxdp::dispatcher_with(&kernel, &[]).unwrap();
        let take = |old| netlink::replace_xdp(&**door, device, -1, XdpMode::Generic, old);
        assert!(take(other.as_fd()).is_err());
        let mut set = libxdp::Set::open(&kernel, device, XdpMode::Any, &root).unwrap();
        set.clear().unwrap();
        assert_eq!(netlink::xdp(&**door, device).unwrap().any(), None);
        assert_eq!(std::fs::read_dir(&root).unwrap().count(), 0);

        // With programs, where the kernel takes them as extensions.
        match libxdp::probe(&kernel) {
            Err(e) => println!("no programs are put on it: {e}"),
            Ok(()) => {
                for name in ["other", "count"] {
                    set.add(&member(&c, name), false).unwrap_or_else(|e| panic!("{e}"));
                }
                let names: Vec<&str> = set.entries().map(|e| e.name.as_str()).collect();
                assert_eq!(names, ["count", "other"]);
                set.clear().unwrap();
            }
        }
        entries.into_iter().map(|e| (e.name, e.priority, e.chain)).collect::<Vec<_>>()
    });
    let Some(seen) = seen else { return };
    assert_eq!(seen, [("count".into(), 10, 4 | 1 << 31), ("other".into(), 30, 2 | 1 << 31)]);
}
