//! What a filter asks, before it is code: values loaded from the packet, tests of them, and tests joined. Trees and values
//! are numbers of rows in [`Trees`], so that they are copied freely and a compilation needs no memory for each of them.
//!
//! Tests keep the order in which the language asks them. That order is meaning: a load outside the packet rejects the
//! packet, whatever other tests say.

use super::values::{Id, Value, Values};
use crate::insn::{AluOp, Cond};

/// A number computed from the packet: a row of [`Trees::values`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Val(pub Id);

/// Tests joined: a row of [`Trees`], and in the lowest bit whether its opposite is meant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Tree(u32);

/// A row. Evaluated from left to right, and no further than needed. That one of two holds is that not both fail to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Item {
    /// Always true.
    True,
    /// A comparison.
    Test(Cond, Id, Id),
    /// Puts a value into a word of scratch memory; always true. A word may be set in several places.
    Set(u8, Id),
    And(Tree, Tree),
}

impl Tree {
    pub(super) const TRUE: Tree = Tree(0);
    pub(super) const FALSE: Tree = Tree(1);

    pub(super) fn of(is: bool) -> Tree {
        if is { Tree::TRUE } else { Tree::FALSE }
    }

    pub(super) fn not(self) -> Tree {
        Tree(self.0 ^ 1)
    }

    /// The opposite of its row is meant.
    pub(super) fn is_negated(self) -> bool {
        self.0 & 1 != 0
    }
}

/// The trees of an expression.
pub(super) struct Trees {
    items: Vec<Item>,
    /// For each row what the link type alone decides, whatever the packet.
    decided: Vec<Option<bool>>,
    pub values: Values,
}

impl Trees {
    pub(super) fn new() -> Trees {
        Trees { items: Vec::new(), decided: Vec::new(), values: Values::default() }
    }

    /// Forgets everything, and begins with the row of [`Tree::TRUE`].
    pub(super) fn clear(&mut self) {
        self.items.clear();
        self.decided.clear();
        self.push(Item::True, Some(true));
        self.values.clear();
    }

    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    fn push(&mut self, item: Item, decided: Option<bool>) -> Tree {
        let tree = Tree((self.items.len() as u32) << 1);
        self.items.push(item);
        self.decided.push(decided);
        tree
    }

    pub(super) fn item(&self, tree: Tree) -> Item {
        self.items[(tree.0 >> 1) as usize]
    }

    /// What the link type alone decides, whatever the packet. Then nothing is loaded for it.
    pub(super) fn decided(&self, tree: Tree) -> Option<bool> {
        self.decided[(tree.0 >> 1) as usize].map(|is| is != tree.is_negated())
    }

    pub(super) fn test(&mut self, cond: Cond, a: Val, b: Val) -> Tree {
        self.push(Item::Test(cond, a.0, b.0), None)
    }

    pub(super) fn set(&mut self, word: u8, value: Val) -> Tree {
        self.push(Item::Set(word, value.0), None)
    }

    pub(super) fn and(&mut self, left: Tree, right: Tree) -> Tree {
        match (left, right) {
            (Tree::TRUE, other) | (other, Tree::TRUE) => other,
            (Tree::FALSE, _) => left,
            _ => {
                let decided = match (self.decided(left), self.decided(right)) {
                    (Some(false), _) | (_, Some(false)) => Some(false),
                    (Some(true), Some(true)) => Some(true),
                    _ => None,
                };
                self.push(Item::And(left, right), decided)
            }
        }
    }

    pub(super) fn or(&mut self, left: Tree, right: Tree) -> Tree {
        self.and(left.not(), right.not()).not()
    }

    pub(super) fn value(&mut self, value: Value) -> Val {
        Val(self.values.intern(value))
    }

    pub(super) fn alu(&mut self, op: AluOp, a: Val, b: Val) -> Val {
        Val(self.values.alu(op, a.0, b.0))
    }

    /// The tree behind the same words of scratch memory set to 0.
    pub(super) fn behind_zeros(&mut self, tree: Tree, words: u8) -> Tree {
        let zero = self.value(Value::K(0));
        (0..words).rev().fold(tree, |tree, word| {
            let set = self.set(word, zero);
            self.and(set, tree)
        })
    }
}
