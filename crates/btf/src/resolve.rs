//! From a type to what it means: modifiers and typedefs skipped, sizes, alignments. Every walk ends, whatever the graph.

use std::collections::HashMap;

use crate::btf::Btf;
use crate::kind::Kind;
use crate::view::{Member, Type};

/// The longest chain of modifiers, typedefs and arrays that is followed; the limit of libbpf and the kernel.
pub const MAX_RESOLVE_DEPTH: usize = 32;

/// Bytes of a pointer on BPF and the 64-bit kernels.
const POINTER_SIZE: u64 = 8;

impl Btf {
    /// The id behind `volatile`, `const`, `restrict` and type tags.
    /// `None` if the id does not exist or the chain is longer than [`MAX_RESOLVE_DEPTH`].
    pub fn skip_mods(&self, id: u32) -> Option<u32> {
        self.skip(id, Kind::is_modifier)
    }

    /// The id behind modifiers and typedefs (0 if that is void).
    /// `None` if the id does not exist or the chain is longer than [`MAX_RESOLVE_DEPTH`].
    pub fn skip_mods_and_typedefs(&self, id: u32) -> Option<u32> {
        self.skip(id, |k| k.is_modifier() || k == Kind::Typedef)
    }

    /// The type behind modifiers and typedefs, with its id.
    pub fn resolve(&self, id: u32) -> Option<(u32, Type<'_>)> {
        let id = self.skip_mods_and_typedefs(id)?;
        Some((id, self.type_by_id(id)?))
    }

    fn skip(&self, mut id: u32, pass: impl Fn(Kind) -> bool) -> Option<u32> {
        for _ in 0..=MAX_RESOLVE_DEPTH {
            if id == 0 {
                return Some(0);
            }
            let record = self.record(id)?;
            if !pass(record.kind()) {
                return Some(id);
            }
            id = record.word3();
        }
        None
    }

    /// Bytes of a value of this type. `None` for types without size (void, functions, declarations), for chains that
    /// are too long, and for sizes that do not fit 32 bits.
    pub fn size_of(&self, mut id: u32) -> Option<u32> {
        let mut count: u64 = 1;
        for _ in 0..=MAX_RESOLVE_DEPTH {
            let record = self.record(id)?;
            let size = match record.kind() {
                Kind::Int
                | Kind::Struct
                | Kind::Union
                | Kind::Enum
                | Kind::Enum64
                | Kind::Datasec
                | Kind::Float => u64::from(record.word3()),
                Kind::Ptr => POINTER_SIZE,
                Kind::Array => {
                    count = count.checked_mul(u64::from(record.word(5)))?;
                    id = record.word(3);
                    continue;
                }
                k if k.is_modifier() || matches!(k, Kind::Typedef | Kind::Var) => {
                    id = record.word3();
                    continue;
                }
                _ => return None,
            };
            return u32::try_from(count.checked_mul(size)?).ok();
        }
        None
    }

    /// Alignment in bytes of a value of this type, as far as BTF tells: that of the widest member, or 1 for packed
    /// structs. For many look-ups use one [`Aligner`].
    pub fn align_of(&self, id: u32) -> Option<u32> {
        Aligner::new(self).align_of(id)
    }
}

/// Alignments with memory: linear in the number of types and members over all calls.
pub struct Aligner<'a> {
    btf: &'a Btf,
    /// `None` while a type is in progress (a cycle) and where there is no alignment.
    known: HashMap<u32, Option<u32>>,
}

impl<'a> Aligner<'a> {
    /// Nothing known yet.
    pub fn new(btf: &'a Btf) -> Self {
        Aligner { btf, known: HashMap::new() }
    }

    /// As [`Btf::align_of`].
    pub fn align_of(&mut self, id: u32) -> Option<u32> {
        self.at_depth(id, 0)
    }

    fn at_depth(&mut self, id: u32, depth: usize) -> Option<u32> {
        let t = self.btf.type_by_id(id)?;
        match t {
            Type::Ptr(_) => Some(POINTER_SIZE as u32),
            Type::Int(i) => Some(scalar_align(i.size)),
            Type::Enum(e) | Type::Enum64(e) => Some(scalar_align(e.size)),
            Type::Float(f) => Some(scalar_align(f.size)),
            Type::Struct(_) | Type::Union(_) => self.composite(id, depth),
            Type::Array(a) if depth < 4 * MAX_RESOLVE_DEPTH => self.at_depth(a.type_id, depth + 1),
            Type::Typedef(_)
            | Type::Volatile(_)
            | Type::Const(_)
            | Type::Restrict(_)
            | Type::TypeTag(_)
            | Type::Var(_)
                if depth < 4 * MAX_RESOLVE_DEPTH =>
            {
                self.at_depth(t.referent()?, depth + 1)
            }
            _ => None,
        }
    }

    fn composite(&mut self, id: u32, depth: usize) -> Option<u32> {
        if let Some(known) = self.known.get(&id) {
            return *known;
        }
        if depth > 4 * MAX_RESOLVE_DEPTH {
            return None;
        }
        self.known.insert(id, None);
        let c = self.btf.type_by_id(id)?.composite()?;
        let mut align = 1;
        let mut natural = true;
        for m in c.members {
            let of_member = self.at_depth(m.type_id, depth + 1)?;
            natural &= self.is_natural(m, of_member);
            align = align.max(of_member);
        }
        natural &= c.size % align == 0;
        let align = if natural { align } else { 1 };
        self.known.insert(id, Some(align));
        Some(align)
    }
}

impl Aligner<'_> {
    /// Whether a member lies where its alignment allows; a bitfield: within a unit of its type.
    fn is_natural(&self, m: Member<'_>, align: u32) -> bool {
        let start = u64::from(m.bit_offset) % (u64::from(align) * 8);
        match m.bitfield_size {
            0 => start == 0,
            bits => {
                self.btf.size_of(m.type_id).is_some_and(|size| start + u64::from(bits) <= u64::from(size) * 8)
            }
        }
    }
}

/// Alignment of a number of this size: the size, at most 16, as the ABIs of BPF and x86-64 have it.
fn scalar_align(size: u32) -> u32 {
    if size.is_power_of_two() { size.min(16) } else { 1 }
}
