//! Commands under a seccomp filter: started with it, and, where the filter has calls of which a supervisor is told,
//! supervised.
//!
//! ```text
//!  parent                               child
//!    fork ────────────────────────────►  no_new_privs, seccomp(filter) ─► listener n
//!    takes a copy of the listener  ◄───  waits, without any call (the filter is in force)
//!    go  ─────────────────────────────►  execve
//!    next, answer, next, answer …        calls wait for their answers
//! ```
//!
//! Always holds: a child whose parent ends is killed; a call that the supervisor lets pass is made with the arguments that
//! it has *then*: letting pass is for watching, refusing is safe.

use crate::raw::seccomp as raw;
use skep_platform::Errno;
use std::ffi::{CString, OsString};
use std::fmt;
use std::io::{Read, Seek, SeekFrom};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

/// A call that waits for an answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Notification {
    /// Names it in the answer.
    pub id: u64,
    /// The thread that makes it.
    pub pid: u32,
    /// Number.
    pub nr: u32,
    /// `AUDIT_ARCH_*`.
    pub arch: u32,
    /// Where it is made.
    pub ip: u64,
    /// Arguments.
    pub args: [u64; 6],
}

/// What becomes of a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer {
    /// It is made.
    Pass,
    /// It fails with this error.
    Fail(Errno),
    /// It is not made and returns this.
    Return(i64),
}

/// Why a command could not be started.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum StartError {
    /// No such program: its name.
    NotFound(String),
    /// A zero byte in a word of the command.
    ZeroByte,
    /// The kernel refuses the filter.
    Filter(Errno),
    /// The listener could not be taken over.
    Listener(Errno),
    /// Another step failed: which.
    System(&'static str, Errno),
    /// The program could not be executed.
    Exec(String, Errno),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::NotFound(name) => write!(f, "there is no program {name:?}; check its name and PATH"),
            StartError::ZeroByte => f.write_str("a word of the command has a zero byte in it"),
            StartError::Filter(Errno::EINVAL) => {
                f.write_str("the kernel refuses the filter: EINVAL; it is built without CONFIG_SECCOMP_FILTER, or too old for what is asked")
            }
            StartError::Filter(Errno::EBUSY) => {
                f.write_str("the kernel refuses a listener: EBUSY; this process has one already, and there can be only one")
            }
            StartError::Filter(e) => write!(f, "the kernel refuses the filter: {}", words(*e)),
            StartError::Listener(e) => {
                write!(f, "the listener of the command's calls cannot be taken over: {}; that needs Linux 5.6, and ptrace of own children must be allowed", words(*e))
            }
            StartError::System(what, e) => write!(f, "{what} failed: {}", words(*e)),
            StartError::Exec(name, e) => write!(f, "cannot execute {name}: {}", words(*e)),
        }
    }
}

impl std::error::Error for StartError {}

/// The system's words for an error.
fn words(e: Errno) -> std::io::Error {
    std::io::Error::from_raw_os_error(e.0)
}

/// A command that runs under a filter.
pub struct Supervised {
    pid: i32,
    process: OwnedFd,
    listener: Option<OwnedFd>,
    shared: raw::Shared,
    path: PathBuf,
    status: Option<i32>,
}

impl fmt::Debug for Supervised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Supervised").field("pid", &self.pid).field("status", &self.status).finish()
    }
}

/// Milliseconds between two looks at whether the command could be executed.
const LOOK: i32 = 100;

/// Starts a command (a program and its arguments, with this process's environment) under a filter: the instructions as
/// `struct sock_filter`. With `listen` the filter's `SECCOMP_RET_USER_NOTIF` comes to [`Supervised::next`].
///
/// # Errors
/// What could not be done.
pub fn start(filter: &[[u8; 8]], command: &[OsString], listen: bool) -> Result<Supervised, StartError> {
    let name = command.first().ok_or(StartError::NotFound(String::new()))?;
    let path = find(name).ok_or_else(|| StartError::NotFound(name.to_string_lossy().into_owned()))?;
    let c = |bytes: &[u8]| CString::new(bytes).map_err(|_| StartError::ZeroByte);
    let argv: Vec<CString> = command.iter().map(|w| c(w.as_bytes())).collect::<Result<_, _>>()?;
    let env: Vec<CString> = std::env::vars_os()
        .map(|(mut k, v)| {
            k.push("=");
            k.push(v);
            c(&k.into_vec())
        })
        .collect::<Result<_, _>>()?;
    let system = |what| move |e| StartError::System(what, e);
    let shared = raw::Shared::new().map_err(system("mmap"))?;
    let target = c(path.as_os_str().as_bytes())?;
    let pid = raw::fork(filter, listen, &target, &argv, &env, &shared).map_err(system("fork"))?;
    let started = attach(pid, listen, &shared);
    match started {
        Ok((process, listener)) => {
            shared.go();
            Ok(Supervised { pid, process, listener, shared, path, status: None })
        }
        Err(e) => {
            let _ = raw::kill(pid, libc::SIGKILL);
            let _ = raw::wait(pid, true);
            Err(e)
        }
    }
}

/// Waits until the child has its filter, and takes the listener over.
fn attach(pid: i32, listen: bool, shared: &raw::Shared) -> Result<(OwnedFd, Option<OwnedFd>), StartError> {
    let process = raw::pidfd_open(pid).map_err(|e| StartError::System("pidfd_open", e))?;
    let fd = loop {
        match shared.filter() {
            Some(Ok(fd)) => break fd,
            Some(Err(e)) => return Err(StartError::Filter(e)),
            None => {}
        }
        let (_, ended) = raw::poll(process.as_fd(), Some(process.as_fd()), 0).unwrap_or_default();
        if ended != 0 && shared.filter().is_none() {
            return Err(StartError::System("the child", Errno::ESRCH));
        }
        std::thread::sleep(Duration::from_micros(100));
    };
    let listener = match fd {
        Some(fd) if listen => Some(raw::pidfd_getfd(process.as_fd(), fd).map_err(StartError::Listener)?),
        _ => None,
    };
    Ok((process, listener))
}

