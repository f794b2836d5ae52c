//! [`Btf`]: the types and strings of one BTF section, checked once and then read in place.
//!
//! Flow: header → bounds of the two parts → one pass that finds where each record starts and checks it by the table
//! of kinds → one pass over the references, which may point forwards.
//!
//! What always holds after parsing: each record lies whole inside `words`; each name offset lies on a character
//! boundary of the strings; each type id is that of an existing type or 0 (void). The graph may still be cyclic
//! in ways no compiler makes, therefore walks are bounded (`resolve.rs`).

use std::borrow::Cow;
use std::ffi::CStr;
use std::sync::{Arc, OnceLock};

use crate::error::{BtfError, BtfErrorKind as K, Part};
use crate::kind::{Field, Kind, Word3};
use crate::names::Names;
use crate::view::{DeclTag, Type};

/// The magic number of the header.
pub(crate) const MAGIC: u16 = 0xeb9f;
/// Bytes of the header, as of version 1.
pub(crate) const HEADER_LEN: u32 = 24;
/// The longest name of a type, member, parameter or enumerator in bytes: the kernel's `KSYM_NAME_LEN` without the NUL.
pub const MAX_NAME_LEN: usize = 511;

/// A checked BTF section; a split one holds its base.
///
/// Memory: a copy of the section plus four bytes a type; who looks up many names has an index made.
#[derive(Debug)]
pub struct Btf {
    words: Box<[u32]>,
    /// Word where each own type starts, and the end of the last.
    starts: Box<[u32]>,
    strings: Box<str>,
    base: Option<Arc<Btf>>,
    first_id: u32,
    first_str: u32,
    /// Whether all strings are ASCII and none is longer than [`MAX_NAME_LEN`] (source lines may be, names may not).
    strings_are_plain: bool,
    names: Names,
    /// Own ids of declaration tags.
    decl_tags: OnceLock<Box<[u32]>>,
    /// The same with the type that each stands on, sorted by it.
    decl_tags_by_type: OnceLock<Vec<(u32, u32)>>,
}

/// A type record in words, whole: `kind.row().words(vlen)` of them.
#[derive(Clone, Copy)]
pub(crate) struct Record<'a>(pub(crate) &'a [u32]);

impl<'a> Record<'a> {
    pub(crate) fn word(self, i: usize) -> u32 {
        self.0.get(i).copied().unwrap_or(0)
    }
    pub(crate) fn name_off(self) -> u32 {
        self.word(0)
    }
    pub(crate) fn info(self) -> u32 {
        self.word(1)
    }
    pub(crate) fn word3(self) -> u32 {
        self.word(2)
    }
    /// The kind; `Int` cannot be reached for an unchecked one.
    pub(crate) fn kind(self) -> Kind {
        Kind::from_raw(raw_kind(self.info())).unwrap_or(Kind::Int)
    }
    pub(crate) fn vlen(self) -> u32 {
        self.info() & 0xffff
    }
    pub(crate) fn kind_flag(self) -> bool {
        self.info() >> 31 != 0
    }
    /// The words behind the header and the fixed part.
    pub(crate) fn entries(self) -> &'a [u32] {
        self.0.get(3 + self.kind().row().fixed.len()..).unwrap_or(&[])
    }
}

pub(crate) fn raw_kind(info: u32) -> u32 {
    info >> 24 & 0x1f
}

impl Btf {
    /// Reads and checks a `.BTF` section or a file such as `/sys/kernel/btf/vmlinux`.
    ///
    /// # Errors
    /// The first rule that is broken, with its byte offset. Big-endian data is refused.
    pub fn parse(data: &[u8]) -> Result<Btf, BtfError> {
        Btf::parse_on(data, None)
    }

    /// Reads split BTF: ids and string offsets go on where those of `base` end (kernel modules).
    ///
    /// # Errors
    /// As [`Btf::parse`].
    pub fn parse_split(data: &[u8], base: Arc<Btf>) -> Result<Btf, BtfError> {
        Btf::parse_on(data, Some(base))
    }

