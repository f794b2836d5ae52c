//! Error numbers as programs and map operations return them (asm-generic/errno.h, x86-64 numbering).

use std::fmt;

/// A positive Linux error number. Programs see `-errno`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Errno(pub i32);

macro_rules! errnos {
    ($($name:ident = $n:literal, $text:literal;)*) => {
        #[allow(missing_docs)]
        impl Errno { $(pub const $name: Errno = Errno($n);)* }
        /// Number, symbolic name and meaning of every error number known here.
        pub const ERRNOS: &[(i32, &str, &str)] = &[$(($n, stringify!($name), $text),)*];
    };
}

errnos! {
    EPERM = 1, "operation not permitted";
    ENOENT = 2, "no such entry";
    ESRCH = 3, "no such process";
    EINTR = 4, "interrupted";
    EIO = 5, "input/output error";
    ENXIO = 6, "no such device or address";
    E2BIG = 7, "too big";
    EBADF = 9, "bad file descriptor";
    EAGAIN = 11, "try again";
    ENOMEM = 12, "out of memory";
    EACCES = 13, "permission denied";
    EFAULT = 14, "bad address";
    EBUSY = 16, "busy";
    EEXIST = 17, "exists already";
    ENODEV = 19, "no such device";
    ENOTDIR = 20, "not a folder";
    EINVAL = 22, "invalid argument";
    ENOSPC = 28, "no space left";
    EROFS = 30, "read-only";
    EDOM = 33, "argument out of domain";
    ERANGE = 34, "result out of range";
    EDEADLK = 35, "would deadlock";
    ENAMETOOLONG = 36, "name too long";
    ENOSYS = 38, "not implemented";
    ENOLINK = 67, "link is severed";
    EPROTO = 71, "protocol error";
    EBADMSG = 74, "bad message";
    EDESTADDRREQ = 89, "no place named";
    EMSGSIZE = 90, "message too long";
    EPROTONOSUPPORT = 93, "protocol not supported";
    EOPNOTSUPP = 95, "operation not supported";
    EPFNOSUPPORT = 96, "protocol family not supported";
    EAFNOSUPPORT = 97, "address family not supported";
    EADDRINUSE = 98, "address in use";
    ENETDOWN = 100, "network is down";
    ENETUNREACH = 101, "network is unreachable";
    ENOBUFS = 105, "no buffer space";
    EALREADY = 114, "already done";
    EINPROGRESS = 115, "in progress";
    ENOTSUPP = 524, "operation is not supported";
}

impl Errno {
    /// What a program sees in `r0`: the negated number, sign-extended.
    pub const fn to_r0(self) -> u64 {
        (-(self.0 as i64)) as u64
    }

    /// `ENOENT` and so on; empty for a number not in the table.
    pub fn name(self) -> &'static str {
        ERRNOS.iter().find(|e| e.0 == self.0).map_or("", |e| e.1)
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match ERRNOS.iter().find(|e| e.0 == self.0) {
            Some((_, name, text)) => write!(f, "{name} ({text})"),
            None => write!(f, "error {}", self.0),
        }
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            "" => write!(f, "Errno({})", self.0),
            name => f.write_str(name),
        }
    }
}

impl std::error::Error for Errno {}
