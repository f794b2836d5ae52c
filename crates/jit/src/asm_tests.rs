//! The assembler against an independent disassembler: every form with every register that matters.

use super::*;
use iced_x86::{Decoder, DecoderOptions, Formatter, IntelFormatter};

const WIDE: [&str; 16] = [
    "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14",
    "r15",
];
const HALF: [&str; 16] = [
    "eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi", "r8d", "r9d", "r10d", "r11d", "r12d", "r13d",
    "r14d", "r15d",
];
const WORD: [&str; 16] = [
    "ax", "cx", "dx", "bx", "sp", "bp", "si", "di", "r8w", "r9w", "r10w", "r11w", "r12w", "r13w", "r14w",
    "r15w",
];
const BYTE: [&str; 16] = [
    "al", "cl", "dl", "bl", "spl", "bpl", "sil", "dil", "r8b", "r9b", "r10b", "r11b", "r12b", "r13b", "r14b",
    "r15b",
];

fn name(wide: bool, r: R) -> &'static str {
    if wide { WIDE[r.0 as usize] } else { HALF[r.0 as usize] }
}

fn sized(size: Size, r: R) -> &'static str {
    let names = match size {
        Size::B => BYTE,
        Size::H => WORD,
        Size::W => HALF,
        Size::Dw => WIDE,
    };
    names[r.0 as usize]
}

fn mem(m: M) -> String {
    match m.1 {
        0 => format!("[{}]", WIDE[m.0.0 as usize]),
        d if d < 0 => format!("[{}-{}]", WIDE[m.0.0 as usize], hex(u64::from(d.unsigned_abs()))),
        d => format!("[{}+{}]", WIDE[m.0.0 as usize], hex(d as u64)),
    }
}

fn hex(v: u64) -> String {
    if v < 10 {
        return v.to_string();
    }
    let digits = format!("{v:X}");
    let lead = if digits.starts_with(|c: char| c.is_ascii_alphabetic()) { "0" } else { "" };
    format!("{lead}{digits}h")
}

/// One instruction as the disassembler reads it; the whole buffer has to be that instruction.
fn text(emit: impl FnOnce(&mut Asm)) -> String {
    let mut a = Asm::default();
    emit(&mut a);
    let code = a.code();
    let mut d = Decoder::with_ip(64, &code, 0, DecoderOptions::NONE);
    let insn = d.decode();
    assert!(!insn.is_invalid() && insn.len() == code.len(), "{code:x?}");
    let mut f = IntelFormatter::new();
    let mut out = String::new();
    f.format(&insn, &mut out);
    out.replace("byte ptr ", "").replace("dword ptr ", "").replace("qword ptr ", "").replace("word ptr ", "")
}

fn all() -> impl Iterator<Item = R> {
    (0..16).map(R)
}

fn pairs() -> impl Iterator<Item = (R, R)> {
    all().flat_map(|a| all().map(move |b| (a, b)))
}

const ARITH: [(Arith, &str); 6] = [
    (Arith::Add, "add"),
    (Arith::Or, "or"),
    (Arith::And, "and"),
    (Arith::Sub, "sub"),
    (Arith::Xor, "xor"),
    (Arith::Cmp, "cmp"),
];
const SHIFT: [(Shift, &str, &str); 3] =
    [(Shift::Shl, "shl", "shlx"), (Shift::Shr, "shr", "shrx"), (Shift::Sar, "sar", "sarx")];
const SIZES: [Size; 4] = [Size::B, Size::H, Size::W, Size::Dw];
const DISPS: [i32; 6] = [0, 8, -8, 127, -129, 0x1234];

