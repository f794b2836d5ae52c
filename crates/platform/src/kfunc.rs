//! What a kernel function (kfunc) is beyond its types in BTF: the row that the verifier and the documentation read.
//!
//! Arguments and results come from the kernel's BTF with the suffixes of its parameters' names; a [`Kfunc`] says the
//! rest: the flags it is registered with, who may call it, and which of the verifier's own treatments it gets.

use crate::helper::{DynptrKind, Version};
use crate::uapi::{AttachType, ProgType};

/// Flags of a kernel function (`KF_*`, include/linux/btf.h).
pub mod kf {
    /// The result is a reference.
    pub const ACQUIRE: u16 = 1 << 0;
    /// Releases its argument.
    pub const RELEASE: u16 = 1 << 1;
    /// The result may be NULL.
    pub const RET_NULL: u16 = 1 << 2;
    /// Arguments must be trusted.
    pub const TRUSTED_ARGS: u16 = 1 << 4;
    /// May sleep.
    pub const SLEEPABLE: u16 = 1 << 5;
    /// May crash the machine: root only.
    pub const DESTRUCTIVE: u16 = 1 << 6;
    /// Arguments must be RCU-protected or trusted.
    pub const RCU: u16 = 1 << 7;
    /// Iterator constructor.
    pub const ITER_NEW: u16 = 1 << 8;
    /// Iterator step.
    pub const ITER_NEXT: u16 = 1 << 9;
    /// Iterator destructor.
    pub const ITER_DESTROY: u16 = 1 << 10;
    /// Only inside of an RCU section.
    pub const RCU_PROTECTED: u16 = 1 << 11;
    /// Linux puts instructions in the call's place that leave other registers alone.
    pub const FASTCALL: u16 = 1 << 12;
}

/// How the verifier treats a kernel function.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KfuncKind {
    /// By its types and flags alone.
    Plain,
    /// Allocates an object of the program's own type.
    ObjNew,
    /// The same for every CPU.
    PercpuObjNew,
    /// Frees an object.
    ObjDrop,
    /// Frees an object of every CPU.
    PercpuObjDrop,
    /// One more reference to an object.
    RefcountAcquire,
    /// Gives an object to a list.
    ListPush,
    /// Takes an object from a list.
    ListPop,
    /// Looks at a list's object, which stays there.
    ListPeek,
    /// Gives an object to a tree, with a comparison as callback.
    RbtreeAdd,
    /// Takes an object from a tree.
    RbtreeRemove,
    /// Looks at an object of a tree, which stays there.
    RbtreePeek,
    /// Begins an RCU section.
    RcuLock,
    /// Ends it.
    RcuUnlock,
    /// Begins a section without preemption.
    PreemptDisable,
    /// Ends it.
    PreemptEnable,
    /// Begins a section without interrupts.
    IrqSave,
    /// Ends it.
    IrqRestore,
    /// Takes a resilient lock: fails with an error number, or holds it.
    ResLock {
        /// With interrupts off.
        irq: bool,
    },
    /// Gives it back.
    ResUnlock {
        /// With interrupts off.
        irq: bool,
    },
    /// The context as the kernel's own structure.
    CastToKernCtx,
    /// Any address as a structure, to be read with checks at run time.
    RdonlyCast,
    /// Makes a dynptr over this kind of memory.
    DynptrFrom(DynptrKind),
    /// A slice of a dynptr.
    DynptrSlice {
        /// It may be written.
        writable: bool,
    },
    /// A second dynptr of the same memory.
    DynptrClone,
    /// Ends the program.
    Throw,
    /// What a compiler leaves where behaviour is undefined.
    Trap,
    /// Packet pointers are invalid afterwards.
    ChangesPacket,
    /// Sets a callback that runs later and may sleep.
    AsyncCallback {
        /// Argument (from 0) that names the map, or points into its value.
        map: u8,
        /// The callback must return 0.
        returns_zero: bool,
    },
    /// The result is memory of this many bytes that may be written.
    ReturnsMem(u32),
    /// The result is not to be trusted.
    ReturnsUntrusted,
    /// Only in programs bound to a network device.
    DeviceBound,
}

/// Where a kernel function may be called beside the program types of its row.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Places {
    /// No further condition.
    Anywhere,
    /// Only with these attach types.
    Attached(&'static [AttachType]),
    /// At security hooks, in iterators, and in what may sleep (`check_css_task_iter_allowlist`).
    HooksIteratorsSleepable,
}

/// One kernel function. Every field is written out in every row.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Kfunc {
    /// Its name.
    pub name: &'static str,
    /// First Linux version in which programs may call it.
    pub since: Version,
    /// [`kf`] flags.
    pub flags: u16,
    /// What it is.
    pub kind: KfuncKind,
    /// Program types that may call it; `None`: all.
    pub prog_types: Option<&'static [ProgType]>,
    /// Further conditions.
    pub places: Places,
    /// May be called while a spin lock is held.
    pub under_lock: bool,
}

impl Kfunc {
    /// Has it the flag?
    pub const fn has(&self, flag: u16) -> bool {
        self.flags & flag != 0
    }

    /// An iterator's step?
    pub const fn iter_next(&self) -> bool {
        self.has(kf::ITER_NEXT)
    }

    /// May it sleep?
    pub const fn sleepable(&self) -> bool {
        self.has(kf::SLEEPABLE)
    }
}
