//! fork, seccomp(2), the listener's ioctls: the unsafe part of [`crate::seccomp`]. Layouts: include/uapi/linux/seccomp.h.
//!
//! Always holds: between fork and execve the child calls nothing but system calls, takes no lock and allocates nothing;
//! what it needs is made before.

use skep_platform::Errno;
use std::ffi::{CString, c_char};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;
use std::sync::atomic::{AtomicI32, Ordering};

/// `SECCOMP_SET_MODE_FILTER`.
const SET_MODE_FILTER: libc::c_ulong = 1;
/// `SECCOMP_FILTER_FLAG_NEW_LISTENER`.
const NEW_LISTENER: libc::c_ulong = 1 << 3;
/// `SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV`: while a call waits for its answer only fatal signals end it (Linux 5.19).
const WAIT_KILLABLE: libc::c_ulong = 1 << 5;
/// `SECCOMP_IOCTL_NOTIF_RECV`, `_SEND`, `_ID_VALID`.
const RECV: libc::c_ulong = 0xc050_2100;
const SEND: libc::c_ulong = 0xc018_2101;
const ID_VALID: libc::c_ulong = 0x4008_2102;

/// `struct seccomp_notif`, with `struct seccomp_data` in it.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(crate) struct Notif {
    pub(crate) id: u64,
    pub(crate) pid: u32,
    pub(crate) flags: u32,
    pub(crate) nr: u32,
    pub(crate) arch: u32,
    pub(crate) ip: u64,
    pub(crate) args: [u64; 6],
}

/// `struct seccomp_notif_resp`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(crate) struct Response {
    pub(crate) id: u64,
    pub(crate) val: i64,
    pub(crate) error: i32,
    pub(crate) flags: u32,
}

/// `struct sock_fprog`.
#[repr(C)]
struct Fprog {
    len: u16,
    filter: *const [u8; 8],
}

/// What parent and child tell each other before execve, in memory that both see: after the filter is there the child may
/// not make any other call.
pub(crate) struct Shared(*mut Words);

struct Words {
    /// 0: nothing yet; `n + 2`: the filter is there, with listener n (or -1); negative: an error number.
    filter: AtomicI32,
    /// Not 0: the child goes on to execve.
    go: AtomicI32,
    /// Why execve failed.
    exec: AtomicI32,
}

impl Shared {
    pub(crate) fn new() -> Result<Shared, Errno> {
        let (rights, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS);
        // SAFETY: a fresh mapping of zeros at an address of the kernel's choice, large enough and aligned for the words.
        let p = unsafe { libc::mmap(ptr::null_mut(), size_of::<Words>(), rights, flags, -1, 0) };
        if p == libc::MAP_FAILED { Err(last()) } else { Ok(Shared(p.cast())) }
    }

    fn words(&self) -> &Words {
        // SAFETY: mapped as long as `self` lives; all bits are legal values of the atomic words.
        unsafe { &*self.0 }
    }

    /// What became of the filter: its listener, if it was to have one.
    pub(crate) fn filter(&self) -> Option<Result<Option<i32>, Errno>> {
        match self.words().filter.load(Ordering::Acquire) {
            0 => None,
            e if e < 0 => Some(Err(Errno(-e))),
            1 => Some(Ok(None)),
            n => Some(Ok(Some(n - 2))),
        }
    }

    /// Lets the child go on.
    pub(crate) fn go(&self) {
        self.words().go.store(1, Ordering::Release);
    }

    /// Why execve failed, if it did.
    pub(crate) fn exec_error(&self) -> Option<Errno> {
        let e = self.words().exec.load(Ordering::Acquire);
        (e != 0).then_some(Errno(e))
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // SAFETY: mapped by `new` with this length; no reference outlives `self`.
        unsafe { libc::munmap(self.0.cast(), size_of::<Words>()) };
    }
}

/// Forks a child that puts the filter on itself and, once told to, becomes the program. Returns its process id.
pub(crate) fn fork(
    filter: &[[u8; 8]],
    listen: bool,
    path: &CString,
    argv: &[CString],
    env: &[CString],
    shared: &Shared,
) -> Result<i32, Errno> {
    let pointers = |list: &[CString]| -> Vec<*const c_char> {
        list.iter().map(|s| s.as_ptr()).chain([ptr::null()]).collect()
    };
    let (argv, env) = (pointers(argv), pointers(env));
    let program =
        Fprog { len: u16::try_from(filter.len()).map_err(|_| Errno::E2BIG)?, filter: filter.as_ptr() };
    // SAFETY: asks for a number.
    let parent = unsafe { libc::getpid() };
    // SAFETY: the child uses what was made before only by system calls (see the module), so it does not matter what other
    // threads held while it was forked.
    let pid = unsafe { libc::fork() };
    match pid {
        -1 => Err(last()),
        0 => {
            // SAFETY: `program` and both lists with their end marks live in this frame, which is never left.
            unsafe {
                child(&program, listen, path.as_ptr(), argv.as_ptr(), env.as_ptr(), shared.words(), parent)
            }
        }
        pid => Ok(pid),
    }
}

