//! [`BtfBuilder`] makes BTF: type by type, from an existing section, or by merging several (`merge.rs`).
//!
//! Ids are final as soon as they are given out. They may be used before the type exists (cyclic structs); whether all
//! exist is checked by [`BtfBuilder::finish`]. Strings are stored once.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use crate::btf::{Btf, HEADER_LEN, MAGIC, Record};
use crate::error::BtfError;
use crate::kind::Kind;
use crate::view::{Enumerator, FuncLinkage, IntEncoding, Member, Param, VarLinkage, VarSecinfo};

/// BTF in the making.
#[derive(Debug, Clone)]
pub struct BtfBuilder {
    pub(crate) words: Vec<u32>,
    /// First word and number of words of each own type.
    pub(crate) spans: Vec<(u32, u32)>,
    strings: String,
    string_index: HashMap<Box<str>, u32>,
    pub(crate) base: Option<Arc<Btf>>,
}

/// What cannot be built.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum BuildError {
    /// A name with a NUL byte in it.
    NulInName(String),
    /// More members, parameters, enumerators or variables than 65535.
    TooManyEntries(usize),
    /// A bitfield of more than 255 bits or, in a struct with bitfields, an offset of more than 24 bits.
    BadBitfield,
    /// The id is not that of a type of the expected kind in this builder.
    WrongKind {
        /// The id.
        id: u32,
        /// The kind that it should have.
        expected: Kind,
    },
    /// The BTF to be appended is split on another base than this builder.
    OtherBase,
    /// More than 4 GiB of strings or types.
    TooBig,
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BuildError::NulInName(name) => write!(f, "BTF: the name {name:?} has a NUL byte in it"),
            BuildError::TooManyEntries(n) => write!(f, "BTF: a type can have 65535 entries, not {n}"),
            BuildError::BadBitfield => {
                f.write_str("BTF: a bitfield's width or offset does not fit its field")
            }
            BuildError::WrongKind { id, expected } => {
                write!(f, "BTF: type {id} is not a {expected} of this builder")
            }
            BuildError::OtherBase => f.write_str("BTF: split on another base than the BTF it is added to"),
            BuildError::TooBig => f.write_str("BTF: more than 4 GiB"),
        }
    }
}

impl std::error::Error for BuildError {}

impl Default for BtfBuilder {
    fn default() -> Self {
        BtfBuilder::new()
    }
}

impl BtfBuilder {
    /// Nothing but void.
    pub fn new() -> BtfBuilder {
        BtfBuilder {
            words: Vec::new(),
            spans: Vec::new(),
            strings: "\0".to_owned(),
            string_index: HashMap::new(),
            base: None,
        }
    }

    /// Split BTF: ids and strings go on where those of `base` end.
    pub fn split(base: Arc<Btf>) -> BtfBuilder {
        BtfBuilder { strings: String::new(), base: Some(base), ..BtfBuilder::new() }
    }

    /// The same types with the same ids and string offsets, to be changed or added to.
    pub fn from_btf(btf: &Btf) -> BtfBuilder {
        let mut out = BtfBuilder {
            strings: btf.own_strings().to_owned(),
            base: btf.base().cloned(),
            ..BtfBuilder::new()
        };
        for id in btf.first_id()..btf.type_count() {
            if let Some(r) = btf.record(id) {
                out.push(r.0);
            }
        }
        let mut off = out.first_str();
        for s in btf.own_strings().split_terminator('\0') {
            out.string_index.entry(s.into()).or_insert(off);
            off += s.len() as u32 + 1;
        }
        out
    }

    /// The id that the next type gets.
    pub fn next_id(&self) -> u32 {
        self.first_id() + self.spans.len() as u32
    }

    pub(crate) fn first_id(&self) -> u32 {
        self.base.as_ref().map_or(1, |b| b.type_count())
    }

    fn first_str(&self) -> u32 {
        self.base.as_ref().map_or(0, |b| b.strings_end())
    }

