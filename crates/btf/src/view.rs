//! Views of types: small values that borrow names from the [`Btf`] they were read from.

use std::marker::PhantomData;

use crate::btf::{Btf, Record};
use crate::kind::Kind;

/// One type. Names are empty where a type has none.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Type<'a> {
    /// Type id 0.
    Void,
    /// An integer, character or boolean.
    Int(Int<'a>),
    /// A pointer to the type with this id.
    Ptr(u32),
    /// An array.
    Array(Array),
    /// A struct.
    Struct(Composite<'a>),
    /// A union.
    Union(Composite<'a>),
    /// An enum of up to 32 bits.
    Enum(Enum<'a>),
    /// A struct or union that was declared and not defined.
    Fwd(Fwd<'a>),
    /// A typedef.
    Typedef(Typedef<'a>),
    /// `volatile` of the type with this id.
    Volatile(u32),
    /// `const` of the type with this id.
    Const(u32),
    /// `restrict` of the type with this id.
    Restrict(u32),
    /// A function.
    Func(Func<'a>),
    /// The type of a function.
    FuncProto(FuncProto<'a>),
    /// A global variable.
    Var(Var<'a>),
    /// A section of variables.
    Datasec(Datasec<'a>),
    /// A floating-point number.
    Float(Float<'a>),
    /// `__attribute__((btf_decl_tag("…")))` on a declaration, member or argument.
    DeclTag(DeclTag<'a>),
    /// `__attribute__((btf_type_tag("…")))` before the type it changes.
    TypeTag(TypeTag<'a>),
    /// An enum of 64 bits.
    Enum64(Enum<'a>),
}

/// How the bits of an integer are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct IntEncoding {
    /// `BTF_INT_SIGNED`.
    pub signed: bool,
    /// `BTF_INT_CHAR`: hardly set by any compiler; `char` is known by its name.
    pub char: bool,
    /// `BTF_INT_BOOL`.
    pub bool: bool,
}

impl IntEncoding {
    pub(crate) fn from_raw(raw: u32) -> IntEncoding {
        IntEncoding { signed: raw & 1 != 0, char: raw & 2 != 0, bool: raw & 4 != 0 }
    }

    pub(crate) fn to_raw(self) -> u32 {
        u32::from(self.signed) | u32::from(self.char) << 1 | u32::from(self.bool) << 2
    }
}

/// An integer type.
#[derive(Debug, Clone, Copy)]
pub struct Int<'a> {
    /// Name, such as `unsigned int`.
    pub name: &'a str,
    /// Bytes, up to 16.
    pub size: u32,
    /// Bits in use; fewer than `size * 8` in the bitfields of old compilers only.
    pub bits: u32,
    /// First bit in use; not 0 in the bitfields of old compilers only.
    pub bit_offset: u32,
    /// Signedness and use.
    pub encoding: IntEncoding,
}

/// An array type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Array {
    /// Type of an element.
    pub type_id: u32,
    /// Type of an index.
    pub index_type_id: u32,
    /// Number of elements; 0 for flexible arrays.
    pub nelems: u32,
}

/// A struct or union.
#[derive(Debug, Clone, Copy)]
pub struct Composite<'a> {
    /// Name; empty if anonymous.
    pub name: &'a str,
    /// Bytes.
    pub size: u32,
    /// Whether it is a union.
    pub is_union: bool,
    /// Whether members carry bitfield sizes (bit 31 of `info`).
    pub kind_flag: bool,
    /// The members.
    pub members: Entries<'a, Member<'a>>,
}

/// A member of a struct or union.
#[derive(Debug, Clone, Copy)]
pub struct Member<'a> {
    /// Name; empty for anonymous structs and unions.
    pub name: &'a str,
    /// Its type.
    pub type_id: u32,
    /// Bits from the start of the struct.
    pub bit_offset: u32,
    /// Width in bits of a bitfield; 0 if it is not one.
    pub bitfield_size: u32,
}

/// An enum of either width.
#[derive(Debug, Clone, Copy)]
pub struct Enum<'a> {
    /// Name; empty if anonymous.
    pub name: &'a str,
    /// Bytes.
    pub size: u32,
    /// Whether values are signed (`kind_flag`).
    pub signed: bool,
    /// The enumerators.
    pub enumerators: Entries<'a, Enumerator<'a>>,
}

/// One name of an enum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Enumerator<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its value: sign-extended in 32-bit enums that are signed, zero-extended in those that are not; 64-bit enums
    /// that are not signed hold the bits of a `u64`.
    pub value: i64,
}

/// A declaration of a struct or union without its members.
#[derive(Debug, Clone, Copy)]
pub struct Fwd<'a> {
    /// Its name.
    pub name: &'a str,
    /// Whether it is a union.
    pub is_union: bool,
}

/// A typedef.
#[derive(Debug, Clone, Copy)]
pub struct Typedef<'a> {
    /// The new name.
    pub name: &'a str,
    /// What it stands for.
    pub type_id: u32,
}

/// How a function is linked (`enum btf_func_linkage`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum FuncLinkage {
    Static,
    Global,
    Extern,
    /// A number without meaning.
    Unknown(u32),
}

impl FuncLinkage {
    pub(crate) fn from_raw(n: u32) -> FuncLinkage {
        match n {
            0 => FuncLinkage::Static,
            1 => FuncLinkage::Global,
            2 => FuncLinkage::Extern,
            n => FuncLinkage::Unknown(n),
        }
    }

    pub(crate) fn to_raw(self) -> u32 {
        match self {
            FuncLinkage::Static => 0,
            FuncLinkage::Global => 1,
            FuncLinkage::Extern => 2,
            FuncLinkage::Unknown(n) => n,
        }
    }
}

/// A function.
#[derive(Debug, Clone, Copy)]
pub struct Func<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its type, a [`FuncProto`].
    pub type_id: u32,
    /// How it is linked.
    pub linkage: FuncLinkage,
}

/// The type of a function.
#[derive(Debug, Clone, Copy)]
pub struct FuncProto<'a> {
    /// Type of the result; 0 is void.
    pub return_type_id: u32,
    /// The parameters.
    pub params: Entries<'a, Param<'a>>,
}

/// A parameter; the last one is without name and type in functions of variable arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Param<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its type.
    pub type_id: u32,
}

