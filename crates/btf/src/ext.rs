//! [`BtfExt`]: the `.BTF.ext` section: which function starts where, which source line an instruction came from, and
//! which instructions want a CO-RE relocation.
//!
//! Each of the three parts says how long its records are; longer records than known are read by their known front,
//! shorter ones are refused. Header fields beyond those known, which clang 9 wrote, are passed over. Instruction offsets are in bytes from the start of the ELF section that is named.

use crate::btf::{Btf, check_preamble, sub_part, u32_at};
use crate::core::CoreReloKind;
use crate::error::{BtfError, BtfErrorKind as K, Part};

/// Bytes of the header without and with the CO-RE fields.
const HEADER_LEN: [u32; 2] = [24, 32];

/// The records of a `.BTF.ext` section, by part and by ELF section.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BtfExt {
    /// Function records.
    pub func_info: Vec<ExtSection<FuncInfo>>,
    /// Line records.
    pub line_info: Vec<ExtSection<LineInfo>>,
    /// CO-RE relocation records.
    pub core_relo: Vec<ExtSection<CoreRelo>>,
}

/// The records of one ELF section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExtSection<T> {
    /// String offset (in `.BTF`) of the ELF section's name.
    pub sec_name_off: u32,
    /// The records, in the order of the file.
    pub records: Vec<T>,
}

/// A function starts here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FuncInfo {
    /// Bytes from the start of the ELF section.
    pub insn_off: u32,
    /// The function, a [`crate::Func`].
    pub type_id: u32,
}

/// From here on (to the next record) the instructions belong to this source line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LineInfo {
    /// Bytes from the start of the ELF section.
    pub insn_off: u32,
    /// String offset of the file name.
    pub file_name_off: u32,
    /// String offset of the line's text.
    pub line_off: u32,
    /// Line and column in one word, see [`LineInfo::line`].
    pub line_col: u32,
}

/// The instruction here depends on the target's types.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CoreRelo {
    /// Bytes from the start of the ELF section.
    pub insn_off: u32,
    /// The local root type.
    pub type_id: u32,
    /// String offset of the access string, such as `0:1:2`.
    pub access_str_off: u32,
    /// What is wanted, as stored; see [`CoreRelo::kind`].
    pub raw_kind: u32,
}

impl LineInfo {
    /// Line number, from 1.
    pub fn line(&self) -> u32 {
        self.line_col >> 10
    }

    /// Column, from 1; 0 if unknown.
    pub fn column(&self) -> u32 {
        self.line_col & 0x3ff
    }

    /// The file's name as the compiler was given it.
    pub fn file_name<'a>(&self, btf: &'a Btf) -> &'a str {
        btf.name_at(self.file_name_off)
    }

    /// The text of the line, as it stands in the source, indented.
    pub fn text<'a>(&self, btf: &'a Btf) -> &'a str {
        btf.name_at(self.line_off)
    }
}

impl CoreRelo {
    /// What is wanted; `None` for a number newer than this code.
    pub fn kind(&self) -> Option<CoreReloKind> {
        CoreReloKind::from_raw(self.raw_kind)
    }

    /// The access string, such as `0:1:2`.
    pub fn access_str<'a>(&self, btf: &'a Btf) -> &'a str {
        btf.name_at(self.access_str_off)
    }
}

impl<T> ExtSection<T> {
    /// The ELF section's name.
    pub fn section<'a>(&self, btf: &'a Btf) -> &'a str {
        btf.name_at(self.sec_name_off)
    }
}

/// A record of one of the three parts: all words are `u32`.
trait ExtRecord: Copy {
    const PART: Part;
    const WORDS: usize;
    fn from_words(w: [u32; 4]) -> Self;
    fn to_words(self) -> [u32; 4];
    /// The words that are string offsets and type ids.
    const NAMES: &'static [usize];
    const TYPES: &'static [usize];
}

impl ExtRecord for FuncInfo {
    const PART: Part = Part::FuncInfo;
    const WORDS: usize = 2;
    const NAMES: &'static [usize] = &[];
    const TYPES: &'static [usize] = &[1];
    fn from_words(w: [u32; 4]) -> Self {
        FuncInfo { insn_off: w[0], type_id: w[1] }
    }
    fn to_words(self) -> [u32; 4] {
        [self.insn_off, self.type_id, 0, 0]
    }
}

