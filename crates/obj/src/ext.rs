//! `.BTF.ext`: function types, source lines and CO-RE relocations, given to the functions they belong to.

use crate::functions::Functions;
use crate::open::Opening;

pub(crate) fn read(opening: &mut Opening<'_>, functions: &mut Functions) {
    let _ = (opening, functions);
}