#[test]
fn registers_with_registers() {
    for ((a, b), wide) in pairs().flat_map(|p| [(p, false), (p, true)]) {
        let (x, y) = (name(wide, a), name(wide, b));
        assert_eq!(text(|s| s.mov(wide, a, b)), format!("mov {x},{y}"));
        assert_eq!(text(|s| s.test(wide, a, b)), format!("test {x},{y}"));
        assert_eq!(text(|s| s.imul(wide, a, b)), format!("imul {x},{y}"));
        // The disassembler writes the form with two equal registers shorter.
        let product = if a == b { format!("imul {x},3E8h") } else { format!("imul {x},{y},3E8h") };
        assert_eq!(text(|s| s.imul_imm(wide, a, b, 1000)), product);
        for (op, n) in ARITH {
            assert_eq!(text(|s| s.arith(op, wide, a, b)), format!("{n} {x},{y}"));
        }
        assert_eq!(text(|s| s.rotate_bmi2(wide, a, b, 7)), format!("rorx {x},{y},7"));
        for (op, _, n) in SHIFT {
            let by = R(a.0 ^ 5);
            let want = format!("{n} {x},{y},{}", name(wide, by));
            assert_eq!(text(|s| s.shift_bmi2(op, wide, a, b, by)), want);
        }
    }
    for (a, b) in pairs() {
        assert_eq!(
            text(|s| s.extend(Size::B, true, true, a, b)),
            format!("movsx {},{}", name(true, a), BYTE[b.0 as usize])
        );
        assert_eq!(
            text(|s| s.extend(Size::H, false, false, a, b)),
            format!("movzx {},{}", name(false, a), WORD[b.0 as usize])
        );
        assert_eq!(
            text(|s| s.extend(Size::W, true, true, a, b)),
            format!("movsxd {},{}", name(true, a), name(false, b))
        );
    }
}

#[test]
fn registers_alone() {
    for (r, wide) in all().flat_map(|r| [(r, false), (r, true)]) {
        let x = name(wide, r);
        for (op, n) in ARITH {
            assert_eq!(text(|s| s.arith_imm(op, wide, r, 7)), format!("{n} {x},7"));
            assert_eq!(text(|s| s.arith_imm(op, wide, r, 0x12345)), format!("{n} {x},12345h"));
        }
        for (op, n, _) in SHIFT {
            assert_eq!(text(|s| s.shift_imm(op, wide, r, 9)), format!("{n} {x},9"));
            assert_eq!(text(|s| s.shift_cl(op, wide, r)), format!("{n} {x},cl"));
        }
        for (op, n) in [(Unary::Neg, "neg"), (Unary::Div, "div"), (Unary::Idiv, "idiv")] {
            assert_eq!(text(|s| s.unary(op, wide, r)), format!("{n} {x}"));
        }
        assert_eq!(text(|s| s.test_imm(wide, r, 0x100)), format!("test {x},100h"));
        assert_eq!(text(|s| s.bswap(wide, r)), format!("bswap {x}"));
    }
    for r in all() {
        let (x, h) = (name(true, r), name(false, r));
        assert_eq!(text(|s| s.push(r)), format!("push {x}"));
        assert_eq!(text(|s| s.pop(r)), format!("pop {x}"));
        assert_eq!(text(|s| s.call_reg(r)), format!("call {x}"));
        assert_eq!(text(|s| s.swap16(r)), format!("ror {},8", WORD[r.0 as usize]));
        assert_eq!(text(|s| s.mov_imm(r, 5)), format!("mov {h},5"));
        assert_eq!(text(|s| s.mov_imm(r, -2i64 as u64)), format!("mov {x},0FFFFFFFFFFFFFFFEh"));
        assert_eq!(text(|s| s.mov_imm(r, 0x1234_5678_9abc)), format!("mov {x},123456789ABCh"));
        assert_eq!(text(|s| s.mov_imm(r, 0x8000_0000)), format!("mov {h},80000000h"));
    }
    assert_eq!(text(|s| s.sign_to_dx(false)), "cdq");
    assert_eq!(text(|s| s.sign_to_dx(true)), "cqo");
    assert_eq!(text(Asm::ret), "ret");
}

