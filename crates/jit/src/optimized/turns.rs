//! Loops that routines run many turns of at once ([`crate::loops`]), in optimised code.

use super::translate::Func;
use crate::flow::Flow;
use crate::loops::plan::{Count, Effect, Plan, Role};
use crate::loops::summary::{ALU, Id, Node, Summary};
use crate::loops::{FEWEST, Source};
use crate::routines;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::{I32, I64};
use cranelift_codegen::ir::{AbiParam, InstBuilder, Signature, Value};
use skep_isa::{AluOp, Cond};
use skep_platform::facts::Region;
use std::collections::BTreeMap;

impl Func<'_, '_> {
    /// Before a loop is entered: runs as many turns as a routine can.
    pub(super) fn many_turns(&mut self, flow: &Flow, head: usize) -> Result<(), usize> {
        let (unit, frame) = (self.unit, self.frame());
        let variable = |pc: usize, size| {
            let fact = unit.facts.access(pc);
            let frame = |off| frame.cell(off, size).is_some();
            fact.region == Region::Stack(Some(0)) && fact.off.is_some_and(frame)
        };
        let source = Source { code: unit.code, decided: &|pc| unit.decided(pc), variable: &variable };
        let summary = Summary::of(&source, flow, head);
        if let Some(plan) = summary.and_then(|s| Plan::of(s, flow.blocks[head].live)) {
            self.turns(&plan);
        }
        Ok(())
    }

    fn turns(&mut self, p: &Plan) {
        let Some(count) = self.count(p, &p.count) else { return };
        let enough = self.b.ins().icmp_imm_s(IntCC::SignedGreaterThanOrEqual, count, FEWEST);
        let enough = p.narrow.iter().fold(enough, |enough, r| {
            let end = self.grown(p, *r, count);
            let fits = self.b.ins().ushr_imm_u(end, 32);
            let fits = self.b.ins().icmp_imm_s(IntCC::Equal, fits, 0);
            self.b.ins().band(enough, fits)
        });
        let (many, go) = (self.b.create_block(), self.b.create_block());
        self.b.ins().brif(enough, many, &[], go, &[]);
        self.begin(many);
        self.effect(p, count);
        let mut found = BTreeMap::new();
        let new: Vec<(usize, Value)> =
            (0..10).filter_map(|r| Some((r, self.after(p, r, count, &mut found)?))).collect();
        for (r, v) in new {
            self.set(super::reg(r), v);
        }
        self.b.ins().jump(go, &[]);
        self.begin(go);
    }

    /// The number of turns that surely follow.
    fn count(&mut self, p: &Plan, c: &Count) -> Option<Value> {
        let (mut value, mut bound) = (self.value(p, c.value)?, self.value(p, c.bound)?);
        if !c.wide {
            (value, bound) = (self.low(value), self.low(bound));
        }
        let shift = c.step.trailing_zeros();
        let way = self.b.ins().isub(bound, value);
        let none = self.b.ins().iconst(if c.wide { I64 } else { I32 }, 0);
        let count = match c.cond {
            Cond::Ne => {
                let whole = self.b.ins().ushr_imm_u(way, i64::from(shift));
                let rest = self.b.ins().band_imm_u(way, c.step - 1);
                self.b.ins().select(rest, none, whole)
            }
            Cond::Lt | Cond::Slt => {
                let more = self.b.ins().iadd_imm_s(way, -1);
                let turns = self.b.ins().udiv_imm_u(more, c.step);
                let turns = self.b.ins().iadd_imm_s(turns, 1);
                let cc = if c.cond == Cond::Lt { IntCC::UnsignedLessThan } else { IntCC::SignedLessThan };
                let goes = self.b.ins().icmp(cc, value, bound);
                self.b.ins().select(goes, turns, none)
            }
            _ => {
                let turns = self.b.ins().udiv_imm_u(way, c.step);
                let turns = self.b.ins().iadd_imm_s(turns, 1);
                let le = if c.cond == Cond::Le {
                    IntCC::UnsignedLessThanOrEqual
                } else {
                    IntCC::SignedLessThanOrEqual
                };
                let goes = self.b.ins().icmp(le, value, bound);
                self.b.ins().select(goes, turns, none)
            }
        };
        Some(if c.wide { count } else { self.wide(count) })
    }

    /// An expression, of the registers as they are.
    fn value(&mut self, p: &Plan, e: Id) -> Option<Value> {
        Some(match p.summary.nodes[e] {
            Node::Entry(r) => self.get(super::reg(r)),
            Node::Const(c) => self.constant(c),
            Node::Alu(op, wide, a, b) => {
                let (mut x, mut y) = (self.value(p, a)?, self.value(p, b)?);
                if !wide {
                    (x, y) = (self.low(x), self.low(y));
                }
                let ins = self.b.ins();
                let v = match ALU[op as usize] {
                    AluOp::Add => ins.iadd(x, y),
                    AluOp::Sub => ins.isub(x, y),
                    AluOp::Mul => ins.imul(x, y),
                    AluOp::Or => ins.bor(x, y),
                    AluOp::And => ins.band(x, y),
                    AluOp::Xor => ins.bxor(x, y),
                    AluOp::Lsh => ins.ishl(x, y),
                    AluOp::Rsh => ins.ushr(x, y),
                    AluOp::Arsh => ins.sshr(x, y),
                    AluOp::Mov => y,
                    AluOp::Div | AluOp::Mod | AluOp::Sdiv | AluOp::Smod => return None,
                };
                if wide { v } else { self.wide(v) }
            }
            _ => return None,
        })
    }

