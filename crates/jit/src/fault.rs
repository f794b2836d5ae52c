//! Faults of generated code: a signal inside of it ends the run with an error instead of the process.
//!
//! ```text
//! SIGSEGV, SIGBUS, SIGFPE ── pc in registered code? ── no ──► the handler that was there before
//!                                   └── yes ──► noted for the thread ──► the way out of the program
//! ```
//!
//! Baseline code notes its way out ([`Head::exit`]). Optimised code costs nothing for it: its frames are undone by what is known of
//! them ([`FrameOf`]), until whoever called the code goes on.
//!
//! Verified programs do not fault; a bug of verifier, compiler or engine may make one. The handlers are installed when the first
//! code is made, and stay. They touch atomics and the thread's own cells alone.
//!
//! Always holds: a node of the list of code is never freed, so the handler may walk it at any time.

use crate::head::Head;
use std::cell::Cell;
use std::ptr::null_mut;
use std::sync::Once;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering::*};

/// A fault of generated code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fault {
    /// Address of the machine instruction.
    pub pc: u64,
    /// Address that was touched; 0 when the processor does not tell.
    pub addr: u64,
    /// It was a write.
    pub write: bool,
    /// `r0` to `r10`, as baseline code keeps them; optimised code keeps them nowhere in particular.
    pub regs: Option<[u64; 11]>,
}

/// How a function of optimised code keeps its caller's registers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct FrameOf {
    /// Offset of the function in the code.
    pub(crate) start: u32,
    /// Offset from which on the frame is complete; `None`: it has none.
    pub(crate) body: Option<u32>,
    /// Registers, as the machine numbers them, and where they are saved, from the frame pointer.
    pub(crate) saved: Box<[(u8, i32)]>,
}

thread_local! {
    /// The head of the run that the thread is in, or was in last.
    static CURRENT: Cell<*mut Head> = const { Cell::new(null_mut()) };
    static FAULT: Cell<Option<Fault>> = const { Cell::new(None) };
}

/// Says that the thread runs code with this head.
#[inline(always)]
pub(crate) fn enter(head: *mut Head) {
    CURRENT.set(head);
}

/// The fault that ended the thread's last run, if one did.
pub fn take() -> Option<Fault> {
    FAULT.take()
}

/// A range of code; free when `start` is 0.
struct Node {
    start: AtomicUsize,
    end: AtomicUsize,
    /// Its frames, ascending; null for baseline code. They live as long as the node is not free.
    frames: AtomicPtr<Box<[FrameOf]>>,
    next: *const Node,
}

static LIST: AtomicPtr<Node> = AtomicPtr::new(null_mut());

fn nodes() -> impl Iterator<Item = &'static Node> {
    let mut at = LIST.load(Acquire).cast_const();
    std::iter::from_fn(move || {
        // SAFETY: nodes are leaked, and complete before they are linked.
        let node = unsafe { at.as_ref() }?;
        at = node.next;
        Some(node)
    })
}

/// Code whose faults are caught for as long as this lives.
#[derive(Debug)]
pub(crate) struct Registered(usize);

impl Registered {
    pub(crate) fn new(start: *const u8, len: usize, frames: Option<Box<[FrameOf]>>) -> Registered {
        static INSTALLED: Once = Once::new();
        INSTALLED.call_once(handler::install);
        let (start, end) = (start.addr(), start.addr() + len);
        let frames = frames.map_or(null_mut(), |f| Box::into_raw(Box::new(f)));
        let free = |n: &&Node| n.start.compare_exchange(0, usize::MAX, AcqRel, Relaxed).is_ok();
        if let Some(node) = nodes().find(free) {
            node.end.store(end, Relaxed);
            node.frames.store(frames, Relaxed);
            node.start.store(start, Release);
            return Registered(start);
        }
        let (next, frames) = (LIST.load(Acquire), frames.into());
        let node = Box::leak(Box::new(Node { start: start.into(), end: end.into(), frames, next }));
        while let Err(seen) = LIST.compare_exchange(node.next.cast_mut(), node, AcqRel, Acquire) {
            node.next = seen;
        }
        Registered(start)
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        if let Some(node) = nodes().find(|n| n.start.load(Relaxed) == self.0) {
            node.end.store(0, Relaxed);
            let frames = node.frames.swap(null_mut(), Relaxed);
            node.start.store(0, Release);
            if !frames.is_null() {
                // SAFETY: `new` made it of a box; the code is in use by nobody any more, so no handler looks at it.
                drop(unsafe { Box::from_raw(frames) });
            }
        }
    }
}