#[test]
fn memory() {
    for ((r, b), disp) in pairs().flat_map(|p| DISPS.map(|d| (p, d))) {
        let m = M(b, disp);
        let at = mem(m);
        for size in SIZES {
            let (x, q) = (sized(size, r), name(true, r));
            assert_eq!(text(|s| s.store(size, m, r)), format!("mov {at},{x}"));
            let (zx, sx) = match size {
                Size::B | Size::H => (format!("movzx {},{at}", name(false, r)), format!("movsx {q},{at}")),
                Size::W => (format!("mov {},{at}", name(false, r)), format!("movsxd {q},{at}")),
                Size::Dw => (format!("mov {q},{at}"), format!("mov {q},{at}")),
            };
            assert_eq!(text(|s| s.load(size, false, r, m)), zx);
            assert_eq!(text(|s| s.load(size, true, r, m)), sx);
            assert_eq!(text(|s| s.store_imm(size, m, 5)), format!("mov {at},5"));
        }
        for wide in [false, true] {
            let x = name(wide, r);
            assert_eq!(text(|s| s.lock_arith(Arith::Xor, wide, m, r)), format!("lock xor {at},{x}"));
            assert_eq!(text(|s| s.lock_xadd(wide, m, r)), format!("lock xadd {at},{x}"));
            assert_eq!(text(|s| s.lock_cmpxchg(wide, m, r)), format!("lock cmpxchg {at},{x}"));
            assert_eq!(text(|s| s.xchg(wide, m, r)), format!("xchg {at},{x}"));
            assert_eq!(text(|s| s.arith_load(Arith::Sub, wide, r, m)), format!("sub {x},{at}"));
        }
        assert_eq!(text(|s| s.lea(r, m)), format!("lea {},{at}", name(true, r)));
    }
    for ((b, i), disp) in pairs().flat_map(|p| DISPS.map(|d| (p, d))).filter(|((_, i), _)| *i != R::SP) {
        let m = X { base: b, index: Some(i), disp };
        let at =
            mem(M(b, disp)).replacen(WIDE[b.0 as usize], &format!("{}+{}", name(true, b), name(true, i)), 1);
        let r = R(b.0 ^ i.0 ^ 5);
        assert_eq!(text(|s| s.load(Size::W, false, r, m)), format!("mov {},{at}", name(false, r)));
        assert_eq!(text(|s| s.store(Size::B, m, r)), format!("mov {at},{}", BYTE[r.0 as usize]));
        assert_eq!(text(|s| s.store_imm(Size::Dw, m, 5)), format!("mov {at},5"));
        assert_eq!(text(|s| s.lea_sum(false, r, m)), format!("lea {},{at}", name(false, r)));
    }
    let m = M(R::R12, 16);
    assert_eq!(text(|s| s.call_mem(m)), "call [r12+10h]");
    assert_eq!(text(|s| s.push_mem(m)), "push [r12+10h]");
    assert_eq!(text(|s| s.pop_mem(m)), "pop [r12+10h]");
    assert_eq!(text(|s| s.arith_mem_imm(Arith::Sub, false, m, 1)), "sub [r12+10h],1");
}

#[test]
fn jumps_reach_their_targets() {
    let mut a = Asm::default();
    let (short, long) = (a.jump(Some(Cc::E), true), a.jump(None, false));
    (0..20).for_each(|_| a.byte(0x90));
    a.land(short);
    a.land(long);
    (0..200).for_each(|_| a.byte(0x90));
    a.jump_back(Some(Cc::Ne), 200);
    a.jump_back(None, 0);
    let insns: Vec<_> = Decoder::with_ip(64, &a.buf[..a.at], 0, DecoderOptions::NONE).into_iter().collect();
    let targets: Vec<u64> = insns
        .iter()
        .filter(|i| i.op0_kind() == iced_x86::OpKind::NearBranch64)
        .map(|i| i.near_branch_target())
        .collect();
    assert_eq!(targets, [27, 27, 200, 0]);
    let far = a.jump(None, true);
    assert!(!a.try_fill(far, far.at + 1 + 128));
    assert!(a.try_fill(far, far.at + 1 + 127));
}
