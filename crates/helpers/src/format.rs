//! Formatting as `bpf_trace_printk` and `bpf_snprintf` do it, in the kernel's two steps.
//!
//! [`prepare`] checks the format and packs the arguments, strings and addresses already as text, into a buffer of 512
//! bytes (`bpf_bprintf_prepare`); [`render`] writes the text from format and buffer (`bstr_printf`). Both walk the
//! format alike, so a packed argument is always read as what it was packed as. Keeping the two steps keeps the kernel's
//! corner cases: `-ENOSPC` for long strings, strings without width after `%pks`.
//!
//! Specifiers: `%d %i %u %x %X` with `l` or `ll`, `%c`, `%s`, `%pks`, `%pus`, `%p`, `%px`, `%pK`, `%ps`, `%pS`, `%pB`,
//! `%pi4`, `%pI4`, `%pi6`, `%pI6`, `%%`; flags `-`, `+`, space, `0` and a width. Pointers are printed as they are: there is
//! no kernel address to hide; symbols of addresses are not known and print as `0x…`.

use crate::string::is_space;
use skep_platform::Errno;

/// Bytes for packed arguments (`MAX_BPRINTF_BIN_ARGS`).
const PACKED: usize = 512;

/// Reads memory at an address that nobody vouches for.
pub(crate) trait Probe {
    /// Copies `out.len()` bytes.
    fn bytes(&mut self, addr: u64, out: &mut [u8]) -> Result<(), Errno>;
    /// Copies a string, NUL included; the bytes written.
    fn string(&mut self, addr: u64, out: &mut [u8]) -> Result<usize, Errno>;
}

