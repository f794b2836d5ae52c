//! BTF as a C header: `vmlinux.h`.
//!
//! Flow: names are chosen for all types (`names.rs`) → the types are walked in an order that people can read, and each
//! is printed once everything that its text needs is printed (`order.rs`) → a declaration is put together inside out
//! (`declare.rs`), the body of a struct with whatever padding C's own layout rules call for (`body.rs`).
//!
//! What always holds: on a 64-bit target each struct of the header has the size and offsets that BTF says; each tag and
//! each identifier is declared once; hostile types end in an error, not in endless output.

mod body;
mod declare;
mod names;
mod order;

use std::collections::{HashMap, HashSet};
use std::fmt;

use crate::btf::Btf;
use crate::resolve::Aligner;
use crate::view::Type;

/// What a header contains besides the types.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CDumpOptions {
    /// Name of the include guard; none if empty.
    pub guard: String,
    /// Whether structs get `preserve_access_index`, so that accesses are relocated (CO-RE). A program can turn it off
    /// by `BPF_NO_PRESERVE_ACCESS_INDEX`.
    pub preserve_access_index: bool,
    /// Whether kfuncs (functions tagged `bpf_kfunc`) get prototypes. A program can turn them off by
    /// `BPF_NO_KFUNC_PROTOTYPES`.
    pub kfuncs: bool,
    /// Whether types come by kind and name rather than by id: small changes of a kernel make small differences.
    pub sorted: bool,
    /// Only these types and what they need; all, if empty.
    pub roots: Vec<u32>,
}

impl Default for CDumpOptions {
    /// A whole vmlinux.h as bpftool makes it.
    fn default() -> Self {
        CDumpOptions {
            guard: "__VMLINUX_H__".to_owned(),
            preserve_access_index: true,
            kfuncs: true,
            sorted: true,
            roots: Vec::new(),
        }
    }
}

/// Why types cannot be written as C.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum DumpError {
    /// Types are nested too deeply, or refer to themselves by value.
    TooDeep {
        /// The type where the limit was hit.
        type_id: u32,
    },
    /// The text would be out of all proportion to the types.
    TooComplex,
    /// Something that is no type (a function, a section) is used as one.
    NotAType {
        /// Its id.
        type_id: u32,
    },
}

impl fmt::Display for DumpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DumpError::TooDeep { type_id } => {
                write!(f, "BTF: type {type_id} is nested too deeply to be written as C")
            }
            DumpError::TooComplex => f.write_str("BTF: the types would make a C text out of all proportion"),
            DumpError::NotAType { type_id } => write!(f, "BTF: type {type_id} is used as a type and is none"),
        }
    }
}

impl std::error::Error for DumpError {}

/// Writes types as a C header.
///
/// Cost: some hundred milliseconds for a kernel (3 MB of text).
///
/// # Errors
/// Types that no C compiler can have made.
pub fn dump_c(btf: &Btf, options: &CDumpOptions) -> Result<String, DumpError> {
    let mut d = Dumper::new(btf);
    let kfuncs = if options.kfuncs && options.roots.is_empty() { kfuncs(btf) } else { Vec::new() };
    d.choose_names(&kfuncs);
    let order =
        if options.roots.is_empty() { d.reading_order(options.sorted) } else { options.roots.clone() };
    for &id in &order {
        d.top_level(id)?;
    }
    if options.roots.is_empty() {
        d.left_over_enums()?;
    }
    d.kfunc_prototypes(&kfuncs)?;
    Ok(d.framed(options))
}

/// The declaration of `name` with type `type_id`, as C: `struct task_struct *next[4]`. Without a name: the type.
///
/// # Errors
/// As [`dump_c`].
pub fn type_decl(btf: &Btf, type_id: u32, name: &str) -> Result<String, DumpError> {
    let mut d = Dumper::new(btf);
    d.choose_names(&[]);
    d.declare(type_id, name, 0)
}

/// How far a type is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Untouched,
    InProgress,
    /// The typedef is printed, what it stands for maybe not.
    Declared,
    Defined,
}

/// Bytes of text that may be made of each byte of BTF: anonymous structs are printed wherever they are used.
const TEXT_PER_BYTE: u64 = 64;
/// Text that may be made of the smallest sections.
const TEXT_ANYWAY: u64 = 1 << 20;
/// Nesting of declarations: far above what compilers make, far below what a thread's stack holds.
const MAX_DEPTH: u32 = 200;

struct Dumper<'a> {
    btf: &'a Btf,
    out: String,
    states: Vec<State>,
    /// Chosen names of types, where they differ from BTF's.
    renamed: HashMap<u32, String>,
    /// Identifiers in use: typedefs, functions, enumerators.
    idents: names::Pool,
    /// Tags that were declared or defined, such as `struct foo`.
    tags: HashSet<String>,
    aligner: Aligner<'a>,
    /// Whether the body of a struct or union is in the text.
    has_structs: bool,
    /// Text that may still be made.
    fuel: u64,
    depth: u32,
}

