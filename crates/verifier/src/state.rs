//! The machine's state at a point of a path: frames with registers and stack, references, locks.
//!
//! Frames are shared between states and copied when they are written ([`Shared`]): a branch costs a few counts.
//! A state also knows how it was reached since its parent state: the history that precision is tracked back through.

use crate::frames::Frames;
use crate::held::Held;
use crate::shared::{Pool, Shared, Spare};
use crate::stack::Stack;
use crate::value::{Base, Reg};
use std::cell::RefCell;
use std::thread::LocalKey;

/// Most frames open at once (`MAX_CALL_FRAMES`).
pub const MAX_FRAMES: usize = 8;
/// Bytes of a frame (`MAX_BPF_STACK`).
pub const MAX_STACK: i64 = 512;

/// What one byte of the stack holds (`enum bpf_stack_slot_type`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[allow(missing_docs)]
#[repr(u8)]
pub enum Byte {
    Invalid = 0,
    /// Part of a spilled register.
    Spill = 1,
    /// Written with something.
    Misc = 2,
    Zero = 3,
    Dynptr,
    Iter,
    IrqFlag,
}

/// Eight aligned bytes of the stack. Byte 7 of `bytes` is the lowest address, as the kernel counts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Slot {
    /// By byte.
    pub bytes: [Byte; 8],
    /// The spilled register, the dynptr, the iterator.
    pub reg: Held,
}

impl Slot {
    /// Never written.
    pub const EMPTY: Slot = Slot { bytes: [Byte::Invalid; 8], reg: Held::NOT_INIT };

    /// Holds it (some bytes of) a spilled register?
    #[inline]
    pub fn is_spill(&self) -> bool {
        self.bytes[7] == Byte::Spill
    }

    /// A number was spilled.
    #[inline]
    pub fn is_scalar_spill(&self) -> bool {
        self.is_spill() && self.reg.is_scalar()
    }

    /// All 64 bits of a number were spilled.
    #[inline]
    pub fn is_scalar_spill64(&self) -> bool {
        self.bytes[0] == Byte::Spill && self.reg.is_scalar()
    }

    /// Dynptr, iterator or saved flags.
    #[inline]
    pub fn is_special(&self) -> bool {
        matches!(self.bytes[7], Byte::Dynptr | Byte::Iter | Byte::IrqFlag)
    }

    /// The eight bytes as one word, to be compared at once.
    #[inline]
    pub fn word(&self) -> u64 {
        let b = |i: usize| self.bytes[i] as u8;
        u64::from_ne_bytes([b(0), b(1), b(2), b(3), b(4), b(5), b(6), b(7)])
    }

    /// Every byte was written with something, and nothing more is known of it.
    #[inline]
    pub fn is_misc(&self) -> bool {
        self.word() == Slot::MISC
    }

    /// Is no byte more than written with something?
    #[inline]
    pub fn is_blank(&self) -> bool {
        self.word() & !Slot::MISC == 0
    }

    /// [`Slot::word`] of eight times [`Byte::Misc`]; no other kind of byte is a subset of these bits but
    /// [`Byte::Invalid`], which is 0.
    const MISC: u64 = u64::from_ne_bytes([Byte::Misc as u8; 8]);

    /// What was spilled here is no more: with it all that was known of the slot's other bytes goes, zeros too. Plain
    /// bytes stay what they are (`scrub_special_slot`).
    pub fn scrub(&mut self) {
        self.reg = Held::NOT_INIT;
        if self.is_spill() || self.is_special() {
            self.misc();
        }
    }

    /// All bytes ever written hold something.
    pub fn misc(&mut self) {
        for b in self.bytes.iter_mut().filter(|b| **b != Byte::Invalid) {
            *b = Byte::Misc;
        }
    }
}

/// Range that a callback or subprogram must return.
pub type RetBounds = Option<(i32, i32)>;

/// One function call.
#[derive(Clone, Debug)]
pub struct Frame {
    /// `r0` to `r10`.
    pub regs: [Held; 11],
    /// Its slots.
    pub stack: Stack,
    /// Instruction that called it.
    pub callsite: usize,
    /// Subprogram.
    pub subprog: usize,
    /// Run by a helper.
    pub callback: bool,
    /// Run by a helper later, on its own.
    pub async_callback: bool,
    /// Times that an asynchronous callback was entered.
    pub async_entries: u32,
    /// Exception callback.
    pub exception_callback: bool,
    /// What a callback must return.
    pub callback_ret: RetBounds,
    /// Iterations of the callback that this frame's helper has simulated.
    pub callback_depth: u32,
}

thread_local! {
    static POOL: Pool<Frame> = const { RefCell::new(Vec::new()) };
}

impl Spare for Frame {
    const MOST: usize = 1024;

