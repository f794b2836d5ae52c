//! The formatter against a table, and by properties.

use super::*;

/// Memory with strings at addresses that are indexes.
struct Text(Vec<u8>);

impl Probe for Text {
    fn bytes(&mut self, addr: u64, out: &mut [u8]) -> Result<(), Errno> {
        let at = addr as usize;
        let src = self.0.get(at..at + out.len()).ok_or(Errno::EFAULT)?;
        out.copy_from_slice(src);
        Ok(())
    }

    fn string(&mut self, addr: u64, out: &mut [u8]) -> Result<usize, Errno> {
        let src = self.0.get(addr as usize..).filter(|s| !s.is_empty()).ok_or(Errno::EFAULT)?;
        let n = src.iter().position(|b| *b == 0).map_or(src.len(), |n| n + 1).min(out.len());
        out[..n].copy_from_slice(&src[..n]);
        out[n - 1] = 0;
        Ok(n)
    }
}

fn format(fmt: &str, args: &[u64], mem: &mut Text, size: usize) -> Result<(Vec<u8>, usize), Errno> {
    let mut f = fmt.as_bytes().to_vec();
    f.push(0);
    let p = prepare(&f, args, mem)?;
    let (mut text, len) = render(&p, size);
    assert!(text.len() <= size);
    if size > 0 {
        assert_eq!(text.pop(), Some(0));
    }
    Ok((text, len))
}

/// Columns: format, arguments (numbers, or strings that are put into memory), text or error.
#[test]
fn table() {
    for line in include_str!("../tests/data/format.txt").lines() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let mut columns = line.split('|');
        let (fmt, args, want) = (columns.next(), columns.next(), columns.next());
        let (Some(fmt), Some(args), Some(want)) = (fmt, args, want) else { panic!("three columns: {line}") };
        let mut mem = Text(vec![0; 8]);
        let args: Vec<u64> = args.split_whitespace().map(|a| argument(a, &mut mem)).collect();
        let got = match format(fmt, &args, &mut mem, 256) {
            Ok((text, len)) => {
                assert_eq!(len, text.len(), "{line}");
                String::from_utf8_lossy(&text).into_owned()
            }
            Err(e) => format!("-{}", e.name()),
        };
        assert_eq!(got, want, "{line}");
    }
}

fn argument(a: &str, mem: &mut Text) -> u64 {
    let at = mem.0.len() as u64;
    if let Some(text) = a.strip_prefix('"') {
        mem.0.extend(text.trim_end_matches('"').bytes());
        mem.0.push(0);
        at
    } else if let Some(bytes) = a.strip_prefix('@') {
        let digits: Vec<u8> =
            bytes.bytes().filter_map(|b| char::from(b).to_digit(16)).map(|d| d as u8).collect();
        mem.0.extend(digits.chunks(2).map(|p| p[0] << 4 | p[1]));
        at
    } else if let Some(hex) = a.strip_prefix("0x") {
        u64::from_str_radix(hex, 16).expect("hexadecimal")
    } else {
        a.parse::<i64>().expect("a number") as u64
    }
}

/// Integer conversions without flags that Rust lacks agree with Rust's own formatting.
#[test]
fn numbers_agree_with_rust() {
    arbtest::arbtest(|u| {
        let v: u64 = u.arbitrary()?;
        let w: usize = u.int_in_range(0..=24)?;
        let mut none = Text(Vec::new());
        let mut same = |fmt: String, want: String| {
            let got = format(&fmt, &[v], &mut none, 128).expect("formats");
            assert_eq!(got, (want.clone().into_bytes(), want.len()), "{fmt} of {v}");
        };
        let width = if w == 0 { String::new() } else { w.to_string() };
        same(format!("%{width}llu"), format!("{v:w$}"));
        same(format!("%{width}lld"), format!("{:w$}", v as i64));
        same(format!("%{width}d"), format!("{:w$}", v as i32));
        same(format!("%{width}u"), format!("{:w$}", v as u32));
        same(format!("%0{width}lx"), format!("{v:0w$x}"));
        same(format!("%-{width}X|"), format!("{:<w$X}|", v as u32));
        same(format!("%+{width}lld"), format!("{:+w$}", v as i64));
        same(format!("%0{width}lld"), format!("{:0w$}", v as i64));
        Ok(())
    });
}

/// Whatever the format: no panic, the length does not depend on the room, and the text is its beginning.
#[test]
fn any_format_is_safe_and_cut_cleanly() {
    const PIECES: &[&str] = &[
        "%d", "%5s|", "%-7pI4 ", "%pi6", "%c", "%pks ", "%%", "%px", "%08llx", "%", "%l", "%p", "é", "\u{1}",
        "%lls",
    ];
    arbtest::arbtest(|u| {
        let mut fmt = String::new();
        for _ in 0..u.int_in_range(0..=8)? {
            fmt.push_str(u.choose(PIECES)?);
        }
        let args: Vec<u64> = u.arbitrary_iter()?.take(12).collect::<Result<_, _>>()?;
        let mut mem = Text(u.arbitrary()?);
        let Ok((whole, len)) = format(&fmt, &args, &mut mem, 4096) else { return Ok(()) };
        assert_eq!(whole.len(), len);
        let size = u.int_in_range(0..=64)?;
        let (part, _) = format(&fmt, &args, &mut mem, size).expect("formats as before");
        assert_eq!(part, whole[..whole.len().min(size.saturating_sub(1))]);
        Ok(())
    });
}

/// Packed arguments have 512 bytes and no more.
#[test]
fn long_strings_fill_the_buffer() {
    let mut mem = Text([vec![b'x'; 600], vec![0]].concat());
    let one = format("%s", &[0], &mut mem, 1024).expect("cut, not refused");
    assert_eq!(one.1, 511);
    assert_eq!(format("%s%d", &[0, 1], &mut mem, 1024), Err(Errno::ENOSPC));
}
