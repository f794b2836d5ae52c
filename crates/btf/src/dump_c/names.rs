//! Names that C takes: characters, keywords, and one owner for each tag and each identifier.
//!
//! Of several types of one name the first keeps it and the others get `___2`, `___3`, …, which CO-RE ignores. A forward
//! declaration shares the name of the definition if that is of the same kind.

use std::collections::{HashMap, HashSet};

use super::{Dumper, Kfunc};
use crate::kind::Kind;
use crate::view::Type;

/// Words that cannot be names in C up to C17 with GNU extensions, sorted.
const KEYWORDS: &[&str] = &[
    "_Alignas",
    "_Alignof",
    "_Atomic",
    "_Bool",
    "_Complex",
    "_Float16",
    "_Generic",
    "_Imaginary",
    "_Noreturn",
    "_Static_assert",
    "_Thread_local",
    "__alignof__",
    "__asm__",
    "__attribute__",
    "__auto_type",
    "__const",
    "__extension__",
    "__inline",
    "__inline__",
    "__int128",
    "__restrict",
    "__signed__",
    "__thread",
    "__typeof__",
    "__volatile__",
    "asm",
    "auto",
    "break",
    "case",
    "char",
    "const",
    "continue",
    "default",
    "do",
    "double",
    "else",
    "enum",
    "extern",
    "float",
    "for",
    "goto",
    "if",
    "inline",
    "int",
    "long",
    "register",
    "restrict",
    "return",
    "short",
    "signed",
    "sizeof",
    "static",
    "struct",
    "switch",
    "typedef",
    "typeof",
    "union",
    "unsigned",
    "void",
    "volatile",
    "while",
];

/// The words that C types of numbers consist of.
const TYPE_WORDS: &[&str] =
    &["_Bool", "__int128", "char", "double", "float", "int", "long", "short", "signed", "unsigned"];

/// Types that compilers know by themselves, not always with the layout that they have in BTF.
const BUILT_IN: &[&str] = &["__builtin_va_list", "__builtin_ms_va_list"];

/// Typedefs and enumerators that became keywords in C23.
pub(super) const C23_WORDS: &[&str] = &["bool", "false", "true"];

/// The name as C takes it.
pub(super) fn sanitize(name: &str) -> String {
    let mut out: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' }).collect();
    if out.starts_with(|c: char| c.is_ascii_digit()) {
        out.insert(0, '_');
    }
    if KEYWORDS.binary_search(&out.as_str()).is_ok() {
        out.push('_');
    }
    out
}

fn is_fine(name: &str) -> bool {
    !name.starts_with(|c: char| c.is_ascii_digit())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        && KEYWORDS.binary_search(&name).is_err()
}

/// The C name of a number type of this size: the given one if it says just that on a 64-bit target, else another.
pub(super) fn number_name(name: &str, size: u32, signed: bool) -> String {
    let words: Vec<&str> = name.split(' ').collect();
    if !name.is_empty() && words.iter().all(|w| TYPE_WORDS.contains(w)) && c_size(&words) == size {
        return name.to_owned();
    }
    let unsigned = if signed { "" } else { "unsigned " };
    let base = match size {
        0 | 1 => {
            if signed {
                "signed char"
            } else {
                "unsigned char"
            }
        }
        2 => return format!("{unsigned}short"),
        3..=4 => return format!("{unsigned}int"),
        5..=8 => return format!("{unsigned}long long"),
        _ => return format!("{unsigned}__int128"),
    };
    base.to_owned()
}

/// Bytes of a number type on a 64-bit target.
fn c_size(words: &[&str]) -> u32 {
    let has = |w| words.contains(&w);
    match () {
        () if has("_Bool") || has("char") => 1,
        () if has("short") => 2,
        () if has("__int128") => 16,
        () if has("double") => {
            if has("long") {
                0
            } else {
                8
            }
        }
        () if has("float") => 4,
        () if has("long") => 8,
        () => 4,
    }
}

