//! A refusal as data: the rule broken, where, the registers involved in words, and the kernel's phrase for it.

use std::fmt;

macro_rules! rules {
    ($($name:ident = $code:literal, $slug:literal, $doc:literal;)*) => {
        /// The rules. Codes and names are stable: `SK-1..` the program's shape, `2..` numbers and registers, `3..` memory,
        /// `4..` calls and results, `5..` what is held, `6..` maps, types and the load, `9..` this verifier. Each has a
        /// page, `docs/rules/NAME.md`.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub enum Rule {
            $(#[doc = $doc] $name,)*
        }
        impl Rule {
            /// Every rule.
            pub const ALL: &'static [Rule] = &[$(Rule::$name),*];
            /// Stable code: `SK-304`.
            pub const fn code(self) -> &'static str {
                match self { $(Rule::$name => $code),* }
            }
            /// Stable name: `packet-access`.
            pub const fn name(self) -> &'static str {
                match self { $(Rule::$name => $slug),* }
            }
            /// What it asks for.
            pub const fn doc(self) -> &'static str {
                match self { $(Rule::$name => $doc),* }
            }
        }
    };
}

rules! {
    Encoding = "SK-101", "encoding", "Every instruction is a legal one, with unused fields zero.";
    ControlFlow = "SK-102", "control-flow", "Jumps and calls stay inside the program and its functions; the last instruction of a function does not fall through.";
    Unreachable = "SK-103", "unreachable", "Every instruction can be reached.";
    InfiniteLoop = "SK-104", "infinite-loop", "A loop makes progress.";
    TooComplex = "SK-105", "too-complex", "The verifier gets through within its limits.";
    CallDepth = "SK-106", "call-depth", "At most eight frames are open at once.";
    StackDepth = "SK-107", "stack-depth", "The frames of a call chain need at most 512 bytes together.";
    Uninitialised = "SK-201", "uninitialised", "What is read was written before.";
    FramePointer = "SK-202", "frame-pointer", "r10 is not written.";
    PointerArithmetic = "SK-203", "pointer-arithmetic", "Pointers are only moved by what stays inside of bounds, and only those that may be moved.";
    PointerLeak = "SK-204", "pointer-leak", "Addresses do not become numbers that others can read.";
    Alignment = "SK-301", "alignment", "Accesses are aligned where the machine or the memory asks for it.";
    StackAccess = "SK-302", "stack-access", "Stack accesses stay inside the frame and read what was written.";
    ContextAccess = "SK-303", "context-access", "Context fields are accessed as their program type allows.";
    PacketAccess = "SK-304", "packet-access", "Packet bytes are accessed only after a comparison with the packet's end.";
    MapAccess = "SK-305", "map-access", "Map values and keys are accessed inside of their size and as the map's flags allow.";
    MemoryAccess = "SK-306", "memory-access", "Memory is accessed inside of its size and rights.";
    BadPointer = "SK-307", "bad-pointer", "Only pointers are followed, and only those that can be.";
    NullPointer = "SK-308", "null-pointer", "A pointer that may be NULL is compared with NULL first.";
    SpecialField = "SK-309", "special-field", "Locks, timers, kernel pointers and the like in map values are reached only by their helpers.";
    HelperUnknown = "SK-401", "helper-unknown", "The helper exists and this program type may call it.";
    HelperRestricted = "SK-402", "helper-restricted", "The helper may be called here: licence, sleeping, locks.";
    ArgumentType = "SK-403", "argument-type", "Arguments have the types that the function takes.";
    ArgumentRange = "SK-404", "argument-range", "Sizes and constants given to functions are in bounds.";
    MapHelper = "SK-405", "map-helper", "The helper works on this type of map.";
    Division = "SK-205", "division", "No division by the constant zero.";
    Shift = "SK-206", "shift", "Shift amounts are smaller than the width.";
    Reference = "SK-501", "reference", "What was acquired is released exactly once.";
    Lock = "SK-502", "lock", "Locks are taken and given back in order, with nothing forbidden in between.";
    ReturnValue = "SK-409", "return-value", "The program returns a value in the range that its hook allows.";
    Callback = "SK-406", "callback", "Callbacks are static functions with the right arguments and returns.";
    GlobalFunction = "SK-407", "global-function", "Calls of global functions match their BTF signatures.";
    Kfunc = "SK-408", "kfunc", "The kernel function exists, and this program may call it with these arguments.";
    Dynptr = "SK-503", "dynptr", "Dynptrs are made, used and given back as such.";
    Iterator = "SK-504", "iterator", "Iterators are made, used and destroyed as such.";
    MapBinding = "SK-601", "map-binding", "Maps exist, and this program may use them.";
    Load = "SK-602", "load", "The program's type, attach point and flags go together.";
    TypeInfo = "SK-603", "type-info", "BTF says what is asked of it.";
    KernelVersion = "SK-604", "kernel-version", "The Linux that the program is judged for has what it uses.";
    PacketLoad = "SK-310", "packet-load", "Legacy packet loads stand where they may.";
    Internal = "SK-901", "internal", "The verifier's own error: a bug, not a refusal.";
    NotYet = "SK-902", "not-yet", "Something that this verifier does not judge yet; it refuses what it cannot prove.";
}

/// Why a program was refused, at its first wrong step.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reject {
    /// Rule broken.
    pub rule: Rule,
    /// The kernel's main phrase.
    pub message: String,
    /// What the kernel prints before and after it.
    pub before: Vec<String>,
    /// Lines after the main phrase.
    pub after: Vec<String>,
}

impl Reject {
    /// A refusal with its phrase.
    pub fn new(rule: Rule, message: impl Into<String>) -> Box<Reject> {
        Box::new(Reject { rule, message: message.into(), before: Vec::new(), after: Vec::new() })
    }

    /// With a line that the kernel prints before the main phrase.
    #[must_use]
    pub fn after_line(mut self: Box<Reject>, line: impl Into<String>) -> Box<Reject> {
        self.before.push(line.into());
        self
    }

    /// All lines.
    pub fn lines(&self) -> impl Iterator<Item = &str> {
        self.before.iter().chain(std::iter::once(&self.message)).chain(&self.after).map(String::as_str)
    }
}

impl fmt::Display for Reject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} [{}]", self.message, self.rule.name())
    }
}

/// Outcome of one check.
pub type Check<T = ()> = Result<T, Box<Reject>>;

/// Leaves the function with a refusal.
macro_rules! refuse {
    ($rule:ident, $($fmt:tt)*) => {
        return Err($crate::reject::Reject::new($crate::reject::Rule::$rule, format!($($fmt)*)))
    };
}
pub(crate) use refuse;