/// How a variable is linked (`BTF_VAR_*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum VarLinkage {
    Static,
    GlobalAllocated,
    GlobalExtern,
    /// A number without meaning.
    Unknown(u32),
}

impl VarLinkage {
    pub(crate) fn from_raw(n: u32) -> VarLinkage {
        match n {
            0 => VarLinkage::Static,
            1 => VarLinkage::GlobalAllocated,
            2 => VarLinkage::GlobalExtern,
            n => VarLinkage::Unknown(n),
        }
    }

    pub(crate) fn to_raw(self) -> u32 {
        match self {
            VarLinkage::Static => 0,
            VarLinkage::GlobalAllocated => 1,
            VarLinkage::GlobalExtern => 2,
            VarLinkage::Unknown(n) => n,
        }
    }
}

/// A global variable.
#[derive(Debug, Clone, Copy)]
pub struct Var<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its type.
    pub type_id: u32,
    /// How it is linked.
    pub linkage: VarLinkage,
}

/// A section with the variables in it.
#[derive(Debug, Clone, Copy)]
pub struct Datasec<'a> {
    /// Section name, such as `.maps`.
    pub name: &'a str,
    /// Bytes; compilers leave 0, which a loader replaces by the ELF section's size.
    pub size: u32,
    /// The variables.
    pub vars: Entries<'a, VarSecinfo>,
}

/// Where a variable lies in its section.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VarSecinfo {
    /// A [`Var`], or a [`Func`] in `.ksyms`.
    pub type_id: u32,
    /// Bytes from the start of the section; compilers leave 0 for global variables.
    pub offset: u32,
    /// Bytes.
    pub size: u32,
}

/// A floating-point type.
#[derive(Debug, Clone, Copy)]
pub struct Float<'a> {
    /// Its name.
    pub name: &'a str,
    /// Bytes.
    pub size: u32,
}

/// A tag on a declaration.
#[derive(Debug, Clone, Copy)]
pub struct DeclTag<'a> {
    /// The text.
    pub name: &'a str,
    /// What is tagged: a struct, union, typedef, variable or function.
    pub type_id: u32,
    /// The member or argument; `None` where the whole is tagged (-1).
    pub component: Option<u32>,
    /// Whether the text is an attribute of its own rather than that of `btf_decl_tag` (`kind_flag`).
    pub attribute: bool,
}

impl<'a> DeclTag<'a> {
    pub(crate) fn from_record(btf: &'a Btf, r: Record<'a>) -> DeclTag<'a> {
        DeclTag {
            name: btf.name_at(r.name_off()),
            type_id: r.word3(),
            component: u32::try_from(r.word(3) as i32).ok(),
            attribute: r.kind_flag(),
        }
    }
}

/// A tag on a type.
#[derive(Debug, Clone, Copy)]
pub struct TypeTag<'a> {
    /// The text.
    pub name: &'a str,
    /// The type that it stands before.
    pub type_id: u32,
    /// Whether the text is an attribute of its own rather than that of `btf_type_tag` (`kind_flag`).
    pub attribute: bool,
}

