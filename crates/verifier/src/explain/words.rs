//! Values, places and instructions in words, and where an instruction stands in the source.

use super::{Interval, Operand, Site};
use crate::log::LogNames;
use crate::machine::Vm;
use crate::reject::{Reject, Rule};
use crate::value::{Base, Flags, Reg};
use skep_isa::Op;
use skep_isa::disasm::Notation;
use skep_platform::LineInfo;

/// What a number may be; for pointers the distance from where they begin.
pub(super) fn interval(r: &Reg) -> Option<Interval> {
    let v = &r.val.r;
    match r.base {
        Base::NotInit => None,
        Base::Scalar => Some(Interval { smin: v.smin, smax: v.smax, umin: v.umin, umax: v.umax }),
        _ => {
            let off = i64::from(r.off);
            let (smin, smax) = (v.smin.saturating_add(off), v.smax.saturating_add(off));
            let unsigned = |s: i64, u: u64| u64::try_from(s).unwrap_or(u);
            Some(Interval { smin, smax, umin: unsigned(smin, v.umin), umax: unsigned(smax, v.umax) })
        }
    }
}

/// `-8`, `20`, `0x7fffffff` …: long numbers in hexadecimal.
fn number(v: i64) -> String {
    if v.unsigned_abs() < 1 << 20 { v.to_string() } else { format!("{v:#x}") }
}

/// A number in words.
fn scalar(r: &Reg) -> String {
    let v = &r.val.r;
    if let Some(c) = r.val.as_const() {
        return format!("the number {}", number(c as i64));
    }
    if r.val.is_unknown() {
        return "any 64-bit number".into();
    }
    let signed = (v.smin > i64::MIN).then_some(v.smin).zip((v.smax < i64::MAX).then_some(v.smax));
    match (v.umax, signed) {
        (0xffff_ffff, _) if v.umin == 0 => "any number of 32 bits".into(),
        (0xffff, _) if v.umin == 0 => "any number of 16 bits".into(),
        (0xff, _) if v.umin == 0 => "any number of 8 bits".into(),
        (u64::MAX, None) => {
            let at_least = if v.smin > i64::MIN { Some(("at least", v.smin)) } else { None };
            let at_most = (v.smax < i64::MAX).then_some(("at most", v.smax));
            at_least.or(at_most).map_or_else(
                || "a number of which some bits are known".into(),
                |(w, n)| format!("a number of {w} {}, signed", number(n)),
            )
        }
        (u64::MAX, Some((lo, hi))) => format!("a number from {} to {}", number(lo), number(hi)),
        (hi, _) if v.smin >= 0 || v.umin > 0 => {
            format!("a number from {} to {}", number(v.umin as i64), unsigned(hi))
        }
        (hi, _) => format!("a number from {} to {}, unsigned", v.umin, unsigned(hi)),
    }
}

fn unsigned(v: u64) -> String {
    if v < 1 << 20 { v.to_string() } else { format!("{v:#x}") }
}

/// `8 bytes in`, `from 0 to 255 bytes in`.
fn inside(r: &Reg) -> String {
    let off = i64::from(r.off);
    match r.val.as_const() {
        Some(v) => match off + v as i64 {
            0 => "at its start".into(),
            at => format!("{} bytes in", number(at)),
        },
        None if r.val.r.smin == i64::MIN || r.val.r.smax == i64::MAX || r.val.r.umax == u64::MAX => {
            "at an unknown offset".into()
        }
        None => format!(
            "{} to {} bytes in",
            number(off.saturating_add(r.val.r.smin)),
            number(off.saturating_add(r.val.r.smax))
        ),
    }
}

/// The register of an argument that may be NULL: kernel functions count them from 0, helpers from 1.
fn null_argument(message: &str) -> Option<u8> {
    let (first, rest) = [("trusted arg", 1), ("helper arg", 0)]
        .iter()
        .find_map(|(word, first)| Some((*first, message.split_once(word)?.1)))?;
    rest.parse::<u8>().ok().map(|n| n + first).filter(|n| (1..=5).contains(n))
}