    fn parse_on(data: &[u8], base: Option<Arc<Btf>>) -> Result<Btf, BtfError> {
        let header = Header::parse(data)?;
        let types = header.part(data, Part::Types)?;
        let strings = header.part(data, Part::Strings)?;
        let strings = check_strings(strings, header.strings_at(), base.is_some())?;
        let words: Box<[u32]> =
            types.chunks_exact(4).map(|c| u32::from_le_bytes([c[0], c[1], c[2], c[3]])).collect();
        let first_id = base.as_ref().map_or(1, |b| b.type_count());
        let first_str = base.as_ref().map_or(0, |b| b.strings_end());
        if u64::from(first_str) + strings.len() as u64 > u64::from(u32::MAX) {
            return Err(BtfError::at(header.strings_at(), K::StringsTooLong));
        }
        let starts = find_records(&words, header.types_at(), first_id)?;
        let btf = Btf {
            words,
            starts,
            strings_are_plain: are_plain(&strings),
            strings: strings.into_owned().into(),
            base,
            first_id,
            first_str,
            names: Names::default(),
            decl_tags: OnceLock::new(),
            decl_tags_by_type: OnceLock::new(),
        };
        btf.check_references(header.types_at())?;
        Ok(btf)
    }

    /// BTF without types: what an object that was compiled without `-g` has.
    pub fn empty() -> Btf {
        Btf {
            words: Box::default(),
            starts: Box::new([0]),
            strings: "\0".into(),
            base: None,
            first_id: 1,
            first_str: 0,
            strings_are_plain: true,
            names: Names::default(),
            decl_tags: OnceLock::new(),
            decl_tags_by_type: OnceLock::new(),
        }
    }

    /// Number of type ids, void (0) and the base's included: ids are `0..type_count()`.
    pub fn type_count(&self) -> u32 {
        self.first_id + self.starts.len() as u32 - 1
    }

    /// Whether there is no type but void.
    pub fn is_empty(&self) -> bool {
        self.type_count() == 1
    }

    /// The first id that is not the base's; 1 where there is no base.
    pub fn first_id(&self) -> u32 {
        self.first_id
    }

    /// The base of split BTF.
    pub fn base(&self) -> Option<&Arc<Btf>> {
        self.base.as_ref()
    }

    /// String offset behind the last string, the base's included.
    pub fn strings_end(&self) -> u32 {
        self.first_str + self.strings.len() as u32
    }

