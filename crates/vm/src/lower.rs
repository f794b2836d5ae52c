//! Lowering: what a verified program needs beside its instructions before it can run without checks.
//!
//! ```text
//! Verified ── track.rs (which accesses go to the context) ──► lower ──► Lowered: steps, call sites, reasons to stop
//! ```
//!
//! The program itself is not changed. Each instruction slot gets a [`Step`]: addresses of maps, map values and functions
//! are numbers; a context access at a UAPI offset becomes one at the place where the engine keeps the field.

mod track;

use crate::checked::code::handle_of;
use skep_isa::insn::{ALU, ALU64, LDX, ST, STX};
use skep_isa::{AluOp, Callee, Imm64, Op, Operand, Reg, Size, Width};
use skep_jit::{Code, CtxLoad, Direct, Index, Last, Step};
use skep_platform::ctx::{CtxAccess, CtxField, CtxLayout, FieldKind};
use skep_platform::engine::{EngineError, Platform};
use skep_platform::env::{Answer, Fault, Host};
use skep_platform::facts::{CallFacts, Facts, Region, Value};
use skep_platform::helper::{Body, Callback, CallbackParams, Fast, Helper, HelperFn, LockEffect};
use skep_platform::map::{FastPath, LastArg, Map, MapOp, MapRoutine, RoutineFn};
use skep_platform::program::{Program, Verified};
use skep_platform::uapi::ProgType;
use std::sync::Arc;

/// Instructions before a look-up among which its key is looked for.
const KEY_WRITTEN: usize = 32;

/// A helper call of the program.
#[derive(Clone, Copy)]
pub(crate) struct Site {
    pub(crate) body: HelperFn,
    /// The call instruction.
    pub(crate) pc: usize,
}

/// A verified program, lowered.
pub(crate) struct Lowered {
    pub(crate) program: Arc<Program>,
    /// `None` for raw programs and for contexts that the engine keeps as the program sees them.
    pub(crate) layout: Option<&'static CtxLayout>,
    pub(crate) code: Code,
    pub(crate) calls: Calls,
    pub(crate) sites: Vec<Site>,
    /// Why the run stops, and at which instruction.
    pub(crate) reasons: Vec<(Fault, usize)>,
}

/// Lowers. Cost: one pass over the instructions, and for contexts that are kept in another layout a data-flow analysis.
///
/// Helpers that the host, the map or the step itself can do without a call of the engine become such steps.
pub(crate) fn lower(
    verified: &Verified,
    platform: &Platform,
    host: &dyn Host,
) -> Result<Lowered, EngineError> {
    let program = verified.program().clone();
    let layout = moved_layout(&program, platform);
    let facts = verified.facts();
    let known = layout.is_none() || !facts.insns.is_empty();
    let mut bases = if layout.is_some() { track::Bases::Known(facts) } else { track::Bases::None };
    let Decoded { mut steps, functions, meets, addresses, values, callbacks, jumps, mut special } =
        decode(&program, &bases)?;
    if !known {
        let ops: Vec<Option<Op>> = steps.iter().map(plain).collect();
        bases = track::Bases::Found(track::bases(&ops, &functions, &meets));
    }
    if !(program.poisoned.is_empty() && facts.constants.is_empty()) {
        special.extend(program.poisoned.iter().map(|(at, _)| *at).filter(|at| *at < steps.len()));
        special.extend(facts.constants.iter().map(|(at, _)| *at).filter(|at| *at < steps.len()));
        special.sort_unstable();
        special.dedup();
    }
    let (sites, reasons) = (Vec::new(), Vec::new());
    let mut l = Lowering { platform, host, facts, layout, bases, meets: &meets, sites, reasons, program };
    let mut calls = Calls::default();
    let packet = layout.and_then(packet_bounds);
    for pc in special {
        let Some(op) = plain(&steps[pc]) else { continue };
        let step = l.step(op, pc);
        calls.note(&step, packet.is_some());
        steps[pc] = step;
    }
    let ctx_size = layout.map_or(0, |l| l.size.into());
    let code =
        Code { steps, functions, addresses, values, callbacks, jumps, cpu: calls.cpu, ctx_size, packet };
    Ok(Lowered { program: l.program, layout, code, calls, sites: l.sites, reasons: l.reasons })
}

