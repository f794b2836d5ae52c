//! Rows of kernel functions: what BTF does not say of them. The rows come with the options; this file is their form.

use skep_platform::ProgType;

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
}

/// Kernel functions that the verifier treats in their own way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum KfuncKind {
    Plain,
    ObjNew,
    ObjDrop,
    RefcountAcquire,
    ListPush,
    ListPop,
    RbtreeAdd,
    RbtreeRemove,
    RbtreeFirst,
    RcuLock,
    RcuUnlock,
    PreemptDisable,
    PreemptEnable,
    IrqSave,
    IrqRestore,
    CastToKernCtx,
    RdonlyCast,
    DynptrFrom(crate::value::Dynptr),
    DynptrSlice { writable: bool },
    DynptrClone,
    Throw,
    ChangesPacket,
    Unsupported,
}

/// One kernel function.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Kfunc {
    /// Its name.
    pub name: &'static str,
    /// [`kf`] flags.
    pub flags: u16,
    /// What it is.
    pub kind: KfuncKind,
    /// Program types that may call it; `None`: all.
    pub prog_types: Option<&'static [ProgType]>,
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

/// Row by name. Rows are sorted by it.
pub fn kfunc(rows: &'static [Kfunc], name: &str) -> Option<&'static Kfunc> {
    rows.binary_search_by(|r| r.name.cmp(name)).ok().map(|i| &rows[i])
}