    /// The type with this id; id 0 is [`Type::Void`]. Costs the search for the name's end.
    pub fn type_by_id(&self, id: u32) -> Option<Type<'_>> {
        if id == 0 {
            return Some(Type::Void);
        }
        let record = self.record(id)?;
        Some(Type::from_record(self, record))
    }

    /// The kind of a type, without reading more; `None` for void and for ids that do not exist.
    pub fn kind_of(&self, id: u32) -> Option<Kind> {
        self.record(id).map(Record::kind)
    }

    /// All types with their ids, the base's first, without void.
    pub fn types(&self) -> impl Iterator<Item = (u32, Type<'_>)> {
        (1..self.type_count()).filter_map(|id| Some((id, self.type_by_id(id)?)))
    }

    /// The types of this section alone, without the base's.
    pub fn own_types(&self) -> impl Iterator<Item = (u32, Type<'_>)> {
        (self.first_id..self.type_count()).filter_map(|id| Some((id, self.type_by_id(id)?)))
    }

    /// Tags on declarations, without the base's. The first call looks at every type, the next ones at tags alone.
    pub fn own_decl_tags(&self) -> impl Iterator<Item = DeclTag<'_>> {
        self.decl_tag_records().map(|r| DeclTag::from_record(self, r))
    }

    /// The tags on one type, without the base's, in their order. The first call looks at every type and sorts the tags, the
    /// next ones search among them.
    pub fn own_decl_tags_of(&self, type_id: u32) -> impl Iterator<Item = DeclTag<'_>> {
        let all = self.decl_tags_by_type.get_or_init(|| {
            let mut all: Vec<(u32, u32)> =
                self.decl_tag_ids().iter().filter_map(|id| Some((self.record(*id)?.word3(), *id))).collect();
            all.sort_unstable();
            all
        });
        let from = all.partition_point(|(t, _)| *t < type_id);
        let these = all[from..].iter().take_while(move |(t, _)| *t == type_id);
        these.filter_map(|(_, id)| self.record(*id)).map(|r| DeclTag::from_record(self, r))
    }

    fn decl_tag_ids(&self) -> &[u32] {
        self.decl_tags.get_or_init(|| {
            (self.first_id..self.type_count()).filter(|id| self.kind_of(*id) == Some(Kind::DeclTag)).collect()
        })
    }

    fn decl_tag_records(&self) -> impl Iterator<Item = Record<'_>> {
        self.decl_tag_ids().iter().filter_map(|id| self.record(*id))
    }

    /// The string at this offset; `None` outside the strings and in the middle of a character.
    pub fn string(&self, off: u32) -> Option<&str> {
        let Some(own) = off.checked_sub(self.first_str) else {
            return self.base.as_ref()?.string(off);
        };
        let rest = self.strings.get(own as usize..)?;
        let end = CStr::from_bytes_until_nul(rest.as_bytes()).ok()?.count_bytes();
        rest.get(..end)
    }

    /// Is there a string at this offset? Its end is not looked for: the last byte of the strings is a zero.
    pub(crate) fn has_string(&self, off: u32) -> bool {
        match off.checked_sub(self.first_str) {
            Some(own) => self.strings.get(own as usize..).is_some_and(|rest| !rest.is_empty()),
            None => self.base.as_ref().is_some_and(|base| base.has_string(off)),
        }
    }

    /// The own strings from this offset on.
    pub(crate) fn own_strings_from(&self, off: u32) -> &[u8] {
        let own = off.checked_sub(self.first_str).map(|own| own as usize);
        own.and_then(|own| self.strings.as_bytes().get(own..)).unwrap_or(&[])
    }

    /// The name at a checked offset.
    pub(crate) fn name_at(&self, off: u32) -> &str {
        self.string(off).unwrap_or("")
    }

    /// Name of a type, empty for void and where it has none.
    pub fn name_of(&self, id: u32) -> &str {
        self.record(id).map_or("", |r| self.name_at(r.name_off()))
    }

    pub(crate) fn record(&self, id: u32) -> Option<Record<'_>> {
        let Some(own) = id.checked_sub(self.first_id) else {
            return if id == 0 { None } else { self.base.as_ref()?.record(id) };
        };
        let from = *self.starts.get(own as usize)? as usize;
        let to = *self.starts.get(own as usize + 1)? as usize;
        self.words.get(from..to).map(Record)
    }

    /// The words of an own type; none for ids that are not.
    pub(crate) fn own_words_mut(&mut self, id: u32) -> &mut [u32] {
        let own = id.checked_sub(self.first_id).map_or(usize::MAX, |own| own as usize);
        let bounds = self.starts.get(own).copied().zip(self.starts.get(own.saturating_add(1)).copied());
        let (from, to) = bounds.unwrap_or((0, 0));
        self.words.get_mut(from as usize..to as usize).unwrap_or_default()
    }

    pub(crate) fn names(&self) -> &Names {
        &self.names
    }

    /// Words of all types, the base's included: a measure of work.
    pub(crate) fn word_count(&self) -> u64 {
        self.words.len() as u64 + self.base.as_ref().map_or(0, |b| b.word_count())
    }

    pub(crate) fn own_strings(&self) -> &str {
        &self.strings
    }

    fn check_references(&self, at: usize) -> Result<(), BtfError> {
        for (i, w) in self.starts.windows(2).enumerate() {
            let record = Record(&self.words[w[0] as usize..w[1] as usize]);
            if let Some((word, kind)) = self.bad_reference(record) {
                return Err(BtfError::in_type(
                    at + (w[0] as usize + word) * 4,
                    self.first_id + i as u32,
                    kind,
                ));
            }
        }
        Ok(())
    }

    /// The first word of a record that refers to nothing.
    fn bad_reference(&self, record: Record<'_>) -> Option<(usize, K)> {
        let row = record.kind().row();
        let word3 = if row.word3 == Word3::Type { Field::Type } else { Field::Plain };
        let (head, rest) = record.0.split_at_checked(3)?;
        let (fixed, entries) = rest.split_at_checked(row.fixed.len())?;
        let good = self.are_good(&[Field::Name, Field::Plain, word3], head)
            && self.are_good(row.fixed, fixed)
            && (row.entry.is_empty()
                || entries.chunks_exact(row.entry.len()).all(|e| self.are_good(row.entry, e)));
        if good {
            return None;
        }
        // which one it is matters only now
        record.0.iter().enumerate().find_map(|(i, word)| match row.field(i) {
            Field::Name if !self.name_is_good(*word) => {
                Some((i, K::BadName { name_off: *word, strings: self.strings_end() }))
            }
            Field::Type if *word >= self.type_count() => {
                Some((i, K::BadTypeId { id: *word, types: self.type_count() }))
            }
            _ => None,
        })
    }

    #[inline]
    fn are_good(&self, fields: &[Field], words: &[u32]) -> bool {
        fields.iter().zip(words).all(|(field, word)| match field {
            Field::Name => self.name_is_good(*word),
            Field::Type => *word < self.type_count(),
            Field::Plain => true,
        })
    }

    #[inline]
    fn name_is_good(&self, off: u32) -> bool {
        match off.checked_sub(self.first_str) {
            Some(own) if self.strings_are_plain => (own as usize) < self.strings.len() || off == 0,
            Some(own) => off == 0 || self.odd_name_is_good(own as usize),
            None => self.base.as_ref().is_some_and(|b| b.name_is_good(off)),
        }
    }

    /// Whether a name starts at a character and ends soon enough.
    fn odd_name_is_good(&self, own: usize) -> bool {
        let inside = own < self.strings.len() && self.strings.is_char_boundary(own);
        inside && self.strings.as_bytes()[own..].iter().take(MAX_NAME_LEN + 1).any(|b| *b == 0)
    }
}

