//! Any text as a filter expression, on any link type: it compiles, or is refused at a place; what compiles is the same with
//! and without optimisation for every packet, and can be translated.
//!
//! Input: a byte for the link type, a byte of switches, a byte of the packet's length, the packet, then the expression.
#![no_main]

use libfuzzer_sys::fuzz_target;
use skep_cbpf::filter::{Numbers, Packets, link_types};
use skep_cbpf::{Filter, FilterOptions, Meta, Packet, Target, translate};

fuzz_target!(|data: &[u8]| {
    let Some((&[link, switches, len], rest)) = data.split_first_chunk::<3>() else { return };
    let (packet, expr) = rest.split_at(rest.len().min(len.into()));
    let Ok(expr) = std::str::from_utf8(expr) else { return };
    let links: Vec<&str> = link_types().map(|(name, _)| name).collect();
    let packets = [Packets::Any, Packets::File, Packets::Live][usize::from(switches >> 1) % 3];
    let plain = FilterOptions {
        link: links[usize::from(link) % links.len()],
        optimize: false,
        netmask: (switches & 1 != 0).then_some(0xffff_ff00),
        packets,
        resolver: &Numbers,
        ..FilterOptions::default()
    };
    let compile = |optimize| Filter::compile(expr, &FilterOptions { optimize, ..plain });
    let (first, second) = match (compile(false), compile(true)) {
        (Ok(first), Ok(second)) => (first, second),
        (Err(e), other) => {
            assert!(e.span.start <= e.span.end && e.span.end <= expr.len(), "{e}");
            assert!(!e.with_caret(expr).is_empty());
            // What is too long, or has too much to remember, may fit when it is optimised.
            let fits = ["instructions", "out of registers"].iter().any(|t| e.to_string().contains(t));
            return assert!(other.is_err() || fits, "{expr}: {e}");
        }
        (Ok(first), Err(e)) => {
            // Whatever is refused only then accepts nothing.
            assert!(e.to_string().contains("rejects all"), "{expr}: {e}");
            assert_eq!(run(&first, packet), 0, "{expr}");
            return;
        }
    };
    assert_eq!(run(&first, packet) != 0, run(&second, packet) != 0, "{expr}");
    for target in [Target::SOCKET_FILTER, Target::XDP, Target::SCHED_CLS] {
        let _ = translate(second.program(), &target);
    }
});

fn run(filter: &Filter, bytes: &[u8]) -> u32 {
    filter.program().run(&Packet::new(bytes, &Meta::default()))
}
