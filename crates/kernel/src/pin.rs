//! Pins: names in a bpf file system that keep objects alive (Documentation/bpf, `kernel/bpf/inode.c`).
//!
//! A pin is made by [`pin`], opened by [`open`] and taken away by removing the file. Folders are made as needed. A path
//! outside of a bpf file system is refused with the command that mounts one.

use crate::door::Door;
use crate::mount::mounted;
use skep_platform::Errno;
use std::ffi::CString;
use std::fmt;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Where a bpf file system usually is.
pub const BPFFS: &str = "/sys/fs/bpf";
/// Its kind in the table of mounts.
const FS_NAME: &str = "bpf";

/// Why something cannot be pinned, opened or taken away.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PinError {
    /// The path.
    pub path: PathBuf,
    /// The error number.
    pub errno: Errno,
    /// What to do.
    pub why: String,
}

impl fmt::Display for PinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.why)
    }
}

impl std::error::Error for PinError {}

fn c_path(path: &Path) -> Result<CString, PinError> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| PinError {
        path: path.into(),
        errno: Errno::EINVAL,
        why: "the path has a NUL in it".into(),
    })
}

/// Pins an object; folders on the way are made.
///
/// # Errors
/// `EEXIST` when the name is taken, `EINVAL` outside of a bpf file system, `EPERM` without the right to write there.
pub fn pin(door: &dyn Door, path: &Path, fd: BorrowedFd<'_>) -> Result<(), PinError> {
    let name = c_path(path)?;
    let mut pinned = door.obj_pin(&name, fd);
    let folder = path.parent().filter(|f| !f.as_os_str().is_empty());
    if let (Err(Errno::ENOENT), Some(folder)) = (&pinned, folder) {
        self::folder(folder)?;
        pinned = door.obj_pin(&name, fd);
    }
    pinned.map_err(|e| error(path, e))
}

/// Makes a folder for pins.
///
/// # Errors
/// As [`pin`].
pub fn folder(path: &Path) -> Result<(), PinError> {
    let made = std::fs::create_dir_all(path);
    made.map_err(|e| error(path, Errno(e.raw_os_error().unwrap_or(5))))
}

/// Opens a pinned object. A folder in which it is looked for must be readable.
///
/// # Errors
/// `ENOENT` when nothing has this name, `EINVAL` when the file is no pin.
pub fn open(door: &dyn Door, path: &Path) -> Result<OwnedFd, PinError> {
    door.obj_get(&c_path(path)?, 0).map_err(|e| error(path, e))
}

/// Takes a pin away. The object lives on while somebody holds it.
///
/// # Errors
/// That of the file system.
pub fn unpin(path: &Path) -> Result<(), PinError> {
    std::fs::remove_file(path).map_err(|e| error(path, Errno(e.raw_os_error().unwrap_or(5))))
}

/// All pins below a folder, with the object each is; folders and links that cannot be read are passed over.
///
/// Cost: a system call for each file.
pub fn walk(door: &dyn Door, root: &Path, visit: &mut dyn FnMut(&Path, OwnedFd)) {
    let Ok(entries) = std::fs::read_dir(root) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        match entry.file_type() {
            Ok(t) if t.is_dir() => walk(door, &path, visit),
            Ok(t) if t.is_file() => {
                if let Ok(fd) = open(door, &path) {
                    visit(&path, fd);
                }
            }
            _ => {}
        }
    }
}

/// Where bpf file systems are mounted.
pub fn mounts() -> Vec<PathBuf> {
    mounted(FS_NAME)
}

fn error(path: &Path, errno: Errno) -> PinError {
    let inside = mounts().iter().any(|m| path.starts_with(m));
    let why = match errno {
        Errno::EEXIST => "something is pinned there already; take it away or choose another name".into(),
        Errno::ENOENT => "nothing is pinned there".into(),
        Errno::EPERM | Errno::EACCES if !inside => outside(path),
        Errno::EPERM => {
            "the file system does not let this user do that; pins need CAP_BPF and write access to \
                         the folder (names may not have a dot in them, either)"
                .into()
        }
        Errno::EACCES => "this user has no access to the folder or file; have its owner change its mode (chmod), or run as the user who pinned it"
            .into(),
        Errno::EINVAL if !inside => outside(path),
        Errno::EINVAL => "the file is no pinned object".into(),
        Errno::EROFS => "the file system is mounted read-only".into(),
        e => e.to_string(),
    };
    PinError { path: path.into(), errno, why }
}

fn outside(path: &Path) -> String {
    match mounts().first() {
        Some(m) => format!("pins live in a bpf file system, such as {}", m.display()),
        None => format!(
            "pins live in a bpf file system, and none is mounted: mount -t bpf bpf {}",
            path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new(BPFFS)).display()
        ),
    }
}
