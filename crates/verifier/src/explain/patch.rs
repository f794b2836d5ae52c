//! Instructions put into a program, or replaced: jumps, calls, functions and source lines follow.

use skep_isa::Insn;
use skep_isa::insn::LDIMM64;
use skep_platform::map::{MapDef, Side};
use skep_platform::{Errno, Map, Program};
use std::any::Any;
use std::sync::Arc;

/// One change. Places are those of the program as it was.
#[derive(Clone, Debug)]
pub(super) enum Edit {
    /// These go before the instruction at `at`; jumps to it come to them first.
    Insert { at: usize, insns: Vec<Insn> },
    /// These follow the instruction at `at`, which takes one slot; jumps to what comes next pass them by.
    After { at: usize, insns: Vec<Insn> },
    /// The jump at `jump`, when taken, comes to these first; they are put at `end`, the end of its function.
    Edge { jump: usize, end: usize, insns: Vec<Insn> },
    /// This stands for the instruction at `at`, which takes one slot.
    Replace { at: usize, insn: Insn },
    /// The program's map of this index is as described.
    Map { index: usize, def: Box<MapDef> },
    /// Another licence.
    License(&'static str),
}

/// A map that is only its description, to be verified with: nothing is in it.
#[derive(Debug)]
struct Described {
    def: MapDef,
}

impl Map for Described {
    fn def(&self) -> &MapDef {
        &self.def
    }
    fn lookup(&self, _: &[u8], _: u32) -> Result<Option<u64>, Errno> {
        Ok(None)
    }
    fn read(&self, _: &[u8], _: &mut Vec<u8>) -> Result<(), Errno> {
        Err(Errno::ENOENT)
    }
    fn update(&self, _: &[u8], _: &[u8], _: u64, _: Side) -> Result<(), Errno> {
        Err(Errno::EINVAL)
    }
    fn delete(&self, _: &[u8], _: Side) -> Result<(), Errno> {
        Err(Errno::EINVAL)
    }
    fn next_key(&self, _: Option<&[u8]>, _: &mut Vec<u8>) -> Result<(), Errno> {
        Err(Errno::ENOENT)
    }
    fn freeze(&self) -> Result<(), Errno> {
        Ok(())
    }
    fn frozen(&self) -> bool {
        false
    }
    fn direct(&self) -> Option<(u64, u64)> {
        Some((1 << 20, self.def.value_size.into()))
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// A changed program, and where its instructions came from.
pub(super) struct Patched {
    pub(super) program: Arc<Program>,
    /// By new slot: the old one; `None` for what was put in.
    pub(super) origin: Vec<Option<usize>>,
}

/// Applies the edits. `None` where a jump would become too long.
pub(super) fn apply(program: &Program, edits: &[Edit]) -> Option<Patched> {
    let mut new = program.clone();
    for e in edits {
        if let Edit::Replace { at, insn } = e {
            *new.insns.get_mut(*at)? = *insn;
        }
    }
    let old = std::mem::take(&mut new.insns);
    let (mut insns, mut origin) = (Vec::new(), Vec::new());
    // Where a jump to an old slot goes, and where the slot itself is now.
    let (mut entry, mut place) = (Vec::new(), Vec::new());
    // Blocks at the ends of functions, which nothing falls into: the jump, its block's place, the place of the way back.
    let mut blocks = Vec::new();
    let block_at = |pc: usize, insns: &mut Vec<Insn>, origin: &mut Vec<Option<usize>>| {
        let mut made = Vec::new();
        for e in edits {
            if let Edit::Edge { jump, end, insns: more } = e
                && *end == pc
            {
                made.push((*jump, insns.len(), insns.len() + more.len()));
                insns.extend_from_slice(more);
                insns.push(Insn::new(0x05, 0, 0, 0, 0));
                origin.extend((0..=more.len()).map(|_| None));
            }
        }
        made
    };
    for (pc, insn) in old.iter().enumerate() {
        blocks.extend(block_at(pc, &mut insns, &mut origin));
        entry.push(insns.len());
        for e in edits {
            if let Edit::Insert { at, insns: more } = e
                && *at == pc
            {
                insns.extend_from_slice(more);
                origin.extend(more.iter().map(|_| None));
            }
        }
        place.push(insns.len());
        insns.push(*insn);
        origin.push(Some(pc));
        for e in edits {
            if let Edit::After { at, insns: more } = e
                && *at == pc
            {
                insns.extend_from_slice(more);
                origin.extend(more.iter().map(|_| None));
            }
        }
    }
    blocks.extend(block_at(old.len(), &mut insns, &mut origin));
    entry.push(insns.len());
    let moved = |pc: usize, distance: i64| -> Option<i64> {
        let target = usize::try_from(pc as i64 + 1 + distance).ok()?;
        Some(*entry.get(target)? as i64 - place[pc] as i64 - 1)
    };
    let mut second = false;
    for (pc, insn) in old.iter().enumerate() {
        if std::mem::take(&mut second) {
            continue;
        }
        second = insn.opcode() == LDIMM64;
        insns[place[pc]] = retarget(*insn, |distance| moved(pc, distance))?;
    }
    for (jump, block, back) in blocks {
        let insn = old.get(jump)?;
        let target = usize::try_from(jump as i64 + 1 + i64::from(insn.off())).ok()?;
        let distance = |from: usize, to: usize| i16::try_from(to as i64 - from as i64 - 1).ok();
        insns[place[jump]] = insn.with_off(distance(place[jump], block)?);
        insns[back] = insns[back].with_off(distance(back, *entry.get(target)?)?);
    }
    new.insns = insns;
    for s in &mut new.subprogs {
        s.start = *entry.get(s.start)?;
    }
    for l in &mut new.lines {
        l.insn = *entry.get(l.insn)?;
    }
    for (at, _) in &mut new.poisoned {
        *at = *place.get(*at)?;
    }
    for e in edits {
        match e {
            Edit::License(l) => new.license = (*l).into(),
            Edit::Map { index, def } => {
                let map = new.maps.get_mut(*index)?;
                *map = Arc::new(Described { def: (**def).clone() });
            }
            _ => {}
        }
    }
    Some(Patched { program: Arc::new(new), origin })
}

/// An instruction with its jump or call distance changed.
fn retarget(insn: Insn, moved: impl Fn(i64) -> Option<i64>) -> Option<Insn> {
    let by_imm = match (insn.opcode(), insn.src()) {
        // call of a function, address of a function, gotol
        (0x85, 1) | (LDIMM64, 4) | (0x06, _) => true,
        (0x85 | 0x8d | 0x95, _) => return Some(insn),
        _ if matches!(insn.class(), 5 | 6) => false,
        _ => return Some(insn),
    };
    if by_imm {
        let imm = i32::try_from(moved(insn.imm().into())?).ok()?;
        return Some(insn.with_imm(imm));
    }
    let off = i16::try_from(moved(insn.off().into())?).ok()?;
    Some(insn.with_off(off))
}

#[cfg(test)]
mod tests {
    use super::{Edit, apply};
    use skep_isa::asm::parse_insns;
    use skep_platform::{ProgType, Program};

    #[test]
    fn jumps_and_calls_follow() {
        let asm = "if r1 == 0x0 goto +2\ncall pc+2\ngoto -3\nexit\nr0 = 0x0\nexit\n";
        let insns = parse_insns(asm).expect("it is assembly");
        let program = Program::from_insns("p", ProgType::Xdp, insns);
        let more = parse_insns("r2 = 0x1\nr3 = 0x2\n").expect("it is assembly");
        let edits =
            [Edit::Insert { at: 0, insns: more[..1].to_vec() }, Edit::Insert { at: 3, insns: more.clone() }];
        let patched = apply(&program, &edits).expect("it fits");
        let now =
            "r2 = 0x1\nif r1 == 0x0 goto +2\ncall pc+4\ngoto -4\nr2 = 0x1\nr3 = 0x2\nexit\nr0 = 0x0\nexit\n";
        assert_eq!(patched.program.insns, parse_insns(now).expect("it is assembly"));
        let from: Vec<Option<usize>> =
            [None, Some(0), Some(1), Some(2), None, None, Some(3), Some(4), Some(5)].to_vec();
        assert_eq!(patched.origin, from);
    }

    #[test]
    fn code_that_jumps_pass_by() {
        let asm = "if r1 == 0x0 goto +1\nr0 = 0x1\nexit\n";
        let program = Program::from_insns("p", ProgType::Xdp, parse_insns(asm).expect("it is assembly"));
        let insns = parse_insns("r2 = 0x2\n").expect("it is assembly");
        let patched = apply(&program, &[Edit::After { at: 1, insns }]).expect("it fits");
        let now = "if r1 == 0x0 goto +2\nr0 = 0x1\nr2 = 0x2\nexit\n";
        assert_eq!(patched.program.insns, parse_insns(now).expect("it is assembly"));
        assert_eq!(patched.origin, [Some(0), Some(1), None, Some(2)]);
    }

    #[test]
    fn one_for_another() {
        let asm = "r0 = 0x1\ncall 1\nexit\n";
        let program = Program::from_insns("p", ProgType::Xdp, parse_insns(asm).expect("it is assembly"));
        let other = parse_insns("r0 = 0x2\n").expect("it is assembly");
        let patched = apply(&program, &[Edit::Replace { at: 1, insn: other[0] }]).expect("it fits");
        let now = "r0 = 0x1\nr0 = 0x2\nexit\n";
        assert_eq!(patched.program.insns, parse_insns(now).expect("it is assembly"));
        assert_eq!(patched.origin, [Some(0), Some(1), Some(2)]);
    }

    #[test]
    fn code_on_an_edge() {
        let asm = "r0 = 0x0\nif r1 == 0x0 goto +1\nr0 = 0x1\nexit\n";
        let program = Program::from_insns("p", ProgType::Xdp, parse_insns(asm).expect("it is assembly"));
        let more = parse_insns("r2 = 0x1\n").expect("it is assembly");
        let patched = apply(&program, &[Edit::Edge { jump: 1, end: 4, insns: more }]).expect("it fits");
        let now = "r0 = 0x0\nif r1 == 0x0 goto +2\nr0 = 0x1\nexit\nr2 = 0x1\ngoto -3\n";
        assert_eq!(patched.program.insns, parse_insns(now).expect("it is assembly"));
    }
}