impl Dumper<'_> {
    /// Names for all types that have one.
    pub(super) fn choose_names(&mut self, kfuncs: &[Kfunc<'_>]) {
        self.idents.used.extend(BUILT_IN.iter().map(|n| (*n).to_owned()));
        self.idents.used.extend(kfuncs.iter().map(|k| k.name.to_owned()));
        let owners = self.tag_names();
        for id in 1..self.btf.type_count() {
            if let Some(Type::Fwd(f)) = self.btf.type_by_id(id) {
                let kind = if f.is_union { Kind::Union } else { Kind::Struct };
                let name = sanitize(f.name);
                if owners.get(&name).is_some_and(|owner| *owner != kind) {
                    self.renamed.insert(id, name + "___fwd");
                }
            }
        }
    }

    /// Tags of structs, unions and enums, and typedefs; gives the kind of each tag's owner.
    fn tag_names(&mut self) -> HashMap<String, Kind> {
        let mut owners: HashMap<String, Kind> = HashMap::new();
        let mut tags = Pool::default();
        for id in 1..self.btf.type_count() {
            let (Some(kind), name) = (self.btf.kind_of(id), self.btf.name_of(id)) else { continue };
            if name.is_empty() {
                continue;
            }
            let chosen = if kind.is_composite() || kind.is_any_enum() {
                let chosen = tags.take(name);
                owners.insert(chosen.clone(), kind);
                chosen
            } else if kind == Kind::Typedef {
                self.idents.take(name)
            } else {
                continue;
            };
            if chosen != name {
                self.renamed.insert(id, chosen);
            }
        }
        owners
    }

    /// The chosen name of a struct, union, enum, declaration or typedef; empty if it has none.
    pub(super) fn name_of(&self, id: u32) -> String {
        match self.renamed.get(&id) {
            Some(name) => name.clone(),
            None => {
                let name = self.btf.name_of(id);
                if is_fine(name) { name.to_owned() } else { sanitize(name) }
            }
        }
    }

    /// A name for an enumerator: its own, or with a number if that is taken.
    pub(super) fn enumerator_name(&mut self, name: &str) -> String {
        self.idents.take(name)
    }
}

/// Names in use.
#[derive(Default)]
pub(super) struct Pool {
    used: HashSet<String>,
    /// The next number to try for a name that is taken.
    next: HashMap<String, u32>,
}

impl Pool {
    /// Takes `name`, or the first of `name___2`, `name___3`, … that nobody took.
    fn take(&mut self, name: &str) -> String {
        let name = if is_fine(name) { name.to_owned() } else { sanitize(name) };
        if self.used.insert(name.clone()) {
            return name;
        }
        let next = self.next.entry(name.clone()).or_insert(2);
        loop {
            let numbered = format!("{name}___{next}");
            *next += 1;
            if self.used.insert(numbered.clone()) {
                return numbered;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_are_sorted() {
        assert!(KEYWORDS.is_sorted());
        assert!(TYPE_WORDS.is_sorted());
    }

    #[test]
    fn names_become_c_names() {
        for (name, want) in
            [("a", "a"), ("int", "int_"), ("1a", "_1a"), ("a<b>", "a_b_"), ("é", "_"), ("", "")]
        {
            assert_eq!(sanitize(name), want);
        }
    }

    #[test]
    fn number_types_keep_a_true_name_only() {
        assert_eq!(number_name("long unsigned int", 8, false), "long unsigned int");
        assert_eq!(number_name("long unsigned int", 4, false), "unsigned int");
        assert_eq!(number_name("u32", 4, false), "unsigned int");
        assert_eq!(number_name("i8", 1, true), "signed char");
        assert_eq!(number_name("__int128 unsigned", 16, false), "__int128 unsigned");
        assert_eq!(number_name("long double", 16, true), "__int128");
    }
}
