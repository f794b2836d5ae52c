//! A library made of [`super::library`]'s text, in this process.

use super::Source;
use crate::head::EntryFn;
use std::ffi::{CStr, c_char, c_void};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd};
use std::path::{Path, PathBuf};

/// First word of a library: "SKEPAOT" and a version.
pub(super) const MAGIC: u64 = 0x3154_4f41_5045_4b53;

/// A library's file, read; programs take their code from it.
#[derive(Debug)]
pub struct Library {
    path: PathBuf,
    bytes: Vec<u8>,
}

/// As the C text declares it.
#[repr(C)]
struct Head {
    magic: u64,
    count: u64,
    programs: *const Entry,
}

#[repr(C)]
struct Entry {
    name: *const c_char,
    hash: [u64; 2],
    functions_len: u64,
    functions: *const Function,
    words_len: u64,
    words: *mut u64,
}

#[repr(C)]
struct Function {
    slot: u64,
    entry: EntryFn,
}

/// A program's code out of a library, which stays loaded as long as this lives.
#[derive(Debug)]
pub(crate) struct Program {
    handle: *mut c_void,
    /// The mapping's file, by whose number the linker knows it: the number must not be used again.
    _file: File,
    /// First slot and address of every function, ascending by slot.
    pub(crate) functions: Vec<(usize, u64)>,
}

// SAFETY: the handle is used once, when the value is dropped; dlclose(3) may be called from any thread.
unsafe impl Send for Program {}
// SAFETY: as above.
unsafe impl Sync for Program {}

impl Drop for Program {
    fn drop(&mut self) {
        // SAFETY: the handle came from dlopen(3), and nobody runs the code any more.
        unsafe { libc::dlclose(self.handle) };
    }
}

impl Library {
    /// Reads a library. It is native code of whoever made it, and is trusted as such: take no library from others.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn open(path: &Path) -> std::io::Result<Library> {
        let mut bytes = Vec::new();
        File::open(path)?.read_to_end(&mut bytes)?;
        Ok(Library { path: path.to_owned(), bytes })
    }

    /// The code of the program that has this text. Each call maps the library anew: programs that are loaded twice have tables of
    /// their own.
    ///
    /// # Errors
    /// In words: it is no library of this kind, or has no such program.
    pub(crate) fn program(&self, source: &Source) -> Result<Program, String> {
        let fail = |why: String| format!("{}: {why}", self.path.display());
        let mut program = self.map().map_err(|e| fail(format!("it cannot be loaded: {e}")))?;
        // SAFETY: the handle is open; the name is a C string.
        let head = unsafe { libc::dlsym(program.handle, c"skep_library".as_ptr()) }.cast::<Head>();
        // SAFETY: a library that has the symbol is trusted to be what its first word says; tables are as long as they say, and
        // stay as long as the library is open.
        unsafe {
            if head.is_null() || (*head).magic != MAGIC {
                return Err(fail("it is no library made by `skep build --native` of this version".into()));
            }
            let hash = source.hash();
            let rows = std::slice::from_raw_parts((*head).programs, (*head).count as usize);
            let found = rows.iter().find(|r| r.hash == [hash as u64, (hash >> 64) as u64]);
            let Some(row) = found.filter(|r| r.words_len == source.addresses.len() as u64) else {
                let names: Vec<_> = rows.iter().map(|r| CStr::from_ptr(r.name).to_string_lossy()).collect();
                return Err(fail(format!(
                    "it has no code of this program as it is now (it has {}): build it again",
                    names.join(", ")
                )));
            };
            std::ptr::copy_nonoverlapping(source.addresses.as_ptr(), row.words, source.addresses.len());
            let functions = std::slice::from_raw_parts(row.functions, row.functions_len as usize);
            program.functions =
                functions.iter().map(|f| (f.slot as usize, f.entry as usize as u64)).collect();
        }
        Ok(program)
    }

    /// A mapping of its own: a file that nobody else has.
    fn map(&self) -> Result<Program, String> {
        // SAFETY: a C string and flags; the descriptor is new.
        let fd = unsafe { libc::memfd_create(c"skep-aot".as_ptr(), libc::MFD_CLOEXEC) };
        if fd < 0 {
            return Err(std::io::Error::last_os_error().to_string());
        }
        // SAFETY: the descriptor is open and nobody else's.
        let mut file = unsafe { File::from_raw_fd(fd) };
        file.write_all(&self.bytes).map_err(|e| e.to_string())?;
        let path = format!("/proc/self/fd/{}\0", file.as_raw_fd());
        // SAFETY: a C string.
        let handle = unsafe { libc::dlopen(path.as_ptr().cast(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
        if handle.is_null() {
            // SAFETY: dlerror(3) gives a C string, or NULL where there was no error.
            let why = unsafe {
                let text = libc::dlerror();
                if text.is_null() {
                    "no reason given".into()
                } else {
                    CStr::from_ptr(text).to_string_lossy().into_owned()
                }
            };
            return Err(why);
        }
        Ok(Program { handle, _file: file, functions: Vec::new() })
    }
}
