//! The frames of a state: a list that lies in the state itself, as most states have one frame.

use crate::shared::Shared;
use crate::state::{Frame, MAX_FRAMES};
use std::fmt;
use std::ops::{Deref, DerefMut};

/// At most [`MAX_FRAMES`] frames, the innermost last. Who pushes one asks first whether there is room.
#[derive(Clone)]
pub struct Frames {
    held: [Shared<Frame>; MAX_FRAMES],
    len: u8,
}

impl Default for Frames {
    fn default() -> Frames {
        Frames { held: [const { Shared::none() }; MAX_FRAMES], len: 0 }
    }
}

impl Frames {
    /// A state's first frame.
    pub fn of(frame: Frame) -> Frames {
        let mut f = Frames::default();
        f.push(frame);
        f
    }

    /// One more; panics when all are open.
    pub fn push(&mut self, frame: Frame) {
        self.held[self.len as usize] = Shared::fresh(frame);
        self.len += 1;
    }

    /// Without the innermost one, which is given back.
    pub fn pop(&mut self) -> Option<Shared<Frame>> {
        self.len = self.len.checked_sub(1)?;
        Some(std::mem::replace(&mut self.held[self.len as usize], Shared::none()))
    }
}

impl Deref for Frames {
    type Target = [Shared<Frame>];

    #[inline]
    fn deref(&self) -> &[Shared<Frame>] {
        &self.held[..self.len as usize]
    }
}

impl DerefMut for Frames {
    #[inline]
    fn deref_mut(&mut self) -> &mut [Shared<Frame>] {
        &mut self.held[..self.len as usize]
    }
}

impl<'a> IntoIterator for &'a Frames {
    type Item = &'a Shared<Frame>;
    type IntoIter = std::slice::Iter<'a, Shared<Frame>>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Debug for Frames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self[..].fmt(f)
    }
}
