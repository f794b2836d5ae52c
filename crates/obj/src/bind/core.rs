//! CO-RE relocations of a taken function, applied to its instructions.

use skep_btf::core::{POISON_HELPER, Patch, PatchSite, describe, patch, resolve};
use skep_isa::Insn;

use super::{BindEnv, BindError, BindErrorKind, Binding};
use crate::object::{CoreReloc, Function};

/// Instruction classes (low three bits of the opcode).
mod class {
    pub(super) const LDX: u8 = 1;
    pub(super) const ST: u8 = 2;
    pub(super) const STX: u8 = 3;
    pub(super) const ALU: u8 = 4;
    pub(super) const ALU64: u8 = 7;
}

/// Size bits of loads and stores, by bytes.
const SIZES: [(u8, u8); 4] = [(4, 0x00), (2, 0x08), (1, 0x10), (8, 0x18)];

impl Binding<'_> {
    /// Applies the relocations of `function`, whose instructions start at `base`. Nothing to do without a target.
    pub(super) fn relocate(
        &mut self,
        function: &Function,
        base: usize,
        env: &mut BindEnv<'_>,
    ) -> Result<(), BindError> {
        for reloc in &function.core {
            self.relocate_one(reloc, base, env).map_err(|kind| self.error(function, reloc.insn, kind))?;
        }
        Ok(())
    }

    fn relocate_one(
        &mut self,
        reloc: &CoreReloc,
        base: usize,
        env: &mut BindEnv<'_>,
    ) -> Result<(), BindErrorKind> {
        let (Some(local), Some(target)) = (&self.object.btf, &env.target_btf) else { return Ok(()) };
        let answer = resolve(local, &reloc.record, target, &mut env.cache)
            .map_err(|e| BindErrorKind::Core(e.to_string()))?;
        let at = base + reloc.insn as usize;
        let second = self.program.insns.get(at + 1).copied();
        let site = site(self.program.insns[at], second);
        let change = patch(site, &answer).map_err(|e| BindErrorKind::Core(e.to_string()))?;
        let insn = self.program.insns[at];
        match change {
            Patch::Alu { imm } => self.program.insns[at] = insn.with_imm(imm),
            Patch::Mem { off, size } => self.program.insns[at] = resized(insn, size).with_off(off),
            Patch::LdImm64 { imm } => self.load(at, insn.src(), imm as i32, (imm >> 32) as i32),
            Patch::Poison => {
                let what = describe(local, &reloc.record).unwrap_or_else(|e| e.to_string());
                self.poison(at, POISON_HELPER, format!("failed to resolve CO-RE relocation {what}"));
            }
        }
        Ok(())
    }
}

/// The part of an instruction that a relocation may change.
fn site(insn: Insn, second: Option<Insn>) -> PatchSite {
    let immediate = insn.opcode() & 0x08 == 0;
    match insn.class() {
        class::ALU | class::ALU64 if immediate => PatchSite::Alu { imm: insn.imm() },
        class::LDX | class::ST | class::STX => {
            let size = SIZES.iter().find(|s| s.1 == insn.opcode() & 0x18).map_or(0, |s| s.0);
            PatchSite::Mem { off: insn.off(), size }
        }
        _ if insn.is_ldimm64() && insn.src() == 0 => match second {
            Some(second) => {
                let imm = u64::from(insn.imm() as u32) | u64::from(second.imm() as u32) << 32;
                PatchSite::LdImm64 { imm }
            }
            None => PatchSite::Other,
        },
        _ => PatchSite::Other,
    }
}

/// The load or store with another access size.
fn resized(insn: Insn, size: u8) -> Insn {
    let bits = SIZES.iter().find(|s| s.0 == size).map_or(0, |s| s.1);
    Insn::new(insn.opcode() & !0x18 | bits, insn.dst(), insn.src(), insn.off(), insn.imm())
}