    fn pool() -> &'static LocalKey<Pool<Self>> {
        &POOL
    }

    fn clear(&mut self) {
        self.regs = [const { Held::NOT_INIT }; 11];
        self.stack = Stack::default();
    }

    fn copy_from(&mut self, other: &Self) {
        let &Frame { ref regs, ref stack, callsite, subprog, callback, async_callback, .. } = other;
        let &Frame { async_entries, exception_callback, callback_ret, callback_depth, .. } = other;
        self.regs.clone_from(regs);
        self.stack.clone_from(stack);
        (self.callsite, self.subprog) = (callsite, subprog);
        (self.callback, self.async_callback) = (callback, async_callback);
        (self.async_entries, self.exception_callback) = (async_entries, exception_callback);
        (self.callback_ret, self.callback_depth) = (callback_ret, callback_depth);
    }
}

/// What a [`Ref`] stands for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum RefKind {
    /// Something that must be released.
    Ptr,
    /// Disabled interrupts.
    Irq,
    /// A spin lock; the map value or object by id.
    Lock(LockOf),
    /// A resilient spin lock, with interrupts off or as they were.
    ResLock(LockOf, bool),
}

/// Where a lock lives.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[allow(missing_docs)]
pub enum LockOf {
    Map(u16),
    Object(u32),
}

/// Something acquired and not yet given back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ref {
    /// Its id.
    pub id: u32,
    /// Instruction that acquired it.
    pub insn: usize,
    /// What it is.
    pub kind: RefKind,
}

/// One step of the way from the parent state, where it matters.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Hist {
    /// Instruction.
    pub insn: u32,
    /// Instruction before it.
    pub prev: u32,
    /// Frame and slot of a spill or fill.
    pub stack: Option<(u8, u8)>,
    /// The comparison's source was a stack pointer.
    pub src_stack: bool,
    /// The comparison's destination was.
    pub dst_stack: bool,
    /// Numbers tied together that gained range: frame, register or slot.
    pub linked: [Option<Place>; 6],
}

/// A register or stack slot of a frame.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Place {
    /// Frame.
    pub frame: u8,
    /// Register number, or slot when `slot`.
    pub index: u8,
    /// It is a stack slot.
    pub slot: bool,
}

/// A set of registers and stack slots, by frame.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Places {
    /// Registers by number.
    pub regs: [u16; MAX_FRAMES],
    /// Slots.
    pub slots: [u64; MAX_FRAMES],
}

impl Places {
    /// Every one.
    pub const ALL: Places = Places { regs: [u16::MAX; MAX_FRAMES], slots: [u64::MAX; MAX_FRAMES] };

    /// All that hold numbers in a state.
    pub fn numbers(st: &State) -> Places {
        let mut p = Places::default();
        for (f, frame) in st.frames.iter().enumerate() {
            let regs = frame.regs[..10].iter().enumerate();
            p.regs[f] = regs.fold(0, |set, (i, r)| set | u16::from(r.is_scalar()) << i);
            for (n, chunk) in frame.stack.chunks().enumerate() {
                let slots = chunk.iter().enumerate();
                let set = slots.fold(0, |set, (i, s)| set | u64::from(s.is_scalar_spill()) << i);
                p.slots[f] |= set << (n * Stack::CHUNK);
            }
        }
        p
    }

    /// Is it one of them?
    #[inline]
    pub fn has(&self, p: &Place) -> bool {
        let (f, i) = (p.frame as usize, p.index);
        if p.slot { self.slots[f] >> i & 1 == 1 } else { self.regs[f] >> i & 1 == 1 }
    }

    /// One more.
    #[inline]
    pub fn add(&mut self, p: &Place) {
        let (f, i) = (p.frame as usize, p.index);
        if p.slot {
            self.slots[f] |= 1 << i;
        } else {
            self.regs[f] |= 1 << i;
        }
    }

    /// Of a frame only these remain.
    #[inline]
    pub fn retain(&mut self, frame: usize, regs: u16, slots: u64) {
        self.regs[frame] &= regs;
        self.slots[frame] &= slots;
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        let regs: u32 = self.regs.iter().map(|r| r.count_ones()).sum();
        u64::from(regs + self.slots.iter().map(|s| s.count_ones()).sum::<u32>())
    }
}

/// Registers and slots of a frame of which all origins were made precise, from a point of the path on.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Settled {
    /// The point: before this instruction …
    pub insn: u32,
    /// … after so many entries of history.
    pub hist: u32,
    /// The innermost frame there.
    pub frame: u8,
    /// Its registers.
    pub regs: u16,
    /// Its slots.
    pub slots: u64,
}

impl Settled {
    /// Do both begin at one point?
    #[inline]
    pub fn same_point(&self, other: &Settled) -> bool {
        (self.insn, self.hist, self.frame) == (other.insn, other.hist, other.frame)
    }
}

/// The last few points on the way from the parent state from which precision was tracked back. Who comes by again with
/// the same wish need not go on.
#[derive(Clone, Copy, Default, Debug)]
pub struct Tracked {
    points: [Settled; 4],
    len: u8,
}

impl Tracked {
    /// The points, the youngest first.
    #[inline]
    pub fn points(&self) -> &[Settled] {
        &self.points[..self.len as usize]
    }

