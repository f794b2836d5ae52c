//! Notation: every operation comes back from its text, in all three forms, and errors name their line.

use skep_cbpf::{Insn, Op, Size, Source, asm, text};

/// One of each operation, jumps in range. (A bare `#` line cannot hold what the machine ignores, so these are canonical.)
fn samples() -> Vec<Insn> {
    let codes = (0..0x100u16).map(|code| Insn { code, jt: 1, jf: 0, k: 5 });
    let canonical = codes.filter_map(|i| Op::decode(i).map(Op::encode));
    let more = [Op::Abs(Size::B, -0x1000i32 as u32 + 48), Op::Ind(Size::H, -2i32 as u32), Op::RetK(0)];
    canonical.chain(more.map(Op::encode)).collect()
}

#[test]
fn text_comes_back() {
    let insns = samples();
    assert_eq!(insns.len(), 52);
    assert_eq!(asm::parse(&text::listing(&insns)), Ok(insns.clone()));
    assert_eq!(asm::parse_decimal(&text::decimal(&insns)), Ok(insns));
}

#[test]
fn as_tcpdump_prints() {
    let tcp = "(000) ldh      [12]\n(001) jeq      #0x86dd          jt 2\tjf 7\n(002) ldb      [20]\n\
               (003) jeq      #0x6             jt 10\tjf 4\n(004) jeq      #0x2c            jt 5\tjf 11\n\
               (005) ldb      [54]\n(006) jeq      #0x6             jt 10\tjf 11\n\
               (007) jeq      #0x800           jt 8\tjf 11\n(008) ldb      [23]\n\
               (009) jeq      #0x6             jt 10\tjf 11\n(010) ret      #262144\n(011) ret      #0\n";
    let insns = asm::parse(tcp).expect("a listing of tcpdump");
    assert_eq!(text::listing(&insns), tcp);
    assert!(
        text::c_initialiser(&insns).starts_with("{ 0x28, 0, 0, 0x0000000c },\n{ 0x15, 0, 5, 0x000086dd },\n")
    );
    assert!(text::decimal(&insns).starts_with("12\n40 0 0 12\n21 0 5 34525\n"));
    let names = text::listing(&[
        Op::Abs(Size::W, -1i32 as u32 - 0x2000).encode(),
        Op::Alu(skep_cbpf::AluOp::Xor, Source::K(255)).encode(),
        Insn { code: 0xffff, ..Insn::default() },
    ]);
    assert_eq!(names, "(000) ld       [-8193]\n(001) xor      #0xff\n(002) unimp    0xffff\n");
}

#[test]
fn errors_name_the_line() {
    for (text, line, says) in [
        ("ldh [12]\nfoo", 2, "foo"),
        ("ld [x * 2]", 1, "operand"),
        ("ret #0\n\njeq #1 jt 0 jf 2", 3, "jump"),
        ("ja back", 1, "jump"),
        ("ld M[4294967296]", 1, "operand"),
    ] {
        let e = asm::parse(text).expect_err(text);
        assert_eq!(e.line, line, "{text}");
        assert!(e.to_string().contains(says), "{e}");
    }
    assert_eq!(asm::parse_decimal("2\n40 0 0 12\n").map_err(|e| e.line), Err(1));
    assert_eq!(asm::parse_decimal("1\n40 0 0\n").map_err(|e| e.line), Err(2));
    assert_eq!(asm::parse_decimal("").map_err(|e| e.line), Err(1));
}