/// Where each record starts, and the end of the last; checks what can be checked without the other types.
fn find_records(words: &[u32], at: usize, first_id: u32) -> Result<Box<[u32]>, BtfError> {
    let mut starts = Vec::with_capacity(words.len() / 6 + 1);
    let mut pos = 0;
    while pos < words.len() {
        let id = first_id
            .checked_add(starts.len() as u32)
            .filter(|id| *id < u32::MAX)
            .ok_or_else(|| BtfError::at(at + pos * 4, K::TooManyTypes))?;
        let rest = &words[pos..];
        let len =
            record_len(rest).map_err(|(word, kind)| BtfError::in_type(at + (pos + word) * 4, id, kind))?;
        starts.push(pos as u32);
        pos += len;
    }
    starts.push(pos as u32);
    Ok(starts.into())
}

/// Words of the record at the start of `words`, or the word that is wrong and why.
fn record_len(words: &[u32]) -> Result<usize, (usize, K)> {
    let truncated =
        |need: usize| (0, K::Truncated { part: Part::Types, need: need * 4, have: words.len() * 4 });
    let record = Record(words);
    if words.len() < 3 {
        return Err(truncated(3));
    }
    let info = record.info();
    let kind = Kind::from_raw(raw_kind(info)).ok_or((1, K::UnknownKind { kind: raw_kind(info) }))?;
    if info & 0x60ff_0000 != 0 {
        return Err((1, K::BadInfo { info }));
    }
    let len = kind.row().words(record.vlen());
    if len > words.len() {
        return Err(truncated(len));
    }
    if kind == Kind::Int {
        let (size, bits, bit_offset) = (record.word3(), record.word(3) & 0xff, record.word(3) >> 16 & 0xff);
        if size > 16 || bits + bit_offset > size * 8 {
            return Err((3, K::BadInt { size, bits, bit_offset }));
        }
    }
    Ok(len)
}

/// Whether all strings are ASCII and short enough for names. Looks at a few bytes in each stretch of that length only.
fn are_plain(strings: &str) -> bool {
    let mut rest = strings.as_bytes();
    while rest.len() > MAX_NAME_LEN {
        match rest[..=MAX_NAME_LEN].iter().rposition(|b| *b == 0) {
            Some(nul) => rest = &rest[nul + 1..],
            None => return false,
        }
    }
    strings.is_ascii()
}