/// The instruction of a step that has not been lowered.
fn plain(step: &Step) -> Option<Op> {
    match step {
        Step::Op(op) => Some(*op),
        _ => None,
    }
}

/// What the steps of a program ask of the engine.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Calls {
    /// A step reads the number of the CPU.
    cpu: bool,
    /// The code of a step may call the engine, but for packet loads that are told by the head alone.
    pub(crate) engine: bool,
    /// There are packet loads.
    pub(crate) loads: bool,
    /// A step may be a tail call.
    pub(crate) tails: bool,
}

impl Calls {
    /// Takes in a step that is not the same in every program. `packets`: where the packet is, packet loads do not call the engine.
    fn note(&mut self, step: &Step, packets: bool) {
        match step {
            Step::Op(Op::Call(Callee::Reg(_))) => (self.engine, self.tails) = (true, true),
            Step::Op(_) => {}
            Step::Helper { tail, .. } => (self.engine, self.tails) = (true, self.tails | *tail),
            Step::Lock { .. } | Step::Trap { .. } => self.engine = true,
            Step::AnyLoad { .. } | Step::AnyStore { .. } => self.engine = true,
            // The program that it leads to may ask for the CPU.
            Step::Tail { .. } => (self.engine, self.tails, self.cpu) = (true, true, true),
            Step::PacketLoad { .. } => {
                self.loads = true;
                self.engine |= !packets;
            }
            Step::Cpu | Step::Direct(Direct { last: Last::Cpu, .. }) => self.cpu = true,
            Step::Index(i) => self.cpu |= i.percpu != 0,
            Step::Value { percpu, .. } => self.cpu |= *percpu != 0,
            Step::Direct(_) | Step::Unlock { .. } | Step::Loop { .. } => {}
            Step::Wide { .. } | Step::Second | Step::CtxLoad(_) | Step::CtxStore { .. } => {}
        }
    }
}

/// Where a context keeps the addresses of its packet's first byte and of the byte behind its last.
fn packet_bounds(layout: &CtxLayout) -> Option<[i32; 2]> {
    let at = |kind| layout.fields.iter().find(|f| f.kind == kind && f.at_size == 8).map(|f| i32::from(f.at));
    Some([at(FieldKind::PacketData)?, at(FieldKind::PacketEnd)?])
}

/// Address by which a program knows one of its functions.
pub(crate) fn func_addr(program: &Program, pc: usize) -> u64 {
    program.insns.as_ptr().addr() as u64 + pc as u64 * 8
}

/// The instructions, and what their order says.
struct Decoded {
    /// [`Step::Op`] of every instruction, and [`Step::Second`].
    steps: Vec<Step>,
    /// First slots of the functions: as the program lists them, and whatever is called or has its address taken.
    functions: Vec<usize>,
    /// Slots where paths meet, and where functions begin.
    meets: Vec<bool>,
    /// Slots that load an address, and those of them that load that of a map's value.
    addresses: Vec<usize>,
    values: Vec<usize>,
    /// Functions whose address is taken.
    callbacks: Vec<usize>,
    /// Slots of jumps.
    jumps: Vec<u32>,
    /// Slots of instructions that do not mean the same in every program.
    special: Vec<usize>,
}

