//! Arguments that live in guest memory: keys, values, buffers, strings.
//!
//! Lengths come from the program and may be anything; nothing is allocated before [`Memory::check`] has said that so
//! many bytes exist.
//!
//! [`Memory::check`]: skep_platform::Memory::check

use skep_platform::{Env, Errno, Fault};

/// Bytes copied from guest memory; short ones without an allocation.
pub(crate) enum Bytes {
    Short([u8; 64], usize),
    Long(Vec<u8>),
}

impl Bytes {
    /// The bytes.
    pub(crate) fn get(&self) -> &[u8] {
        match self {
            Bytes::Short(b, n) => &b[..*n],
            Bytes::Long(v) => v,
        }
    }
}

/// Copies `len` bytes at `addr`.
pub(crate) fn bytes(env: &mut dyn Env<'_>, addr: u64, len: u64) -> Result<Bytes, Fault> {
    if len <= 64 {
        let mut b = [0; 64];
        let n = len as usize;
        if n > 0 {
            env.mem().read(addr, &mut b[..n])?;
        }
        return Ok(Bytes::Short(b, n));
    }
    vec(env, addr, len).map(Bytes::Long)
}

/// Copies `len` bytes at `addr` into a vector.
pub(crate) fn vec(env: &mut dyn Env<'_>, addr: u64, len: u64) -> Result<Vec<u8>, Fault> {
    if len == 0 {
        return Ok(Vec::new());
    }
    env.mem().check(addr, len, false)?;
    let mut v = vec![0; len as usize];
    env.mem().read(addr, &mut v)?;
    Ok(v)
}

/// Writes `len` zero bytes at `addr`.
pub(crate) fn zero(env: &mut dyn Env<'_>, addr: u64, len: u64) -> Result<(), Fault> {
    env.mem().check(addr, len, true)?;
    let zeros = [0; 256];
    let mut done = 0;
    while done < len {
        let n = (len - done).min(256);
        env.mem().write(addr.wrapping_add(done), &zeros[..n as usize])?;
        done += n;
    }
    Ok(())
}

/// Copies from any address: guest memory, or other memory of the process.
pub(crate) fn probe(env: &mut dyn Env<'_>, addr: u64, out: &mut [u8]) -> Result<(), Errno> {
    env.probe_read(addr, out)
}

/// Copies a NUL-terminated string from any address into `out`, always terminated when `out` has room for a byte; the
/// bytes written, NUL included.
pub(crate) fn probe_str(env: &mut dyn Env<'_>, addr: u64, out: &mut [u8]) -> Result<usize, Errno> {
    let mut done = 0;
    while done < out.len() {
        let at = addr.wrapping_add(done as u64);
        let page_left = 4096 - (at % 4096) as usize;
        let mut n = page_left.min(out.len() - done).min(64);
        if probe(env, at, &mut out[done..done + n]).is_err() {
            n = 1;
            probe(env, at, &mut out[done..done + 1])?;
        }
        if let Some(nul) = out[done..done + n].iter().position(|b| *b == 0) {
            return Ok(done + nul + 1);
        }
        done += n;
    }
    if let Some(last) = out.last_mut() {
        *last = 0;
    }
    Ok(done)
}
