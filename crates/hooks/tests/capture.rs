//! Captures: what is written is read back, in every format; damage is found where it is and keeps the packets before it;
//! no bytes make the reader panic, run on or grow.

#![allow(clippy::unwrap_used)]

use skep_hooks::capture::{
    Capture, CaptureErrorKind, Direction, Format, Interface, LinkType, MAX_CAPTURED, Record, Writer,
};
use std::path::Path;

const ETHERNET: Interface = Interface { link: LinkType::ETHERNET, snaplen: 0 };
const RAW: Interface = Interface { link: LinkType::RAW, snaplen: 0 };

/// One packet, owned: what a [`Record`] says beside its place in the file.
type Packet = (Vec<u8>, u32, u64, u32, LinkType, Direction);

fn owned(r: &Record<'_>) -> Packet {
    (r.data.to_vec(), r.orig_len, r.time_ns, r.interface, r.link, r.direction)
}

/// Reads all packets; the error that ended them, if one did.
fn read_all(bytes: &[u8]) -> (Vec<Packet>, Option<skep_hooks::capture::CaptureError>) {
    let mut packets = Vec::new();
    let mut capture = match Capture::new(bytes) {
        Ok(c) => c,
        Err(e) => return (packets, Some(e)),
    };
    loop {
        match capture.next_packet() {
            Ok(Some(r)) => packets.push(owned(&r)),
            Ok(None) => return (packets, None),
            Err(e) => {
                assert!(capture.next_packet().is_ok_and(|r| r.is_none()), "after an error comes the end");
                return (packets, Some(e));
            }
        }
    }
}

fn write_all(format: Format, interfaces: &[Interface], packets: &[Packet]) -> Vec<u8> {
    let mut w = Writer::new(Vec::new(), format, interfaces[0]).unwrap();
    for (data, orig_len, time_ns, interface, link, direction) in packets {
        let r = Record {
            data,
            orig_len: *orig_len,
            time_ns: *time_ns,
            interface: *interface,
            link: *link,
            direction: *direction,
            offset: 0,
        };
        w.write(&r, interfaces).unwrap();
    }
    w.finish().unwrap()
}

fn formats() -> Vec<Format> {
    let mut all = Vec::new();
    for big_endian in [false, true] {
        all.push(Format { pcapng: false, big_endian, nanoseconds: false });
        all.push(Format { pcapng: false, big_endian, nanoseconds: true });
        all.push(Format { pcapng: true, big_endian, nanoseconds: true });
    }
    all
}

fn sample(format: Format) -> (Vec<Interface>, Vec<Packet>) {
    let time = 1_700_000_000_123_456_000 + if format.nanoseconds { 789 } else { 0 };
    let mut packets = vec![
        (vec![1; 60], 60, time, 0, LinkType::ETHERNET, Direction::Unknown),
        (vec![], 0, time + 1000, 0, LinkType::ETHERNET, Direction::Unknown),
        (vec![2; 61], 1500, time + 2_000_000_000, 0, LinkType::ETHERNET, Direction::Unknown),
    ];
    if format.pcapng {
        packets.push((vec![0x45; 21], 21, time, 1, LinkType::RAW, Direction::In));
        packets.push((vec![0x60; 40], 40, time, 1, LinkType::RAW, Direction::Out));
        return (vec![ETHERNET, RAW], packets);
    }
    (vec![ETHERNET], packets)
}

#[test]
fn what_is_written_is_read_in_every_format() {
    for format in formats() {
        let (interfaces, packets) = sample(format);
        let bytes = write_all(format, &interfaces, &packets);
        let capture = Capture::new(&bytes[..]).unwrap();
        assert_eq!(capture.format(), format);
        let (got, error) = read_all(&bytes);
        assert!(error.is_none(), "{format:?}: {error:?}");
        assert_eq!(got, packets, "{format:?}");
    }
}