/// `bases`: what is known of loads and stores before the program has been looked at.
fn decode(program: &Program, bases: &track::Bases<'_>) -> Result<Decoded, EngineError> {
    let len = program.insns.len();
    let mut d = Decoded {
        steps: vec![Step::Second; len],
        functions: vec![0],
        meets: vec![false; len + 1],
        addresses: Vec::new(),
        values: Vec::new(),
        callbacks: Vec::new(),
        jumps: Vec::with_capacity(len / 6),
        special: Vec::with_capacity(len / 8),
    };
    d.functions.extend(program.subprogs.iter().map(|s| s.start));
    let mut pc = 0;
    while let Some(step) = d.steps.get_mut(pc) {
        let insn = program.insns[pc];
        *step = Step::Op(Op::Exit);
        let Step::Op(op) = step else { break };
        let slots = Op::decode_into(&program.insns, pc, op).map_err(|e| EngineError::Load {
            prog: program.name.clone(),
            insn: Some(pc),
            why: e.to_string(),
        })?;
        match insn.class() {
            // A conversion between address spaces has an offset.
            ALU64 if insn.off() == 0 => {}
            ALU => {}
            LDX | ST | STX => {
                if bases.at(pc, insn.off()) != track::Base::Elsewhere {
                    d.special.push(pc);
                }
            }
            _ => {
                let op = *op;
                d.note(op, pc);
            }
        }
        pc += slots;
    }
    for starts in [&mut d.functions, &mut d.callbacks] {
        starts.retain(|s| *s < len);
        starts.sort_unstable();
        starts.dedup();
    }
    d.functions.iter().for_each(|s| d.meets[*s] = true);
    Ok(d)
}

impl Decoded {
    #[inline]
    fn note(&mut self, op: Op, pc: usize) {
        let off = match op {
            Op::Ja { off, .. } => off,
            Op::JumpIf { off, .. } | Op::MayGoto { off } => off.into(),
            Op::LoadImm64 { imm, .. } => {
                self.special.push(pc);
                if !matches!(imm, Imm64::Value(_)) {
                    self.addresses.push(pc);
                }
                if matches!(imm, Imm64::MapIdxValue { .. }) {
                    self.values.push(pc);
                }
                if let Some(at) = target(pc, op) {
                    self.functions.push(at);
                    self.callbacks.push(at);
                }
                return;
            }
            Op::Call(Callee::Local(_)) => {
                self.functions.extend(target(pc, op));
                // A function that returns something new walks on from here.
                self.meets[pc] = true;
                return;
            }
            Op::Exit => return,
            _ => return self.special.push(pc),
        };
        self.jumps.push(pc as u32);
        let to = usize::try_from(pc as i64 + 1 + i64::from(off)).ok();
        if let Some(m) = to.and_then(|to| self.meets.get_mut(to)) {
            *m = true;
        }
    }
}

/// The context's layout when the engine keeps a field elsewhere than the program sees it.
fn moved_layout(program: &Program, platform: &Platform) -> Option<&'static CtxLayout> {
    if program.prog_type == ProgType::Unspec {
        return None;
    }
    let layout = platform.prog_type(program.prog_type)?.layout(program.attach_type)?;
    layout.fields.iter().any(|f| f.at != f.off || f.at_size != f.size).then_some(layout)
}

/// The function that an instruction calls or takes the address of.
fn target(pc: usize, op: Op) -> Option<usize> {
    match op {
        Op::Call(Callee::Local(off)) | Op::LoadImm64 { imm: Imm64::Func(off), .. } => {
            usize::try_from(pc as i64 + 1 + i64::from(off)).ok()
        }
        _ => None,
    }
}

struct Lowering<'p> {
    platform: &'p Platform,
    host: &'p dyn Host,
    facts: &'p Facts,
    program: Arc<Program>,
    layout: Option<&'static CtxLayout>,
    bases: track::Bases<'p>,
    /// Slots where paths meet.
    meets: &'p [bool],
    sites: Vec<Site>,
    reasons: Vec<(Fault, usize)>,
}

