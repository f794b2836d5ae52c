//! The helpers that a program calls, looked up once: row and prototype for this caller.

use crate::code::Code;
use skep_isa::{Callee, Op};
use skep_platform::helper::Caller;
use skep_platform::{Helper, Platform, Proto};

/// A helper as this program calls it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Called {
    id: i32,
    pub(crate) helper: &'static Helper,
    /// `None`: not for this program.
    pub(crate) proto: Option<&'static Proto>,
}

/// What a program calls, by id.
#[derive(Debug, Default)]
pub(crate) struct CalledHelpers(Vec<Called>);

impl CalledHelpers {
    /// Of a program.
    pub(crate) fn new(code: &Code, platform: &Platform, caller: &Caller<'_>) -> CalledHelpers {
        let mut ids: Vec<i32> = (0..code.len())
            .filter_map(|pc| match code.op(pc) {
                Some(Op::Call(Callee::Helper(id))) => Some(*id),
                _ => None,
            })
            .collect();
        ids.sort_unstable();
        ids.dedup();
        let row = |id: i32| {
            let helper = platform.helper(u32::try_from(id).ok()?)?;
            Some(Called { id, helper, proto: helper.proto_for(caller) })
        };
        CalledHelpers(ids.into_iter().filter_map(row).collect())
    }

    /// By id; cost: a search among the helpers that the program calls.
    pub(crate) fn get(&self, id: i32) -> Option<&Called> {
        self.0.binary_search_by_key(&id, |r| r.id).ok().map(|i| &self.0[i])
    }
}
