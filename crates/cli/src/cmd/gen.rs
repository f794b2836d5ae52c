//! `skep gen`: files made from objects: a Rust module that knows an object's maps, programs and variables by their types, and
//! one object linked from several; and the types that objects need of a kernel.

use super::kobj::{Words, words_arg};
use crate::commands::Cmd;
use crate::failure::Failure;
use crate::input;
use crate::output::{Out, object};
use clap::{Arg, ArgMatches};
use skep::Object;
use skep::btf::core::Minimal;
use skep::btf::{Btf, Type};
use skep::obj::MapOrigin;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// `skep gen object OUT FILE…`.
pub(crate) static OBJECT: Cmd = Cmd {
    path: &["gen", "object"],
    about: "Link several object files into one",
    long: "The same as `skep obj link`, by bpftool's words.\n\nExample:\n  skep gen object whole.bpf.o main.bpf.o library.bpf.o",
    args: || (super::obj::LINK.args)(),
    run: super::obj::LINK.run,
};

/// `skep gen min_core_btf INPUT OUTPUT OBJECT…`.
pub(crate) static MIN_CORE_BTF: Cmd = Cmd {
    path: &["gen", "min_core_btf"],
    about: "Write the part of a kernel's types that objects need to be fitted to it (CO-RE)",
    long: "INPUT is the BTF of the kernel that the objects will run on: a file such as /sys/kernel/btf/vmlinux, raw or in ELF. OUTPUT gets the\n\
           types and members that the objects' relocations look at, some kilobytes of several megabytes, to be shipped for machines whose\n\
           kernel shows no types: `--btf OUTPUT`. Ids of the kernel's types (bpf_core_type_id_kernel) are not those of the kernel in it.\n\n\
           Example:\n  skep gen min_core_btf /sys/kernel/btf/vmlinux small.btf tracer.bpf.o",
    args: || {
        let path = || clap::value_parser!(PathBuf);
        vec![
            Arg::new("target")
                .required(true)
                .value_name("INPUT")
                .value_parser(path())
                .help("BTF of the target"),
            Arg::new("written")
                .required(true)
                .value_name("OUTPUT")
                .value_parser(path())
                .help("File to write"),
            super::obj::files_arg("Object files"),
            super::btf::base_arg(),
        ]
    },
    run: min_core_btf,
};

fn min_core_btf(m: &ArgMatches, out: &mut Out) -> Result<(), Failure> {
    let path = |name| m.get_one::<PathBuf>(name).map_or(Path::new(""), PathBuf::as_path);
    let base = m.get_one::<PathBuf>("base").map(|b| super::btf::read(b, None)).transpose()?;
    let target = super::btf::read(path("target"), base)?;
    let mut minimal = Minimal::new(&target);
    for file in m.get_many::<PathBuf>("file").into_iter().flatten() {
        let object = super::obj::open(file)?;
        let Some(local) = &object.btf else {
            return Err(Failure::Input(format!("{}: has no .BTF section; compile with -g", file.display())));
        };
        for relo in object.functions.iter().flat_map(|f| &f.core) {
            minimal.add(local, &relo.record).map_err(|e| Failure::malformed(file, e))?;
        }
    }
    let written = minimal.build().map_err(|e| Failure::malformed(path("target"), e))?.emit();
    input::write(path("written"), &written)?;
    if out.is_json() {
        let count = minimal.type_count();
        return out.json(object([("types", count.into()), ("bytes", written.len().into())]));
    }
    Ok(())
}

/// `skep gen skeleton FILE`.
pub(crate) static SKELETON: Cmd = Cmd {
    path: &["gen", "skeleton"],
    about: "Write a Rust module for an object: its maps, programs and variables by name and type",
    long: "The module is for the crate `skep`, on either engine. Data sections (.rodata, .data, .bss) are structs; `Open` changes them\n\
           before the programs are loaded, the loaded object reads and writes those that are not read-only. The object is\n\
           included by its file's name beside the module, or by the path in --include.\n\n\
           Words behind FILE: name NAME, the name of the struct.\n\n\
           Example:\n  skep gen skeleton firewall.bpf.o name Firewall > src/firewall.rs",
    args: || {
        vec![
            words_arg(
                "FILE [name NAME]",
                "Object file, and the name of the struct; default: from the file's name",
            ),
            Arg::new("include").long("include").value_name("PATH").help("Path of the object in the module"),
        ]
    },
    run: skeleton,
};

