//! Global functions: judged once by their BTF signatures, called with arguments that fit these.

use crate::machine::Vm;
use crate::reject::{Check, refuse};

impl Vm<'_> {
    /// The arguments of a call fit the signature (`btf_check_func_arg_match`).
    pub(crate) fn global_arguments(&mut self, f: usize) -> Check {
        let _ = f;
        refuse!(NotYet, "global functions are not judged yet");
    }

    /// Judges a global function on its own.
    pub(crate) fn judge_global(&mut self, f: usize) -> Check {
        let name = &self.code.funcs[f].name;
        refuse!(NotYet, "global function {name} is not judged yet");
    }
}