/// The members, parameters, enumerators or variables of a type: an iterator that can also be indexed.
#[derive(Clone, Copy)]
pub struct Entries<'a, T> {
    btf: &'a Btf,
    words: &'a [u32],
    kind: Kind,
    flag: bool,
    item: PhantomData<T>,
}

/// An entry that can be read from the words of a record.
pub(crate) trait Entry<'a>: Sized {
    fn read(btf: &'a Btf, words: &'a [u32], kind: Kind, flag: bool) -> Self;
}

impl<'a, T> Entries<'a, T> {
    fn new(btf: &'a Btf, record: Record<'a>) -> Self {
        Entries {
            btf,
            words: record.entries(),
            kind: record.kind(),
            flag: record.kind_flag(),
            item: PhantomData,
        }
    }

    fn width(&self) -> usize {
        self.kind.row().entry.len().max(1)
    }

    /// Number of entries left (all, if nothing was taken yet).
    pub fn len(&self) -> usize {
        self.words.len() / self.width()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }
}

#[allow(private_bounds)]
impl<'a, T: Entry<'a>> Entries<'a, T> {
    /// The entry at this index, in constant time.
    pub fn get(&self, i: usize) -> Option<T> {
        let w = self.width();
        let words = self.words.get(i.checked_mul(w)?..)?.get(..w)?;
        Some(T::read(self.btf, words, self.kind, self.flag))
    }
}

impl<'a, T: Entry<'a>> Iterator for Entries<'a, T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        let (head, rest) = self.words.split_at_checked(self.width())?;
        self.words = rest;
        Some(T::read(self.btf, head, self.kind, self.flag))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.len(), Some(self.len()))
    }
}

impl<'a, T: Entry<'a>> ExactSizeIterator for Entries<'a, T> {}

impl<T> std::fmt::Debug for Entries<'_, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} entries", self.len())
    }
}

impl<'a> Entry<'a> for Member<'a> {
    fn read(btf: &'a Btf, w: &'a [u32], _: Kind, flag: bool) -> Self {
        let (bit_offset, bitfield_size) = if flag { (w[2] & 0xff_ffff, w[2] >> 24) } else { (w[2], 0) };
        Member { name: btf.name_at(w[0]), type_id: w[1], bit_offset, bitfield_size }
    }
}

impl<'a> Entry<'a> for Enumerator<'a> {
    fn read(btf: &'a Btf, w: &'a [u32], kind: Kind, signed: bool) -> Self {
        let value = match (kind, signed) {
            (Kind::Enum64, _) => (u64::from(w[1]) | u64::from(w[2]) << 32) as i64,
            (_, true) => i64::from(w[1] as i32),
            (_, false) => i64::from(w[1]),
        };
        Enumerator { name: btf.name_at(w[0]), value }
    }
}

impl<'a> Entry<'a> for Param<'a> {
    fn read(btf: &'a Btf, w: &'a [u32], _: Kind, _: bool) -> Self {
        Param { name: btf.name_at(w[0]), type_id: w[1] }
    }
}

impl<'a> Entry<'a> for VarSecinfo {
    fn read(_: &'a Btf, w: &'a [u32], _: Kind, _: bool) -> Self {
        VarSecinfo { type_id: w[0], offset: w[1], size: w[2] }
    }
}