/// What stands behind a `%`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Conv {
    /// `%%`.
    Percent,
    /// A number of 4 or 8 bytes.
    Int {
        wide: bool,
        signed: bool,
        base: u8,
        upper: bool,
    },
    Char,
    /// A string: with width (`%s`) or without (`%pks`, `%pus`).
    Str {
        padded: bool,
    },
    /// An address as a number: `%p`, `%pK`, `%px`.
    Pointer,
    /// An address as a symbol: `%ps`, `%pS`.
    Symbol,
    /// An address as a symbol, packed as text: `%pB`.
    Backtrace,
    /// An IP address behind a pointer.
    Ip {
        six: bool,
        dotted: bool,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
struct Flags {
    left: bool,
    plus: bool,
    space: bool,
    zero: bool,
}

/// One conversion: what, how, and where the text behind it starts.
#[derive(Clone, Copy, Debug)]
struct Spec {
    conv: Conv,
    flags: Flags,
    width: Option<usize>,
    end: usize,
}

/// The conversion whose `%` stands at `at`. `fmt` has no NUL.
fn spec(fmt: &[u8], at: usize) -> Result<Spec, Errno> {
    let get = |i: usize| fmt.get(i).copied().unwrap_or(0);
    let mut i = at + 1;
    if get(i) == b'%' {
        return Ok(Spec { conv: Conv::Percent, flags: Flags::default(), width: None, end: i + 1 });
    }
    let mut flags = Flags::default();
    loop {
        match get(i) {
            b'-' => flags.left = true,
            b'+' => flags.plus = true,
            b' ' => flags.space = true,
            b'0' => flags.zero = true,
            _ => break,
        }
        i += 1;
    }
    let mut width = None;
    while get(i).is_ascii_digit() {
        let digit = usize::from(get(i) - b'0');
        width = Some((width.unwrap_or(0) * 10 + digit).min(MAX_WIDTH));
        i += 1;
    }
    let (conv, end) = match get(i) {
        b'p' => pointer(fmt, i + 1)?,
        b's' if closes(get(i + 1)) => (Conv::Str { padded: true }, i + 1),
        b'c' => (Conv::Char, i + 1),
        _ => integer(fmt, i)?,
    };
    Ok(Spec { conv, flags, width, end })
}

/// Widest field; the kernel clamps to it as well (`FIELD_WIDTH_MAX`).
const MAX_WIDTH: usize = (1 << 23) - 1;

/// What may follow a pointer or string conversion: the end, white space or punctuation.
fn closes(b: u8) -> bool {
    b == 0 || is_space(b) || b.is_ascii_punctuation() || matches!(b, 0xa1..=0xbf | 0xd7 | 0xf7)
}

/// The conversion behind `%p`; `i` is where its letters start.
fn pointer(fmt: &[u8], i: usize) -> Result<(Conv, usize), Errno> {
    let get = |i: usize| fmt.get(i).copied().unwrap_or(0);
    match (get(i), get(i + 1)) {
        (b, _) if closes(b) => Ok((Conv::Pointer, i)),
        (b'k' | b'u', b's') if closes(get(i + 2)) => Ok((Conv::Str { padded: false }, i + 2)),
        (b'K' | b'x', _) => Ok((Conv::Pointer, i + 1)),
        (b's' | b'S', _) => Ok((Conv::Symbol, i + 1)),
        (b'B', _) => Ok((Conv::Backtrace, i + 1)),
        (c @ (b'i' | b'I'), v @ (b'4' | b'6')) => Ok((Conv::Ip { six: v == b'6', dotted: c == b'I' }, i + 2)),
        _ => Err(Errno::EINVAL),
    }
}

/// The integer conversion at `i`: up to two `l` and a letter.
fn integer(fmt: &[u8], mut i: usize) -> Result<(Conv, usize), Errno> {
    let get = |i: usize| fmt.get(i).copied().unwrap_or(0);
    let mut wide = false;
    for _ in 0..2 {
        if get(i) == b'l' {
            wide = true;
            i += 1;
        }
    }
    let (signed, base, upper) = match get(i) {
        b'd' | b'i' => (true, 10, false),
        b'u' => (false, 10, false),
        b'x' => (false, 16, false),
        b'X' => (false, 16, true),
        _ => return Err(Errno::EINVAL),
    };
    Ok((Conv::Int { wide, signed, base, upper }, i + 1))
}

/// A format that was checked, with its arguments packed.
#[derive(Debug)]
pub(crate) struct Prepared {
    fmt: Vec<u8>,
    packed: [u8; PACKED],
}

/// Checks `fmt` (up to its NUL) and packs `args`. `EINVAL` for a format without NUL, with control characters, with unknown
/// conversions or with more of them than arguments; `ENOSPC` when the packed arguments take more than 512 bytes.
pub(crate) fn prepare(fmt: &[u8], args: &[u64], mem: &mut dyn Probe) -> Result<Prepared, Errno> {
    let len = fmt.iter().position(|b| *b == 0).ok_or(Errno::EINVAL)?;
    let fmt = &fmt[..len];
    let mut pack = Packer { buf: [0; PACKED], at: 0, on: !args.is_empty() };
    let mut args = args.iter();
    let mut i = 0;
    while let Some(&c) = fmt.get(i) {
        if c.is_ascii_control() && !is_space(c) {
            return Err(Errno::EINVAL);
        }
        if c != b'%' {
            i += 1;
            continue;
        }
        if fmt.get(i + 1) == Some(&b'%') {
            i += 2;
            continue;
        }
        let arg = *args.next().ok_or(Errno::EINVAL)?;
        let s = spec(fmt, i)?;
        pack.arg(s.conv, arg, mem)?;
        i = s.end;
    }
    Ok(Prepared { fmt: fmt.to_vec(), packed: pack.buf })
}

struct Packer {
    buf: [u8; PACKED],
    /// May run past the end after text that was cut; nothing more fits then.
    at: usize,
    on: bool,
}

impl Packer {
    fn arg(&mut self, conv: Conv, arg: u64, mem: &mut dyn Probe) -> Result<(), Errno> {
        if !self.on {
            return Ok(());
        }
        match conv {
            Conv::Percent => Ok(()),
            Conv::Int { wide: false, .. } => self.word(&(arg as u32).to_ne_bytes()),
            Conv::Int { .. } | Conv::Pointer | Conv::Symbol => self.word(&arg.to_ne_bytes()),
            Conv::Char => {
                *self.rest(1)?.first_mut().ok_or(Errno::ENOSPC)? = arg as u8;
                self.at += 1;
                Ok(())
            }
            Conv::Str { .. } => {
                let room = self.rest(1)?;
                let n = mem.string(arg, room).unwrap_or_else(|_| {
                    room[0] = 0;
                    1
                });
                self.at += n;
                Ok(())
            }
            Conv::Backtrace => {
                self.text(&format!("{arg:#x}"));
                Ok(())
            }
            Conv::Ip { six, dotted } => self.ip(arg, six, dotted, mem),
        }
    }

    /// The free bytes, of which there must be `n`.
    fn rest(&mut self, n: usize) -> Result<&mut [u8], Errno> {
        let free = self.buf.get_mut(self.at..).unwrap_or_default();
        if free.len() < n { Err(Errno::ENOSPC) } else { Ok(free) }
    }

    /// Numbers start at multiples of four bytes.
    fn word(&mut self, bytes: &[u8]) -> Result<(), Errno> {
        self.at = self.at.next_multiple_of(4);
        self.rest(bytes.len())?[..bytes.len()].copy_from_slice(bytes);
        self.at += bytes.len();
        Ok(())
    }

    /// NUL-terminated, cut when it does not fit.
    fn text(&mut self, text: &str) {
        let free = self.buf.get_mut(self.at..).unwrap_or_default();
        let n = text.len().min(free.len().saturating_sub(1));
        free[..n].copy_from_slice(&text.as_bytes()[..n]);
        if let Some(end) = free.get_mut(n) {
            *end = 0;
        }
        self.at += text.len() + 1;
    }

    fn ip(&mut self, arg: u64, six: bool, dotted: bool, mem: &mut dyn Probe) -> Result<(), Errno> {
        let mut addr = [0; 16];
        let addr = &mut addr[..if six { 16 } else { 4 }];
        self.rest(addr.len())?;
        if mem.bytes(arg, addr).is_err() {
            addr.fill(0);
        }
        self.text(&ip_text(addr, dotted));
        Ok(())
    }
}

/// `%pI4` 10.0.0.1, `%pi4` 010.000.000.001, `%pI6` with colons and no `::`, `%pi6` without colons.
fn ip_text(addr: &[u8], dotted: bool) -> String {
    let (parts, sep): (Vec<String>, &str) = match (addr.len(), dotted) {
        (4, true) => (addr.iter().map(|b| format!("{b}")).collect(), "."),
        (4, false) => (addr.iter().map(|b| format!("{b:03}")).collect(), "."),
        (_, dotted) => {
            let groups = addr.chunks(2).map(|g| format!("{:02x}{:02x}", g[0], g[1])).collect();
            (groups, if dotted { ":" } else { "" })
        }
    };
    parts.join(sep)
}

/// Writes the text, at most `size` bytes with the NUL behind it, and gives the length that it would have without the limit.
pub(crate) fn render(p: &Prepared, size: usize) -> (Vec<u8>, usize) {
    let mut out = Out { text: Vec::new(), room: size, len: 0 };
    let mut args = Unpacker { buf: &p.packed, at: 0 };
    let mut i = 0;
    while let Some(&c) = p.fmt.get(i) {
        if c != b'%' {
            out.byte(c);
            i += 1;
            continue;
        }
        let Ok(s) = spec(&p.fmt, i) else { break };
        one(&s, &mut args, &mut out);
        i = s.end;
        if matches!(
            s.conv,
            Conv::Pointer | Conv::Symbol | Conv::Str { padded: false } | Conv::Backtrace | Conv::Ip { .. }
        ) {
            while p.fmt.get(i).is_some_and(u8::is_ascii_alphanumeric) {
                i += 1;
            }
        }
    }
    if size > 0 {
        out.text.truncate(size - 1);
        out.text.push(0);
    }
    (out.text, out.len)
}

fn one(s: &Spec, args: &mut Unpacker<'_>, out: &mut Out) {
    match s.conv {
        Conv::Percent => out.byte(b'%'),
        Conv::Char => out.padded(&[args.byte()], s.width.unwrap_or(0), s.flags.left),
        Conv::Str { padded: true } => {
            let text = args.text();
            out.padded(text, s.width.unwrap_or(0), s.flags.left);
        }
        Conv::Str { padded: false } | Conv::Backtrace | Conv::Ip { .. } => {
            // Text that starts behind the end of the buffer is not even skipped.
            if out.len < out.room {
                out.bytes(args.text());
            }
        }
        Conv::Pointer => {
            let (flags, width) = match s.width {
                Some(w) => (s.flags, w),
                None => (Flags { zero: true, ..s.flags }, 16),
            };
            let digits = format!("{:x}", args.wide());
            out.number("", &digits, width, flags);
        }
        Conv::Symbol => {
            let text = format!("{:#x}", args.wide());
            out.padded(text.as_bytes(), s.width.unwrap_or(0), s.flags.left);
        }
        Conv::Int { wide, signed, base, upper } => {
            let raw = if wide { args.wide() } else { args.narrow().into() };
            let value = if wide || !signed { raw } else { i64::from(raw as u32 as i32) as u64 };
            let negative = signed && (value as i64) < 0;
            let magnitude = if negative { value.wrapping_neg() } else { value };
            let digits = match (base, upper) {
                (10, _) => format!("{magnitude}"),
                (_, false) => format!("{magnitude:x}"),
                (_, true) => format!("{magnitude:X}"),
            };
            let sign = match (signed, negative) {
                (true, true) => "-",
                (true, false) if s.flags.plus => "+",
                (true, false) if s.flags.space => " ",
                _ => "",
            };
            out.number(sign, &digits, s.width.unwrap_or(0), s.flags);
        }
    }
}

struct Out {
    text: Vec<u8>,
    room: usize,
    len: usize,
}

impl Out {
    fn byte(&mut self, b: u8) {
        if self.len < self.room {
            self.text.push(b);
        }
        self.len += 1;
    }

    fn bytes(&mut self, b: &[u8]) {
        b.iter().for_each(|b| self.byte(*b));
    }

    fn fill(&mut self, b: u8, n: usize) {
        let shown = n.min(self.room.saturating_sub(self.len));
        self.text.extend(std::iter::repeat_n(b, shown));
        self.len += n;
    }

    fn padded(&mut self, text: &[u8], width: usize, left: bool) {
        let pad = width.saturating_sub(text.len());
        if !left {
            self.fill(b' ', pad);
        }
        self.bytes(text);
        if left {
            self.fill(b' ', pad);
        }
    }

    fn number(&mut self, sign: &str, digits: &str, width: usize, flags: Flags) {
        let pad = width.saturating_sub(sign.len() + digits.len());
        if !flags.left && !flags.zero {
            self.fill(b' ', pad);
        }
        self.bytes(sign.as_bytes());
        if flags.zero && !flags.left {
            self.fill(b'0', pad);
        }
        self.bytes(digits.as_bytes());
        if flags.left {
            self.fill(b' ', pad);
        }
    }
}

struct Unpacker<'a> {
    buf: &'a [u8; PACKED],
    at: usize,
}

impl<'a> Unpacker<'a> {
    fn rest(&self) -> &'a [u8] {
        self.buf.get(self.at..).unwrap_or_default()
    }

    fn byte(&mut self) -> u8 {
        let b = self.rest().first().copied().unwrap_or(0);
        self.at += 1;
        b
    }

    fn narrow(&mut self) -> u32 {
        self.at = self.at.next_multiple_of(4);
        let b = self.rest().first_chunk::<4>().copied().unwrap_or_default();
        self.at += 4;
        u32::from_ne_bytes(b)
    }

    fn wide(&mut self) -> u64 {
        self.at = self.at.next_multiple_of(4);
        let b = self.rest().first_chunk::<8>().copied().unwrap_or_default();
        self.at += 8;
        u64::from_ne_bytes(b)
    }

    fn text(&mut self) -> &'a [u8] {
        let rest = self.rest();
        let n = rest.iter().position(|b| *b == 0).unwrap_or(rest.len());
        self.at += n + 1;
        &rest[..n]
    }
}

#[cfg(test)]
#[path = "format_tests.rs"]
mod tests;
