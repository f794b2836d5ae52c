//! [`Object`]: what the bytes of an object file say, as plain data. Nothing is judged, created or looked up.
//!
//! Functions, maps and externs are rows of three vectors; relocations refer to them by index. What always holds of an
//! opened object: every index in it is in range, every relocation lies inside its function, and functions of one
//! section neither overlap nor reach outside it.

use std::sync::Arc;

use skep_btf::Btf;
use skep_isa::Insn;
use skep_platform::map::MapDef;
use skep_platform::{AttachType, ProgType};

use crate::attach::AttachTarget;
use crate::error::{Diagnostic, Place};
use crate::sections::SectionDef;

/// An opened object.
#[derive(Clone, Debug, Default)]
pub struct Object {
    /// Text of section `license`, empty if there is none.
    pub license: String,
    /// Number in section `version` (`KERNEL_VERSION`), if there is one.
    pub version: Option<u32>,
    /// Programs and subprograms, in file order.
    pub functions: Vec<Function>,
    /// Map definitions: declared maps in the order of their symbols, then data sections in file order.
    pub maps: Vec<MapSpec>,
    /// Extern variables and functions.
    pub externs: Vec<Extern>,
    /// Type information; data sections have their true sizes and offsets.
    pub btf: Option<Arc<Btf>>,
    /// All sections but the tables of ELF itself, in file order.
    pub sections: Vec<SectionInfo>,
    /// What could not be used.
    pub diagnostics: Vec<Diagnostic>,
}

/// Name and size of a section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SectionInfo {
    /// Name.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// `SHF_*` flags: 1 write, 2 alloc, 4 exec.
    pub flags: u64,
}

/// How a function or variable is seen by others.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Linkage {
    /// In its object only.
    Static,
    /// Everywhere.
    Global,
    /// Everywhere, giving way to a global one.
    Weak,
}

/// A program or subprogram.
#[derive(Clone, Debug)]
pub struct Function {
    /// Name of its symbol; of its section where no symbol names it.
    pub name: String,
    /// Other names for the same instructions.
    pub aliases: Vec<String>,
    /// Section it is in, as written.
    pub section: String,
    /// First instruction, counted from the start of the section.
    pub offset: u32,
    /// Linkage of its symbol.
    pub linkage: Linkage,
    /// The symbol is hidden (`STV_HIDDEN`): a global function that the verifier treats as static.
    pub hidden: bool,
    /// What it is as a program; `None` for subprograms.
    pub entry: Option<Entry>,
    /// Instructions as compiled.
    pub insns: Vec<Insn>,
    /// References out of the instructions, by instruction index.
    pub relocs: Vec<Reloc>,
    /// BTF id of the function, 0 if not known.
    pub type_id: u32,
    /// Source lines, by instruction index.
    pub lines: Vec<Line>,
    /// CO-RE relocations, by instruction index.
    pub core: Vec<CoreReloc>,
}

impl Function {
    /// Whether it is a program rather than a subprogram.
    pub fn is_program(&self) -> bool {
        self.entry.is_some()
    }

    /// The place of instruction `insn` in the file.
    pub fn place(&self, insn: u32) -> Place {
        Place::section(&self.section).symbol(&self.name).at((u64::from(self.offset) + u64::from(insn)) * 8)
    }
}

/// What a program is, by its section name.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The row of the section table; `None` for a name that has none: then the type is [`ProgType::Unspec`].
    pub row: Option<&'static SectionDef>,
    /// Program type.
    pub prog_type: ProgType,
    /// Expected attach type.
    pub attach_type: Option<AttachType>,
    /// What the name says about where it attaches.
    pub target: AttachTarget,
    /// Loaded unless told otherwise: no leading `?`.
    pub autoload: bool,
    /// Slot of a program array that it goes into (`2/7`: slot 7 of the map with id 2), of iproute2.
    pub tail_slot: Option<TailSlot>,
    /// Function that handles exceptions (`__exception_cb`), an index into [`Object::functions`].
    pub exception_callback: Option<usize>,
}

/// Where iproute2 puts a program: section name `map/slot`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TailSlot {
    /// `id` field of the map's definition.
    pub map_id: u32,
    /// Key.
    pub slot: u32,
    /// Index into [`Object::maps`], if a map has that id.
    pub map: Option<usize>,
}

