//! What tests on real hooks share: network namespaces of the test's own with cables between them.

#![allow(dead_code, reason = "each test uses some of it")]

use skep::kernel::Kernel;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The engine; says why there is none.
pub(crate) fn kernel() -> Option<Kernel> {
    Kernel::open(*skep::platform()).inspect_err(|e| println!("skipped: {e}")).ok()
}

/// One at a time: some of them measure, and all of them share two processors.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

type Job = Box<dyn FnOnce() + Send>;

/// A thread in a network namespace of its own. It goes when the value is dropped, the namespace with it.
pub(crate) struct Host {
    pub(crate) thread: u32,
    jobs: Sender<Job>,
}

impl Host {
    pub(crate) fn new() -> Option<Host> {
        let (jobs, todo) = channel::<Job>();
        let (ready, started) = channel();
        std::thread::spawn(move || {
            // SAFETY: changes the namespaces of this thread alone, and asks for its number.
            let thread = unsafe {
                match libc::unshare(libc::CLONE_NEWNET) {
                    0 => Some(libc::gettid() as u32),
                    _ => None,
                }
            };
            ready.send(thread).unwrap();
            todo.into_iter().for_each(|job| job());
        });
        let Some(thread) = started.recv().unwrap() else {
            println!("skipped: no network namespaces here");
            return None;
        };
        let host = Host { thread, jobs };
        host.run(|| sh("ip link set lo up")).then_some(host).or_else(|| {
            println!("skipped: `ip` is missing, or may not do that");
            None
        })
    }

    /// Runs in the namespace.
    pub(crate) fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        let (done, result) = channel();
        self.jobs.send(Box::new(move || drop(done.send(job())))).unwrap();
        result.recv().expect("the job did not panic")
    }

    pub(crate) fn sh(&self, script: &str) {
        let text = script.to_owned();
        assert!(self.run(move || sh(&text)), "{script}");
    }

    /// Runs something that borrows what the test has.
    pub(crate) fn with<T: Send>(&self, job: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let run = scope.spawn(|| {
                self.join();
                job()
            });
            run.join().unwrap()
        })
    }

    /// This thread is in the namespace from now on.
    pub(crate) fn join(&self) {
        let ns = std::fs::File::open(format!("/proc/self/task/{}/ns/net", self.thread)).unwrap();
        // SAFETY: moves this thread alone into the namespace that the descriptor is of.
        assert_eq!(unsafe { libc::setns(ns.as_raw_fd(), libc::CLONE_NEWNET) }, 0);
    }
}

/// Runs something with a bpf file system at a folder, which this thread alone and what it starts see; `None` where there can be none.
pub(crate) fn with_bpffs<T: Send>(job: impl FnOnce(&Path) -> T + Send) -> Option<T> {
    let folder = std::env::temp_dir().join(format!("skep-bpffs-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let run = || {
        // SAFETY: changes the mounts that this thread alone sees.
        let own = unsafe { libc::unshare(libc::CLONE_NEWNS) } == 0;
        let mount = format!("mount --make-rprivate / && mount -t bpf bpf {}", folder.display());
        if !own || !sh(&mount) {
            println!("skipped: no bpf file system");
            return None;
        }
        Some(job(&folder))
    };
    let done = std::thread::scope(|scope| scope.spawn(run).join());
    std::fs::remove_dir(&folder).unwrap();
    done.unwrap()
}

/// Runs a script; what went wrong is printed.
pub(crate) fn sh(script: &str) -> bool {
    let out = Command::new("sh").args(["-ec", script]).stderr(Stdio::piped()).output();
    out.is_ok_and(|o| {
        if !o.status.success() {
            println!("{script}: {}", String::from_utf8_lossy(&o.stderr));
        }
        o.status.success()
    })
}

/// Two hosts with a cable: 10.0.0.1 on `va`, 10.0.0.2 on `vb`.
pub(crate) fn cable() -> Option<(Host, Host)> {
    let (a, b) = (Host::new()?, Host::new()?);
    a.sh(&format!("ip link add va type veth peer name vb netns {}", b.thread));
    a.sh("ip addr add 10.0.0.1/24 dev va; ip link set va up");
    b.sh("ip addr add 10.0.0.2/24 dev vb; ip link set vb up");
    Some((a, b))
}