    /// A register that grows, `count` turns later.
    fn grown(&mut self, p: &Plan, r: usize, count: Value) -> Value {
        let v = self.get(super::reg(r));
        let Role::Grows { step, .. } = p.roles[r] else { return v };
        let way = self.b.ins().imul_imm_s(count, step);
        self.b.ins().iadd(v, way)
    }

    /// A register behind `count` turns; `None` if it stays.
    fn after(
        &mut self,
        p: &Plan,
        r: usize,
        count: Value,
        found: &mut BTreeMap<(Id, usize), [Value; 2]>,
    ) -> Option<Value> {
        let old = self.get(super::reg(r));
        let add = |f: &mut Self, wide: bool, more: Value| {
            let sum = f.b.ins().iadd(old, more);
            if wide {
                return sum;
            }
            let sum = f.low(sum);
            f.wide(sum)
        };
        match p.roles[r] {
            Role::Stays => None,
            Role::Grows { wide, step } => {
                let way = self.b.ins().imul_imm_s(count, step);
                Some(add(self, wide, way))
            }
            Role::Sums { wide, bytes, from } => {
                let from = self.value(p, from)?;
                let sum = self.routine(routines::sum(bytes) as *const (), &[from, count], 1)[0];
                Some(add(self, wide, sum))
            }
            Role::Counts { wide, from, set, weight } => {
                let [hits, _] = self.classified(p, from, set, count, found)?;
                let sum = self.b.ins().imul_imm_s(hits, weight as i64);
                Some(add(self, wide, sum))
            }
            Role::Picks { from, set, value, wide, cut } => {
                let [_, behind] = self.classified(p, from, set, count, found)?;
                let first = self.value(p, value)?;
                let turn = self.b.ins().iadd_imm_s(behind, -1);
                let way = self.b.ins().imul_imm_s(turn, p.steps.get(&value).copied().unwrap_or(0));
                let last = self.b.ins().iadd(first, way);
                let last = if wide {
                    last
                } else {
                    let last = self.low(last);
                    self.wide(last)
                };
                let kept = if cut {
                    let low = self.low(old);
                    self.wide(low)
                } else {
                    old
                };
                Some(self.b.ins().select(behind, last, kept))
            }
        }
    }

    /// How many of `count` bytes are in a set, and the place behind the last one.
    fn classified(
        &mut self,
        p: &Plan,
        from: Id,
        set: usize,
        count: Value,
        found: &mut BTreeMap<(Id, usize), [Value; 2]>,
    ) -> Option<[Value; 2]> {
        if let Some(known) = found.get(&(from, set)) {
            return Some(*known);
        }
        let mut args = vec![self.value(p, from)?, count];
        args.extend(routines::rows(&p.sets[set]).map(|w| self.b.ins().iconst(I64, w as i64)));
        let out = self.routine(routines::classify() as *const (), &args, 2);
        found.insert((from, set), [out[0], out[1]]);
        Some([out[0], out[1]])
    }

    fn effect(&mut self, p: &Plan, count: Value) -> Option<()> {
        match p.effect {
            Effect::None => {}
            Effect::Copy { size, to, from } => {
                let (to, from) = (self.value(p, to)?, self.value(p, from)?);
                let size = self.b.ins().iconst(I64, size.bytes() as i64);
                self.routine(routines::copy() as *const (), &[to, from, count, size], 0);
            }
            Effect::Fill { size, to, value, period } => {
                let to = self.value(p, to)?;
                let bytes = size.bytes();
                let saved: Vec<Value> = (0..10).map(|r| self.get(super::reg(r))).collect();
                let mut words = [self.b.ins().iconst(I64, 0); 2];
                for i in 0..16 / bytes {
                    let turn = self.b.ins().iconst(I64, (i % period) as i64);
                    for (r, old) in saved.iter().enumerate() {
                        if let Role::Grows { wide, step } = p.roles[r] {
                            let way = self.b.ins().imul_imm_s(turn, step);
                            let v = self.b.ins().iadd(*old, way);
                            let v = if wide {
                                v
                            } else {
                                let v = self.low(v);
                                self.wide(v)
                            };
                            self.set(super::reg(r), v);
                        }
                    }
                    let v = self.value(p, value)?;
                    let v =
                        if bytes == 8 { v } else { self.b.ins().band_imm_u(v, (1i64 << (bytes * 8)) - 1) };
                    let v = self.b.ins().ishl_imm_u(v, (i * bytes % 8 * 8) as i64);
                    words[i * bytes / 8] = self.b.ins().bor(words[i * bytes / 8], v);
                }
                for (r, old) in saved.into_iter().enumerate() {
                    self.set(super::reg(r), old);
                }
                let len = self.b.ins().imul_imm_s(count, bytes as i64);
                self.routine(routines::fill() as *const (), &[to, len, words[0], words[1]], 0);
            }
        }
        Some(())
    }

    fn routine(&mut self, r: *const (), args: &[Value], results: usize) -> Vec<Value> {
        let mut s = Signature::new(self.isa.default_call_conv());
        s.params = vec![AbiParam::new(I64); args.len()];
        s.returns = vec![AbiParam::new(I64); results];
        let s = self.b.import_signature(s);
        let callee = self.b.ins().iconst(I64, r.expose_provenance() as i64);
        let call = self.b.ins().call_indirect(s, callee, args);
        self.b.inst_results(call).to_vec()
    }
}
