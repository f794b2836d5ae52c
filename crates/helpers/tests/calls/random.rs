//! Random cases: sequences of calls with arguments near the edges, as lines of the data file's form.

use arbtest::arbitrary::{Result, Unstructured};

type U<'a, 'b> = &'a mut Unstructured<'b>;

/// One line.
pub(crate) fn line(u: U<'_, '_>) -> Result<String> {
    const PACKETS: &[&str] =
        &["tcp4", "udp4", "udp4-nosum", "tcp6", "vlan", "qinq", "vlan-llc", "arp", "eth", "big"];
    let packet = u.choose(PACKETS)?;
    let xdp = u.arbitrary()?;
    // Test packets have no transport header set, and once one has grown past its headroom the kernel takes a stray number
    // for it, so that the least length for a tail is arbitrary. Real packets have it set.
    let tail = u.arbitrary()?;
    let mut steps = Vec::new();
    for _ in 0..u.int_in_range(1..=6)? {
        steps.push(if xdp { xdp_step(u)? } else { tc_step(u, tail)? });
    }
    Ok(format!("{} {packet}: {}", if xdp { "xdp" } else { "tc" }, steps.join("; ")))
}

fn tc_step(u: U<'_, '_>, tail: bool) -> Result<String> {
    Ok(match u.int_in_range(0..=17)? {
        0 => format!(
            "skb_store_bytes {} h:{} {}",
            offset(u)?,
            "a5".repeat(3),
            format_args!("3 {}", u.int_in_range(0..=4)?)
        ),
        1 => format!("skb_load_bytes {} o:5 5", offset(u)?),
        2 => format!("skb_load_bytes_relative {} o:3 3 {}", offset(u)?, u.int_in_range(0..=2)?),
        3 => format!("skb_pull_data {}", offset(u)?),
        4 => format!(
            "l3_csum_replace {} {} {} {}",
            offset(u)?,
            word(u)?,
            word(u)?,
            u.choose(&[0, 2, 4, 2, 4, 3])?
        ),
        5 => {
            let size = u.choose(&[0, 2, 4, 2, 4, 1])? | u.choose(&[0, 0x10, 0x20, 0x30, 0x60, 0x70])?;
            format!("l4_csum_replace {} {} {} {size}", offset(u)?, word(u)?, word(u)?)
        }
        6 => format!("csum_level {}", u.int_in_range(0..=4)?),
        7 => {
            format!("skb_vlan_push {} {}", u.choose(&["0x81", "0xa888", "0x8"])?, u.int_in_range(0..=0xffff)?)
        }
        8 => "skb_vlan_pop".into(),
        9 | 10 if !tail => room(u)?,
        11 | 12 => format!(
            "skb_change_proto {} {}",
            u.choose(&["0xdd86", "0x0008", "0x81"])?,
            u.choose(&[0, 0, 0, 1])?
        ),
        9..=13 if tail => format!("skb_change_tail {} {}", offset(u)?, u.choose(&[0, 0, 0, 1])?),
        13 => format!("skb_change_head {} {}", offset(u)?, u.choose(&[0, 0, 0, 1])?),
        14 => format!("skb_change_type {}", u.int_in_range(0..=5)?),
        15 => format!("set_hash {}", word(u)?),
        16 => format!("skb_set_tunnel_key h:{} 44 {}", "01".repeat(44), u.int_in_range(0..=1)?),
        _ => format!("field {}", u.choose(&[0, 4, 16, 20, 24, 28, 68])?),
    })
}

fn room(u: U<'_, '_>) -> Result<String> {
    let diff = u.choose(&[0, 4, 8, 20, 28, 40, 42, 60, 4095, 4096, -4, -8, -20, -28, -40, -42, -48, -60])?;
    let mut flags = 0u64;
    for _ in 0..u.int_in_range(0..=3)? {
        flags |= 1 << u.int_in_range(0..=9)?;
    }
    if u.ratio(1, 4)? {
        flags |= 14 << 56;
    }
    Ok(format!("skb_adjust_room {diff} {} {flags:#x}", u.int_in_range(0..=2)?))
}

