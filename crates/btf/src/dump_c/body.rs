//! Bodies of structs, unions and enums.
//!
//! While the members of a struct are printed, the place where C would put the next one is tracked by the rules of the
//! System V ABI, which BPF shares: fields at multiples of their alignment, bitfields where they fit into a unit of
//! their type. Where BTF says another place, unnamed bitfields fill the gap; they count neither as members nor for the
//! alignment. A struct with a member at a place that its alignment forbids is `packed`.

use super::names::sanitize;
use super::{DumpError, Dumper, State};
use crate::view::{Composite, Enum, Member, Type};

/// Gaps of more bits are filled by one array instead of unnamed bitfields.
const LONG_GAP: u64 = 64 * 64;

/// Units for filling, widest first.
const UNITS: [(&str, u64); 4] = [("long", 64), ("int", 32), ("short", 16), ("char", 8)];

/// Where the printing of a struct is; all in bits.
struct Cursor {
    text: String,
    indent: usize,
    offset: u64,
    packed: bool,
    pads: u32,
}

/// A member's place as C sees it; sizes in bits.
struct Slot {
    /// Width of a bitfield.
    bits: Option<u64>,
    size: u64,
    align: u64,
    offset: u64,
}

impl Slot {
    fn width(&self) -> u64 {
        self.bits.unwrap_or(self.size)
    }

    /// Where C puts the member if the last one ended at `end`.
    fn natural(&self, end: u64, packed: bool) -> u64 {
        match self.bits {
            Some(_) if packed => end,
            Some(bits) if end % self.align + bits <= self.size => end,
            _ if packed => end.next_multiple_of(8),
            _ => end.next_multiple_of(self.align),
        }
    }
}

impl Dumper<'_> {
    /// `struct name { … }` with its attributes, without a semicolon; anonymous if `c.name` is empty.
    pub(super) fn struct_body(
        &mut self,
        id: u32,
        c: Composite<'_>,
        indent: usize,
    ) -> Result<String, DumpError> {
        self.has_structs = true;
        let keyword = if c.is_union { "union" } else { "struct" };
        let name = if c.name.is_empty() { String::new() } else { format!(" {}", self.name_of(id)) };
        let align = u64::from(self.aligner.align_of(id).unwrap_or(1)) * 8;
        let packed = align == 8 && self.strictest_member(c) > 8;
        let text = format!("{keyword}{name} {{");
        let mut cursor = Cursor { text, indent: indent + 1, offset: 0, packed, pads: 0 };
        let mut end = 0;
        for m in c.members {
            if c.is_union {
                cursor.offset = 0;
            }
            self.member(&mut cursor, m)?;
            end = cursor.offset.max(end);
        }
        let size = u64::from(c.size) * 8;
        if end.next_multiple_of(if packed { 8 } else { align }) < size {
            if c.is_union { cursor.fill_union(size) } else { cursor.fill(size) }
        }
        let tail =
            if cursor.text.ends_with('{') { String::new() } else { format!("\n{}", "\t".repeat(indent)) };
        let attribute = if packed { " __attribute__((packed))" } else { "" };
        Ok(format!("{}{tail}}}{attribute}", cursor.text))
    }

    /// The widest alignment of a member, in bits.
    fn strictest_member(&mut self, c: Composite<'_>) -> u64 {
        let mut strictest = 8;
        for m in c.members {
            strictest = strictest.max(u64::from(self.aligner.align_of(m.type_id).unwrap_or(1)) * 8);
        }
        strictest
    }

    fn member(&mut self, cursor: &mut Cursor, m: Member<'_>) -> Result<(), DumpError> {
        let slot = self.slot(m);
        let unnamed_struct =
            m.name.is_empty() && self.btf.resolve(m.type_id).is_some_and(|(_, t)| t.composite().is_some());
        if m.name.is_empty() && !unnamed_struct {
            return Ok(()); // a gap with a type: filled like any other
        }
        if slot.natural(cursor.offset, cursor.packed) != slot.offset {
            cursor.fill(slot.offset);
        }
        let text = if unnamed_struct {
            self.unnamed_member(m, cursor.indent)?
        } else {
            self.declare(m.type_id, &sanitize(m.name), cursor.indent)?
        };
        self.burn(text.len() + cursor.indent)?;
        match slot.bits {
            Some(bits) => cursor.line(&format!("{text}: {bits};")),
            None => cursor.line(&format!("{text};")),
        }
        cursor.offset = slot.offset + slot.width();
        Ok(())
    }

    /// A struct in a struct without a name. If its type has one (a Microsoft extension of C), its members are printed.
    fn unnamed_member(&mut self, m: Member<'_>, indent: usize) -> Result<String, DumpError> {
        let Some((id, Type::Struct(c) | Type::Union(c))) = self.btf.resolve(m.type_id) else {
            return Err(DumpError::NotAType { type_id: m.type_id });
        };
        self.deeper(id, |d| d.struct_body(id, Composite { name: "", ..c }, indent))
    }

    fn slot(&mut self, m: Member<'_>) -> Slot {
        let size = u64::from(self.btf.size_of(m.type_id).unwrap_or(0)) * 8;
        let align = u64::from(self.aligner.align_of(m.type_id).unwrap_or(1)) * 8;
        let mut slot = Slot { bits: None, size, align, offset: m.bit_offset.into() };
        if m.bitfield_size != 0 {
            slot.bits = Some(m.bitfield_size.into());
        } else if let Some((_, Type::Int(i))) = self.btf.resolve(m.type_id)
            && u64::from(i.bits) != size
        {
            slot.bits = Some(i.bits.into());
            slot.offset += u64::from(i.bit_offset);
        }
        slot
    }

    /// `enum name { … }` with its attributes, without a semicolon.
    pub(super) fn enum_body(&mut self, id: u32, indent: usize) -> Result<String, DumpError> {
        let Some(e) = self.btf.type_by_id(id).and_then(|t| t.any_enum()) else {
            return Err(DumpError::NotAType { type_id: id });
        };
        self.states[id as usize] = State::Defined;
        let name = if e.name.is_empty() { String::new() } else { format!(" {}", self.name_of(id)) };
        let (tab, mut text) = ("\t".repeat(indent), format!("enum{name} {{\n"));
        for v in e.enumerators {
            let name = self.enumerator_name(v.name);
            self.burn(name.len() + indent)?;
            text.push_str(&format!("{tab}\t{name} = {},\n", literal(v.value, e)));
        }
        if e.enumerators.is_empty() {
            let name = self.enumerator_name(&format!("{}___empty", e.name));
            text.push_str(&format!("{tab}\t{name} = 0,\n"));
        }
        text.push_str(&format!("{tab}}}{}", mode(e)));
        Ok(text)
    }
}