/// The code that an address lies in: its start, and its frames unless it is baseline code.
fn code_at(pc: usize) -> Option<(usize, Option<&'static [FrameOf]>)> {
    let node = nodes().find(|n| n.start.load(Acquire) <= pc && pc < n.end.load(Relaxed))?;
    // SAFETY: the frames live as long as the code, which the thread is in.
    let frames = unsafe { node.frames.load(Relaxed).as_ref() };
    Some((node.start.load(Relaxed), frames.map(|f| &**f)))
}

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod handler {
    use super::*;
    use libc::{SIGBUS, SIGFPE, SIGSEGV, c_int, c_void, sigaction, siginfo_t, ucontext_t};
    use std::cell::UnsafeCell;
    use std::mem::MaybeUninit;

    const SIGNALS: [c_int; 3] = [SIGSEGV, SIGBUS, SIGFPE];

    /// What was there before; written once, before the handler is installed.
    struct Before(UnsafeCell<MaybeUninit<[sigaction; 3]>>);
    // SAFETY: written by `install` alone, which runs once, before anybody reads.
    unsafe impl Sync for Before {}
    static BEFORE: Before = Before(UnsafeCell::new(MaybeUninit::zeroed()));

    pub(super) fn install() {
        for (i, signal) in SIGNALS.into_iter().enumerate() {
            // SAFETY: `sigaction` is plain data; the place for the old one is in the static, which nobody reads before the
            // handler of this signal is in place.
            unsafe {
                let mut action: sigaction = std::mem::zeroed();
                action.sa_sigaction = on_signal as *const () as usize;
                action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_NODEFER;
                libc::sigemptyset(&raw mut action.sa_mask);
                let before = BEFORE.0.get().cast::<sigaction>().add(i);
                sigaction(signal, std::ptr::null(), before);
                sigaction(signal, &raw const action, null_mut());
            }
        }
    }

    unsafe extern "C" fn on_signal(signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
        // SAFETY: the kernel gives both.
        unsafe {
            let regs = &mut (*context.cast::<ucontext_t>()).uc_mcontext.gregs;
            if !leave(regs, (*info).si_addr() as u64) {
                before(signal, info, context);
            }
        }
    }

    /// The machine's registers, by their numbers.
    const REGS: [c_int; 16] = [
        libc::REG_RAX,
        libc::REG_RCX,
        libc::REG_RDX,
        libc::REG_RBX,
        libc::REG_RSP,
        libc::REG_RBP,
        libc::REG_RSI,
        libc::REG_RDI,
        libc::REG_R8,
        libc::REG_R9,
        libc::REG_R10,
        libc::REG_R11,
        libc::REG_R12,
        libc::REG_R13,
        libc::REG_R14,
        libc::REG_R15,
    ];

    /// Lets the thread go on with the way out of its program, if it was in one.
    fn leave(regs: &mut [i64; 23], addr: u64) -> bool {
        let reg = |regs: &[i64; 23], r: c_int| regs[r as usize] as u64;
        let (pc, head) = (reg(regs, libc::REG_RIP), CURRENT.get());
        let Some((_, frames)) = code_at(pc as usize).filter(|_| !head.is_null()) else { return false };
        let write = reg(regs, libc::REG_ERR) & 2 != 0;
        let fault = Fault { pc, addr, write, regs: None };
        if frames.is_some() {
            // SAFETY: the code that faulted was entered with this head, which lives as long as it runs; its frames are complete.
            let left = unsafe { undo(regs) };
            if left {
                FAULT.set(Some(fault));
                // SAFETY: as above.
                unsafe { (*head).stopped = 1 };
            }
            return left;
        }
        // SAFETY: as above.
        let exit = unsafe { (*head).exit };
        if exit.contains(&0) {
            return false;
        }
        // In the order of `baseline`'s table of registers.
        const ORDER: [c_int; 11] = [
            libc::REG_RAX,
            libc::REG_RDI,
            libc::REG_RSI,
            libc::REG_RDX,
            libc::REG_RCX,
            libc::REG_R8,
            libc::REG_RBX,
            libc::REG_R13,
            libc::REG_R14,
            libc::REG_R15,
            libc::REG_RBP,
        ];
        FAULT.set(Some(Fault { regs: Some(ORDER.map(|r| reg(regs, r))), ..fault }));
        // SAFETY: as above.
        unsafe { (*head).stopped = 1 };
        let [sp, pc] = exit;
        for (r, v) in
            [(libc::REG_RSP, sp), (libc::REG_RIP, pc), (libc::REG_R12, head.expose_provenance() as u64)]
        {
            regs[r as usize] = v as i64;
        }
        true
    }

    /// Returns from every function of optimised code that the thread is in, up to other code: whether that was found.
    ///
    /// # Safety
    /// The registers are those of optimised code at one of its accesses.
    unsafe fn undo(regs: &mut [i64; 23]) -> bool {
        let mut now = *regs;
        // SAFETY: frames and what they point to are the thread's own stack, where the code has put them.
        let word = |at: i64| unsafe { std::ptr::with_exposed_provenance::<i64>(at as usize).read() };
        let (bp, sp, ip) = (libc::REG_RBP as usize, libc::REG_RSP as usize, libc::REG_RIP as usize);
        // A return address may be the first byte behind its function.
        let mut pc = now[ip] as usize;
        while let Some((start, Some(frames))) = code_at(pc) {
            let at = (pc - start) as u32;
            let Some(f) = frames.partition_point(|f| f.start <= at).checked_sub(1).map(|f| &frames[f]) else {
                return false;
            };
            let back = match f.body {
                None => now[sp],
                Some(body) if body <= at => {
                    for (r, off) in &f.saved {
                        now[REGS[usize::from(*r & 15)] as usize] = word(now[bp] + i64::from(*off));
                    }
                    let frame = now[bp];
                    now[bp] = word(frame);
                    frame + 8
                }
                Some(_) => return false,
            };
            now[ip] = word(back);
            now[sp] = back + 8;
            pc = now[ip] as usize - 1;
        }
        *regs = now;
        true
    }

    /// What would have happened without this handler.
    unsafe fn before(signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
        let at = SIGNALS.iter().position(|s| *s == signal).unwrap_or(0);
        // SAFETY: `install` has written it; handlers are functions of the kind that their flags say.
        unsafe {
            let old = BEFORE.0.get().cast::<sigaction>().add(at).read();
            match old.sa_sigaction {
                libc::SIG_IGN => {}
                libc::SIG_DFL => {
                    // The instruction is run again, and the process ends as it would have.
                    sigaction(signal, &raw const old, null_mut());
                }
                call if old.sa_flags & libc::SA_SIGINFO != 0 => {
                    type Call = unsafe extern "C" fn(c_int, *mut siginfo_t, *mut c_void);
                    std::mem::transmute::<usize, Call>(call)(signal, info, context);
                }
                call => std::mem::transmute::<usize, unsafe extern "C" fn(c_int)>(call)(signal),
            }
        }
    }
}

#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
mod handler {
    pub(super) fn install() {}
}