/// A kernel function that programs may call.
struct Kfunc<'a> {
    name: &'a str,
    proto: u32,
    fastcall: bool,
}

/// All functions tagged `bpf_kfunc`, by name.
fn kfuncs(btf: &Btf) -> Vec<Kfunc<'_>> {
    let mut tagged: HashMap<u32, (bool, bool)> = HashMap::new();
    for (_, t) in btf.types() {
        if let Type::DeclTag(tag) = t
            && tag.component.is_none()
        {
            let entry = tagged.entry(tag.type_id).or_default();
            entry.0 |= tag.name == "bpf_kfunc";
            entry.1 |= tag.name == "bpf_fastcall";
        }
    }
    let mut out = Vec::new();
    for (id, (_, fastcall)) in tagged.into_iter().filter(|(_, tags)| tags.0) {
        if let Some(Type::Func(f)) = btf.type_by_id(id) {
            out.push(Kfunc { name: f.name, proto: f.type_id, fastcall });
        }
    }
    out.sort_by_key(|k| k.name);
    out.dedup_by_key(|k| k.name);
    out
}

const KSYM: &str = "
#ifndef __ksym
#define __ksym __attribute__((section(\".ksyms\")))
#endif

#ifndef __weak
#define __weak __attribute__((weak))
#endif
";

const FASTCALL: &str = "
#ifndef __bpf_fastcall
#if __has_attribute(bpf_fastcall)
#define __bpf_fastcall __attribute__((bpf_fastcall))
#else
#define __bpf_fastcall
#endif
#endif
";

impl<'a> Dumper<'a> {
    fn new(btf: &'a Btf) -> Self {
        let types = btf.type_count();
        Dumper {
            btf,
            out: String::new(),
            states: vec![State::Untouched; types as usize],
            renamed: HashMap::new(),
            idents: names::Pool::default(),
            tags: HashSet::new(),
            aligner: Aligner::new(btf),
            has_structs: false,
            fuel: (u64::from(btf.strings_end()) + btf.word_count() * 4) * TEXT_PER_BYTE + TEXT_ANYWAY,
            depth: 0,
        }
    }

    /// Accounts for a step that makes this much text.
    fn burn(&mut self, text: usize) -> Result<(), DumpError> {
        self.fuel = self.fuel.checked_sub(text as u64 + 4).ok_or(DumpError::TooComplex)?;
        Ok(())
    }

    /// Runs one step deeper.
    fn deeper<T>(
        &mut self,
        type_id: u32,
        step: impl FnOnce(&mut Self) -> Result<T, DumpError>,
    ) -> Result<T, DumpError> {
        if self.depth == MAX_DEPTH {
            return Err(DumpError::TooDeep { type_id });
        }
        self.burn(0)?;
        self.depth += 1;
        let result = step(self);
        self.depth -= 1;
        result
    }

    /// The text so far with include guard and attributes around it.
    fn framed(&self, options: &CDumpOptions) -> String {
        let (mut before, mut after) = (String::new(), String::new());
        if !options.guard.is_empty() {
            before.push_str(&format!("#ifndef {0}\n#define {0}\n\n", options.guard));
            after.push_str(&format!("\n#endif /* {} */\n", options.guard));
        }
        // clang warns of an attribute that nothing gets
        if options.preserve_access_index && self.has_structs {
            before.push_str(
                "#ifndef BPF_NO_PRESERVE_ACCESS_INDEX\n\
                 #pragma clang attribute push (__attribute__((preserve_access_index)), apply_to = record)\n\
                 #endif\n\n",
            );
            after
                .insert_str(0, "#ifndef BPF_NO_PRESERVE_ACCESS_INDEX\n#pragma clang attribute pop\n#endif\n");
        }
        [before.as_str(), &self.out, &after].concat()
    }

    fn kfunc_prototypes(&mut self, kfuncs: &[Kfunc<'_>]) -> Result<(), DumpError> {
        if kfuncs.is_empty() {
            return Ok(());
        }
        for k in kfuncs {
            self.need(k.proto, false, 0)?;
        }
        self.out.push_str("#ifndef BPF_NO_KFUNC_PROTOTYPES");
        self.out.push_str(KSYM);
        if kfuncs.iter().any(|k| k.fastcall) {
            self.out.push_str(FASTCALL);
        }
        self.out.push('\n');
        for k in kfuncs {
            let fastcall = if k.fastcall { "__bpf_fastcall " } else { "" };
            let text = self.declare(k.proto, k.name, 0)?;
            self.out.push_str(&format!("extern {fastcall}{text} __weak __ksym;\n"));
        }
        self.out.push_str("\n#endif /* BPF_NO_KFUNC_PROTOTYPES */\n\n");
        Ok(())
    }
}
