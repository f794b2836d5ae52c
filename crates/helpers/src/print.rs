//! Text: trace lines and formatted buffers. The formatter itself is in [`crate::format`].

use crate::format::{Probe, prepare, render};
use crate::guest;
use crate::row::*;

/// The rows of this family.
pub(crate) const ROWS: &[&Helper] =
    &[&bpf_trace_printk, &bpf_snprintf_btf, &bpf_snprintf, &bpf_trace_vprintk];

helper! { bpf_trace_printk = 6, since: (4, 1),
    signature: "long bpf_trace_printk(const char *fmt, u32 fmt_size, ...)",
    doc: "Formats up to three values and writes the line to the trace output.",
    protos: [
        { who: ALL, since: (4, 1),
          args: [RO_MEM, SIZE], ret: ret::INTEGER,
          gpl_only: true, pkt_access: false, might_sleep: false, capability: PERFMON },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::None,
    body: Body::Fn(trace_printk),
}

/// The trace line goes to the host without the newline at its end; returns the line's length.
fn trace_printk(env: &mut dyn Env<'_>, a: [u64; 5]) -> Outcome {
    let [fmt, size, args @ ..] = a;
    trace(env, fmt, size, &args)
}

/// Longest line, NUL included (`MAX_BPRINTF_BUF`).
const MAX_LINE: usize = 1024;

fn trace(env: &mut dyn Env<'_>, fmt: u64, size: u64, args: &[u64]) -> Outcome {
    let fmt = guest::vec(env, fmt, u64::from(size as u32))?;
    let prepared = match prepare(&fmt, args, &mut Anywhere(env)) {
        Ok(p) => p,
        Err(e) => return Ok(e.into()),
    };
    let (text, len) = render(&prepared, MAX_LINE);
    let line = String::from_utf8_lossy(text.strip_suffix(b"\0").unwrap_or(&text)).into_owned();
    env.host().trace(line.strip_suffix('\n').unwrap_or(&line));
    Ok(Ret::Scalar(len as u64))
}

/// Memory at any address, as string conversions read it.
struct Anywhere<'a, 'r>(&'a mut dyn Env<'r>);

impl Probe for Anywhere<'_, '_> {
    fn bytes(&mut self, addr: u64, out: &mut [u8]) -> Result<(), Errno> {
        guest::probe(self.0, addr, out)
    }

    fn string(&mut self, addr: u64, out: &mut [u8]) -> Result<usize, Errno> {
        guest::probe_str(self.0, addr, out)
    }
}

helper! { bpf_snprintf_btf = 149, since: (5, 10),
    signature: "long bpf_snprintf_btf(char *str, u32 str_size, struct btf_ptr *ptr, u32 btf_ptr_size, u64 flags)",
    doc: "Writes a kernel object as text by its BTF type.",
    protos: [
        { who: BASE, since: (5, 10),
          args: [UNINIT_MEM, SIZE, RO_MEM, SIZE, ANY], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: PERFMON },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::None,
    body: Body::Absent(absent::SNPRINTF_BTF),
}

helper! { bpf_snprintf = 165, since: (5, 13),
    signature: "long bpf_snprintf(char *str, u32 str_size, const char *fmt, u64 *data, u32 data_len)",
    doc: "Formats values into a buffer.",
    protos: [
        { who: BASE, since: (5, 13),
          args: [UNINIT_MEM_OR_NULL, SIZE_OR_ZERO, CONST_STR, RO_MEM_OR_NULL, SIZE_OR_ZERO], ret: ret::INTEGER,
          gpl_only: true, pkt_access: false, might_sleep: false, capability: PERFMON },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::Format { fmt: 2, data: 3, size: 4 },
    body: Body::Fn(snprintf),
}

/// Returns the length of the whole text with its NUL, which may be more than the buffer holds.
fn snprintf(env: &mut dyn Env<'_>, a: [u64; 5]) -> Outcome {
    let [out, size, fmt, data, len] = a;
    let size = u64::from(size as u32);
    let args = match arguments(env, data, len)? {
        Ok(args) => args,
        Err(e) => return Ok(e.into()),
    };
    let mut fmt = env.mem().read_str(fmt, MAX_FORMAT)?;
    fmt.push(0);
    if size > 0 {
        env.mem().check(out, size, true)?;
    }
    let prepared = match prepare(&fmt, &args, &mut Anywhere(env)) {
        Ok(p) => p,
        Err(e) => return Ok(e.into()),
    };
    let (text, len) = render(&prepared, size as usize);
    if !text.is_empty() {
        env.mem().write(out, &text)?;
    }
    Ok(Ret::Scalar(len as u64 + 1))
}

/// Longest format string that is looked at.
const MAX_FORMAT: usize = 64 * 1024;

helper! { bpf_trace_vprintk = 177, since: (5, 16),
    signature: "long bpf_trace_vprintk(const char *fmt, u32 fmt_size, const void *data, u32 data_len)",
    doc: "Formats any number of values and writes the line to the trace output.",
    protos: [
        { who: BASE, since: (5, 16),
          args: [RO_MEM, SIZE, RO_MEM_OR_NULL, SIZE_OR_ZERO], ret: ret::INTEGER,
          gpl_only: true, pkt_access: false, might_sleep: false, capability: PERFMON },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::None,
    body: Body::Fn(trace_vprintk),
}

fn trace_vprintk(env: &mut dyn Env<'_>, a: [u64; 5]) -> Outcome {
    let [fmt, size, data, len, _] = a;
    match arguments(env, data, len)? {
        Ok(args) => trace(env, fmt, size, &args),
        Err(e) => Ok(e.into()),
    }
}

/// Most arguments of one format (`MAX_BPRINTF_VARARGS`).
const MAX_ARGS: u64 = 12;

/// Arguments given as an array of 64-bit words.
fn arguments(env: &mut dyn Env<'_>, data: u64, len: u64) -> Result<Result<Vec<u64>, Errno>, Fault> {
    let len = u64::from(len as u32);
    if !len.is_multiple_of(8) || len > MAX_ARGS * 8 || (len > 0 && data == 0) {
        return Ok(Err(Errno::EINVAL));
    }
    let bytes = guest::vec(env, data, len)?;
    let word = |c: &[u8]| c.first_chunk::<8>().map_or(0, |w| u64::from_ne_bytes(*w));
    Ok(Ok(bytes.chunks_exact(8).map(word).collect()))
}
