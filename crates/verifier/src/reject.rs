//! A refusal as data: the rule broken, where, the registers involved in words, and the kernel's phrase for it.

use std::fmt;

macro_rules! rules {
    ($($name:ident = $code:literal, $doc:literal;)*) => {
        /// The rules. Codes are stable.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub enum Rule {
            $(#[doc = $doc] $name,)*
        }
        impl Rule {
            /// Every rule.
            pub const ALL: &'static [Rule] = &[$(Rule::$name),*];
            /// Stable code.
            pub const fn code(self) -> &'static str {
                match self { $(Rule::$name => $code),* }
            }
            /// What it asks for.
            pub const fn doc(self) -> &'static str {
                match self { $(Rule::$name => $doc),* }
            }
        }
    };
}

rules! {
    Encoding = "encoding", "Every instruction is a legal one, with unused fields zero.";
    ControlFlow = "control-flow", "Jumps and calls stay inside the program and its functions; the last instruction of a function does not fall through.";
    Unreachable = "unreachable", "Every instruction can be reached.";
    InfiniteLoop = "infinite-loop", "A loop makes progress.";
    TooComplex = "too-complex", "The verifier gets through within its limits.";
    CallDepth = "call-depth", "At most eight frames are open at once.";
    StackDepth = "stack-depth", "The frames of a call chain need at most 512 bytes together.";
    Uninitialised = "uninitialised", "What is read was written before.";
    FramePointer = "frame-pointer", "r10 is not written.";
    PointerArithmetic = "pointer-arithmetic", "Pointers are only moved by what stays inside of bounds, and only those that may be moved.";
    PointerLeak = "pointer-leak", "Addresses do not become numbers that others can read.";
    Alignment = "alignment", "Accesses are aligned where the machine or the memory asks for it.";
    StackAccess = "stack-access", "Stack accesses stay inside the frame and read what was written.";
    ContextAccess = "context-access", "Context fields are accessed as their program type allows.";
    PacketAccess = "packet-access", "Packet bytes are accessed only after a comparison with the packet's end.";
    MapAccess = "map-access", "Map values and keys are accessed inside of their size and as the map's flags allow.";
    MemoryAccess = "memory-access", "Memory is accessed inside of its size and rights.";
    BadPointer = "bad-pointer", "Only pointers are followed, and only those that can be.";
    NullPointer = "null-pointer", "A pointer that may be NULL is compared with NULL first.";
    SpecialField = "special-field", "Locks, timers, kernel pointers and the like in map values are reached only by their helpers.";
    HelperUnknown = "helper-unknown", "The helper exists and this program type may call it.";
    HelperRestricted = "helper-restricted", "The helper may be called here: licence, sleeping, locks.";
    ArgumentType = "argument-type", "Arguments have the types that the function takes.";
    ArgumentRange = "argument-range", "Sizes and constants given to functions are in bounds.";
    MapHelper = "map-helper", "The helper works on this type of map.";
    Division = "division", "No division by the constant zero.";
    Shift = "shift", "Shift amounts are smaller than the width.";
    Reference = "reference", "What was acquired is released exactly once.";
    Lock = "lock", "Locks are taken and given back in order, with nothing forbidden in between.";
    ReturnValue = "return-value", "The program returns a value in the range that its hook allows.";
    Callback = "callback", "Callbacks are static functions with the right arguments and returns.";
    GlobalFunction = "global-function", "Calls of global functions match their BTF signatures.";
    Kfunc = "kfunc", "The kernel function exists, and this program may call it with these arguments.";
    Dynptr = "dynptr", "Dynptrs are made, used and given back as such.";
    Iterator = "iterator", "Iterators are made, used and destroyed as such.";
    MapBinding = "map-binding", "Maps exist, and this program may use them.";
    Load = "load", "The program's type, attach point and flags go together.";
    TypeInfo = "type-info", "BTF says what is asked of it.";
    PacketLoad = "packet-load", "Legacy packet loads stand where they may.";
    Internal = "internal", "The verifier's own error: a bug, not a refusal.";
    NotYet = "not-yet", "Something that this verifier does not judge yet; it refuses what it cannot prove.";
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
        write!(f, "{} [{}]", self.message, self.rule.code())
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