/// A reference out of an instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reloc {
    /// Index of the instruction in its function.
    pub insn: u32,
    /// What it refers to.
    pub target: RelocTarget,
}

/// What an instruction refers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RelocTarget {
    /// `ldimm64` of a map.
    Map(usize),
    /// `ldimm64` of an address inside a map's first value.
    MapValue {
        /// Index into [`Object::maps`].
        map: usize,
        /// Bytes into the value.
        offset: u32,
    },
    /// Call of a function.
    Call(usize),
    /// `ldimm64` of a function's address.
    FuncAddr(usize),
    /// Call of an extern function.
    ExternCall(usize),
    /// `ldimm64` of an extern variable or function.
    ExternAddr(usize),
    /// Something that cannot be resolved; binding the function fails there.
    Bad {
        /// Name of the symbol referred to.
        symbol: String,
        /// Why.
        why: &'static str,
    },
}

/// A source line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    /// First instruction made from it.
    pub insn: u32,
    /// Offset of the file's name in the BTF strings.
    pub file: u32,
    /// Offset of the line's text in the BTF strings.
    pub text: u32,
    /// Line, from 1.
    pub line: u32,
    /// Column, from 1; 0 if not known.
    pub column: u32,
}

/// A CO-RE relocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CoreReloc {
    /// Instruction to change.
    pub insn: u32,
    /// What is asked; its own offset counts bytes from the start of the section.
    pub record: skep_btf::CoreRelo,
}

/// What a map comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MapOrigin {
    /// A BTF definition in `.maps`.
    Btf,
    /// A struct in `maps` or `maps/NAME`.
    Legacy,
    /// A struct in `maps` with iproute2's layout.
    Iproute2(Iproute2),
    /// `.rodata*`: frozen after it is filled.
    Rodata,
    /// `.data*`.
    Data,
    /// `.bss*`.
    Bss,
    /// Extern configuration variables; filled from a configuration text.
    Kconfig,
    /// A variable of `.struct_ops`.
    StructOps(StructOps),
}

impl MapOrigin {
    /// One of the data sections, whose variables programs address directly.
    pub fn is_data(&self) -> bool {
        matches!(self, MapOrigin::Rodata | MapOrigin::Data | MapOrigin::Bss | MapOrigin::Kconfig)
    }
}

/// Fields that only iproute2's `struct bpf_elf_map` has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Iproute2 {
    /// Number that sections such as `2/7` refer to.
    pub id: u32,
    /// 0 none, 1 by object, 2 global, others by name of a namespace.
    pub pinning: u32,
    /// `id` of the map that an outer map takes as inner, 0 for none.
    pub inner_id: u32,
    /// Slot of the outer map that this map goes into.
    pub inner_idx: u32,
}

/// What a `struct_ops` variable adds to a map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StructOps {
    /// Name of the struct, such as `tcp_congestion_ops`.
    pub type_name: String,
    /// BTF id of the struct.
    pub type_id: u32,
    /// Attached through a link (`.struct_ops.link`).
    pub link: bool,
    /// Created unless told otherwise: no leading `?` in the section's name.
    pub autocreate: bool,
    /// Programs as members.
    pub programs: Vec<StructOpsMember>,
}

/// A program that is a member of a `struct_ops` variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StructOpsMember {
    /// Name of the member.
    pub member: String,
    /// Index of the member in its struct.
    pub index: u32,
    /// Bytes from the start of the struct.
    pub offset: u32,
    /// Index into [`Object::functions`].
    pub function: usize,
}

/// A map definition with what the loader does to the map after creating it.
#[derive(Clone, Debug)]
pub struct MapSpec {
    /// The definition.
    pub def: MapDef,
    /// What it comes from.
    pub origin: MapOrigin,
    /// Section of the definition.
    pub section: String,
    /// Byte offset of the definition in its section.
    pub offset: u64,
    /// Contents of the first value; `None` for zeros.
    pub contents: Option<Vec<u8>>,
    /// Programs and maps that entries are set to, by key.
    pub slots: Vec<(u32, Slot)>,
}

/// Initial value of a program array's or outer map's entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    /// Index into [`Object::functions`].
    Function(usize),
    /// Index into [`Object::maps`].
    Map(usize),
}