impl<'a> Type<'a> {
    pub(crate) fn from_record(btf: &'a Btf, r: Record<'a>) -> Type<'a> {
        let name = btf.name_at(r.name_off());
        let (word3, extra) = (r.word3(), r.word(3));
        match r.kind() {
            Kind::Int => Type::Int(Int {
                name,
                size: word3,
                bits: extra & 0xff,
                bit_offset: extra >> 16 & 0xff,
                encoding: IntEncoding::from_raw(extra >> 24 & 0xf),
            }),
            Kind::Ptr => Type::Ptr(word3),
            Kind::Array => Type::Array(Array { type_id: extra, index_type_id: r.word(4), nelems: r.word(5) }),
            Kind::Struct => Type::Struct(composite(btf, r, name)),
            Kind::Union => Type::Union(composite(btf, r, name)),
            Kind::Enum => Type::Enum(enumeration(btf, r, name)),
            Kind::Enum64 => Type::Enum64(enumeration(btf, r, name)),
            Kind::Fwd => Type::Fwd(Fwd { name, is_union: r.kind_flag() }),
            Kind::Typedef => Type::Typedef(Typedef { name, type_id: word3 }),
            Kind::Volatile => Type::Volatile(word3),
            Kind::Const => Type::Const(word3),
            Kind::Restrict => Type::Restrict(word3),
            Kind::Func => Type::Func(Func { name, type_id: word3, linkage: FuncLinkage::from_raw(r.vlen()) }),
            Kind::FuncProto => {
                Type::FuncProto(FuncProto { return_type_id: word3, params: Entries::new(btf, r) })
            }
            Kind::Var => Type::Var(Var { name, type_id: word3, linkage: VarLinkage::from_raw(extra) }),
            Kind::Datasec => Type::Datasec(Datasec { name, size: word3, vars: Entries::new(btf, r) }),
            Kind::Float => Type::Float(Float { name, size: word3 }),
            Kind::DeclTag => Type::DeclTag(DeclTag::from_record(btf, r)),
            Kind::TypeTag => Type::TypeTag(TypeTag { name, type_id: word3, attribute: r.kind_flag() }),
        }
    }

    /// The kind; `None` for void.
    pub fn kind(&self) -> Option<Kind> {
        Some(match self {
            Type::Void => return None,
            Type::Int(_) => Kind::Int,
            Type::Ptr(_) => Kind::Ptr,
            Type::Array(_) => Kind::Array,
            Type::Struct(_) => Kind::Struct,
            Type::Union(_) => Kind::Union,
            Type::Enum(_) => Kind::Enum,
            Type::Fwd(_) => Kind::Fwd,
            Type::Typedef(_) => Kind::Typedef,
            Type::Volatile(_) => Kind::Volatile,
            Type::Const(_) => Kind::Const,
            Type::Restrict(_) => Kind::Restrict,
            Type::Func(_) => Kind::Func,
            Type::FuncProto(_) => Kind::FuncProto,
            Type::Var(_) => Kind::Var,
            Type::Datasec(_) => Kind::Datasec,
            Type::Float(_) => Kind::Float,
            Type::DeclTag(_) => Kind::DeclTag,
            Type::TypeTag(_) => Kind::TypeTag,
            Type::Enum64(_) => Kind::Enum64,
        })
    }

    /// The name; empty where there is none.
    pub fn name(&self) -> &'a str {
        match self {
            Type::Int(t) => t.name,
            Type::Struct(t) | Type::Union(t) => t.name,
            Type::Enum(t) | Type::Enum64(t) => t.name,
            Type::Fwd(t) => t.name,
            Type::Typedef(t) => t.name,
            Type::Func(t) => t.name,
            Type::Var(t) => t.name,
            Type::Datasec(t) => t.name,
            Type::Float(t) => t.name,
            Type::DeclTag(t) => t.name,
            Type::TypeTag(t) => t.name,
            Type::Void | Type::Ptr(_) | Type::Array(_) | Type::FuncProto(_) => "",
            Type::Volatile(_) | Type::Const(_) | Type::Restrict(_) => "",
        }
    }

    /// The type that this one points to, renames, changes, tags or (array) repeats; the result type of a prototype.
    pub fn referent(&self) -> Option<u32> {
        match self {
            Type::Ptr(id) | Type::Volatile(id) | Type::Const(id) | Type::Restrict(id) => Some(*id),
            Type::Array(t) => Some(t.type_id),
            Type::Typedef(t) => Some(t.type_id),
            Type::Func(t) => Some(t.type_id),
            Type::FuncProto(t) => Some(t.return_type_id),
            Type::Var(t) => Some(t.type_id),
            Type::DeclTag(t) => Some(t.type_id),
            Type::TypeTag(t) => Some(t.type_id),
            _ => None,
        }
    }

    /// The struct or union, if it is one.
    pub fn composite(&self) -> Option<Composite<'a>> {
        match self {
            Type::Struct(c) | Type::Union(c) => Some(*c),
            _ => None,
        }
    }

    /// The enum of either width, if it is one.
    pub fn any_enum(&self) -> Option<Enum<'a>> {
        match self {
            Type::Enum(e) | Type::Enum64(e) => Some(*e),
            _ => None,
        }
    }
}

fn composite<'a>(btf: &'a Btf, r: Record<'a>, name: &'a str) -> Composite<'a> {
    Composite {
        name,
        size: r.word3(),
        is_union: r.kind() == Kind::Union,
        kind_flag: r.kind_flag(),
        members: Entries::new(btf, r),
    }
}

fn enumeration<'a>(btf: &'a Btf, r: Record<'a>, name: &'a str) -> Enum<'a> {
    Enum { name, size: r.word3(), signed: r.kind_flag(), enumerators: Entries::new(btf, r) }
}
