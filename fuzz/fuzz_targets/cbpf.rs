//! Any bytes as classic instructions: they are a program, or one rule is named; a program runs to its end, reads back from
//! its listing, and is translated or not with a reason.
//!
//! Input: a byte of the packet's length, the packet, then eight bytes an instruction.
#![no_main]

use libfuzzer_sys::fuzz_target;
use skep_cbpf::{Insn, Meta, Packet, Program, Target, asm, text, translate};

fuzz_target!(|data: &[u8]| {
    let Some((&len, rest)) = data.split_first() else { return };
    let (packet, code) = rest.split_at(rest.len().min(len.into()));
    let insns: Vec<Insn> = code.chunks_exact(8).map(insn).collect();
    let _ = (text::listing(&insns), text::c_initialiser(&insns), text::decimal(&insns));
    let program = match Program::new(insns.clone()) {
        Ok(program) => program,
        Err(e) => return assert!(e.insn <= insns.len() && !e.to_string().is_empty()),
    };
    assert!(!program.has_loops());
    let meta = Meta { ifindex: Some(1), ..Meta::default() };
    program.run(&Packet::new(packet, &meta));
    let listing = text::listing(program.insns());
    let again = asm::parse(&listing).expect("a listing assembles");
    assert_eq!(Program::new(again).expect("is a program").ops(), program.ops(), "{listing}");
    for target in [Target::SOCKET_FILTER, Target::XDP, Target::SCHED_CLS] {
        if let Err(e) = translate(&program, &target) {
            assert!(!e.to_string().is_empty());
        }
    }
});

fn insn(bytes: &[u8]) -> Insn {
    let code = u16::from_le_bytes([bytes[0], bytes[1]]);
    let k = u32::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]);
    Insn { code, jt: bytes[2], jf: bytes[3], k }
}
