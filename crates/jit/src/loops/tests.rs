//! Loops that routines run many turns of at once, beside the same loops as they are written: results and memory are the same.

use super::find;
use crate::baseline::tests::{code, execute};
use crate::code::{Code, Step};
use skep_isa::asm::parse_insns;
use skep_isa::{Imm64, Op};

fn program(text: &str) -> Code {
    let insns = parse_insns(text).expect("it is assembly");
    let mut steps = Vec::new();
    while steps.len() < insns.len() {
        match Op::decode(&insns, steps.len()).expect("it is a program").0 {
            Op::LoadImm64 { dst, imm: Imm64::Value(bits) } => {
                steps.extend([Step::Wide { dst, bits }, Step::Second])
            }
            op => steps.push(Step::Op(op)),
        }
    }
    code(steps)
}

/// Memory of the programs: bytes without pattern, some of them of the sets that are looked for.
fn memory() -> Vec<u8> {
    let mut state = 7u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..4096).map(|i| if i % 37 == 5 { b'A' } else { next() }).collect()
}

/// `r1` and `r2` are addresses in the memory, `r3` is the number of turns, `r4` a number.
const LOOPS: &[(&str, &str)] = &[
    (
        "copies words",
        "r3 <<= 3\nr3 += r1\nL: r5 = *(u64 *)(r1 + 0)\n*(u64 *)(r2 + 0) = r5\nr1 += 8\nr2 += 8\nif r1 != r3 goto L\nr0 = r5\nexit",
    ),
    (
        "copies bytes by an index",
        "r5 = 0\nL: r0 = r1\nr0 += r5\nr6 = *(u8 *)(r0 + 3)\nr0 = r2\nr0 += r5\n*(u8 *)(r0 + 1) = r6\nr5 += 1\nif r5 < r3 goto L\nr0 = r5\nexit",
    ),
    (
        "tests first",
        "r5 = 0\nL: if r5 >= r3 goto E\nr0 = r1\nr0 += r5\nr6 = *(u8 *)(r0 + 0)\nr0 = r2\nr0 += r5\n*(u8 *)(r0 + 0) = r6\nr5 += 1\ngoto L\nE: r0 = r5\nexit",
    ),
    (
        "fills with a constant",
        "w5 = 0\nL: r0 = r1\nr0 += r5\n*(u8 *)(r0 + 0) = 0x5a\nw5 += 1\nif w5 < w3 goto L\nr0 = r5\nexit",
    ),
    (
        "fills with a register",
        "r5 = 0\nL: r0 = r5\nr0 <<= 2\nr6 = r1\nr6 += r0\n*(u32 *)(r6 + 0) = r4\nr5 += 1\nif r5 s< r3 goto L\nr0 = r5\nexit",
    ),
    (
        "fills with what it counts",
        "r5 = 0\nL: r0 = r1\nr0 += r5\nr0 += 32\nw6 = w5\nw6 &= 1\nw6 += 1\n*(u8 *)(r0 + 0) = r6\nr5 += 1\nif r5 != r3 goto L\nr0 = r5\nexit",
    ),
    (
        "fills with a pattern",
        "r5 = 0\nL: r0 = r1\nr0 += r5\nw6 = w5\nw6 &= 3\nw6 += w4\n*(u8 *)(r0 + 0) = r6\nr5 += 1\nif r5 < r3 goto L\nr0 = r5\nexit",
    ),
    (
        "sums halves",
        "r5 = 0\nw0 = w4\nL: r6 = r1\nr6 += r5\nr6 = *(u16 *)(r6 + 0)\nw0 += w6\nr5 += 2\nif r5 s<= r3 goto L\nr0 ^= r5\nexit",
    ),
    (
        "sums words",
        "r0 = r4\nr3 <<= 2\nr3 += r1\nL: r5 = *(u32 *)(r1 + 4)\nr0 += r5\nr1 += 4\nif r3 > r1 goto L\nexit",
    ),
    (
        "counts bytes",
        "r5 = 0\nr0 = r4\nL: r6 = r1\nr6 += r5\nr6 = *(u8 *)(r6 + 0)\nr7 = 3\nif w6 == 0x41 goto C\nr7 = 0\nC: r0 += r7\nr5 += 1\nif r5 < r3 goto L\nexit",
    ),
    (
        "finds the last, entered in its middle",
        "w0 = 0\nr5 = 0\nr7 = r4\ngoto M\nL: r5 += 1\nr7 = r8\nif r5 >= r3 goto E\nM: r6 = r1\nr6 += r5\nr6 = *(u8 *)(r6 + 0)\nr8 = r5\nif w6 == 0x41 goto L\nr8 = r7\ngoto L\nE: r0 = r7\nexit",
    ),
    (
        "counts and finds",
        "w0 = 0\nr5 = 0\nw2 = 0\ngoto M\nL: w0 += w7\nr5 += 1\nw2 = w8\nif r5 != r3 goto M\nw0 <<= 16\nw0 += w8\nexit\nM: r6 = r1\nr6 += r5\nr9 = *(u8 *)(r6 + 0)\nw9 &= 255\nw7 = 1\nw8 = 1\nif w9 == 0x7f goto A\nw8 = 0\nA: if w9 == 0x41 goto B\nw7 = 0\nB: w7 |= w8\nw8 = w5\nif w7 != 0 goto L\nw8 = w2\ngoto L",
    ),
];