/// # Safety
/// Right after fork, in the child; the pointers are those of a filter, a path, and lists that end with null.
unsafe fn child(
    program: &Fprog,
    listen: bool,
    path: *const c_char,
    argv: *const *const c_char,
    env: *const *const c_char,
    words: &Words,
    parent: i32,
) -> ! {
    // SAFETY: only system calls, with what the caller vouches for; errno is the thread's own.
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as libc::c_ulong, 0, 0, 0);
        if libc::getppid() != parent {
            libc::_exit(127);
        }
        let mut result = i64::from(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
        if result == 0 {
            let with = |flags: libc::c_ulong| {
                libc::syscall(libc::SYS_seccomp, SET_MODE_FILTER, flags, ptr::from_ref(program))
            };
            let listener = if listen { NEW_LISTENER } else { 0 };
            result = with(if listen { listener | WAIT_KILLABLE } else { 0 });
            if result < 0 && listen && *libc::__errno_location() == libc::EINVAL {
                result = with(listener);
            }
        }
        if result < 0 {
            words.filter.store(-*libc::__errno_location(), Ordering::Release);
            libc::_exit(127);
        }
        words.filter.store(if listen { result as i32 + 2 } else { 1 }, Ordering::Release);
        // No call may be made here: the filter is in force, and nobody answers yet.
        while words.go.load(Ordering::Acquire) == 0 {
            std::hint::spin_loop();
        }
        libc::execve(path, argv, env);
        words.exec.store(*libc::__errno_location(), Ordering::Release);
        // The filter may refuse even this; the parent then ends the child.
        libc::_exit(127);
    }
}

/// A descriptor of a process (Linux 5.3).
pub(crate) fn pidfd_open(pid: i32) -> Result<OwnedFd, Errno> {
    // SAFETY: takes numbers, gives a descriptor.
    owned(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })
}

/// A copy of another process's descriptor (Linux 5.6).
pub(crate) fn pidfd_getfd(process: BorrowedFd<'_>, fd: i32) -> Result<OwnedFd, Errno> {
    // SAFETY: takes numbers, gives a descriptor.
    owned(unsafe { libc::syscall(libc::SYS_pidfd_getfd, process.as_raw_fd(), fd, 0) })
}

/// Waits until one of two descriptors has something to say, at most so many milliseconds: for each its `revents`.
pub(crate) fn poll(a: BorrowedFd<'_>, b: Option<BorrowedFd<'_>>, ms: i32) -> Result<(i16, i16), Errno> {
    let one = |fd: i32| libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    let mut list = [one(a.as_raw_fd()), one(b.map_or(-1, |b| b.as_raw_fd()))];
    // SAFETY: the list and its length; a negative descriptor is passed over.
    let n = unsafe { libc::poll(list.as_mut_ptr(), 2, ms) };
    match n {
        -1 if last() != Errno::EINTR => Err(last()),
        -1 => Ok((0, 0)),
        _ => Ok((list[0].revents, list[1].revents)),
    }
}

/// The next call that waits for an answer. Blocks; `ENOENT` when the caller has died meanwhile.
pub(crate) fn receive(listener: BorrowedFd<'_>) -> Result<Notif, Errno> {
    let mut notif = Notif::default();
    // SAFETY: the kernel writes one structure, which is all zeros before, as it asks for.
    done(unsafe { libc::ioctl(listener.as_raw_fd(), RECV as _, ptr::from_mut(&mut notif)) })?;
    Ok(notif)
}

/// Answers a call; `ENOENT` when the caller has died meanwhile.
pub(crate) fn respond(listener: BorrowedFd<'_>, mut response: Response) -> Result<(), Errno> {
    // SAFETY: the kernel reads one structure.
    done(unsafe { libc::ioctl(listener.as_raw_fd(), SEND as _, ptr::from_mut(&mut response)) })
}

/// Whether a call still waits: whether its process id is still that of the caller.
pub(crate) fn valid(listener: BorrowedFd<'_>, mut id: u64) -> bool {
    // SAFETY: the kernel reads one number.
    unsafe { libc::ioctl(listener.as_raw_fd(), ID_VALID as _, ptr::from_mut(&mut id)) == 0 }
}

/// Sends a signal to a process of our own making.
pub(crate) fn kill(pid: i32, signal: i32) -> Result<(), Errno> {
    // SAFETY: takes numbers.
    done(unsafe { libc::kill(pid, signal) })
}

/// The status of a child that has ended; `None` while it runs, where it is not waited for.
pub(crate) fn wait(pid: i32, block: bool) -> Result<Option<i32>, Errno> {
    let mut status = 0;
    loop {
        // SAFETY: the kernel writes one number.
        match unsafe { libc::waitpid(pid, &mut status, if block { 0 } else { libc::WNOHANG }) } {
            -1 if last() == Errno::EINTR => {}
            -1 => return Err(last()),
            0 => return Ok(None),
            _ => return Ok(Some(status)),
        }
    }
}

fn owned(n: libc::c_long) -> Result<OwnedFd, Errno> {
    if n < 0 {
        return Err(last());
    }
    // SAFETY: the kernel has just given this descriptor to us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(n as i32) })
}

fn done(n: libc::c_int) -> Result<(), Errno> {
    if n < 0 { Err(last()) } else { Ok(()) }
}

fn last() -> Errno {
    Errno(std::io::Error::last_os_error().raw_os_error().unwrap_or(0))
}