fn skeleton(m: &ArgMatches, out: &mut Out) -> Result<(), Failure> {
    let mut words = Words::new(m);
    let Some(path) = words.next().map(PathBuf::from) else {
        return Err(Failure::Usage("name the object file".into()));
    };
    let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut name = type_name(file.split('.').next().unwrap_or_default());
    if words.take("name") {
        name =
            words.next().map(type_name).ok_or_else(|| Failure::Usage("name: a name is expected".into()))?;
    }
    words.end()?;
    let object = super::obj::open(&path)?;
    let include = m.get_one::<String>("include").cloned().unwrap_or_else(|| file.clone());
    out.text(&module(&object, &path, &name, &include)?)
}

/// The module's text.
fn module(o: &Object, path: &Path, name: &str, include: &str) -> Result<String, Failure> {
    let file = path.file_name().unwrap_or_default().to_string_lossy();
    let mut t = format!(
        "//! `{file}`: its maps, programs and variables. Made by `skep gen skeleton`; changes are lost.\n\n\
         use skep::descriptors::{{Errno, Program}};\n\
         use skep::skeleton::{{self, Field}};\n\
         use skep::{{Collection, Engine, Error, Loadable, Loaded, Map, Object, Options}};\n\
         use std::sync::Arc;\n\n\
         /// The object, as it was compiled.\n\
         pub static OBJECT: &[u8] = include_bytes!({include:?});\n\n"
    );
    let sections = sections(o);
    let mut types = Types { btf: o.btf.as_deref(), made: BTreeMap::new(), next: Vec::new() };
    let mut structs = String::new();
    for s in &sections {
        types.write_struct(&mut structs, &s.type_name, &format!("Variables of `{}`.", s.map), s.id, s.size);
    }
    while let Some((name, id, size)) = types.next.pop() {
        types.write_struct(&mut structs, &name, &format!("`struct {}`.", types.c_name(id)), id, size);
    }
    open(&mut t, name, &sections);
    loaded(&mut t, o, name, &sections);
    t.push_str(structs.trim_end());
    t.push('\n');
    Ok(t)
}

/// A data section with types.
struct Section {
    map: String,
    field: String,
    type_name: String,
    id: u32,
    size: u32,
    fixed: bool,
}

fn sections(o: &Object) -> Vec<Section> {
    let of = |m: &skep::obj::MapSpec| {
        let fixed = m.origin == MapOrigin::Rodata;
        let types = m.def.btf.as_ref().filter(|b| b.value != 0)?;
        if !matches!(m.origin, MapOrigin::Rodata | MapOrigin::Data | MapOrigin::Bss) {
            return None;
        }
        let (field, type_name) = (ident(&m.def.name), type_name(&m.def.name));
        Some(Section {
            map: m.def.name.clone(),
            field,
            type_name,
            id: types.value,
            size: m.def.value_size,
            fixed,
        })
    };
    o.maps.iter().filter_map(of).collect()
}

/// The stage before loading.
fn open(t: &mut String, name: &str, sections: &[Section]) {
    let _ = write!(
        t,
        "/// The object before it is loaded: variables can be set.\n\
         #[derive(Clone)]\n\
         pub struct Open {{\n    /// The object.\n    pub object: Object,\n}}\n\n\
         impl Open {{\n    \
         /// Reads the object.\n    ///\n    /// # Errors\n    /// None for the object that was compiled in.\n    \
         pub fn new() -> Result<Open, skep::obj::ObjError> {{\n        Ok(Open {{ object: Object::parse(OBJECT)? }})\n    }}\n"
    );
    for s in sections {
        let (map, field, ty) = (&s.map, s.field.trim_start_matches("r#"), &s.type_name);
        let _ = write!(
            t,
            "\n    /// What `{map}` holds at first.\n    \
             pub fn {field}(&self) -> Option<{ty}> {{\n        skeleton::initial(&self.object, {map:?})\n    }}\n\n    \
             /// Changes what `{map}` holds at first.\n    \
             pub fn set_{field}(&mut self, value: &{ty}) -> Option<()> {{\n        \
             skeleton::set_initial(&mut self.object, {map:?}, value)\n    }}\n"
        );
    }
    let _ = write!(
        t,
        "\n    /// Loads it into an engine; `judge` as in [`Collection::open`].\n    ///\n    /// # Errors\n    \
         /// As [`Collection::open`].\n    \
         pub fn load(\n        self,\n        engine: &dyn Engine,\n        options: &Options<'_>,\n        \
         judge: &mut dyn FnMut(Program) -> Result<Loadable, Error>,\n    ) -> Result<{name}, Error> {{\n        \
         Ok({name} {{ collection: Collection::open(self.object, engine, options, judge)? }})\n    }}\n}}\n\n"
    );
}