#[test]
fn random_packets_come_back() {
    arbtest::arbtest(|u| {
        let format = *u.choose(&formats())?;
        let interfaces = if format.pcapng { vec![ETHERNET, RAW, RAW] } else { vec![ETHERNET] };
        let mut packets = Vec::new();
        for _ in 0..u.int_in_range(0..=8)? {
            let data: Vec<u8> = u.arbitrary()?;
            let interface = u.int_in_range(0..=interfaces.len() as u32 - 1)?;
            let orig_len = data.len() as u32 + u.int_in_range(0..=2000)?;
            let seconds: u32 = u.arbitrary()?;
            let time_ns = seconds as u64 * 1_000_000_000 + u.int_in_range(0..=999_999)? * 1000;
            let link = interfaces[interface as usize].link;
            packets.push((data, orig_len, time_ns, interface, link, Direction::Unknown));
        }
        let (got, error) = read_all(&write_all(format, &interfaces, &packets));
        assert!(error.is_none(), "{error:?}");
        assert_eq!(got, packets);
        Ok(())
    });
}

/// A capture cut at any byte gives the whole packets before the cut and says that it was cut.
#[test]
fn cut_captures_keep_their_packets() {
    for format in formats() {
        let (interfaces, packets) = sample(format);
        let bytes = write_all(format, &interfaces, &packets);
        let mut starts = Vec::new();
        let mut capture = Capture::new(&bytes[..]).unwrap();
        while let Some(r) = capture.next_packet().unwrap() {
            starts.push(r.offset as usize);
        }
        for cut in 0..bytes.len() {
            let (got, error) = read_all(&bytes[..cut]);
            let ended: Vec<_> = starts[1..].iter().copied().chain([bytes.len()]).collect();
            // pcapng describes interfaces between packets, so packets before the cut may end before the next starts.
            let at_least = ended.iter().filter(|e| **e <= cut).count();
            assert!(got.len() >= at_least && got[..] == packets[..got.len()], "{format:?} cut at {cut}");
            match error.map(|e| (e.kind, e.packets, e.offset)) {
                Some((CaptureErrorKind::Truncated { .. }, n, at)) => {
                    assert_eq!(n as usize, got.len());
                    assert!(at as usize <= cut);
                }
                Some((CaptureErrorKind::Empty, ..)) => assert_eq!(cut, 0),
                Some((CaptureErrorKind::NotACapture(_), ..)) => assert!(cut < 4),
                Some((kind, ..)) => panic!("{format:?} cut at {cut}: {kind}"),
                None => assert!(cut >= 24, "{format:?} cut at {cut} has no error"),
            }
        }
    }
}

#[test]
fn damaged_captures_never_panic_and_give_no_more_than_they_have() {
    arbtest::arbtest(|u| {
        let format = *u.choose(&formats())?;
        let (interfaces, packets) = sample(format);
        let mut bytes = write_all(format, &interfaces, &packets);
        for _ in 0..u.int_in_range(1..=6)? {
            let at = u.choose_index(bytes.len())?;
            bytes[at] = u.arbitrary()?;
        }
        let (got, _) = read_all(&bytes);
        let total: usize = got.iter().map(|p| p.0.len()).sum();
        assert!(total <= bytes.len());
        Ok(())
    })
    .budget_ms(2000);
}

#[test]
fn random_bytes_never_panic() {
    arbtest::arbtest(|u| {
        let magics = [0xa1b2c3d4u32, 0xa1b23c4d, 0xa1b2cd34, 0x0a0d0d0a];
        let magic = u.choose(&magics)?;
        let mut bytes = if u.arbitrary()? { magic.to_le_bytes() } else { magic.to_be_bytes() }.to_vec();
        bytes.extend(u.arbitrary::<Vec<u8>>()?);
        let (got, _) = read_all(&bytes);
        assert!(got.len() <= bytes.len());
        Ok(())
    })
    .budget_ms(1000);
}

#[test]
fn packets_of_unknown_interfaces_are_not_written() {
    let format = Format { pcapng: true, big_endian: false, nanoseconds: true };
    let mut w = Writer::new(Vec::new(), format, ETHERNET).unwrap();
    let record = Record {
        data: &[1],
        orig_len: 1,
        time_ns: 0,
        interface: u32::MAX,
        link: LinkType::ETHERNET,
        direction: Direction::Unknown,
        offset: 0,
    };
    assert!(w.write(&record, &[ETHERNET]).is_err());
    w.write(&Record { interface: 0, ..record }, &[ETHERNET]).unwrap();
    assert_eq!(read_all(&w.finish().unwrap()).0.len(), 1);
}

