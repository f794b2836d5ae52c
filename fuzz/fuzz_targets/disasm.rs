//! Any bytes: what decodes encodes to the same bytes, and the listing assembles to the same program.
#![no_main]

use libfuzzer_sys::fuzz_target;
use skep_isa::disasm::{lines, listing};
use skep_isa::{Insn, NoNames, Style, asm};

fuzz_target!(|data: &[u8]| {
    let data = &data[..data.len() / 8 * 8];
    let insns = Insn::slice_from_bytes(data).expect("whole slots");
    for line in lines(&insns) {
        if let Ok(op) = line.op {
            let (again, _) = skep_isa::Op::decode(&op.encode(), 0).expect("encoded instructions decode");
            assert_eq!(again, op);
            assert!(line.is_canonical() || line.insn.opcode() == 0x8d, "{:?}", line.insn);
            // No panic, whatever the operands.
            let _ = (op.uses(), op.defs(), op.jump_target(line.pc), op.subprog_target(line.pc));
        }
    }
    let style = Style { bytes: data.len() % 16 == 0, numbers: data.len() % 24 == 0, ..Style::default() };
    let text = listing(&insns, &NoNames, style).to_string();
    assert_eq!(asm::parse_insns(&text).expect("listings assemble"), insns);
});