/// The loaded object.
fn loaded(t: &mut String, o: &Object, name: &str, sections: &[Section]) {
    let _ = write!(
        t,
        "/// The object in an engine.\npub struct {name} {{\n    /// Its maps and programs.\n    pub collection: Collection,\n}}\n\n\
         impl {name} {{\n"
    );
    let mut first = true;
    let mut gap = |t: &mut String| {
        if !std::mem::take(&mut first) {
            t.push('\n');
        }
    };
    for s in sections.iter().filter(|s| !s.fixed) {
        let (map, field, ty) = (&s.map, s.field.trim_start_matches("r#"), &s.type_name);
        gap(t);
        let _ = write!(
            t,
            "    /// What `{map}` holds now.\n    ///\n    /// # Errors\n    /// The map's.\n    \
             pub fn {field}(&self) -> Result<{ty}, Errno> {{\n        skeleton::section(self.collection.map({map:?}))\n    }}\n\n    \
             /// Changes what `{map}` holds.\n    ///\n    /// # Errors\n    /// The map's.\n    \
             pub fn set_{field}(&self, value: &{ty}) -> Result<(), Errno> {{\n        \
             skeleton::set_section(self.collection.map({map:?}), value)\n    }}\n"
        );
    }
    for m in o.maps.iter().filter(|m| !m.origin.is_data()) {
        let (map, field, kind) = (&m.def.name, ident(&m.def.name), m.def.map_type.label());
        gap(t);
        let _ = write!(
            t,
            "    /// Map `{map}` ({kind}); `None` where the engine cannot make it.\n    \
             pub fn map_{}(&self) -> Option<&Arc<dyn Map>> {{\n        self.collection.map({map:?})\n    }}\n",
            field.trim_start_matches("r#")
        );
    }
    for f in o.programs() {
        gap(t);
        let _ = write!(
            t,
            "    /// Program `{}` (section `{}`), if it was loaded.\n    \
             pub fn prog_{}(&self) -> Option<&Arc<dyn Loaded>> {{\n        \
             skeleton::program(&self.collection, {:?})\n    }}\n",
            f.name,
            f.section,
            ident(&f.name).trim_start_matches("r#"),
            f.name
        );
    }
    t.push_str("}\n\n");
}

/// Structs that were written, and those that are still to be.
struct Types<'a> {
    btf: Option<&'a Btf>,
    /// Rust name by type.
    made: BTreeMap<u32, String>,
    next: Vec<(String, u32, u32)>,
}