/// The file that a command's first word names, looked up in PATH as execvp(3) does.
fn find(name: &OsString) -> Option<PathBuf> {
    let executable = |p: &Path| {
        use std::os::unix::fs::PermissionsExt;
        std::fs::metadata(p).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
    };
    if name.as_bytes().contains(&b'/') {
        let path = PathBuf::from(name);
        return path.exists().then_some(path);
    }
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into());
    std::env::split_paths(&path).map(|d| d.join(name)).find(|p| executable(p))
}

impl Supervised {
    /// Process id of the command.
    pub fn pid(&self) -> u32 {
        self.pid as u32
    }

    /// The next call that waits for an answer; `None` once the command and all its descendants have ended. Blocks.
    ///
    /// # Errors
    /// The program could not be executed, or a system call failed.
    pub fn next_call(&mut self) -> Result<Option<Notification>, StartError> {
        loop {
            self.check_exec()?;
            let Some(listener) = &self.listener else { return Ok(None) };
            let process = self.status.is_none().then(|| self.process.as_fd());
            let (calls, ended) =
                raw::poll(listener.as_fd(), process, LOOK).map_err(|e| StartError::System("poll", e))?;
            if calls & libc::POLLIN != 0 {
                match raw::receive(listener.as_fd()) {
                    Ok(n) => {
                        let raw::Notif { id, pid, nr, arch, ip, args, .. } = n;
                        self.check_exec()?;
                        return Ok(Some(Notification { id, pid, nr, arch, ip, args }));
                    }
                    // Who made the call has died meanwhile.
                    Err(Errno::ENOENT | Errno::EINTR) => continue,
                    Err(e) => return Err(StartError::System("the listener", e)),
                }
            }
            if ended != 0 {
                self.status = raw::wait(self.pid, false).ok().flatten();
            }
            if calls & libc::POLLHUP != 0 {
                return Ok(None);
            }
        }
    }

    /// Ends the child and says so, if the program could not be executed.
    fn check_exec(&mut self) -> Result<(), StartError> {
        let Some(e) = self.shared.exec_error() else { return Ok(()) };
        self.kill();
        Err(StartError::Exec(self.path.display().to_string(), e))
    }

    /// Answers a call. That its caller has died meanwhile is no error.
    ///
    /// # Errors
    /// Those of the listener.
    pub fn answer(&self, call: &Notification, answer: Answer) -> Result<(), Errno> {
        let Some(listener) = &self.listener else { return Err(Errno::EBADF) };
        let (val, error, flags) = match answer {
            // SECCOMP_USER_NOTIF_FLAG_CONTINUE
            Answer::Pass => (0, 0, 1),
            Answer::Fail(e) => (0, -e.0, 0),
            Answer::Return(v) => (v, 0, 0),
        };
        match raw::respond(listener.as_fd(), raw::Response { id: call.id, val, error, flags }) {
            Err(Errno::ENOENT) => Ok(()),
            other => other,
        }
    }

    /// A string in the memory of who makes a call, up to its zero byte or `most` bytes; `None` where it cannot be read.
    pub fn text(&self, call: &Notification, address: u64, most: usize) -> Option<Vec<u8>> {
        let mut memory = std::fs::File::open(format!("/proc/{}/mem", call.pid)).ok()?;
        memory.seek(SeekFrom::Start(address)).ok()?;
        let (mut out, mut page) = (Vec::new(), [0; 256]);
        while out.len() < most {
            // Not beyond the end of a page in one go: the next one need not be mapped.
            let at = address as usize + out.len();
            let room = (256 - at % 256).min(most - out.len());
            let n = memory.read(&mut page[..room]).ok().filter(|n| *n > 0);
            let Some(n) = n else { break };
            if let Some(end) = page[..n].iter().position(|b| *b == 0) {
                out.extend_from_slice(&page[..end]);
                break;
            }
            out.extend_from_slice(&page[..n]);
        }
        // Who is asked must still be who made the call.
        let listener = self.listener.as_ref()?;
        raw::valid(listener.as_fd(), call.id).then_some(out)
    }

    /// Sends the caller of a call a signal, unless it has died meanwhile.
    pub fn signal(&self, call: &Notification, signal: i32) {
        let valid = self.listener.as_ref().is_some_and(|l| raw::valid(l.as_fd(), call.id));
        if valid {
            let _ = raw::kill(call.pid as i32, signal);
        }
    }

    /// Kills the command.
    pub fn kill(&mut self) {
        if self.status.is_none() {
            let _ = raw::kill(self.pid, libc::SIGKILL);
            self.status = raw::wait(self.pid, true).ok().flatten();
        }
    }

    /// Waits for the command to end.
    ///
    /// # Errors
    /// The program could not be executed.
    pub fn wait(&mut self) -> Result<ExitStatus, StartError> {
        while self.status.is_none() {
            self.check_exec()?;
            let (ended, _) =
                raw::poll(self.process.as_fd(), None, LOOK).map_err(|e| StartError::System("poll", e))?;
            if ended != 0 {
                self.check_exec()?;
                self.status = raw::wait(self.pid, true).map_err(|e| StartError::System("waitpid", e))?;
            }
        }
        // The program may have failed to start and ended before anybody looked.
        match self.shared.exec_error() {
            Some(e) => Err(StartError::Exec(self.path.display().to_string(), e)),
            None => Ok(ExitStatus::from_raw(self.status.unwrap_or(0))),
        }
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        self.kill();
    }
}