fn xdp_step(u: U<'_, '_>) -> Result<String> {
    Ok(match u.int_in_range(0..=9)? {
        0 => format!("xdp_adjust_head {}", delta(u)?),
        1 => format!("xdp_adjust_tail {}", delta(u)?),
        2 => format!("xdp_adjust_meta {}", delta(u)?),
        3 => "xdp_get_buff_len".into(),
        4 => format!("xdp_load_bytes {} o:4 4", offset(u)?),
        5 => format!("xdp_store_bytes {} h:c3c3c3 3", offset(u)?),
        6 => {
            let (a, b) = (u.int_in_range(1..=24)?, u.int_in_range(1..=24)?);
            format!("csum_diff h:{} {a} h:{} {b} {}", bytes(u, a)?, bytes(u, b)?, word(u)?)
        }
        7 => {
            let text = text(u)?;
            let name = u.choose(&["strtol", "strtoul"])?;
            format!("{name} t:{text} {} {} o:8", text.len(), u.choose(&[0, 8, 10, 16])?)
        }
        8 => {
            let text = text(u)?;
            format!("strncmp t:{text} {} s:{}", text.len(), self::text(u)?)
        }
        _ => print(u)?,
    })
}

fn print(u: U<'_, '_>) -> Result<String> {
    const PIECES: &[&str] = &[
        "%d", "%5u", "%-6x", "%08llx", "%+ld", "%c", "%3c", "%lli", "%px", "%X", "%0+7d", "%-07lx", "%20px",
        "a", "%%",
    ];
    let (mut fmt, mut args) = (String::new(), 0);
    for _ in 0..u.int_in_range(1..=5)? {
        let piece = *u.choose(PIECES)?;
        args += usize::from(piece.len() > 1 && piece != "%%");
        fmt.push_str(piece);
        fmt.push(',');
    }
    let size = u.int_in_range(1..=48)?;
    Ok(match args {
        0 => format!("snprintf o:{size} {size} s:{fmt} 0 0"),
        n => format!("snprintf o:{size} {size} s:{fmt} h:{} {}", bytes(u, n * 8)?, n * 8),
    })
}

fn offset(u: U<'_, '_>) -> Result<u64> {
    Ok(match u.int_in_range(0..=9)? {
        0 => *u.choose(&[0xffff, 0x10000, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff, 16064, 16065])?,
        1..=5 => u.int_in_range(0..=12)? * 2 + 14,
        _ => u.int_in_range(0..=90)?,
    })
}

fn delta(u: U<'_, '_>) -> Result<i64> {
    if u.ratio(1, 8)? {
        return Ok(*u.choose(&[
            -300,
            -217,
            -216,
            3458,
            3459,
            5000,
            i64::from(i32::MIN),
            i64::from(i32::MAX),
        ])?);
    }
    u.int_in_range(-70..=70)
}

fn word(u: U<'_, '_>) -> Result<String> {
    let w = match u.int_in_range(0..=4)? {
        0 => 0,
        1 => *u.choose(&[0xffff, 0xffff_0000, 0xffff_ffff, u64::MAX])?,
        _ => u64::from(u.arbitrary::<u32>()?),
    };
    Ok(format!("{w:#x}"))
}

fn bytes(u: U<'_, '_>, n: usize) -> Result<String> {
    let mut s = String::new();
    for _ in 0..n {
        s.push_str(&format!("{:02x}", if u.ratio(1, 3)? { 0xff } else { u.arbitrary::<u8>()? }));
    }
    Ok(s)
}

fn text(u: U<'_, '_>) -> Result<String> {
    const LETTERS: &[char] = &['0', '1', '7', '8', '9', 'a', 'f', 'x', 'X', '-', '+', '_', 'g', '0', '1'];
    let n = u.int_in_range(1..=24)?;
    (0..n).map(|_| u.choose(LETTERS).copied()).collect()
}