    /// The offset of a string that is there already; those of the base are not looked through. Cost: a look into a hash.
    ///
    /// ```
    /// let mut types = skep_btf::BtfBuilder::new();
    /// let at = types.add_string("task_struct")?;
    /// assert_eq!(types.string_offset("task_struct"), Some(at));
    /// assert_eq!(types.string_offset("task"), None);
    /// # Ok::<(), skep_btf::BuildError>(())
    /// ```
    pub fn string_offset(&self, s: &str) -> Option<u32> {
        if s.is_empty() { Some(0) } else { self.string_index.get(s).copied() }
    }

    /// The offset of a string, which is added if it is new; 0 for the empty one.
    ///
    /// # Errors
    /// A NUL byte in it, or too many strings.
    pub fn add_string(&mut self, s: &str) -> Result<u32, BuildError> {
        if s.is_empty() {
            return Ok(0);
        }
        if let Some(off) = self.string_index.get(s) {
            return Ok(*off);
        }
        if s.contains('\0') {
            return Err(BuildError::NulInName(s.to_owned()));
        }
        let off = u64::from(self.first_str()) + self.strings.len() as u64;
        if off + s.len() as u64 >= u64::from(u32::MAX) {
            return Err(BuildError::TooBig);
        }
        self.strings.push_str(s);
        self.strings.push('\0');
        self.string_index.insert(s.into(), off as u32);
        Ok(off as u32)
    }

    /// The string at an offset of this builder.
    pub fn string(&self, off: u32) -> Option<&str> {
        let Some(own) = off.checked_sub(self.first_str()) else {
            return self.base.as_ref()?.string(off);
        };
        self.strings.get(own as usize..)?.split('\0').next()
    }

    /// Adds a record that is whole and in this builder's ids and strings.
    pub(crate) fn push(&mut self, words: &[u32]) -> u32 {
        let id = self.next_id();
        self.spans.push((self.words.len() as u32, words.len() as u32));
        self.words.extend_from_slice(words);
        id
    }

    fn add(
        &mut self,
        kind: Kind,
        flag: bool,
        name: &str,
        word3: u32,
        fixed: &[u32],
    ) -> Result<u32, BuildError> {
        self.add_with(kind, flag, name, word3, fixed, 0)
    }

    fn add_with(
        &mut self,
        kind: Kind,
        flag: bool,
        name: &str,
        word3: u32,
        rest: &[u32],
        vlen: usize,
    ) -> Result<u32, BuildError> {
        let vlen = u16::try_from(vlen).map_err(|_| BuildError::TooManyEntries(vlen))?;
        let name = self.add_string(name)?;
        if self.words.len() + rest.len() + 3 > (u32::MAX / 4) as usize {
            return Err(BuildError::TooBig);
        }
        let mut words = vec![name, info(kind, flag, vlen.into()), word3];
        words.extend_from_slice(rest);
        Ok(self.push(&words))
    }

    /// Adds an integer that uses all its bits.
    ///
    /// # Errors
    /// As for all `add_` methods: a name with a NUL byte, too many entries, or too much of all.
    pub fn add_int(&mut self, name: &str, size: u32, encoding: IntEncoding) -> Result<u32, BuildError> {
        self.add(Kind::Int, false, name, size, &[encoding.to_raw() << 24 | (size.wrapping_mul(8) & 0xff)])
    }

    /// Adds a pointer (`type_id` 0: `void *`).
    ///
    /// # Errors
    /// See [`BtfBuilder::add_int`].
    pub fn add_ptr(&mut self, type_id: u32) -> Result<u32, BuildError> {
        self.add(Kind::Ptr, false, "", type_id, &[])
    }

    /// Adds `volatile`, `const` or `restrict`.
    ///
    /// # Errors
    /// See [`BtfBuilder::add_int`]; another kind is refused.
    pub fn add_modifier(&mut self, kind: Kind, type_id: u32) -> Result<u32, BuildError> {
        if !matches!(kind, Kind::Volatile | Kind::Const | Kind::Restrict) {
            return Err(BuildError::WrongKind { id: type_id, expected: Kind::Const });
        }
        self.add(kind, false, "", type_id, &[])
    }

