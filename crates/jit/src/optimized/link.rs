//! Puts compiled functions side by side and fills in the calls between them.

use super::Made;
use crate::asm::Asm;
use crate::baseline::tail_entry;
use crate::fault::FrameOf;
use cranelift_codegen::CompiledCode;
use cranelift_codegen::binemit::Reloc;
use cranelift_codegen::ir::{ExternalName, UserExternalNameRef};
use cranelift_codegen::isa::unwind::UnwindInst;
use cranelift_codegen::{FinalizedMachReloc, FinalizedRelocTarget, RegClass};
use std::collections::BTreeMap;

/// A compiled function.
pub(super) struct Part {
    start: usize,
    bytes: Vec<u8>,
    /// Where another function's address belongs: offset, kind, slot of that function, addend.
    holes: Vec<(usize, Reloc, usize, i64)>,
    places: Vec<(u32, u32)>,
    frame: FrameOf,
}

impl Part {
    /// Takes over what Cranelift made; `None` if it refers to anything but functions of the program.
    pub(super) fn of(start: usize, made: &CompiledCode, names: &[usize]) -> Option<Part> {
        let hole = |r: &FinalizedMachReloc| match &r.target {
            FinalizedRelocTarget::ExternalName(ExternalName::User(name)) => {
                Some((r.offset as usize, r.kind, slot(*name, names)?, r.addend))
            }
            _ => None,
        };
        let holes = made.buffer.relocs().iter().map(hole).collect::<Option<Vec<_>>>()?;
        let places = made.buffer.get_srclocs_sorted().iter().map(|l| (l.start, l.loc.bits())).collect();
        let frame = frame(&made.buffer.unwind_info);
        Some(Part { start, bytes: made.code_buffer().to_vec(), holes, places, frame })
    }
}

/// The frame of a function. Vector registers are kept for no caller by x86-64's convention, the only one whose faults are caught.
fn frame(notes: &[(u32, UnwindInst)]) -> FrameOf {
    let (mut clobbers, mut saved) = (0, Vec::new());
    for (_, note) in notes {
        match note {
            UnwindInst::DefineNewFrame { offset_downward_to_clobbers, .. } => {
                clobbers = *offset_downward_to_clobbers as i32;
            }
            UnwindInst::SaveReg { clobber_offset, reg } if reg.class() == RegClass::Int => {
                saved.push((reg.hw_enc(), *clobber_offset as i32 - clobbers));
            }
            _ => {}
        }
    }
    FrameOf { start: 0, body: notes.iter().map(|(at, _)| *at).max(), saved: saved.into() }
}

fn slot(name: UserExternalNameRef, names: &[usize]) -> Option<usize> {
    names.get(cranelift_codegen::entity::EntityRef::index(name)).copied()
}

/// Bytes that functions begin at a multiple of.
const ALIGN: usize = 32;

/// All functions, one behind the other.
pub(super) fn join(parts: Vec<Part>, constants: Box<[u64]>, token: u64) -> Result<Made, usize> {
    let (entries, places, frames) = (Vec::new(), Vec::new(), Box::default());
    let mut made = Made { bytes: Vec::new(), entries, places, frames, constants, bare: 0 };
    let mut frames = Vec::new();
    let mut at = BTreeMap::new();
    for p in &parts {
        made.bytes.resize(made.bytes.len().next_multiple_of(ALIGN), 0xcc);
        at.insert(p.start, made.bytes.len());
        made.entries.push((p.start, made.bytes.len()));
        let start = made.bytes.len() as u32;
        frames.push(FrameOf { start, body: p.frame.body.map(|b| b + start), saved: p.frame.saved.clone() });
        made.places.extend(p.places.iter().map(|(off, slot)| (off + made.bytes.len() as u32, *slot)));
        made.bytes.extend_from_slice(&p.bytes);
    }
    for p in &parts {
        for (off, kind, to, addend) in &p.holes {
            let (from, to) = (at[&p.start] + off, *at.get(to).ok_or(p.start)?);
            fill(&mut made.bytes, *kind, from, to, *addend).ok_or(p.start)?;
        }
    }
    made.entries.sort_unstable();
    if let Some((0, entry)) = made.entries.first().filter(|_| cfg!(target_arch = "x86_64")) {
        made.bytes.resize(made.bytes.len().next_multiple_of(ALIGN), 0xcc);
        let mut a = Asm::behind(std::mem::take(&mut made.bytes));
        made.bare = tail_entry(&mut a, token, *entry);
        made.bytes = a.code();
        frames.push(FrameOf { start: made.bare as u32, body: None, saved: Box::default() });
    }
    made.frames = frames.into();
    Ok(made)
}

/// Writes the distance to a function into a call.
fn fill(bytes: &mut [u8], kind: Reloc, from: usize, to: usize, addend: i64) -> Option<()> {
    let distance = to as i64 - from as i64 + addend;
    let word = |bytes: &[u8], at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    match kind {
        Reloc::X86CallPCRel4 | Reloc::X86PCRel4 => {
            let field = i32::try_from(distance).ok()?.to_le_bytes();
            bytes.get_mut(from..from + 4)?.copy_from_slice(&field);
        }
        Reloc::Arm64Call => {
            let field = i32::try_from(distance >> 2).ok().filter(|d| d.abs() < 1 << 25)?;
            let call = word(bytes, from)? & 0xfc00_0000 | (field as u32 & 0x03ff_ffff);
            bytes.get_mut(from..from + 4)?.copy_from_slice(&call.to_le_bytes());
        }
        Reloc::RiscvCallPlt => {
            let d = i32::try_from(distance).ok()?;
            let high = (d.wrapping_add(0x800) as u32) & 0xffff_f000;
            let auipc = word(bytes, from)? & 0xfff | high;
            let jalr = word(bytes, from + 4)? & 0xf_ffff | (d as u32).wrapping_sub(high) << 20;
            bytes.get_mut(from..from + 4)?.copy_from_slice(&auipc.to_le_bytes());
            bytes.get_mut(from + 4..from + 8)?.copy_from_slice(&jalr.to_le_bytes());
        }
        _ => return None,
    }
    Some(())
}