impl Vm<'_> {
    /// A value in words.
    pub(crate) fn in_words(&self, r: &Reg) -> String {
        let map = |m: u16| self.maps.get(m as usize).map_or("", |m| m.def.name.as_str());
        let what = match r.base {
            Base::NotInit => return "never written".into(),
            Base::Scalar => return scalar(r),
            Base::Ctx => format!("the context, {}", inside(r)),
            Base::MapPtr(m) => return format!("the map {}", map(m)),
            Base::MapValue(m) => {
                let size = self.maps.get(m as usize).map_or(0, |m| m.value_size());
                format!("a value of map {} ({size} bytes), {}", map(m), inside(r))
            }
            Base::MapKey(m) => format!("a key of map {}, {}", map(m), inside(r)),
            Base::Stack(f) => {
                let whose = if f as usize == self.cur.depth() { "" } else { " of a caller" };
                match r.val.as_const() {
                    Some(v) => format!("the address fp{:+}{whose}", i64::from(r.off) + v as i64),
                    None => format!("an address on the stack{whose}, {}", inside(r)),
                }
            }
            Base::Packet | Base::PacketMeta => {
                let of = if r.base == Base::Packet { "the packet" } else { "the packet's metadata" };
                let known = match r.range {
                    0 => ", of which no byte is known to exist".into(),
                    n if n > 0 => format!(", of which {n} bytes are known to exist"),
                    _ => ", beyond its end".into(),
                };
                format!("a pointer into {of}{known}, {}", inside(r))
            }
            Base::PacketEnd => return "the end of the packet".into(),
            Base::Mem(size) if r.flags.has(Flags::RINGBUF) => {
                format!("a ring buffer record of {size} bytes, {}", inside(r))
            }
            Base::Mem(size) => format!("memory of {size} bytes, {}", inside(r)),
            Base::Btf(t) => format!("a pointer to struct {}, {}", self.btf_name(t), inside(r)),
            Base::Func(_) => return "the address of a function".into(),
            _ => format!("a pointer ({}), {}", r.type_name(), inside(r)),
        };
        let trust = if r.flags.has(Flags::UNTRUSTED) { ", which may be stale" } else { "" };
        if r.maybe_null() { format!("NULL, or {what}{trust}") } else { format!("{what}{trust}") }
    }

    /// An instruction in the kernel's notation.
    pub(crate) fn insn_text(&self, pc: usize, op: &Op) -> String {
        let names = LogNames { platform: self.platform, kernel: self.kernel.as_deref() };
        op.text(pc, &names, Notation::Kernel).to_string()
    }

    /// Functions open at the current instruction, outermost first.
    pub(crate) fn sites(&self) -> Vec<Site> {
        (0..self.cur.frames.len())
            .map(|i| {
                let insn = self.cur.insn_of_frame(i);
                let func = &self.code.funcs[self.code.func_of(insn)];
                let name =
                    if func.name.is_empty() && func.start == 0 { &self.program.name } else { &func.name };
                Site { function: name.clone(), insn, line: self.program.line_at(insn).cloned() }
            })
            .collect()
    }

    /// The last line of the function's own text before a line that stands elsewhere: where that was inlined.
    pub(crate) fn inlined_at(&self, pc: usize) -> Option<LineInfo> {
        let here = self.program.line_at(pc)?;
        let func = &self.code.funcs[self.code.func_of(pc)];
        let first = self.program.line_at(func.start)?;
        let own = |l: &LineInfo| l.file == first.file && l.line >= first.line;
        if own(here) {
            return None;
        }
        let frame = self.cur.depth() as u8;
        let steps = self.trace.as_ref()?.path().iter().rev().filter(|s| s.frame == frame);
        steps.filter_map(|s| self.program.line_at(s.pc)).find(|l| own(l)).cloned()
    }

    /// The register that a refusal is about, when it is about one.
    pub(crate) fn culprit(&self, why: &Reject, pc: usize) -> Option<u8> {
        let op = self.code.op(pc)?;
        let named =
            named_register(&why.message).or_else(|| why.before.iter().find_map(|l| named_register(l)));
        if let Some(n) = named.filter(|n| *n < 10) {
            return Some(n);
        }
        match op {
            Op::Call(_) => {
                let n = null_argument(&why.message)?;
                self.cur.reg(n as usize).maybe_null().then_some(n)
            }
            Op::Load { src, .. } | Op::LoadAcquire { src, .. } => Some(src.index() as u8),
            Op::Store { dst, .. } | Op::StoreRelease { dst, .. } | Op::Atomic { dst, .. } => {
                Some(dst.index() as u8)
            }
            // Of a pointer and a number the number is at fault.
            Op::Alu { dst, src: skep_isa::Operand::Reg(src), .. }
                if self.cur.reg(dst.index()).is_pointer() && self.cur.reg(src.index()).is_scalar() =>
            {
                Some(src.index() as u8)
            }
            Op::Alu { dst, .. } => Some(dst.index() as u8),
            _ => None,
        }
    }

    /// Values that the instruction works on, the one at fault first.
    pub(crate) fn operands(&self, rule: Rule, pc: usize, culprit: Option<u8>, at: usize) -> Vec<Operand> {
        let Some(op) = self.code.op(pc) else { return Vec::new() };
        let mut regs: Vec<u8> = culprit.into_iter().collect();
        let call = matches!(op, Op::Call(_));
        let used = op.uses().iter().map(|r| r.index() as u8);
        // Of a call's five registers those count that were written.
        let worth = |r: &u8| !call || self.cur.reg(*r as usize).base != Base::NotInit;
        regs.extend(used.filter(worth).filter(|r| *r != 10 && Some(*r) != culprit));
        if matches!(op, Op::Exit) && culprit.is_none() || rule == Rule::TooComplex {
            return Vec::new();
        }
        let steps = self.trace.as_ref().map_or(&[][..], |t| t.path());
        let frame = self.cur.depth() as u8;
        regs.into_iter()
            .map(|reg| {
                // As it was when the instruction began.
                let before = steps.get(at).and_then(|s| s.uses.iter().find(|(r, _)| *r == reg));
                let r = before.map_or(*self.cur.reg(reg as usize), |(_, r)| *r);
                Operand {
                    reg,
                    name: self.name_of(frame, reg, at),
                    kernel: self.reg_text(&r, self.cur.depth()),
                    words: self.in_words(&r),
                    interval: interval(&r),
                }
            })
            .collect()
    }
}

