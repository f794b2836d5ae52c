//! The optimiser keeps the meaning: random expressions over random packets, most of them cut short somewhere.

use arbtest::arbitrary::{Result, Unstructured};
use random::{expression, packet};
use skep_cbpf::filter::Numbers;
use skep_cbpf::{Filter, FilterOptions, Meta, Packet};

mod random;

#[test]
fn optimised_filters_accept_the_same_packets() {
    let meta = Meta::default();
    let check = |u: &mut Unstructured<'_>| -> Result<()> {
        let expr = expression(u, 2)?;
        let with = |optimize| FilterOptions {
            optimize,
            netmask: Some(0xffff_ff00),
            resolver: &Numbers,
            ..FilterOptions::default()
        };
        // What is refused when optimised accepts nothing.
        let (plain, short) = (Filter::compile(&expr, &with(false)), Filter::compile(&expr, &with(true)));
        let Ok(plain) = plain else {
            assert!(short.is_err(), "{expr}: refused without optimisation alone");
            return Ok(());
        };
        if let Ok(short) = &short {
            assert!(short.insns().len() <= plain.insns().len(), "{expr}: optimised is longer");
        }
        for _ in 0..32 {
            let bytes = packet(u)?;
            let packet =
                Packet { len: bytes.len() as u32 + u.int_in_range(0..=1)?, ..Packet::new(&bytes, &meta) };
            let got = short.as_ref().map_or(0, |f| f.program().run(&packet));
            let listing = short.as_ref().map(|f| skep_cbpf::text::listing(f.insns())).unwrap_or_default();
            assert_eq!(got, plain.program().run(&packet), "{expr}\n{bytes:02x?}\n{listing}");
        }
        Ok(())
    };
    arbtest::arbtest(check).budget_ms(3_000).size_min(64).size_max(1 << 14);
}

/// Lists as long as block lists are: several thousand tests of the same fields, numbers in a row and ranges.
#[test]
fn long_lists_are_compiled() {
    let hosts: Vec<String> = (0..300).map(|n| format!("host 10.0.{}.{}", n / 40, n % 40 * 5)).collect();
    let ports: Vec<String> = (0..800).map(|n| format!("dst port {}", n + n / 3)).collect();
    let expr = format!("({}) and not ({})", hosts.join(" or "), ports.join(" or "));
    let filter = Filter::compile(&expr, &FilterOptions::default()).expect("compiles");
    let frame = |source: [u8; 4], port: u16| {
        let mut bytes = [[0; 12].as_slice(), &[8, 0, 0x45], &[0; 8], &[17, 0, 0], &source, &[0; 4]].concat();
        bytes.extend([0, 9]);
        bytes.extend(port.to_be_bytes());
        bytes
    };
    let meta = Meta::default();
    for (source, port, accepted) in [
        ([10, 0, 1, 15], 3, true),
        ([10, 0, 1, 16], 3, false),
        ([10, 0, 7, 95], 2000, true),
        ([10, 0, 7, 100], 2000, false),
        ([10, 0, 0, 0], 4, false),
        ([10, 0, 0, 0], 1064, false),
        ([10, 0, 0, 0], 1066, true),
    ] {
        let bytes = frame(source, port);
        let got = filter.program().run(&Packet::new(&bytes, &meta)) != 0;
        assert_eq!(got, accepted, "{source:?} to port {port}");
    }
}

/// With `scoped` a tag, a label or a session counts inside its parentheses alone.
#[test]
fn scoped_layers_end_with_their_parentheses() {
    let frame = |types: &[u16]| {
        let mut out = vec![0u8; 12];
        types.iter().for_each(|t| out.extend([t.to_be_bytes(), [0, 1]].concat()));
        out.resize(96, 0x45);
        out
    };
    let (arp, tagged_ip, tagged_arp) = (frame(&[0x0806]), frame(&[0x8100, 0x0800]), frame(&[0x8100, 0x0806]));
    let labelled = frame(&[0x8847]);
    let meta = Meta::default();
    // Expression, a frame, whether it is accepted without and with `scoped`.
    let cases: &[(&str, &[u8], bool, bool)] = &[
        ("(vlan and ip) or arp", &arp, false, true),
        ("(vlan and ip) or arp", &tagged_arp, true, false),
        ("(vlan and ip) or arp", &tagged_ip, true, true),
        ("vlan and ip or arp", &arp, false, false),
        ("(vlan 1) and (vlan 1)", &tagged_ip, false, true),
        ("not (vlan) and arp", &arp, false, true),
        ("((vlan) and arp) or tcp", &arp, false, false),
        ("(mpls and ip) or ether proto 0x8847", &labelled, false, true),
        ("(mpls) and ether proto 0x8847", &labelled, false, true),
        ("(pppoes) or arp", &arp, false, true),
    ];
    for (expr, bytes, plain, scoped) in cases {
        for (is_scoped, want) in [(false, plain), (true, scoped)] {
            let options = FilterOptions {
                scoped: is_scoped,
                optimize: false,
                resolver: &Numbers,
                ..FilterOptions::default()
            };
            let got =
                Filter::compile(expr, &options).map(|f| f.program().run(&Packet::new(bytes, &meta)) != 0);
            assert_eq!(got.ok().unwrap_or(false), *want, "{expr}, scoped {is_scoped}");
        }
    }
}
