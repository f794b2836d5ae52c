//! How functions of generated code lie on the stack, read from the beginnings of functions: what they push, whether they
//! keep a frame pointer, how much they reserve.
//!
//! Both compilers begin functions with the same few instructions. The last ones of a function, which undo all that, are taken
//! to be like the rest of it: a debugger that stops in the middle of them is led astray.

use gimli::Register;
use gimli::write::CallFrameInstruction as Rule;

/// `rsp` and `rbp`, as DWARF numbers them.
const SP: Register = Register(7);
const BP: Register = Register(6);
/// DWARF's numbers of the machine's first eight registers; the others have the same.
const DWARF: [u16; 8] = [0, 2, 1, 3, 7, 6, 4, 5];

/// What changes at which offset, in the code of a function.
pub(super) fn rules(code: &[u8]) -> Vec<(u32, Rule)> {
    let (mut rules, mut at, mut depth) = (Vec::new(), 0, 8);
    let mut framed = false;
    while let Some((len, step)) = step(code.get(at..).unwrap_or_default()) {
        at += len;
        let here = at as u32;
        match step {
            Step::Push(register) => {
                depth += 8;
                if !framed {
                    rules.push((here, Rule::CfaOffset(depth)));
                }
                rules.push((here, Rule::Offset(register, -depth)));
            }
            Step::Frame => {
                framed = true;
                rules.push((here, Rule::Cfa(BP, depth)));
            }
            Step::Reserve(bytes) => {
                depth += bytes;
                if !framed {
                    rules.push((here, Rule::CfaOffset(depth)));
                }
                return rules;
            }
            Step::Other => {}
        }
    }
    rules
}

/// Where rules begin: the return address alone is on the stack.
pub(super) fn at_entry() -> [Rule; 2] {
    [Rule::Cfa(SP, 8), Rule::Offset(Register(16), -8)]
}

enum Step {
    Push(Register),
    /// The frame pointer becomes the stack pointer.
    Frame,
    Reserve(i32),
    /// Leaves the stack alone.
    Other,
}

/// An instruction of a function's beginning, with its length; `None` where the beginning is over.
fn step(code: &[u8]) -> Option<(usize, Step)> {
    match *code {
        [op @ 0x50..=0x57, ..] => Some((1, Step::Push(Register(DWARF[usize::from(op - 0x50)])))),
        [0x41, op @ 0x50..=0x57, ..] => Some((2, Step::Push(Register(8 + u16::from(op - 0x50))))),
        [0x48, 0x89, 0xe5, ..] => Some((3, Step::Frame)),
        [0x48, 0x83, 0xec, bytes, ..] => Some((4, Step::Reserve(bytes.into()))),
        [0x48, 0x81, 0xec, a, b, c, d, ..] => Some((7, Step::Reserve(i32::from_le_bytes([a, b, c, d])))),
        // Moves between registers and memory that leave `rsp` and `rbp` as they are.
        [0x48..=0x4f, 0x89 | 0x8d, modrm, ..] => {
            let (mode, rm) = (modrm >> 6, modrm & 7);
            let sib = usize::from(mode != 3 && rm == 4);
            let disp = match mode {
                0 if rm == 5 => 4,
                1 => 1,
                2 => 4,
                _ => 0,
            };
            Some((3 + sib + disp, Step::Other))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beginnings_of_both_compilers_are_understood() {
        // push rbp; push rbx; push r12; mov [r9+8], rsp; mov r12, r9; mov rbp, rsp; sub rsp, 512; xor eax, eax; push rax
        let code = b"\x55\x53\x41\x54\x49\x89\x61\x08\x4d\x89\xcc\x48\x89\xe5\x48\x81\xec\x00\x02\x00\x00\x31\xc0\x50";
        let saved = |at, register, depth| {
            [(at, Rule::CfaOffset(depth)), (at, Rule::Offset(Register(register), -depth))]
        };
        let mut expected = [saved(1, 6, 16), saved(2, 3, 24), saved(4, 12, 32)].concat();
        expected.push((14, Rule::Cfa(BP, 32)));
        assert_eq!(rules(code), expected);
        // push rbp; mov rbp, rsp; sub rsp, 16; mov [rsp], rbx
        let code = b"\x55\x48\x89\xe5\x48\x83\xec\x10\x48\x89\x1c\x24";
        let mut expected = saved(1, 6, 16).to_vec();
        expected.push((4, Rule::Cfa(BP, 16)));
        assert_eq!(rules(code), expected);
        // push r13; sub rsp, 8
        let code = b"\x41\x55\x48\x83\xec\x08\xc3";
        let mut expected = saved(2, 13, 16).to_vec();
        expected.push((6, Rule::CfaOffset(24)));
        assert_eq!(rules(code), expected);
        assert_eq!(rules(b"\xc3"), []);
        assert_eq!(rules(b"\x48\x89"), []);
    }
}
