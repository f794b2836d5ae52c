//! Memory that compilations on one thread use one after the other: a usual filter takes a few microseconds, of which asking
//! the allocator for every list would be a third.

use super::cfg::CodeGen;
use super::lex::Token;
use super::tree::Trees;
use std::cell::{Cell, RefCell};

/// Rows of trees, and words, of an expression whose memory is kept.
const KEPT: usize = 1024;

/// The lists of a compilation.
pub(super) struct Scratch {
    pub tokens: Vec<Token>,
    pub trees: RefCell<Trees>,
    pub codegen: CodeGen,
}

thread_local! {
    /// What the last compilation has left; none while one is at work.
    static LAST: Cell<Option<Box<Scratch>>> = const { Cell::new(None) };
}

impl Scratch {
    /// Runs with cleared lists. A resolver may compile filters of its own meanwhile.
    pub(super) fn with<T>(f: impl FnOnce(&mut Scratch) -> T) -> T {
        let mut scratch = LAST.try_with(Cell::take).ok().flatten().unwrap_or_else(|| {
            Box::new(Scratch {
                tokens: Vec::new(),
                trees: RefCell::new(Trees::new()),
                codegen: CodeGen::default(),
            })
        });
        scratch.tokens.clear();
        scratch.trees.get_mut().clear();
        let out = f(&mut scratch);
        if scratch.tokens.capacity() <= KEPT && scratch.trees.get_mut().len() <= KEPT {
            // A thread that ends keeps nothing.
            LAST.try_with(|last| last.set(Some(scratch))).ok();
        }
        out
    }
}
