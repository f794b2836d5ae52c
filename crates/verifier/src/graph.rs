//! Lists and trees of allocated objects: roots in map values or objects, nodes in objects, the lock that both need.

use crate::kfunc::Told;
use crate::machine::Vm;
use crate::maps::FieldKind;
use crate::reject::{Check, Reject, Rule, refuse};
use crate::state::{Frame, LockOf, RefKind};
use crate::value::{Base, BtfType, Flags, Reg};
use skep_platform::{Kfunc, KfuncKind};

impl Vm<'_> {
    /// Is this the walk of a tree's comparison?
    pub(crate) fn in_tree_callback(&self) -> bool {
        self.cur.frames.iter().any(|f| f.callback && self.is_tree_add(f.callsite))
    }

    fn is_tree_add(&self, site: usize) -> bool {
        match self.code.op(site) {
            Some(skep_isa::Op::Call(skep_isa::Callee::Kfunc { id, .. })) => {
                self.kfunc(*id).is_some_and(|k| k.kind == KfuncKind::RbtreeAdd)
            }
            _ => false,
        }
    }

    /// A list head or tree root argument.
    pub(crate) fn graph_root(
        &mut self,
        i: usize,
        n: usize,
        r: &Reg,
        kind: FieldKind,
        told: &mut Told,
    ) -> Check {
        let object = matches!(r.base, Base::Btf(_)) && r.flags == Flags::ALLOC;
        let value = matches!(r.base, Base::MapValue(_)) && r.flags == Flags::NONE;
        if !value && !object {
            refuse!(ArgumentType, "arg#{i} expected pointer to map value or allocated object");
        }
        if object && r.ref_id == 0 {
            refuse!(Reference, "allocated object must be referenced");
        }
        let name = kind.name();
        let Some(var) = r.val.as_const() else {
            refuse!(
                SpecialField,
                "R{n} doesn't have constant offset. {name} has to be at the constant offset"
            );
        };
        let at = r.off as i64 + var as i64;
        let fields = self.fields(r);
        let Some(f) = fields.iter().find(|f| f.kind == kind && f.off as i64 == at) else {
            refuse!(SpecialField, "{name} not found at offset={at}");
        };
        if !self.lock_covers(r) {
            let held = self.cur.lock.is_some();
            let lock = fields.iter().find(|f| f.kind == FieldKind::SpinLock).map_or(-22, |f| f.off as i64);
            let phrase = format!("bpf_spin_lock at off={lock} must be held for {name}");
            let e = Reject::new(Rule::Lock, phrase);
            let other = "held lock and object are not in the same allocation";
            return Err(if held { e.after_line(other) } else { e });
        }
        told.root = Some(f.clone());
        Ok(())
    }

    /// The lock held is the one of this map value or object.
    fn lock_covers(&self, r: &Reg) -> bool {
        let of = match r.base {
            Base::MapValue(m) => LockOf::Map(m),
            Base::Btf(t) => LockOf::Object(t.id),
            _ => return false,
        };
        self.cur
            .refs
            .iter()
            .any(|l| l.id == r.id && matches!(l.kind, RefKind::Lock(o) | RefKind::ResLock(o, _) if o == of))
    }

    /// A list or tree node argument.
    pub(crate) fn graph_node(
        &mut self,
        i: usize,
        n: usize,
        r: &Reg,
        row: &'static Kfunc,
        told: &mut Told,
    ) -> Check {
        if matches!(row.kind, KfuncKind::RbtreeRemove | KfuncKind::RbtreePeek) {
            let known = r.flags.has(Flags::NON_OWN) || r.ref_id != 0;
            if !matches!(r.base, Base::Btf(_)) || !known {
                refuse!(
                    ArgumentType,
                    "{} can only take non-owning or refcounted bpf_rb_node pointer",
                    row.name
                );
            }
            if self.in_tree_callback() {
                refuse!(Lock, "{} not allowed in rbtree cb", row.name);
            }
        } else {
            if !matches!(r.base, Base::Btf(_)) || r.flags != Flags::ALLOC {
                refuse!(ArgumentType, "arg#{i} expected pointer to allocated object");
            }
            if r.ref_id == 0 {
                refuse!(Reference, "allocated object must be referenced");
            }
        }
        let Base::Btf(t) = r.base else { refuse!(Internal, "no object") };
        let list = row.kind == KfuncKind::ListPush;
        let kind = if list { FieldKind::ListNode } else { FieldKind::RbNode };
        let Some(var) = r.val.as_const() else {
            refuse!(
                SpecialField,
                "R{n} doesn't have constant offset. {} has to be at the constant offset",
                kind.name()
            );
        };
        let at = r.off as i64 + var as i64;
        if !self.fields(r).iter().any(|f| f.kind == kind && f.off as i64 == at) {
            refuse!(SpecialField, "{} not found at offset={at}", kind.name());
        }
        let Some(root) = told.root.clone() else { refuse!(Internal, "no list or tree") };
        let (have, root_name) = (
            self.btf_name(t).to_owned(),
            if kind == FieldKind::ListNode { "bpf_list_head" } else { "bpf_rb_root" },
        );
        if root.target != t.id {
            refuse!(
                SpecialField,
                "operation on {root_name} expects arg#1 {} at offset={} in struct {}, but arg is at offset={at} in struct {have}",
                kind.name(),
                root.node_off,
                root.target_name
            );
        }
        if root.node_off as i64 != at {
            refuse!(
                SpecialField,
                "arg#1 offset={at}, but expected {} at offset={} in struct {}",
                kind.name(),
                root.node_off,
                root.target_name
            );
        }
        told.object = Some(t);
        Ok(())
    }

    /// The pointer stays usable under the lock, without being owned.
    pub(crate) fn not_owning(&mut self, r: &mut Reg) -> Check {
        if self.cur.lock.is_none() {
            refuse!(Internal, "non-owning reference without a lock");
        }
        r.flags = r.flags.with(Flags::NON_OWN);
        if self.fields(r).iter().any(|f| f.kind == FieldKind::Refcount) {
            r.flags = r.flags.with(Flags::RCU);
        }
        Ok(())
    }

    /// The object belongs to the list or tree now; the program's pointers to it are no longer owning.
    pub(crate) fn give_to_root(&mut self, name: &str, id: i32) -> Check {
        let r2 = *self.reg(2);
        if r2.ref_id == 0 || self.cur.lock.is_none() {
            refuse!(Reference, "kfunc {name}#{id} conversion of owning ref to non-owning failed");
        }
        let counted = self.fields(&r2).iter().any(|f| f.kind == FieldKind::Refcount);
        let more = if counted { Flags::NON_OWN.with(Flags::RCU) } else { Flags::NON_OWN };
        let ref_id = r2.ref_id;
        self.cur.for_each_reg(
            |r| r.ref_id == ref_id && matches!(r.base, Base::Btf(_)),
            |r| {
                r.flags = r.flags.with(more);
                r.ref_id = 0;
            },
        );
        self.release(ref_id);
        Ok(())
    }

    /// The tree's comparison is walked as a callback: two nodes, under the lock.
    pub(crate) fn tree_callback(&mut self, told: &Told) -> Check {
        let pc = self.cur.insn;
        let (Some(f), Some(root)) = (told.func, &told.root) else { return Ok(()) };
        let mut node = Reg::flagged(Base::Btf(BtfType { own: true, id: root.target }), Flags::ALLOC);
        node.off = root.node_off as i32;
        self.not_owning(&mut node)?;
        let (mut a, mut b) = (node, node);
        (a.id, b.id) = (self.new_id(), self.new_id());
        self.room_for_frame()?;
        let depth = self.cur.frames.len();
        let start = self.code.funcs[f].start;
        let state = self.push(start, pc)?;
        state.callback_unroll += 1;
        state.frame_mut().callback_depth += 1;
        let mut frame = Frame::new(f, pc, depth);
        frame.regs[1].set(a);
        frame.regs[2].set(b);
        frame.callback = true;
        frame.callback_ret = Some((0, 1));
        state.frames.push(frame);
        self.cur.frame_mut().callback_depth = 0;
        Ok(())
    }
}