impl Lowering<'_> {
    fn step(&mut self, op: Op, pc: usize) -> Step {
        if !self.program.poisoned.is_empty()
            && let Some((_, why)) = self.program.poisoned.iter().find(|(at, _)| *at == pc)
        {
            let why = why.clone();
            return self.stop("poisoned", why, pc);
        }
        match op {
            Op::LoadImm64 { dst, imm } => match self.wide(imm, pc) {
                Ok(bits) => Step::Wide { dst, bits },
                Err(why) => self.stop("ldimm64", why, pc),
            },
            Op::Call(Callee::Helper(id)) => self.helper(id, pc),
            Op::Call(Callee::Kfunc { id, .. }) => {
                self.stop("kfunc", format!("kernel function {id} has no body in the user engine"), pc)
            }
            Op::AddrSpaceCast { .. } => self.stop("arena", "the user engine has no arenas yet".into(), pc),
            Op::LoadAbs { size, imm } => Step::PacketLoad { size, imm, index: None },
            Op::LoadInd { size, src, imm } => Step::PacketLoad { size, imm, index: Some(src) },
            Op::Load { size, sx, dst, src, off } => self.load(size, sx, dst, src, off, pc),
            Op::Store { size, dst, off, src } => self.store(size, dst, off, src, pc),
            op => Step::Op(op),
        }
    }

    fn stop(&mut self, code: &'static str, why: String, pc: usize) -> Step {
        self.trap(Fault::Rule { code, why }, pc)
    }

    fn trap(&mut self, fault: Fault, pc: usize) -> Step {
        self.reasons.push((fault, pc));
        Step::Trap { reason: self.reasons.len() as u32 - 1 }
    }

    /// The address that a register is known to hold before a slot: the last instruction that writes the register, if no path comes
    /// in between.
    fn held(&self, r: Reg, pc: usize) -> Option<(usize, Imm64)> {
        let mut at = pc;
        while !self.meets[at] {
            at = at.checked_sub(1)?;
            // Of a wide load this is the second half, which is no instruction, and then the first.
            let Ok((op, _)) = Op::decode(&self.program.insns, at) else { continue };
            match op {
                Op::LoadImm64 { dst, imm } if dst == r => return Some((at, imm)),
                op if op.defs().contains(r) => return None,
                _ => {}
            }
        }
        None
    }

    /// The map that `r1` is known to hold before a slot.
    fn map_held(&self, pc: usize) -> Option<usize> {
        match self.held(Reg::R1, pc)? {
            (_, Imm64::MapIdx(idx)) => usize::try_from(idx).ok(),
            _ => None,
        }
    }

    /// First slot of the function that `r2` is known to hold before a slot.
    fn func_held(&self, pc: usize) -> Option<usize> {
        let (at, imm) = self.held(Reg::R2, pc)?;
        target(at, Op::LoadImm64 { dst: Reg::R2, imm })
    }

    /// A call that needs no engine.
    fn in_place(&self, helper: &Helper, pc: usize) -> Option<Step> {
        match helper.fast {
            Fast::None => None,
            Fast::Map(op) => {
                let known = self.facts.call(pc);
                let map = known.map.map(usize::from).or_else(|| self.map_held(pc))?;
                let part = || if op == MapOp::Lookup { self.key_part(pc, known) } else { None };
                on_map(self.program.maps.get(map)?, op, known.key, &part)
            }
            Fast::Record(op) => {
                // The record tells no ring buffer; where there is one alone it is that one.
                let mut rings = self.program.maps.iter().filter(|m| m.ringbuf().is_some());
                rings
                    .next()
                    .filter(|_| rings.next().is_none())
                    .and_then(|ring| on_map(ring, op, None, &|| None))
            }
            Fast::Host(ask) => Some(match self.host.direct(ask)? {
                Answer::Constant(v) => Step::Value { addr: v, percpu: 0 },
                Answer::Call(call) => {
                    let call = (call as *const ()).expose_provenance() as u64;
                    Step::Direct(Direct { call, last: Last::Nothing })
                }
            }),
            Fast::Cpu => Some(Step::Cpu),
        }
    }

    /// The smallest part that the key of the look-up at `pc` has just been put together of in the frame. Looks at the instructions
    /// before it as they stand: where others lead here, the look-up may wait a little, and nothing else.
    fn key_part(&self, pc: usize, known: CallFacts) -> Option<Size> {
        let Value::Pointer { region: Region::Stack(Some(0)), off: Some(key), len: Some(len) } = known.args[1]
        else {
            return None;
        };
        let before = (pc.saturating_sub(KEY_WRITTEN)..pc).rev();
        let ops = before.filter_map(|at| Some((at, Op::decode(&self.program.insns, at).ok()?.0)));
        let straight = ops.take_while(|(_, op)| !matches!(op, Op::Call(_) | Op::Exit | Op::Ja { .. }));
        let stored = straight.filter_map(|(at, op)| {
            let Op::Store { size, .. } = op else { return None };
            let to = self.facts.access(at);
            let off = to.off.filter(|_| to.region == Region::Stack(Some(0)))?;
            (off >= key && i64::from(off - key) < i64::from(len)).then_some(size)
        });
        stored.min_by_key(|size| size.bytes())
    }

    /// A tail call by a map that is known.
    fn tail(&self, pc: usize, site: u32) -> Option<Step> {
        match self.program.maps.get(usize::from(self.facts.call(pc).map?))?.fast_path(MapOp::TailCall)? {
            FastPath::Ids { base, entries } => Some(Step::Tail { ids: base, entries, site }),
            _ => None,
        }
    }

    /// A call that is short where nothing unusual happens, with the helper to go to where it does.
    fn short(&self, helper: &Helper, pc: usize, site: u32) -> Option<Step> {
        match (helper.lock, helper.callback) {
            (LockEffect::Lock, _) => Some(Step::Lock { site }),
            (LockEffect::Unlock, _) => Some(Step::Unlock { site }),
            (_, Callback::Sync { params: CallbackParams::Index, .. }) => {
                Some(Step::Loop { func: self.func_held(pc)?, site })
            }
            _ => None,
        }
    }

    fn helper(&mut self, id: i32, pc: usize) -> Step {
        let helper = u32::try_from(id).ok().and_then(|id| self.platform.helper(id));
        if let Some(step) = helper.and_then(|h| self.in_place(h, pc)) {
            return step;
        }
        match helper.map(|h| (h.body, h)) {
            Some((Body::Fn(body), h)) => {
                self.sites.push(Site { body, pc });
                let site = self.sites.len() as u32 - 1;
                let short = if h.tail_call { self.tail(pc, site) } else { self.short(h, pc, site) };
                short.unwrap_or(Step::Helper { site, tail: h.tail_call })
            }
            Some((Body::Absent(why), h)) => self.trap(Fault::NoHelper { id: h.id, why }, pc),
            None => self.stop("unknown-helper", format!("there is no helper #{id}"), pc),
        }
    }

    fn wide(&self, imm: Imm64, pc: usize) -> Result<u64, String> {
        let map = |idx: i32| {
            let map = usize::try_from(idx).ok().and_then(|i| self.program.maps.get(i));
            map.ok_or_else(|| format!("map {idx} of a program that has {} maps", self.program.maps.len()))
        };
        match imm {
            Imm64::Value(bits) => Ok(bits),
            Imm64::MapIdx(idx) => Ok(handle_of(map(idx)?)),
            Imm64::MapIdxValue { idx, off } => {
                let (addr, _) = map(idx)?.direct().ok_or("values of this map have no address")?;
                Ok(addr + u64::from(off))
            }
            Imm64::Func(off) => {
                let at = usize::try_from(pc as i64 + 1 + i64::from(off)).map_err(|e| e.to_string())?;
                Ok(func_addr(&self.program, at))
            }
            Imm64::MapFd(_) | Imm64::MapFdValue { .. } => Err("the program's maps are not bound".into()),
            Imm64::BtfId { id, .. } => Err(format!("kernel variable (BTF id {id}) in the user engine")),
        }
    }

    fn load(&mut self, size: Size, sx: bool, dst: Reg, src: Reg, off: i16, pc: usize) -> Step {
        if let Some(known) = self.facts.constant(pc).and_then(|bits| known(dst, bits)) {
            return known;
        }
        let base = match self.bases.at(pc, off) {
            track::Base::Elsewhere => return Step::Op(Op::Load { size, sx, dst, src, off }),
            track::Base::Unknown => return Step::AnyLoad { size, sx, dst, src, off },
            track::Base::Ctx(base) => base,
        };
        let how = if sx { CtxAccess::LoadSigned } else { CtxAccess::Load };
        match self.layout.and_then(|l| place(l, base + i32::from(off), size, how)) {
            Some(p) => Step::CtxLoad(CtxLoad {
                dst,
                src,
                disp: i32::from(p.at) - base,
                size: p.size,
                shift: p.shift,
                cut: p.cut,
                sx,
            }),
            None => self.no_field(base + i32::from(off), pc),
        }
    }

    fn store(&mut self, size: Size, dst: Reg, off: i16, src: Operand, pc: usize) -> Step {
        let base = match self.bases.at(pc, off) {
            track::Base::Elsewhere => return Step::Op(Op::Store { size, dst, off, src }),
            track::Base::Unknown => return Step::AnyStore { size, dst, off, src },
            track::Base::Ctx(base) => base,
        };
        match self.layout.and_then(|l| place(l, base + i32::from(off), size, CtxAccess::Store)) {
            Some(p) => Step::CtxStore { dst, disp: i32::from(p.at) - base, size: p.size, src },
            None => self.no_field(base + i32::from(off), pc),
        }
    }

    /// An access that the layout does not allow: the verifier has seen that it is never reached.
    fn no_field(&mut self, off: i32, pc: usize) -> Step {
        self.stop("context", format!("no field of the context may be accessed so at offset {off}"), pc)
    }
}