fn both(text: &str, args: impl Fn(u64) -> [u64; 5], found: bool) {
    let code = program(text);
    let loops = find(&code);
    assert_eq!(loops.len(), usize::from(found), "{text}");
    let run = |loops: &[super::Found]| {
        let mut memory = memory();
        let base = memory.as_mut_ptr().expose_provenance() as u64;
        let r0 = execute(&code, loops, true, args(base));
        (r0, memory)
    };
    let (want, got) = (run(&[]), run(&loops));
    assert_eq!(want.0, got.0, "{text}");
    assert!(want.1 == got.1, "memory differs: {text}");
}

#[test]
fn many_turns_at_once_are_what_the_loop_does() {
    for (name, text) in LOOPS {
        println!("{name}");
        for turns in [1, 2, 7, 8, 9, 15, 16, 17, 31, 33, 64, 65, 100, 200] {
            for (from, to) in [(0, 2048), (1, 2051), (2048, 0), (8, 0), (0, 8), (3, 0)] {
                for number in [0, 0x1_ffff_fff0_u64, 0x8000_0000_0000_0005] {
                    both(text, |base| [base + from, base + to, turns, number, 0], true);
                }
            }
        }
    }
}

/// What no routine does: another step, two ways out, a value that the loop itself changes.
#[test]
fn other_loops_stay_as_they_are() {
    let others = [
        "r3 += r1\nL: r5 = *(u64 *)(r1 + 0)\n*(u64 *)(r2 + 0) = r5\nr1 += 16\nr2 += 8\nif r1 < r3 goto L\nr0 = r5\nexit",
        "r3 += r1\nL: r5 = *(u8 *)(r1 + 0)\nif r5 == 0 goto E\nr1 += 1\nif r1 < r3 goto L\nE: r0 = r5\nexit",
        "r3 += r1\nr0 = 0\nL: r5 = *(u8 *)(r1 + 0)\nr0 *= 31\nr0 += r5\nr1 += 1\nif r1 < r3 goto L\nexit",
        "r3 += r1\nL: r5 = *(u8 *)(r1 + 0)\n*(u8 *)(r1 + 1) = r5\n*(u8 *)(r2 + 0) = r5\nr1 += 1\nr2 += 1\nif r1 < r3 goto L\nr0 = 0\nexit",
    ];
    for text in others {
        both(text, |base| [base, base + 2048, 40, 0, 0], false);
    }
}
