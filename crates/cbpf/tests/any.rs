//! Any instructions: the checker answers; what it accepts ends on any packet, and is translated or refused for a reason.

use skep_cbpf::{Insn, Meta, Packet, Program, Target, TranslateError, text, translate};

#[test]
fn any_instructions_get_an_answer() {
    let (mut accepted, mut refused) = (0, 0);
    arbtest::arbtest(|u| {
        let mut insns = Vec::new();
        for _ in 0..u.int_in_range(0..=12)? {
            // Codes of one byte, small jumps and constants: so that some pass.
            let (code, small): (u8, bool) = (u.arbitrary()?, u.arbitrary()?);
            let k = if small { u.int_in_range(0..=20)? } else { u.arbitrary()? };
            insns.push(Insn { code: code.into(), jt: u.int_in_range(0..=3)?, jf: u.int_in_range(0..=3)?, k });
        }
        insns.retain(|i| skep_cbpf::Op::decode(*i).is_some() || u.ratio(1, 20).unwrap_or(false));
        insns.push(Insn { code: 0x06, ..Insn::default() });
        let _ = text::listing(&insns);
        let bytes: Vec<u8> = u.arbitrary()?;
        match Program::new(insns) {
            Ok(program) => {
                accepted += 1;
                program.run(&Packet::new(&bytes, &Meta::default()));
                for target in [Target::SOCKET_FILTER, Target::SCHED_CLS, Target::XDP] {
                    if let Err(e) = translate(&program, &target) {
                        assert!(matches!(e, TranslateError::NotInContext { .. }), "{e}");
                    }
                }
            }
            Err(e) => {
                refused += 1;
                assert!(!e.to_string().is_empty());
            }
        }
        Ok(())
    });
    assert!(accepted > 0 && refused > 0, "{accepted} accepted, {refused} refused");
}