    /// Adds what was settled from a point that is not older than those known.
    pub fn add(&mut self, s: Settled) {
        let [first, ..] = &mut self.points;
        if self.len > 0 && first.same_point(&s) {
            first.regs |= s.regs;
            first.slots |= s.slots;
            return;
        }
        self.points.rotate_right(1);
        self.points[0] = s;
        self.len = (self.len + 1).min(self.points.len() as u8);
    }
}

/// Index of a stored state.
pub type StateId = u32;

/// A state.
#[derive(Clone, Debug)]
pub struct State {
    /// Frames, the innermost last.
    pub frames: Frames,
    /// References and locks held, oldest first.
    pub refs: Vec<Ref>,
    /// `bpf_rcu_read_lock` nesting.
    pub rcu: u32,
    /// `bpf_preempt_disable` nesting.
    pub preempt: u32,
    /// Reference of the innermost disabled interrupts.
    pub irq: u32,
    /// Current lock.
    pub lock: Option<(u32, LockOf)>,
    /// May sleep.
    pub sleepable: bool,
    /// `may_goto` turns taken.
    pub may_goto_depth: u32,
    /// Callback turns taken.
    pub callback_unroll: u32,
    /// Stored state it came from.
    pub parent: Option<StateId>,
    /// First instruction since the parent.
    pub first_insn: usize,
    /// Of a kept state: the instruction before it.
    pub last_insn: Option<usize>,
    /// Where it goes on.
    pub insn: usize,
    /// Steps since the parent.
    pub hist: Vec<Hist>,
    /// What was tracked back since the parent.
    pub tracked: Tracked,
    /// Kept states above it.
    pub dfs_depth: u32,
    /// On a path that a CPU only guesses.
    pub speculative: bool,
}

impl Frame {
    /// A frame at entry: `r10` points at its top.
    pub fn new(subprog: usize, callsite: usize, index: usize) -> Frame {
        let mut regs = [const { Held::NOT_INIT }; 11];
        regs[10] = Reg::pointer(Base::Stack(index as u8)).into();
        Frame {
            regs,
            stack: Stack::default(),
            callsite,
            subprog,
            callback: false,
            async_callback: false,
            async_entries: 0,
            exception_callback: false,
            callback_ret: None,
            callback_depth: 0,
        }
    }
}

/// Slot and byte of a stack offset (negative, above -512).
#[inline]
pub fn slot_of(off: i64) -> (usize, usize) {
    let depth = (-off - 1) as usize;
    (depth / 8, depth % 8)
}

impl State {
    /// Number of the innermost frame.
    #[inline]
    pub fn depth(&self) -> usize {
        self.frames.len() - 1
    }

    /// The innermost frame.
    #[inline]
    pub fn frame(&self) -> &Frame {
        &self.frames[self.depth()]
    }

    /// The innermost frame, to be written.
    #[inline]
    pub fn frame_mut(&mut self) -> &mut Frame {
        let top = self.depth();
        Shared::make_mut(&mut self.frames[top])
    }

    /// A frame, to be written.
    #[inline]
    pub fn frame_at_mut(&mut self, i: usize) -> &mut Frame {
        Shared::make_mut(&mut self.frames[i])
    }

    /// Register of the innermost frame.
    #[inline]
    pub fn reg(&self, n: usize) -> &Reg {
        &self.frame().regs[n]
    }

    /// The same, to be written.
    #[inline]
    pub fn reg_mut(&mut self, n: usize) -> &mut Reg {
        &mut self.frame_mut().regs[n]
    }

    /// Calls `f` for every register and every spilled one, in all frames, that `wanted` picks.
    pub fn for_each_reg(&mut self, wanted: impl Fn(&Reg) -> bool, mut f: impl FnMut(&mut Reg)) {
        for frame in self.frames.iter_mut() {
            let hit = frame.regs.iter().any(|r| wanted(r))
                || frame.stack.iter().any(|s| spilled(s) && wanted(&s.reg));
            if !hit {
                continue;
            }
            let frame = Shared::make_mut(frame);
            frame.regs.iter_mut().filter(|r| wanted(r)).for_each(|r| f(r));
            frame.stack.change(|_, s| spilled(s) && wanted(&s.reg), |_, s| f(&mut s.reg));
        }
    }

    /// Where the frame `i` stands: the innermost at the current instruction, the others at their calls.
    #[inline]
    pub fn insn_of_frame(&self, i: usize) -> usize {
        if i == self.depth() { self.insn } else { self.frames[i + 1].callsite }
    }

    /// Call site, function and place of every frame, the outermost first.
    pub fn chain(&self) -> impl Iterator<Item = (usize, usize, usize)> {
        self.frames.iter().enumerate().map(|(i, f)| (f.callsite, f.subprog, self.insn_of_frame(i)))
    }

    /// Locks held.
    pub fn locks(&self) -> usize {
        self.refs.iter().filter(|r| matches!(r.kind, RefKind::Lock(_) | RefKind::ResLock(..))).count()
    }
}

#[inline]
fn spilled(s: &Slot) -> bool {
    s.is_spill() || s.is_special()
}