impl ExtRecord for LineInfo {
    const PART: Part = Part::LineInfo;
    const WORDS: usize = 4;
    const NAMES: &'static [usize] = &[1, 2];
    const TYPES: &'static [usize] = &[];
    fn from_words(w: [u32; 4]) -> Self {
        LineInfo { insn_off: w[0], file_name_off: w[1], line_off: w[2], line_col: w[3] }
    }
    fn to_words(self) -> [u32; 4] {
        [self.insn_off, self.file_name_off, self.line_off, self.line_col]
    }
}

impl ExtRecord for CoreRelo {
    const PART: Part = Part::CoreRelo;
    const WORDS: usize = 4;
    const NAMES: &'static [usize] = &[2];
    const TYPES: &'static [usize] = &[1];
    fn from_words(w: [u32; 4]) -> Self {
        CoreRelo { insn_off: w[0], type_id: w[1], access_str_off: w[2], raw_kind: w[3] }
    }
    fn to_words(self) -> [u32; 4] {
        [self.insn_off, self.type_id, self.access_str_off, self.raw_kind]
    }
}

impl BtfExt {
    /// Reads and checks a `.BTF.ext` section that goes with `btf`: all string offsets and type ids are good afterwards.
    ///
    /// # Errors
    /// The first rule that is broken, with its byte offset in `data`.
    pub fn parse(data: &[u8], btf: &Btf) -> Result<BtfExt, BtfError> {
        let hdr_len = check_preamble(data, HEADER_LEN[0])?;
        let has_core = hdr_len >= HEADER_LEN[1];
        let input = Input { data, hdr_len, btf };
        Ok(BtfExt {
            func_info: input.part(8)?,
            line_info: input.part(16)?,
            core_relo: if has_core { input.part(24)? } else { Vec::new() },
        })
    }

    /// The section's bytes. Records have the sizes known here; empty sections are left out.
    pub fn emit(&self) -> Vec<u8> {
        let parts = [emit_part(&self.func_info), emit_part(&self.line_info), emit_part(&self.core_relo)];
        let mut out = Vec::new();
        out.extend_from_slice(&crate::btf::MAGIC.to_le_bytes());
        out.extend_from_slice(&[1, 0]);
        let mut words = vec![HEADER_LEN[1]];
        let mut off = 0;
        for p in &parts {
            words.extend([off, p.len() as u32 * 4]);
            off += p.len() as u32 * 4;
        }
        for w in words.iter().chain(parts.iter().flatten()) {
            out.extend_from_slice(&w.to_le_bytes());
        }
        out
    }

    /// Replaces all type ids and string offsets: what is needed after a merge.
    pub fn remap(&mut self, mut type_id: impl FnMut(u32) -> u32, mut string: impl FnMut(u32) -> u32) {
        remap_part(&mut self.func_info, &mut type_id, &mut string);
        remap_part(&mut self.line_info, &mut type_id, &mut string);
        remap_part(&mut self.core_relo, &mut type_id, &mut string);
    }

    /// Function records of the ELF section `name`.
    pub fn func_info_of<'a>(&'a self, btf: &Btf, name: &str) -> &'a [FuncInfo] {
        records_of(&self.func_info, btf, name)
    }

    /// Line records of the ELF section `name`.
    pub fn line_info_of<'a>(&'a self, btf: &Btf, name: &str) -> &'a [LineInfo] {
        records_of(&self.line_info, btf, name)
    }

    /// CO-RE records of the ELF section `name`.
    pub fn core_relo_of<'a>(&'a self, btf: &Btf, name: &str) -> &'a [CoreRelo] {
        records_of(&self.core_relo, btf, name)
    }
}

fn records_of<'a, T>(sections: &'a [ExtSection<T>], btf: &Btf, name: &str) -> &'a [T] {
    sections.iter().find(|s| s.section(btf) == name).map_or(&[], |s| &s.records)
}

struct Input<'a> {
    data: &'a [u8],
    hdr_len: u32,
    btf: &'a Btf,
}

