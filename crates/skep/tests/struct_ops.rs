//! struct_ops on the running kernel: TCP congestion control of the test's own, used by sockets in a network namespace of the
//! test's own. Where the kernel may not be used, or takes no struct_ops, each test says so and passes.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may panic and say why it was skipped")]

mod hosts;

use hosts::{Host, alone, kernel};
use skep::descriptors::EngineError;
use skep::kernel::door::IdKind;
use skep::kernel::{Kernel, KernelMap, info, struct_ops};
use skep::{Collection, Map, Object, Options, Select};
use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;
use std::time::{Duration, Instant};

/// Names of congestion control are the whole machine's: one test at a time uses them, of whatever process.
fn one_on_the_machine() -> File {
    let lock = File::create(std::env::temp_dir().join("skep-struct-ops.lock")).unwrap();
    lock.lock().unwrap();
    lock
}

fn open(kernel: &Kernel, set: &[&str]) -> Collection {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/objects/congestion.o");
    let object = Object::parse(&std::fs::read(path).unwrap()).unwrap();
    let mut options = Options::default();
    options.select = Select::Whole;
    options.set = set.to_vec();
    Collection::open(object, kernel, &options, &mut skep::verify::unverified)
        .unwrap_or_else(|e| panic!("{e}"))
}

fn map<'c>(c: &'c Collection, name: &str) -> &'c KernelMap {
    c.map(name).unwrap().as_any().downcast_ref().unwrap()
}

/// A counter of the object's.
fn count(c: &Collection, name: &str) -> u64 {
    let (mut all, btf) = (Vec::new(), c.object.btf.as_ref().unwrap());
    map(c, ".bss").read(&[0; 4], &mut all).unwrap();
    let section = btf.types().find_map(|(_, t)| match t {
        skep::btf::Type::Datasec(s) if s.name == ".bss" => Some(s),
        _ => None,
    });
    let var = section.unwrap().vars.into_iter().find(|v| btf.name_of(v.type_id) == name).unwrap();
    u64::from_ne_bytes(all[var.offset as usize..][..8].try_into().unwrap())
}

/// Sets the socket's congestion control, or gives the error number.
fn set_congestion(socket: &TcpStream, name: &str) -> Result<(), i32> {
    // SAFETY: the option is read from the text, of which the length is given.
    let done = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_CONGESTION,
            name.as_ptr().cast(),
            name.len() as libc::socklen_t,
        )
    };
    if done == 0 { Ok(()) } else { Err(std::io::Error::last_os_error().raw_os_error().unwrap()) }
}

/// A megabyte through the loopback device, by this congestion control.
fn transfer(name: &'static str) -> Result<(), i32> {
    let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let mut client = TcpStream::connect(server.local_addr().unwrap()).unwrap();
    set_congestion(&client, name)?;
    let (mut side, _) = server.accept().unwrap();
    let reader = std::thread::spawn(move || {
        let mut all = Vec::new();
        side.read_to_end(&mut all).unwrap();
        all.len()
    });
    client.write_all(&vec![7; 1 << 20]).unwrap();
    drop(client);
    assert_eq!(reader.join().unwrap(), 1 << 20);
    Ok(())
}