    /// Adds an array.
    ///
    /// # Errors
    /// See [`BtfBuilder::add_int`].
    pub fn add_array(&mut self, type_id: u32, index_type_id: u32, nelems: u32) -> Result<u32, BuildError> {
        self.add(Kind::Array, false, "", 0, &[type_id, index_type_id, nelems])
    }

    /// Adds a struct.
    ///
    /// # Errors
    /// See [`BtfBuilder::add_int`].
    pub fn add_struct(&mut self, name: &str, size: u32, members: &[Member<'_>]) -> Result<u32, BuildError> {
        self.add_composite(Kind::Struct, name, size, members)
    }

    /// Adds a union.
    ///
    /// # Errors
    /// See [`BtfBuilder::add_int`].
    pub fn add_union(&mut self, name: &str, size: u32, members: &[Member<'_>]) -> Result<u32, BuildError> {
        self.add_composite(Kind::Union, name, size, members)
    }

    fn add_composite(
        &mut self,
        kind: Kind,
        name: &str,
        size: u32,
        members: &[Member<'_>],
    ) -> Result<u32, BuildError> {
        let flag = members.iter().any(|m| m.bitfield_size != 0);
        let mut rest = Vec::with_capacity(members.len() * 3);
        for m in members {
            if m.bitfield_size > 0xff || flag && m.bit_offset > 0xff_ffff {
                return Err(BuildError::BadBitfield);
            }
            rest.extend([self.add_string(m.name)?, m.type_id, m.bitfield_size << 24 | m.bit_offset]);
        }
        self.add_with(kind, flag, name, size, &rest, members.len())
    }

    /// Adds an enum: of the 32-bit kind if `size` is at most 4, else of the 64-bit kind.
    ///
    /// # Errors
    /// See [`BtfBuilder::add_int`].
    pub fn add_enum(
        &mut self,
        name: &str,
        size: u32,
        signed: bool,
        values: &[Enumerator<'_>],
    ) -> Result<u32, BuildError> {
        let kind = if size > 4 { Kind::Enum64 } else { Kind::Enum };
        let mut rest = Vec::new();
        for v in values {
            rest.extend([self.add_string(v.name)?, v.value as u32]);
            if kind == Kind::Enum64 {
                rest.push((v.value >> 32) as u32);
            }
        }
        self.add_with(kind, signed, name, size, &rest, values.len())
    }

    /// Adds a declaration of a struct or union.
    ///
    /// # Errors
    /// See [`BtfBuilder::add_int`].
    pub fn add_fwd(&mut self, name: &str, is_union: bool) -> Result<u32, BuildError> {
        self.add(Kind::Fwd, is_union, name, 0, &[])
    }

    /// Adds a typedef.
    ///
    /// # Errors
    /// See [`BtfBuilder::add_int`].
    pub fn add_typedef(&mut self, name: &str, type_id: u32) -> Result<u32, BuildError> {
        self.add(Kind::Typedef, false, name, type_id, &[])
    }

    /// Adds a function of the type `proto`.
    ///
    /// # Errors
    /// See [`BtfBuilder::add_int`].
    pub fn add_func(&mut self, name: &str, proto: u32, linkage: FuncLinkage) -> Result<u32, BuildError> {
        self.add_with(Kind::Func, false, name, proto, &[], linkage.to_raw() as usize)
    }

    /// Adds the type of a function.
    ///
    /// # Errors
    /// See [`BtfBuilder::add_int`].
    pub fn add_func_proto(&mut self, return_type_id: u32, params: &[Param<'_>]) -> Result<u32, BuildError> {
        let mut rest = Vec::with_capacity(params.len() * 2);
        for p in params {
            rest.extend([self.add_string(p.name)?, p.type_id]);
        }
        self.add_with(Kind::FuncProto, false, "", return_type_id, &rest, params.len())
    }

    /// Adds a variable.
    ///
    /// # Errors
    /// See [`BtfBuilder::add_int`].
    pub fn add_var(&mut self, name: &str, type_id: u32, linkage: VarLinkage) -> Result<u32, BuildError> {
        self.add(Kind::Var, false, name, type_id, &[linkage.to_raw()])
    }

    /// Adds a section.
    ///
    /// # Errors
    /// See [`BtfBuilder::add_int`].
    pub fn add_datasec(&mut self, name: &str, size: u32, vars: &[VarSecinfo]) -> Result<u32, BuildError> {
        let rest: Vec<u32> = vars.iter().flat_map(|v| [v.type_id, v.offset, v.size]).collect();
        self.add_with(Kind::Datasec, false, name, size, &rest, vars.len())
    }

    /// Adds a floating-point type.
    ///
    /// # Errors
    /// See [`BtfBuilder::add_int`].
    pub fn add_float(&mut self, name: &str, size: u32) -> Result<u32, BuildError> {
        self.add(Kind::Float, false, name, size, &[])
    }

    /// Adds a tag on a declaration, or on one member or argument of it.
    ///
    /// # Errors
    /// See [`BtfBuilder::add_int`].
    pub fn add_decl_tag(
        &mut self,
        text: &str,
        type_id: u32,
        component: Option<u32>,
    ) -> Result<u32, BuildError> {
        self.add(Kind::DeclTag, false, text, type_id, &[component.unwrap_or(u32::MAX)])
    }

    /// Adds a tag on a type.
    ///
    /// # Errors
    /// See [`BtfBuilder::add_int`].
    pub fn add_type_tag(&mut self, text: &str, type_id: u32) -> Result<u32, BuildError> {
        self.add(Kind::TypeTag, false, text, type_id, &[])
    }

    pub(crate) fn record(&self, id: u32) -> Option<Record<'_>> {
        let own = id.checked_sub(self.first_id())?;
        let (start, len) = *self.spans.get(own as usize)?;
        self.words.get(start as usize..(start + len) as usize).map(Record)
    }

    fn own(&mut self, id: u32, expected: Kind) -> Result<&mut [u32], BuildError> {
        let wrong = BuildError::WrongKind { id, expected };
        if self.record(id).is_none_or(|r| r.kind() != expected) {
            return Err(wrong);
        }
        let (start, len) = self.spans[(id - self.first_id()) as usize];
        self.words.get_mut(start as usize..(start + len) as usize).ok_or(wrong)
    }

    /// The variables of a section and its size, as they stand now.
    ///
    /// # Errors
    /// `id` is not a section of this builder.
    pub fn datasec(&self, id: u32) -> Result<(u32, Vec<VarSecinfo>), BuildError> {
        let r = self.record(id).filter(|r| r.kind() == Kind::Datasec);
        let r = r.ok_or(BuildError::WrongKind { id, expected: Kind::Datasec })?;
        let vars =
            r.entries().chunks_exact(3).map(|w| VarSecinfo { type_id: w[0], offset: w[1], size: w[2] });
        Ok((r.word3(), vars.collect()))
    }

    /// Replaces size and variables of a section: what a loader does once it knows the ELF symbols, since compilers
    /// leave zeros. Variables should be in the order of their offsets, as the kernel demands.
    ///
    /// # Errors
    /// `id` is not a section of this builder, or there are too many variables.
    pub fn set_datasec(&mut self, id: u32, size: u32, vars: &[VarSecinfo]) -> Result<(), BuildError> {
        let vlen = u16::try_from(vars.len()).map_err(|_| BuildError::TooManyEntries(vars.len()))?;
        let old = self.own(id, Kind::Datasec)?;
        let mut words = vec![old[0], info(Kind::Datasec, false, vlen.into()), size];
        words.extend(vars.iter().flat_map(|v| [v.type_id, v.offset, v.size]));
        self.replace(id, &words);
        Ok(())
    }

    /// Changes how a function is linked.
    ///
    /// # Errors
    /// `id` is not a function of this builder.
    pub fn set_func_linkage(&mut self, id: u32, linkage: FuncLinkage) -> Result<(), BuildError> {
        self.own(id, Kind::Func)?[1] = info(Kind::Func, false, linkage.to_raw());
        Ok(())
    }

    /// Names the parameters of a function type that have none, all alike; the dots of a variadic one stay without.
    ///
    /// # Errors
    /// `id` is not the type of a function of this builder.
    pub fn name_params(&mut self, id: u32, name: &str) -> Result<(), BuildError> {
        let off = self.add_string(name)?;
        let words = self.own(id, Kind::FuncProto)?;
        let params = words.get_mut(3..).unwrap_or_default().chunks_exact_mut(2);
        params.filter(|p| p[0] == 0 && p[1] != 0).for_each(|p| p[0] = off);
        Ok(())
    }

    /// Changes how a variable is linked.
    ///
    /// # Errors
    /// `id` is not a variable of this builder.
    pub fn set_var_linkage(&mut self, id: u32, linkage: VarLinkage) -> Result<(), BuildError> {
        self.own(id, Kind::Var)?[3] = linkage.to_raw();
        Ok(())
    }

    /// Changes the type of a variable.
    ///
    /// # Errors
    /// `id` is not a variable of this builder.
    pub fn set_var_type(&mut self, id: u32, type_id: u32) -> Result<(), BuildError> {
        self.own(id, Kind::Var)?[2] = type_id;
        Ok(())
    }

    /// Changes a type's name.
    ///
    /// # Errors
    /// A NUL byte in it, or no such type.
    pub fn rename(&mut self, id: u32, name: &str) -> Result<(), BuildError> {
        let off = self.add_string(name)?;
        let kind = self.record(id).map_or(Kind::Int, |r| r.kind());
        self.own(id, kind)?[0] = off;
        Ok(())
    }

    /// Puts another record in the place of a type; the id stays.
    pub(crate) fn replace(&mut self, id: u32, words: &[u32]) {
        let own = (id - self.first_id()) as usize;
        let (start, len) = self.spans[own];
        if len as usize >= words.len() {
            self.words[start as usize..start as usize + words.len()].copy_from_slice(words);
            self.spans[own].1 = words.len() as u32;
        } else {
            self.spans[own] = (self.words.len() as u32, words.len() as u32);
            self.words.extend_from_slice(words);
        }
    }

    /// The bytes of the `.BTF` section.
    pub fn emit(&self) -> Vec<u8> {
        let types: u32 = self.spans.iter().map(|s| s.1 * 4).sum();
        let mut out = Vec::with_capacity(HEADER_LEN as usize + types as usize + self.strings.len());
        out.extend_from_slice(&MAGIC.to_le_bytes());
        out.extend_from_slice(&[1, 0]);
        for w in [HEADER_LEN, 0, types, types, self.strings.len() as u32] {
            out.extend_from_slice(&w.to_le_bytes());
        }
        for (start, len) in &self.spans {
            for w in &self.words[*start as usize..(start + len) as usize] {
                out.extend_from_slice(&w.to_le_bytes());
            }
        }
        out.extend_from_slice(self.strings.as_bytes());
        out
    }

    /// The types, checked, to be read.
    ///
    /// # Errors
    /// A reference to a type that was never added, or an integer that contradicts itself.
    pub fn finish(&self) -> Result<Btf, BtfError> {
        match &self.base {
            Some(base) => Btf::parse_split(&self.emit(), Arc::clone(base)),
            None => Btf::parse(&self.emit()),
        }
    }
}

pub(crate) fn info(kind: Kind, flag: bool, vlen: u32) -> u32 {
    u32::from(flag) << 31 | (kind as u32) << 24 | vlen
}