/// `R3` at the start of a phrase, or after "register".
fn named_register(text: &str) -> Option<u8> {
    let mut words = text.split(|c: char| !c.is_ascii_alphanumeric());
    words.find_map(|w| {
        let digits = w.strip_prefix('R')?;
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
            None
        } else {
            digits.parse().ok()
        }
    })
}

/// The variable that a source line assigns to, at a column when that is known: the word before a single `=`. Of
/// `int a = 1, b = f();` it is the one whose value stands at the column.
pub(super) fn assigned(line: &LineInfo) -> Option<String> {
    assigned_in(&line.text, line.col as usize)
}

fn assigned_in(text: &str, col: usize) -> Option<String> {
    let before = text.get(..col.saturating_sub(1)).filter(|t| t.contains('='));
    let several = text.matches('=').count() > 1;
    let at = match before {
        Some(t) => t.rfind('=')?,
        None if several => return None,
        None => text.find('=')?,
    };
    let (left, right) = (text.get(..at)?, text.get(at + 1..)?);
    if right.starts_with('=') || left.ends_with(['=', '!', '<', '>', '+', '-', '*', '/', '&', '|', '^', '%'])
    {
        return None;
    }
    let left = left.trim_end();
    let begin = left.rfind(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).map_or(0, |i| i + 1);
    let word = &left[begin..];
    let good = word.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    // Members, elements and what stands in the head of a loop are no variables of their own.
    let plain = !left[..begin].ends_with(['.', '>']) && !left.contains('(');
    (good && plain).then(|| word.to_string())
}

#[cfg(test)]
mod tests {
    use super::{assigned_in, named_register};

    #[test]
    fn variables_of_lines() {
        let first = |text| assigned_in(text, 0);
        assert_eq!(first("struct value *v = bpf_map_lookup_elem(&m, &k);").as_deref(), Some("v"));
        assert_eq!(first("  len = skb->len;").as_deref(), Some("len"));
        let two = "__u32 key = 0, index = skb->mark;";
        assert_eq!(assigned_in(two, 29).as_deref(), Some("index"));
        assert_eq!(assigned_in(two, 13).as_deref(), Some("key"));
        for none in [
            "if (a == b)",
            "x += 4;",
            "a[1] = 2;",
            "p->x = 1;",
            "for (int i = 0; i < 4; i++)",
            "exit();",
            two,
        ] {
            assert_eq!(first(none), None, "{none}");
        }
    }

    #[test]
    fn registers_of_phrases() {
        assert_eq!(named_register("R3 !read_ok"), Some(3));
        assert_eq!(named_register("At program exit the register R0 has smin=2"), Some(0));
        assert_eq!(named_register("Unreleased reference id=2 alloc_insn=4"), None);
    }
}