/// Something that the object uses and does not define.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extern {
    /// Name.
    pub name: String,
    /// May stay unresolved: reads as 0, or the call is poisoned.
    pub weak: bool,
    /// What it is.
    pub kind: ExternKind,
}

/// What an extern is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExternKind {
    /// A variable of `.kconfig`.
    Kconfig {
        /// Byte offset in the `.kconfig` map's value.
        offset: u32,
        /// Bytes.
        size: u32,
        /// How its value is written.
        kind: KconfigKind,
    },
    /// A kernel variable with a type.
    KsymTyped {
        /// BTF id of the type in the object.
        type_id: u32,
    },
    /// A kernel symbol without a type (`extern const void name __ksym`): its address is asked for.
    KsymTypeless,
    /// A kernel function.
    Kfunc {
        /// BTF id of the function in the object.
        type_id: u32,
    },
    /// A symbol that no section and no BTF defines.
    Undefined,
}

/// Type of a configuration variable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KconfigKind {
    /// `y` is true.
    Bool,
    /// A character: `y`, `m`, `n`.
    Char,
    /// `enum libbpf_tristate`: no 0, yes 1, module 2.
    Tristate,
    /// A number.
    Int {
        /// Signed.
        signed: bool,
    },
    /// A string without its quotes.
    Str,
}

impl Object {
    /// Programs: functions that are entry points, in file order.
    pub fn programs(&self) -> impl Iterator<Item = &Function> {
        self.functions.iter().filter(|f| f.is_program())
    }

    /// Subprograms, in file order.
    pub fn subprograms(&self) -> impl Iterator<Item = &Function> {
        self.functions.iter().filter(|f| !f.is_program())
    }

    /// The program of this name; where none has it, the only program of that section.
    pub fn program(&self, name: &str) -> Option<&Function> {
        self.program_index(name).map(|i| &self.functions[i])
    }

    /// Index of [`Object::program`] in [`Object::functions`].
    pub fn program_index(&self, name: &str) -> Option<usize> {
        let by =
            |test: &dyn Fn(&Function) -> bool| self.functions.iter().position(|f| f.is_program() && test(f));
        by(&|f| f.name == name).or_else(|| by(&|f| f.aliases.iter().any(|a| a == name))).or_else(|| {
            let mut in_section =
                self.functions.iter().enumerate().filter(|(_, f)| f.is_program() && f.section == name);
            let first = in_section.next()?;
            if in_section.next().is_some() { None } else { Some(first.0) }
        })
    }

    /// Whether programs are fitted to a kernel's types as they are bound: relocations of types, functions and variables of the
    /// kernel's.
    pub fn needs_target(&self) -> bool {
        let by_type = |e: &Extern| matches!(e.kind, ExternKind::Kfunc { .. } | ExternKind::KsymTyped { .. });
        self.functions.iter().any(|f| !f.core.is_empty()) || self.externs.iter().any(by_type)
    }

    /// Whether accesses would go to the wrong places without a kernel's types: relocations that ask for the target's.
    pub fn is_relocated(&self) -> bool {
        let local = skep_btf::core::CoreReloKind::TypeIdLocal as u32;
        self.functions.iter().flat_map(|f| &f.core).any(|r| r.record.raw_kind != local)
    }

    /// Whether a function is loaded as a program unless told otherwise: by its section's name; members of `struct_ops` variables
    /// if one of these is created (as `bpf_object_adjust_struct_ops_autoload` has it).
    pub fn autoloads(&self, function: usize) -> bool {
        let Some(entry) = self.functions.get(function).and_then(|f| f.entry.as_ref()) else { return false };
        let ops = self.maps.iter().filter_map(|m| match &m.origin {
            MapOrigin::StructOps(ops) => Some(ops),
            _ => None,
        });
        let mut holders = ops.filter(|o| o.programs.iter().any(|p| p.function == function)).peekable();
        if holders.peek().is_none() { entry.autoload } else { holders.any(|o| o.autocreate) }
    }

    /// The map of this name.
    pub fn map(&self, name: &str) -> Option<&MapSpec> {
        self.maps.iter().find(|m| m.def.name == name)
    }
}