/// Waits for what the kernel does behind our back.
fn until(what: &str, mut is: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !is() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Names of the structures that are registered or ready.
fn maps_in_kernel(kernel: &Kernel) -> Vec<String> {
    let fds = info::all(&**kernel.door(), IdKind::Map).unwrap();
    let infos = fds.iter().filter_map(|fd| info::map(&**kernel.door(), fd.as_fd()).ok());
    infos.filter(|i| i.vmlinux_value_type != 0).map(|i| i.name).collect()
}

#[test]
fn sockets_use_it_and_a_link_exchanges_it() {
    let (_one, _lock) = (alone(), one_on_the_machine());
    let (Some(kernel), Some(host)) = (kernel(), Host::new()) else { return };
    let c = open(&kernel, &[]);
    if let Some(e) = c.missing.iter().find(|e| e.why.contains("no struct_ops") || e.why.contains("no links"))
    {
        return println!("skipped: {e}");
    }
    assert!(c.missing.is_empty(), "{:?}", c.missing);
    assert!(c.map("unwanted").is_none(), "it is made only if asked for");
    assert_eq!(host.run(|| transfer("skep_test")), Err(libc::ENOENT), "it is not registered yet");

    let mut link = kernel.attach_struct_ops(map(&c, "first")).unwrap_or_else(|e| panic!("{e}"));
    assert!(!link.outlives());
    assert_eq!(host.run(|| transfer("skep_test")), Ok(()));
    assert_eq!((count(&c, "first_inits"), count(&c, "second_inits")), (1, 0));
    assert!(count(&c, "acks") > 0);
    until("the socket lets go", || count(&c, "releases") == 1);

    // A second one of that name is refused, and told why.
    let again = open(&kernel, &[]);
    let Err(EngineError::Attach { why, .. }) = kernel.attach_struct_ops(map(&again, "first")) else {
        panic!("two of one name")
    };
    assert!(why.contains("one of this name registered already"), "{why}");
    drop(again);

    link.replace_struct_ops(map(&c, "second")).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(host.run(|| transfer("skep_test")), Ok(()));
    assert_eq!((count(&c, "first_inits"), count(&c, "second_inits")), (1, 1));
    drop(link);
    until("it is gone", || host.run(|| transfer("skep_test")) == Err(libc::ENOENT));
}

#[test]
fn another_layout_and_members_that_are_set() {
    let (_one, _lock) = (alone(), one_on_the_machine());
    let (Some(kernel), Some(host)) = (kernel(), Host::new()) else { return };
    let c = open(
        &kernel,
        &["future.name=\"skep_renamed\"", "first.init=second_init", "first.release=0", "second.release=0"],
    );
    if !c.missing.is_empty() {
        return println!("skipped: {:?}", c.missing);
    }
    assert!(c.program("gone").is_none(), "nothing calls it any more, so it is not loaded");
    let link = kernel.attach_struct_ops(map(&c, "future")).unwrap_or_else(|e| panic!("{e}"));
    assert!(link.outlives(), "without a link of the kernel's");
    assert_eq!(host.run(|| transfer("skep_future")), Err(libc::ENOENT));
    assert_eq!(host.run(|| transfer("skep_renamed")), Ok(()));
    assert!(count(&c, "acks") > 0);
    // Somebody else ends it; the link's own end finds nothing left to do.
    assert_eq!(struct_ops::unregister(&**kernel.door(), map(&c, "future")), Ok(0));
    until("it is gone", || host.run(|| transfer("skep_renamed")) == Err(libc::ENOENT));
    drop(link);

    let link = kernel.attach_struct_ops(map(&c, "first")).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(host.run(|| transfer("skep_test")), Ok(()));
    assert_eq!((count(&c, "first_inits"), count(&c, "second_inits")), (0, 1));
    // By its map, whoever holds the link.
    assert_eq!(struct_ops::unregister(&**kernel.door(), map(&c, "first")), Ok(1));
    until("it is gone", || host.run(|| transfer("skep_test")) == Err(libc::ENOENT));
    drop((link, c));
    until("nothing stays", || {
        maps_in_kernel(&kernel).iter().all(|n| !["first", "second", "future"].contains(&n.as_str()))
    });
}

#[test]
fn what_is_set_wrongly_is_told() {
    let Some(kernel) = kernel() else { return };
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/objects/congestion.o");
    let object = Object::parse(&std::fs::read(path).unwrap()).unwrap();
    let told = |set: &str| {
        let mut options = Options::default();
        options.set = vec![set];
        match Collection::open(object.clone(), &kernel, &options, &mut skep::verify::unverified) {
            Ok(c) => c.missing.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "),
            Err(e) => e.to_string(),
        }
    };
    for (set, wanted) in [
        ("first.none=1", "variable first.none: struct tcp_congestion_ops has no such member"),
        ("first.init=nobody", "variable first.init: \"nobody\" is no program of the object, nor 0"),
        ("third.init=0", "no variable \"third.init\"; there are"),
        ("first.flags=many", "variable first.flags: "),
    ] {
        assert!(told(set).contains(wanted), "{set}: {}", told(set));
    }
    let unknown = told("future.not_invented_yet=1");
    if !unknown.contains("no struct_ops") {
        assert!(
            unknown
                .contains("member not_invented_yet of struct tcp_congestion_ops: the running kernel has no"),
            "{unknown}"
        );
    }
}
