//! Frames of many kinds, and a look into the engine's context of a packet.

#![allow(clippy::unwrap_used)]

use skep_hooks::capture::Capture;
use skep_platform::CtxField;
use skep_platform::packet::PacketCtx;
use std::path::Path;

/// Recorded and made-up frames: tags, broadcasts, multicasts, lengths in place of EtherTypes.
pub fn frames() -> Vec<Vec<u8>> {
    let captures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/captures");
    let mut all = Vec::new();
    let mut capture = Capture::open(&captures.join("same.pcap")).unwrap();
    while let Some(r) = capture.next_packet().unwrap() {
        all.push(r.data.to_vec());
    }
    let with = |to: [u8; 6], field: u16, rest: &[u8]| {
        let mut f = [&to[..], &[2, 0, 0, 0, 0, 1], &field.to_be_bytes(), rest].concat();
        f.resize(f.len().max(60), 0x11);
        f
    };
    let ip = [&[0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2][..], &[0; 20]].concat();
    all.push(with([0; 6], 0x0800, &ip));
    all.push(with([0xff; 6], 0x0806, &[0; 28]));
    all.push(with([1, 0, 0x5e, 0, 0, 1], 0x0800, &ip));
    all.push(with([0x33, 0x33, 0, 0, 0, 1], 0x86dd, &[0x60; 60]));
    all.push(with([2; 6], 0x8100, &[&[0x20, 0x64, 8, 0][..], &ip].concat()));
    all.push(with([2; 6], 0x88a8, &[&[0, 5, 0x81, 0, 0, 7, 8, 0][..], &ip].concat()));
    all.push(with([2; 6], 0x0030, &[0x42, 0x42, 3]));
    all.push(with([2; 6], 0x0030, &[0xff, 0xff, 3]));
    all
}

/// Bytes of the engine's context.
pub fn kept(ctx: &PacketCtx, field: &CtxField) -> u64 {
    let at = ctx as *const PacketCtx as *const u8;
    let byte = |i: usize| {
        let at = field.at as usize + i;
        assert!(at < size_of::<PacketCtx>());
        at
    };
    let size = field.size.min(field.at_size) as usize;
    // SAFETY: the offset was checked to lie inside the context, which is plain numbers.
    (0..size).rev().fold(0, |v, i| v << 8 | unsafe { *at.add(byte(i)) } as u64)
}