impl Input<'_> {
    /// The part whose offset and length stand at `field` in the header.
    fn part<T: ExtRecord>(&self, field: usize) -> Result<Vec<ExtSection<T>>, BtfError> {
        let (off, len) = (u32_at(self.data, field), u32_at(self.data, field + 4));
        if len == 0 {
            return Ok(Vec::new());
        }
        if off % 4 != 0 {
            return Err(BtfError::at(field, K::Misaligned { part: T::PART, value: off }));
        }
        let bytes =
            sub_part(self.data, self.hdr_len, off, len, T::PART).map_err(|k| BtfError::at(field, k))?;
        let at = self.hdr_len as usize + off as usize;
        let min = T::WORDS as u32 * 4;
        let size = u32_at(bytes, 0);
        if bytes.len() < 4 || size < min || !size.is_multiple_of(4) {
            return Err(BtfError::at(at, K::BadRecordSize { part: T::PART, found: size, min }));
        }
        let mut sections = Vec::new();
        let mut pos = 4;
        while pos < bytes.len() {
            let section = self.section(&bytes[pos..], at + pos, size as usize)?;
            pos += 8 + section.records.len() * size as usize;
            sections.push(section);
        }
        Ok(sections)
    }

    fn section<T: ExtRecord>(&self, bytes: &[u8], at: usize, size: usize) -> Result<ExtSection<T>, BtfError> {
        let truncated = |need| BtfError::at(at, K::Truncated { part: T::PART, need, have: bytes.len() });
        if bytes.len() < 8 {
            return Err(truncated(8));
        }
        let (sec_name_off, count) = (u32_at(bytes, 0), u32_at(bytes, 4) as usize);
        self.check_name(sec_name_off, at)?;
        if count == 0 {
            return Err(BtfError::at(at + 4, K::EmptySection { part: T::PART }));
        }
        let need = count.saturating_mul(size).saturating_add(8);
        let records = bytes.get(8..need).ok_or_else(|| truncated(need))?;
        let mut out = Vec::with_capacity(count);
        for (i, record) in records.chunks_exact(size).enumerate() {
            out.push(self.record::<T>(record, at + 8 + i * size)?);
        }
        Ok(ExtSection { sec_name_off, records: out })
    }

    fn record<T: ExtRecord>(&self, bytes: &[u8], at: usize) -> Result<T, BtfError> {
        let mut words = [0; 4];
        for (i, w) in words.iter_mut().take(T::WORDS).enumerate() {
            *w = u32_at(bytes, i * 4);
        }
        for &i in T::NAMES {
            self.check_name(words[i], at + i * 4)?;
        }
        for &i in T::TYPES {
            let types = self.btf.type_count();
            if words[i] >= types {
                return Err(BtfError::at(at + i * 4, K::BadTypeId { id: words[i], types }));
            }
        }
        Ok(T::from_words(words))
    }

    fn check_name(&self, name_off: u32, at: usize) -> Result<(), BtfError> {
        match self.btf.has_string(name_off) {
            true => Ok(()),
            false => Err(BtfError::at(at, K::BadName { name_off, strings: self.btf.strings_end() })),
        }
    }
}

fn emit_part<T: ExtRecord>(sections: &[ExtSection<T>]) -> Vec<u32> {
    let mut words = Vec::new();
    for s in sections.iter().filter(|s| !s.records.is_empty()) {
        if words.is_empty() {
            words.push(T::WORDS as u32 * 4);
        }
        words.extend([s.sec_name_off, s.records.len() as u32]);
        for r in &s.records {
            words.extend_from_slice(&r.to_words()[..T::WORDS]);
        }
    }
    words
}

fn remap_part<T: ExtRecord>(
    sections: &mut [ExtSection<T>],
    type_id: &mut impl FnMut(u32) -> u32,
    string: &mut impl FnMut(u32) -> u32,
) {
    for s in sections {
        s.sec_name_off = string(s.sec_name_off);
        for r in &mut s.records {
            let mut words = r.to_words();
            T::NAMES.iter().for_each(|&i| words[i] = string(words[i]));
            T::TYPES.iter().for_each(|&i| words[i] = type_id(words[i]));
            *r = T::from_words(words);
        }
    }
}