/// The strings as text of the same length: bytes that are not UTF-8 (a source line in an old encoding) become `?`.
fn check_strings(bytes: &[u8], at: usize, split: bool) -> Result<Cow<'_, str>, BtfError> {
    if split && bytes.is_empty() {
        return Ok(Cow::Borrowed(""));
    }
    if bytes.last() != Some(&0) || (!split && bytes.first() != Some(&0)) {
        return Err(BtfError::at(at, K::BadStrings));
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        return Ok(Cow::Borrowed(text));
    }
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|_| '?'));
    }
    Ok(Cow::Owned(text))
}

/// The header's fields that say where things are.
struct Header {
    hdr_len: u32,
    types: (u32, u32),
    strings: (u32, u32),
}

impl Header {
    fn parse(data: &[u8]) -> Result<Header, BtfError> {
        let hdr_len = check_preamble(data, HEADER_LEN)?;
        tail_is_zero(data, HEADER_LEN as usize, hdr_len)?;
        let f = |i: usize| u32_at(data, i);
        let header = Header { hdr_len, types: (f(8), f(12)), strings: (f(16), f(20)) };
        for (i, value) in [(8, header.types.0), (12, header.types.1)] {
            if value % 4 != 0 {
                return Err(BtfError::at(i, K::Misaligned { part: Part::Types, value }));
            }
        }
        Ok(header)
    }

    fn types_at(&self) -> usize {
        self.hdr_len as usize + self.types.0 as usize
    }

    fn strings_at(&self) -> usize {
        self.hdr_len as usize + self.strings.0 as usize
    }

    fn part<'a>(&self, data: &'a [u8], part: Part) -> Result<&'a [u8], BtfError> {
        let (field, (off, len)) = if part == Part::Types { (8, self.types) } else { (16, self.strings) };
        sub_part(data, self.hdr_len, off, len, part).map_err(|k| BtfError::at(field, k))
    }
}

/// The `len` bytes at `off` behind the header.
pub(crate) fn sub_part(data: &[u8], hdr_len: u32, off: u32, len: u32, part: Part) -> Result<&[u8], K> {
    let start = u64::from(hdr_len) + u64::from(off);
    let end = start + u64::from(len);
    if end > data.len() as u64 {
        return Err(K::OutOfBounds { part, end, have: data.len() });
    }
    Ok(&data[start as usize..end as usize])
}

/// Checks what `.BTF` and `.BTF.ext` headers begin with; gives the header's length.
pub(crate) fn check_preamble(data: &[u8], min: u32) -> Result<u32, BtfError> {
    if data.len() < 8 {
        return Err(BtfError::at(
            0,
            K::Truncated { part: Part::Header, need: min as usize, have: data.len() },
        ));
    }
    match u16::from_le_bytes([data[0], data[1]]) {
        MAGIC => {}
        m if m == MAGIC.swap_bytes() => return Err(BtfError::at(0, K::BigEndian)),
        found => return Err(BtfError::at(0, K::BadMagic { found })),
    }
    if data[2] != 1 {
        return Err(BtfError::at(2, K::BadVersion { found: data[2] }));
    }
    if data[3] != 0 {
        return Err(BtfError::at(3, K::BadFlags { found: data[3] }));
    }
    let hdr_len = u32_at(data, 4);
    if hdr_len < min || !hdr_len.is_multiple_of(4) {
        return Err(BtfError::at(4, K::BadHeaderLen { found: hdr_len, min }));
    }
    let Some(header) = data.get(..hdr_len as usize) else {
        return Err(BtfError::at(
            4,
            K::Truncated { part: Part::Header, need: hdr_len as usize, have: data.len() },
        ));
    };
    Ok(header.len() as u32)
}

pub(crate) fn u32_at(data: &[u8], at: usize) -> u32 {
    match data.get(at..at + 4) {
        Some(b) => u32::from_le_bytes([b[0], b[1], b[2], b[3]]),
        None => 0,
    }
}

/// Whether the header bytes from `known` on are zero.
pub(crate) fn tail_is_zero(data: &[u8], known: usize, hdr_len: u32) -> Result<(), BtfError> {
    match data.get(known..hdr_len as usize).and_then(|t| t.iter().position(|b| *b != 0)) {
        Some(i) => Err(BtfError::at(known + i, K::UnknownHeader)),
        None => Ok(()),
    }
}
