//! A register's value as frames and stack slots hold it: shared by all states in which nothing else was written there.
//!
//! States differ from the one before by a few registers; a copy of a frame is a copy of handles. What was never written
//! takes no memory. Reading and writing goes through [`Reg`]: a write copies what others hold, too.

use crate::shared::{Pool, Shared, Spare};
use crate::value::Reg;
use std::cell::RefCell;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::thread::LocalKey;

thread_local! {
    static POOL: Pool<Reg> = const { RefCell::new(Vec::new()) };
}

impl Spare for Reg {
    const MOST: usize = 2048;

    fn pool() -> &'static LocalKey<Pool<Self>> {
        &POOL
    }

    #[inline]
    fn clear(&mut self) {}

    #[inline]
    fn copy_from(&mut self, other: &Self) {
        *self = *other;
    }
}

static NOT_INIT: Reg = Reg::NOT_INIT;

/// A handle on a [`Reg`]; of one word.
#[derive(Clone)]
pub struct Held(Shared<Reg>);

impl Held {
    /// Nothing was written.
    pub const NOT_INIT: Held = Held(Shared::none());

    /// Holds another value from now on.
    #[inline]
    pub fn set(&mut self, r: Reg) {
        if r == Reg::NOT_INIT {
            *self = Held::NOT_INIT;
        } else {
            Shared::put(&mut self.0, r);
        }
    }
}

impl From<Reg> for Held {
    #[inline]
    fn from(r: Reg) -> Held {
        if r == Reg::NOT_INIT { Held::NOT_INIT } else { Held(Shared::fresh(r)) }
    }
}

impl Deref for Held {
    type Target = Reg;

    #[inline]
    fn deref(&self) -> &Reg {
        Shared::get(&self.0).unwrap_or(&NOT_INIT)
    }
}

impl DerefMut for Held {
    #[inline]
    fn deref_mut(&mut self) -> &mut Reg {
        if Shared::get(&self.0).is_none() {
            self.0 = Shared::fresh(Reg::NOT_INIT);
        }
        Shared::make_mut(&mut self.0)
    }
}

impl PartialEq for Held {
    #[inline]
    fn eq(&self, other: &Held) -> bool {
        Shared::same(&self.0, &other.0) || **self == **other
    }
}

impl Eq for Held {}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Reg::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_leaves_the_others_theirs_and_nothing_takes_no_memory() {
        let mut a = Held::from(Reg::known(7));
        let b = a.clone();
        assert!(std::ptr::eq(&*a, &*b));
        a.id = 3;
        assert_eq!((a.id, b.id), (3, 0));
        let at = &raw const *a;
        a.set(Reg::known(8));
        assert_eq!((a.val.as_const(), &raw const *a), (Some(8), at));
        let mut c = Held::from(Reg::NOT_INIT);
        assert!(std::ptr::eq(&*c, &*Held::NOT_INIT));
        a.set(Reg::NOT_INIT);
        assert_eq!(a, c);
        c.off = 4;
        assert_eq!((c.off, Held::NOT_INIT.off), (4, 0));
    }
}
