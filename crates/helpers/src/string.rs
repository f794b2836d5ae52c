//! Numbers in text, and comparison.

use crate::guest;
use crate::row::*;

/// The rows of this family.
pub(crate) const ROWS: &[&Helper] = &[&bpf_strtol, &bpf_strtoul, &bpf_strncmp];

helper! { bpf_strtol = 105, since: (5, 2),
    signature: "long bpf_strtol(const char *buf, size_t buf_len, u64 flags, long *res)",
    doc: "Reads a signed number from text.",
    protos: [
        { who: BASE, since: (5, 2),
          args: [RO_MEM, SIZE, ANY, fixed_out(8)], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::None,
    body: Body::Fn(strtol),
}

fn strtol(env: &mut dyn Env<'_>, a: [u64; 5]) -> Outcome {
    let number = |n: Number| match n.negative {
        true if (n.magnitude.wrapping_neg() as i64) > 0 => Err(Errno::ERANGE),
        true => Ok(n.magnitude.wrapping_neg()),
        false if (n.magnitude as i64) < 0 => Err(Errno::ERANGE),
        false => Ok(n.magnitude),
    };
    convert(env, a, number)
}

/// Reads the text, stores what `number` makes of it (0 on failure), and returns the bytes used.
fn convert(env: &mut dyn Env<'_>, a: [u64; 5], number: fn(Number) -> Result<u64, Errno>) -> Outcome {
    let [text, len, flags, out, _] = a;
    env.mem().write(out, &[0; 8])?;
    let text = guest::vec(env, text, len)?;
    let parsed = parse(&text, flags).and_then(|n| Ok((n.used, number(n)?)));
    match parsed {
        Ok((used, value)) => {
            env.mem().write(out, &value.to_ne_bytes())?;
            Ok(Ret::Scalar(used))
        }
        Err(e) => Ok(e.into()),
    }
}

/// A number in text.
struct Number {
    magnitude: u64,
    negative: bool,
    /// Bytes of text it took, leading white space included.
    used: u64,
}

/// Digits looked at, at most.
const MAX_DIGITS: usize = 63;

/// White space, a minus sign, a base prefix and digits (`__bpf_strtoull`): bases 8, 10 and 16, or 0 to go by the prefix.
fn parse(text: &[u8], flags: u64) -> Result<Number, Errno> {
    let base = flags as u32;
    if text.is_empty() || !matches!(flags, 0 | 8 | 10 | 16) {
        return Err(Errno::EINVAL);
    }
    let spaces = text.iter().take_while(|b| is_space(**b)).count();
    let negative = text.get(spaces) == Some(&b'-');
    let start = spaces + usize::from(negative);
    let digits = &text[start..];
    let digits = &digits[..digits.len().min(MAX_DIGITS)];
    let (base, prefix) = radix(digits, base);
    let (magnitude, n) = integer(&digits[prefix..], base)?;
    Ok(Number { magnitude, negative, used: (start + prefix + n) as u64 })
}

/// White space as the kernel's `isspace` has it.
pub(crate) fn is_space(b: u8) -> bool {
    matches!(b, 9..=13 | b' ' | 0xa0)
}

/// Base and length of its prefix.
fn radix(s: &[u8], base: u32) -> (u32, usize) {
    let hex = s.first() == Some(&b'0') && s.get(1).is_some_and(|c| c | 0x20 == b'x');
    match base {
        0 if hex && s.get(2).is_some_and(u8::is_ascii_hexdigit) => (16, 2),
        0 if s.first() == Some(&b'0') => (8, 0),
        0 => (10, 0),
        16 if hex => (16, 2),
        _ => (base, 0),
    }
}

/// Value and number of the digits at the start of `s`.
fn integer(s: &[u8], base: u32) -> Result<(u64, usize), Errno> {
    let (mut value, mut n, mut overflow) = (0u64, 0, false);
    while let Some(d) = s.get(n).and_then(|c| char::from(*c).to_digit(16)).filter(|d| *d < base) {
        match value.checked_mul(base.into()).and_then(|v| v.checked_add(d.into())) {
            Some(v) => value = v,
            None => overflow = true,
        }
        n += 1;
    }
    match (overflow, n) {
        (true, _) => Err(Errno::ERANGE),
        (false, 0) => Err(Errno::EINVAL),
        (false, _) => Ok((value, n)),
    }
}

helper! { bpf_strtoul = 106, since: (5, 2),
    signature: "long bpf_strtoul(const char *buf, size_t buf_len, u64 flags, unsigned long *res)",
    doc: "Reads an unsigned number from text.",
    protos: [
        { who: BASE, since: (5, 2),
          args: [RO_MEM, SIZE, ANY, fixed_out(8)], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::None,
    body: Body::Fn(strtoul),
}

fn strtoul(env: &mut dyn Env<'_>, a: [u64; 5]) -> Outcome {
    convert(env, a, |n| if n.negative { Err(Errno::EINVAL) } else { Ok(n.magnitude) })
}

helper! { bpf_strncmp = 182, since: (5, 17),
    signature: "long bpf_strncmp(const char *s1, u32 s1_sz, const char *s2)",
    doc: "Compares memory with a constant string.",
    protos: [
        { who: BASE, since: (5, 17),
          args: [RO_MEM, SIZE, CONST_STR], ret: ret::INTEGER,
          gpl_only: false, pkt_access: false, might_sleep: false, capability: None },
    ],
    invalidates_packet: false, acquires: Acquires::No, lock: LockEffect::None,
    callback: Callback::None, tail_call: false,
    map_types: &[], rule: Rule::None,
    body: Body::Fn(strncmp),
}

fn strncmp(env: &mut dyn Env<'_>, a: [u64; 5]) -> Outcome {
    let size = u64::from(a[1] as u32);
    let first = guest::vec(env, a[0], size)?;
    let second = env.mem().read_str(a[2], first.len())?;
    for (i, c) in first.iter().enumerate() {
        let d = second.get(i).copied().unwrap_or(0);
        if *c != d {
            return Ok(Ret::Scalar(if *c < d { u64::MAX } else { 1 }));
        }
        if *c == 0 {
            break;
        }
    }
    Ok(Ret::OK)
}