/// A number into a register by one instruction, where it fits.
fn known(dst: Reg, bits: u64) -> Option<Step> {
    let (width, imm) = match (i32::try_from(bits as i64), u32::try_from(bits)) {
        (Ok(imm), _) => (Width::W64, imm),
        (_, Ok(imm)) => (Width::W32, imm as i32),
        _ => return None,
    };
    Some(Step::Op(Op::Alu { op: AluOp::Mov, width, dst, src: Operand::Imm(imm) }))
}

/// The operation as a step, where the map has a short way.
///
/// `key`: the index that is looked up, when the verifier knows it to be one of the map's. `part`: what the key was made of.
fn on_map(map: &Arc<dyn Map>, op: MapOp, key: Option<u32>, part: &dyn Fn() -> Option<Size>) -> Option<Step> {
    Some(match map.fast_path(op)? {
        FastPath::Index { base, stride, entries, percpu } if key.is_some_and(|k| k < entries) => {
            let addr = base + u64::from(key.unwrap_or(0)) * u64::from(stride);
            Step::Value { addr, percpu }
        }
        FastPath::Ids { .. } => return None,
        FastPath::Index { base, stride, entries, percpu } => {
            Step::Index(Index { base, stride, entries, percpu })
        }
        FastPath::Call(routine) => Step::Direct(Direct {
            call: (made_for(&routine, part) as *const ()).expose_provenance() as u64,
            last: match routine.last {
                LastArg::None => Last::Nothing,
                LastArg::Cpu => Last::Cpu,
                LastArg::Map => Last::Value(handle_of(map)),
            },
        }),
    })
}

