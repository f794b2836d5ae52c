//! What a run keeps alive until it ends: programs reached by tail calls, inner maps reached through maps of maps.
//! Append-only, so that what was taken from it may be borrowed for the whole run.

use std::cell::OnceCell;

/// An append-only list.
#[derive(Debug)]
pub(crate) struct Chain<T> {
    first: OnceCell<Box<Node<T>>>,
}

#[derive(Debug)]
struct Node<T> {
    item: T,
    next: OnceCell<Box<Node<T>>>,
}

impl<T> Chain<T> {
    pub(crate) const fn new() -> Chain<T> {
        Chain { first: OnceCell::new() }
    }

    /// The first item that `is` accepts. Cost: a scan.
    pub(crate) fn find(&self, mut is: impl FnMut(&T) -> bool) -> Option<&T> {
        let mut at = &self.first;
        while let Some(node) = at.get() {
            if is(&node.item) {
                return Some(&node.item);
            }
            at = &node.next;
        }
        None
    }

    /// Adds an item at the end. Cost: a scan.
    pub(crate) fn push(&self, item: T) -> &T {
        let mut at = &self.first;
        while let Some(node) = at.get() {
            at = &node.next;
        }
        &at.get_or_init(|| Box::new(Node { item, next: OnceCell::new() })).item
    }
}

impl<T> Drop for Chain<T> {
    #[inline]
    fn drop(&mut self) {
        if let Some(first) = self.first.take() {
            first.drop_all();
        }
    }
}

impl<T> Node<T> {
    /// One node after the other: a long chain must not use up the native stack.
    #[cold]
    fn drop_all(self: Box<Self>) {
        let mut next = Some(self);
        while let Some(mut node) = next {
            next = node.next.take();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_stay_and_long_chains_drop() {
        let c = Chain::new();
        let a: &i32 = c.push(1);
        let b = c.push(2);
        assert_eq!((*a, *b), (1, 2));
        assert_eq!(c.find(|x| *x == 2), Some(&2));
        assert_eq!(c.find(|x| *x == 3), None);
        let long = Chain::new();
        let mut at = &long.first;
        for i in 0..300_000 {
            at = &at.get_or_init(|| Box::new(Node { item: i, next: OnceCell::new() })).next;
        }
        drop(long);
    }
}
