//! Values that states share until they are written, and whose memory is used again.
//!
//! Frames and chunks of stack come and go by the thousand, and are larger than what allocators are quick with: who lets
//! go of the last handle leaves the memory to the next one that needs a copy, in this thread. What lies there waiting
//! holds nothing, and is little ([`Spare::MOST`]).

use std::cell::RefCell;
use std::fmt;
use std::ops::Deref;
use std::rc::Rc;
use std::thread::LocalKey;

/// Memory waiting to be used again.
pub type Pool<T> = RefCell<Vec<Rc<T>>>;

/// What can lie in a [`Shared`].
pub trait Spare: Clone + 'static {
    /// So many wait at most.
    const MOST: usize;

    /// Where they wait.
    fn pool() -> &'static LocalKey<Pool<Self>>;

    /// Lets go of what it holds.
    fn clear(&mut self);

    /// Becomes the same as another.
    fn copy_from(&mut self, other: &Self);
}

/// A handle: cheap to clone, copied when it is written while others hold it, too. Of one word, with a value or
/// without; to read or write what is not there panics.
pub struct Shared<T: Spare>(Option<Rc<T>>);

const HELD: &str = "only who has asked `get` first may hold a handle without a value";

impl<T: Spare> Shared<T> {
    /// The first handle.
    pub fn new(value: T) -> Shared<T> {
        Shared(Some(Rc::new(value)))
    }

    /// The first handle, in memory that was waiting where there is some.
    pub fn fresh(value: T) -> Shared<T> {
        let Some(mut rc) = T::pool().try_with(|p| p.borrow_mut().pop()).ok().flatten() else {
            return Shared::new(value);
        };
        if let Some(v) = Rc::get_mut(&mut rc) {
            *v = value;
            return Shared(Some(rc));
        }
        Shared::new(value)
    }

    /// Holds another value from now on: the others keep theirs.
    #[inline]
    pub fn put(this: &mut Shared<T>, value: T) {
        match this.0.as_mut().and_then(Rc::get_mut) {
            Some(v) => *v = value,
            None => *this = Shared::fresh(value),
        }
    }

    /// A handle without a value.
    pub const fn none() -> Shared<T> {
        Shared(None)
    }

    /// The value, if there is one.
    #[inline]
    pub fn get(this: &Shared<T>) -> Option<&T> {
        this.0.as_deref()
    }

    /// The value, to be written: the others keep theirs.
    #[inline]
    pub fn make_mut(this: &mut Shared<T>) -> &mut T {
        let rc = this.0.as_mut().expect(HELD);
        if Rc::strong_count(rc) > 1
            && let Some(mut spare) = T::pool().try_with(|p| p.borrow_mut().pop()).ok().flatten()
        {
            if let Some(value) = Rc::get_mut(&mut spare) {
                value.copy_from(rc);
            }
            *rc = spare;
        }
        Rc::make_mut(rc)
    }

    /// Do both hold the very same value in memory?
    #[inline]
    pub fn same(a: &Shared<T>, b: &Shared<T>) -> bool {
        match (&a.0, &b.0) {
            (Some(a), Some(b)) => Rc::ptr_eq(a, b),
            _ => false,
        }
    }
}

impl<T: Spare> Deref for Shared<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        self.0.as_ref().expect(HELD)
    }
}

impl<T: Spare> Clone for Shared<T> {
    #[inline]
    fn clone(&self) -> Shared<T> {
        Shared(self.0.clone())
    }
}

impl<T: Spare> Drop for Shared<T> {
    #[inline]
    fn drop(&mut self) {
        if let Some(mut rc) = self.0.take()
            && let Some(value) = Rc::get_mut(&mut rc)
        {
            value.clear();
            leave(rc);
        }
    }
}

fn leave<T: Spare>(rc: Rc<T>) {
    // Where the thread ends, or the pool is full, the memory goes.
    let _ = T::pool().try_with(|p| {
        let mut p = p.borrow_mut();
        if p.len() < T::MOST {
            p.push(rc);
        }
    });
}

impl<T: Spare + fmt::Debug> fmt::Debug for Shared<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Shared::get(self).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    thread_local! {
        static POOL: Pool<Vec<u32>> = const { RefCell::new(Vec::new()) };
    }

    impl Spare for Vec<u32> {
        const MOST: usize = 1;

        fn pool() -> &'static LocalKey<Pool<Self>> {
            &POOL
        }

        fn clear(&mut self) {
            Vec::clear(self);
        }

        fn copy_from(&mut self, other: &Self) {
            self.clone_from(other);
        }
    }

    fn waiting() -> usize {
        POOL.with(|p| p.borrow().len())
    }

    #[test]
    fn memory_is_used_again_and_values_are_not() {
        let (mut a, b) = (Shared::new(vec![1]), Shared::new(vec![2]));
        let c = a.clone();
        drop(b);
        assert_eq!(waiting(), 1);
        Shared::make_mut(&mut a).push(3);
        assert_eq!(waiting(), 0);
        assert_eq!((&**a, &**c), (&[1, 3][..], &[1][..]));
        assert!(!Shared::same(&a, &c));
        // The only handle: no copy.
        Shared::make_mut(&mut a).push(4);
        assert_eq!(*a, [1, 3, 4]);
        drop((a, c));
        assert_eq!(waiting(), 1);
    }
}