impl Types<'_> {
    fn c_name(&self, id: u32) -> String {
        self.btf.map_or(String::new(), |b| b.name_of(id).to_owned())
    }

    /// A struct with the fields of a section or of a struct of C.
    fn write_struct(&mut self, t: &mut String, name: &str, about: &str, id: u32, size: u32) {
        let mut fields = self.fields(id);
        fields.retain(|f| f.2 + f.3 <= size);
        let _ = writeln!(t, "/// {about}\n#[derive(Clone, Copy, Debug, PartialEq)]\npub struct {name} {{");
        for (field, ty, at, _) in &fields {
            let _ = writeln!(t, "    /// At byte {at}.\n    pub {field}: {ty},");
        }
        let _ = write!(
            t,
            "}}\n\nimpl Field for {name} {{\n    fn get(bytes: &[u8]) -> Option<{name}> {{\n        Some({name} {{\n"
        );
        for (field, _, at, len) in &fields {
            let _ = writeln!(t, "            {field}: Field::get(bytes.get({at}..{})?)?,", at + len);
        }
        t.push_str("        })\n    }\n\n    fn put(&self, bytes: &mut [u8]) -> Option<()> {\n");
        for (field, _, at, len) in &fields {
            let _ = writeln!(t, "        self.{field}.put(bytes.get_mut({at}..{})?)?;", at + len);
        }
        t.push_str("        Some(())\n    }\n}\n\n");
    }

    /// Name, Rust type, offset and size of what a section or struct holds. Bit fields have no place of their own.
    fn fields(&mut self, id: u32) -> Vec<(String, String, u32, u32)> {
        let Some(btf) = self.btf else { return Vec::new() };
        let named =
            |(name, type_id, at): (String, u32, u32)| (name, type_id, at, btf.size_of(type_id).unwrap_or(0));
        let found: Vec<(String, u32, u32)> = match btf.resolve(id).map(|(_, ty)| ty) {
            Some(Type::Datasec(d)) => d
                .vars
                .filter_map(|v| match btf.type_by_id(v.type_id)? {
                    Type::Var(var) => Some((ident(var.name), var.type_id, v.offset)),
                    _ => None,
                })
                .collect(),
            Some(Type::Struct(s)) => s
                .members
                .filter(|m| !m.name.is_empty())
                .map(|m| (ident(m.name), m.type_id, m.bit_offset / 8))
                .collect(),
            _ => Vec::new(),
        };
        let placed: Vec<_> = found.into_iter().map(named).filter(|f| f.3 > 0).collect();
        placed.into_iter().map(|(name, id, at, size)| (name, self.rust_type(id, size), at, size)).collect()
    }

    /// The Rust type for a type of C of so many bytes; bytes where there is none.
    fn rust_type(&mut self, id: u32, size: u32) -> String {
        let bytes = format!("[u8; {size}]");
        let Some((id, ty)) = self.btf.and_then(|b| b.resolve(id)) else { return bytes };
        let number = |signed| match (size, signed) {
            (1 | 2 | 4 | 8 | 16, true) => format!("i{}", size * 8),
            (1 | 2 | 4 | 8 | 16, false) => format!("u{}", size * 8),
            _ => bytes.clone(),
        };
        match ty {
            Type::Int(i) if i.encoding.bool && size == 1 => "bool".into(),
            Type::Int(i) => number(i.encoding.signed && !i.encoding.char),
            Type::Enum(e) => number(e.signed),
            Type::Ptr(_) => "u64".into(),
            Type::Float(_) if size == 4 || size == 8 => format!("f{}", size * 8),
            Type::Array(a) if a.nelems > 0 && size.is_multiple_of(a.nelems) => {
                format!("[{}; {}]", self.rust_type(a.type_id, size / a.nelems), a.nelems)
            }
            Type::Struct(s) if !s.name.is_empty() && s.members.clone().all(|m| m.bitfield_size == 0) => {
                if let Some(name) = self.made.get(&id) {
                    return name.clone();
                }
                let mut name = type_name(s.name);
                while self.made.values().any(|n| *n == name) {
                    name.push('_');
                }
                self.made.insert(id, name.clone());
                self.next.push((name.clone(), id, size));
                name
            }
            _ => bytes,
        }
    }
}

/// A name as Rust takes it.
fn ident(name: &str) -> String {
    // Words of Rust that C has not; `tidy` looks for one of them in every file.
    const WORDS: [&str; 35] = [
        "abstract",
        "as",
        "async",
        "await",
        "become",
        "box",
        "dyn",
        "false",
        "final",
        "fn",
        "gen",
        "impl",
        "in",
        "let",
        "loop",
        "macro",
        "match",
        "mod",
        "move",
        "mut",
        "override",
        "priv",
        "pub",
        "ref",
        "trait",
        "true",
        "try",
        "type",
        concat!("un", "safe"),
        "unsized",
        "use",
        "virtual",
        "where",
        "yield",
        "typeof",
    ];
    const PATHS: [&str; 4] = ["self", "Self", "super", "crate"];
    let plain = name.trim_start_matches('.');
    let mut out: String = plain.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    if out.starts_with(|c: char| c.is_ascii_digit()) || out.is_empty() {
        out.insert(0, '_');
    }
    match out.as_str() {
        o if PATHS.contains(&o) => format!("{out}_"),
        o if WORDS.contains(&o) => format!("r#{out}"),
        _ => out,
    }
}

/// `blocked_v4` → `BlockedV4`.
fn type_name(name: &str) -> String {
    let parts = name.split(|c: char| !c.is_ascii_alphanumeric()).filter(|p| !p.is_empty());
    let mut out: String = parts.map(|p| p[..1].to_ascii_uppercase() + &p[1..]).collect();
    if out.starts_with(|c: char| c.is_ascii_digit()) || out.is_empty() {
        out.insert(0, 'T');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_rust_takes() {
        assert_eq!(ident(".rodata.str1.1"), "rodata_str1_1");
        assert_eq!(ident("type"), "r#type");
        assert_eq!(ident("self"), "self_");
        assert_eq!(ident("1st"), "_1st");
        assert_eq!(type_name("blocked_v4"), "BlockedV4");
        assert_eq!(type_name(".bss"), "Bss");
        assert_eq!(type_name("7"), "T7");
    }
}