/// A block of `body` in little-endian.
fn block(kind: u32, body: &[u8]) -> Vec<u8> {
    let len = (12 + body.len()) as u32;
    [&kind.to_le_bytes(), &len.to_le_bytes(), body, &len.to_le_bytes()].concat()
}

fn section() -> Vec<u8> {
    let body = [&0x1a2b_3c4du32.to_le_bytes()[..], &[1, 0, 0, 0], &[0xff; 8]].concat();
    block(0x0a0d_0d0a, &body)
}

/// An interface description with options as given.
fn interface(link: u16, snaplen: u32, options: &[u8]) -> Vec<u8> {
    let body = [&link.to_le_bytes()[..], &[0, 0], &snaplen.to_le_bytes(), options].concat();
    block(1, &body)
}

fn enhanced(number: u32, time: u64, data: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    let len = data.len() as u32;
    for v in [number, (time >> 32) as u32, time as u32, len, len] {
        body.extend(v.to_le_bytes());
    }
    body.extend(data);
    body.resize(body.len().next_multiple_of(4), 0);
    block(6, &body)
}

#[test]
fn time_resolutions_and_offsets() {
    let cases: [(&[u8], u64, u64); 6] = [
        (&[], 1_500_000, 1_500_000_000), // microseconds when nothing is said
        (&[9, 0, 1, 0, 3, 0, 0, 0], 2500, 2_500_000_000), // milliseconds
        (&[9, 0, 1, 0, 9, 0, 0, 0], 7, 7), // nanoseconds
        (&[9, 0, 1, 0, 12, 0, 0, 0], 5000, 5), // picoseconds
        (&[9, 0, 1, 0, 0x8a, 0, 0, 0], 512, 500_000_000), // 1/1024 of a second
        (&[14, 0, 8, 0, 100, 0, 0, 0, 0, 0, 0, 0], 1, 100_000_001_000), // 100 seconds later
    ];
    for (options, time, ns) in cases {
        let bytes = [section(), interface(1, 0, options), enhanced(0, time, &[1])].concat();
        let (got, error) = read_all(&bytes);
        assert!(error.is_none(), "{error:?}");
        assert_eq!(got[0].2, ns, "{options:?}");
    }
    let bytes = [section(), interface(1, 0, &[9, 0, 1, 0, 77, 0, 0, 0])].concat();
    let (_, error) = read_all(&bytes);
    assert!(matches!(error.unwrap().kind, CaptureErrorKind::TimeResolution(77)));
}

#[test]
fn simple_and_obsolete_packets() {
    let simple = block(3, &[&100u32.to_le_bytes()[..], &[7; 8]].concat());
    let mut old = Vec::new();
    for v in [5u32 << 16, 0, 2_000_000, 3, 9] {
        old.extend(v.to_le_bytes());
    }
    old.extend([1, 2, 3, 0]);
    let bytes = [section(), interface(1, 6, &[]), simple, block(2, &old)].concat();
    let (got, error) = read_all(&bytes);
    assert!(error.is_none(), "{error:?}");
    assert_eq!((&got[0].0[..], got[0].1, got[0].2), (&[7u8; 6][..], 100, 0));
    assert_eq!((&got[1].0[..], got[1].1, got[1].2), (&[1u8, 2, 3][..], 9, 2_000_000_000));
}

#[test]
fn sections_number_their_interfaces_anew() {
    let one = [section(), interface(1, 0, &[]), enhanced(0, 0, &[1])].concat();
    let two = [section(), interface(101, 0, &[]), enhanced(0, 0, &[0x45])].concat();
    let (got, _) = read_all(&[one.clone(), block(0x0bad, &[0; 400]), two].concat());
    assert_eq!(
        got.iter().map(|p| (p.3, p.4)).collect::<Vec<_>>(),
        [(0, LinkType::ETHERNET), (1, LinkType::RAW)]
    );
    let (got, error) = read_all(&[one, section(), enhanced(0, 0, &[1])].concat());
    assert_eq!(got.len(), 1);
    assert!(matches!(error.unwrap().kind, CaptureErrorKind::NoInterface { number: 0, known: 0 }));
}

