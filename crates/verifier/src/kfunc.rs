//! Calls of kernel functions, by BTF and by row.

use crate::machine::Vm;
use crate::reject::{Check, refuse};
use crate::step::Flow;

impl Vm<'_> {
    /// May the kernel function be called while a spin lock is held?
    pub(crate) fn kfunc_under_lock(&self, id: i32) -> bool {
        use crate::kinds::KfuncKind as K;
        self.kfunc(id).is_some_and(|k| {
            matches!(
                k.kind,
                K::ListPush
                    | K::ListPop
                    | K::RbtreeAdd
                    | K::RbtreeRemove
                    | K::RbtreeFirst
                    | K::RefcountAcquire
                    | K::ObjDrop
            )
        })
    }

    /// Call of the kernel function with this BTF id.
    pub(crate) fn kfunc_call(&mut self, id: i32, _off: i16) -> Check<Flow> {
        if id == 0 {
            // A weak kernel function that is not there: fine as long as no path calls it.
            self.missing_kfunc = true;
            return Ok(Flow::To(self.cur.insn + 1));
        }
        let name = self.kfunc_name(id).to_owned();
        refuse!(NotYet, "kernel function {name} is not judged yet");
    }
}
