//! Where the process begins: C's `main` in the place of the standard library's.
//!
//! That one also reads `/proc/self/maps` and sets up a second stack, to have words for a stack that overflows, which takes a
//! twentieth of the time in which a small object is loaded. What else it does is done here: descriptors 0 to 2 are open, a
//! reader that goes away is an error and not a signal, a panic ends with 101, and what is buffered is written at the end.

use std::ffi::{CStr, OsStr, OsString, c_char, c_int};
use std::os::unix::ffi::OsStrExt;
use std::panic::catch_unwind;

/// What C calls.
// SAFETY: no other symbol of the program has this name, and the signature is that of C's `main`.
#[unsafe(no_mangle)]
extern "C" fn main(count: c_int, words: *const *const c_char) -> c_int {
    prepare();
    let count = usize::try_from(count).unwrap_or(0);
    // SAFETY: C gives `count` pointers to strings that end with a zero byte and live as long as the process.
    let word = |n| unsafe { CStr::from_ptr(*words.add(n)) };
    let line: Vec<OsString> = (0..count).map(|n| OsStr::from_bytes(word(n).to_bytes()).to_owned()).collect();
    std::process::exit(catch_unwind(|| crate::run(&line)).map_or(101, i32::from))
}

/// Standard descriptors and signals, before anything is opened.
fn prepare() {
    let mut std = [0, 1, 2].map(|fd| libc::pollfd { fd, events: 0, revents: 0 });
    // SAFETY: `poll` writes to the three records that it is given; the path ends with a zero byte; ignoring a signal runs no code.
    unsafe {
        if libc::poll(std.as_mut_ptr(), 3, 0) > 0 {
            for closed in std.iter().filter(|p| p.revents & libc::POLLNVAL != 0) {
                // The lowest free descriptor is the one that is missing. Without it, a file opened later would be taken for it.
                if libc::open(c"/dev/null".as_ptr(), libc::O_RDWR) != closed.fd {
                    libc::abort();
                }
            }
        }
        libc::signal(libc::SIGPIPE, libc::SIG_IGN);
    }
}