impl Cursor {
    fn line(&mut self, text: &str) {
        self.text.push('\n');
        self.text.push_str(&"\t".repeat(self.indent));
        self.text.push_str(text);
    }

    /// Fills up to a bit offset, exactly.
    fn fill(&mut self, to: u64) {
        while self.offset < to {
            let gap = to - self.offset;
            let aligned = self.offset.is_multiple_of(8);
            if aligned && gap > LONG_GAP {
                self.line(&format!("char __padding_at_{}[{}];", self.offset / 8, gap / 8));
                self.pads += 1;
                self.offset += gap / 8 * 8;
                continue;
            }
            let whole = UNITS.iter().find(|(_, bits)| self.offset.is_multiple_of(*bits) && gap >= *bits);
            let (unit, bits) = whole.copied().unwrap_or(("char", gap.min(8 - self.offset % 8)));
            self.line(&format!("{unit}: {bits};"));
            self.offset += bits;
        }
    }

    /// Makes a union as large as BTF says.
    fn fill_union(&mut self, size: u64) {
        if size <= 64 {
            self.line(&format!("long: {size};"));
        } else {
            self.line(&format!("char __padding[{}];", size / 8));
        }
    }
}

/// An enumerator's value.
fn literal(value: i64, e: Enum<'_>) -> String {
    match (e.signed, i32::try_from(value)) {
        (true, Ok(_)) => value.to_string(),
        (true, _) if value == i64::MIN => format!("({}LL - 1)", value + 1),
        (true, _) => format!("{value}LL"),
        (false, _) if value as u64 <= u64::from(u32::MAX) => (value as u64).to_string(),
        (false, _) => format!("{}ULL", value as u64),
    }
}

/// The attribute that gives an enum a size which its values would not.
fn mode(e: Enum<'_>) -> &'static str {
    let wide = e.enumerators.clone().any(|v| match e.signed {
        true => i32::try_from(v.value).is_err(),
        false => u32::try_from(v.value).is_err(),
    });
    match e.size {
        1 => " __attribute__((mode(QI)))",
        2 => " __attribute__((mode(HI)))",
        8 if !wide => " __attribute__((mode(DI)))",
        _ => "",
    }
}