#[test]
fn giant_claims_are_refused_without_memory() {
    let mut pcap = write_all(formats()[0], &[ETHERNET], &[]);
    pcap.extend([0; 8]);
    pcap.extend(u32::MAX.to_le_bytes());
    pcap.extend([0; 4]);
    let (_, error) = read_all(&pcap);
    assert!(matches!(error.unwrap().kind, CaptureErrorKind::TooLong { max: MAX_CAPTURED, .. }));
    let pcapng = [section(), 6u32.to_le_bytes().to_vec(), 0xffff_fff0u32.to_le_bytes().to_vec(), vec![0; 40]];
    let (_, error) = read_all(&pcapng.concat());
    assert!(matches!(error.unwrap().kind, CaptureErrorKind::TooLong { .. }));
}

/// Messages that people see, each for a damage of its own.
#[test]
fn messages() {
    let mut out = String::new();
    let ok = [section(), interface(1, 0, &[]), enhanced(0, 0, &[1; 60])].concat();
    let mut lengths = ok.clone();
    let at = lengths.len() - 4;
    lengths[at] = 0x77;
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("empty", vec![]),
        ("text", b"hello world".to_vec()),
        ("gzip", vec![0x1f, 0x8b, 8, 0, 0]),
        ("zstd", vec![0x28, 0xb5, 0x2f, 0xfd]),
        ("header cut", vec![0xd4, 0xc3, 0xb2, 0xa1, 2, 0]),
        ("old version", [&[0xd4, 0xc3, 0xb2, 0xa1, 1, 0, 4, 0][..], &[0; 16]].concat()),
        ("packet cut", ok[..ok.len() - 9].to_vec()),
        ("two lengths", lengths),
        ("block length", [ok.clone(), vec![6, 0, 0, 0, 13, 0, 0, 0, 0, 0, 0, 0]].concat()),
        ("byte order", [ok.clone(), block(0x0a0d_0d0a, &[9; 16])].concat()),
        ("interface", [ok.clone(), enhanced(3, 0, &[])].concat()),
        ("short block", [ok, block(6, &[0; 8])].concat()),
    ];
    for (name, bytes) in cases {
        let (_, error) = read_all(&bytes);
        out.push_str(&format!("{name}: {}\n", error.unwrap()));
    }
    golden("capture-messages.txt", &out);
}

/// Compares with a file in `tests/golden`; `SKEP_BLESS=1` writes it.
fn golden(name: &str, got: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("SKEP_BLESS").is_some() {
        std::fs::write(&path, got).unwrap();
    }
    let want = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(got, want, "{} differs; SKEP_BLESS=1 rewrites it", path.display());
}

/// Captures of other programs (`tests/captures/make.sh` says how they were made): the same packets in every format.
#[test]
fn captures_of_other_programs_agree() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/captures");
    let mut all: Vec<(String, Vec<Packet>)> = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if !name.starts_with("same.") {
            continue;
        }
        let (packets, error) = read_all(&std::fs::read(&path).unwrap());
        assert!(error.is_none(), "{name}: {error:?}");
        all.push((name, packets));
    }
    assert!(all.len() >= 4, "{} captures", all.len());
    let bytes = |p: &[Packet]| p.iter().map(|p| (p.0.clone(), p.1, p.2 / 1000)).collect::<Vec<_>>();
    for (name, packets) in &all {
        assert_eq!(bytes(packets), bytes(&all[0].1), "{name} and {}", all[0].0);
        assert!(packets.len() > 5);
    }
}

#[test]
fn a_modified_capture_and_a_cut_one() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/captures");
    let modified = std::fs::read(dir.join("modified.pcap")).unwrap();
    let same = std::fs::read(dir.join("same.pcap")).unwrap();
    assert_eq!(read_all(&modified).0, read_all(&same).0);
    let missing = Capture::open(&dir.join("missing.pcap")).unwrap_err();
    assert!(matches!(missing.kind, CaptureErrorKind::Io(_)));
    assert!(Capture::open(&dir.join("same.pcap")).is_ok());
}