/// The routine for a key made of such parts.
fn made_for(routine: &MapRoutine, part: &dyn Fn() -> Option<Size>) -> RoutineFn {
    let [of_two, of_four] = routine.parts;
    if of_two.or(of_four).is_none() {
        return routine.call;
    }
    let made = match part() {
        Some(Size::B | Size::H) => of_two,
        Some(Size::W) => of_four,
        Some(Size::Dw) | None => None,
    };
    made.unwrap_or(routine.call)
}

/// Where the engine keeps what a context access asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Place {
    /// Offset in the engine's context.
    pub(crate) at: u16,
    /// Bytes to access there.
    pub(crate) size: Size,
    /// Loads: bits to shift right by.
    pub(crate) shift: u8,
    /// Loads: bytes to keep.
    pub(crate) cut: Size,
}

/// The place of an access of `size` bytes at a UAPI offset; `None` when the layout does not allow it.
pub(crate) fn place(layout: &CtxLayout, off: i32, size: Size, how: CtxAccess) -> Option<Place> {
    let off = u32::try_from(off).ok()?;
    let f: &CtxField = layout.access(off, size.bytes() as u32, how)?;
    let within = off as u16 - f.off;
    if f.at_size == f.size {
        return Some(Place { at: f.at + within, size, shift: 0, cut: size });
    }
    let whole = [Size::B, Size::H, Size::W, Size::Dw].into_iter().find(|s| s.bytes() == f.at_size.into())?;
    if f.kind.is_pointer() || how == CtxAccess::Store {
        return Some(Place { at: f.at, size: whole, shift: 0, cut: whole });
    }
    Some(Place { at: f.at, size: whole, shift: 8 * within as u8, cut: size.min(whole) })
}
