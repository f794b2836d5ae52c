//! Which functions a program takes in, and in which order.

use crate::object::{Object, RelocTarget};

/// Helper numbers of references to maps that were not created, plus the map's index (libbpf's).
pub const POISON_MAP: i32 = 2_001_000_000;

/// The program, then every function that it calls or takes the address of, directly or not, as a depth-first walk
/// over the instructions meets them (libbpf's order); its exception callback last.
pub(super) fn order(object: &Object, main: usize) -> Vec<usize> {
    let mut met = vec![false; object.functions.len()];
    let mut order = Vec::new();
    walk(object, main, &mut met, &mut order);
    let callback = object.functions[main].entry.as_ref().and_then(|e| e.exception_callback);
    if let Some(callback) = callback
        && !met[callback]
    {
        walk(object, callback, &mut met, &mut order);
    }
    order
}

fn walk(object: &Object, root: usize, met: &mut [bool], order: &mut Vec<usize>) {
    met[root] = true;
    order.push(root);
    // Functions in progress, with the reference to look at next.
    let mut stack = vec![(root, 0)];
    while let Some((function, next)) = stack.last_mut() {
        let Some(reloc) = object.functions[*function].relocs.get(*next) else {
            stack.pop();
            continue;
        };
        *next += 1;
        if let RelocTarget::Call(callee) | RelocTarget::FuncAddr(callee) = reloc.target
            && !met[callee]
        {
            met[callee] = true;
            order.push(callee);
            stack.push((callee, 0));
        }
    }
}
