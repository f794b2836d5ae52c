//! CO-RE: what an instruction that depends on a type's layout must hold on the target.
//!
//! Flow of [`resolve`]: the access string becomes a *spec* of the local type (`spec.rs`) → types of the target with
//! the same essential name are the candidates ([`Cache`]) → each candidate is matched against the spec
//! (`matching.rs`, with the rules of compatibility in `compat.rs`) → the value asked for is worked out for the local
//! type and for each candidate (`value.rs`) → all candidates must agree. [`patch()`] then says how the instruction
//! changes (`patch.rs`); it is a pure function of plain fields.
//!
//! What always holds: the result is data and nothing is changed; types that are missing are no error but a *poisoned*
//! result, which only matters if the instruction is reached; all recursion is bounded, also on hostile types.
//!
//! The rules are those of libbpf (`relo_core.c`), so that an object means the same under either loader. Where they
//! differ, libbpf refuses or writes nonsense: enumerators of unsigned 32-bit enums are zero-extended, as compilers emit
//! them; a shift for a field of more than 64 bits is an error; a cycle in the types ends.

mod compat;
mod error;
mod matching;
mod minimal;
mod patch;
mod spec;
mod value;

use std::collections::HashMap;

pub use error::{CoreError, CoreErrorKind};
pub use minimal::Minimal;
pub use patch::{POISON_HELPER, Patch, PatchError, PatchSite, patch};

use crate::btf::Btf;
use crate::ext::CoreRelo;
use crate::names::essential_name;
use matching::Fuel;
use spec::Spec;

/// What a relocation asks for (`enum bpf_core_relo_kind`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum CoreReloKind {
    /// Offset of a field in bytes.
    FieldByteOffset = 0,
    /// Size of a field in bytes.
    FieldByteSize = 1,
    /// Whether the field exists.
    FieldExists = 2,
    /// Whether the field is signed.
    FieldSigned = 3,
    /// Shift to the left that brings a bitfield's first bit to bit 63 of a `u64`.
    FieldLshiftU64 = 4,
    /// Shift to the right that follows it.
    FieldRshiftU64 = 5,
    /// Id of the type in the object itself.
    TypeIdLocal = 6,
    /// Id of the type in the target.
    TypeIdTarget = 7,
    /// Whether a type of that name and a compatible shape exists.
    TypeExists = 8,
    /// Size of the type in bytes.
    TypeSize = 9,
    /// Whether the enumerator exists.
    EnumvalExists = 10,
    /// Value of the enumerator.
    EnumvalValue = 11,
    /// Whether a type of that name and exactly this shape exists.
    TypeMatches = 12,
}

/// Kinds with their names in listings, in the order of their numbers.
const KINDS: [(CoreReloKind, &str); 13] = [
    (CoreReloKind::FieldByteOffset, "byte_off"),
    (CoreReloKind::FieldByteSize, "byte_sz"),
    (CoreReloKind::FieldExists, "field_exists"),
    (CoreReloKind::FieldSigned, "signed"),
    (CoreReloKind::FieldLshiftU64, "lshift_u64"),
    (CoreReloKind::FieldRshiftU64, "rshift_u64"),
    (CoreReloKind::TypeIdLocal, "local_type_id"),
    (CoreReloKind::TypeIdTarget, "target_type_id"),
    (CoreReloKind::TypeExists, "type_exists"),
    (CoreReloKind::TypeSize, "type_size"),
    (CoreReloKind::EnumvalExists, "enumval_exists"),
    (CoreReloKind::EnumvalValue, "enumval_value"),
    (CoreReloKind::TypeMatches, "type_matches"),
];

/// What a kind is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum About {
    Field,
    Type,
    Enumval,
}

impl CoreReloKind {
    /// The kind with this number.
    pub fn from_raw(n: u32) -> Option<CoreReloKind> {
        KINDS.get(n as usize).map(|k| k.0)
    }

    /// Its name in listings, such as `byte_off`.
    pub fn name(self) -> &'static str {
        KINDS[self as usize].1
    }

    pub(crate) fn about(self) -> About {
        use CoreReloKind as K;
        match self {
            K::TypeIdLocal | K::TypeIdTarget | K::TypeExists | K::TypeSize | K::TypeMatches => About::Type,
            K::EnumvalExists | K::EnumvalValue => About::Enumval,
            _ => About::Field,
        }
    }
}

/// The answer to a relocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Relocated {
    /// What the instruction should hold before, if `validate`.
    pub orig: u64,
    /// What it must hold on the target.
    pub new: u64,
    /// Nothing on the target matches: the instruction must be replaced by one that cannot be verified if reached.
    pub poison: bool,
    /// Whether `orig` must be what the instruction holds.
    pub validate: bool,
    /// Field sizes differ and an access of the new size would not give the same value; matters to loads and stores.
    pub fail_memsz_adjust: bool,
    /// Bytes of the local field; 0 where that does not matter.
    pub orig_size: u32,
    /// Bytes of the target's field.
    pub new_size: u32,
    /// The target's root type, where one was found.
    pub target_type_id: Option<u32>,
}

/// Candidates found so far, by local type. One cache serves one pair of local and target BTF: as in libbpf a candidate
/// that failed to match while another one did is not tried again for that type.
#[derive(Debug, Default)]
pub struct Cache {
    candidates: HashMap<u32, Vec<u32>>,
}

/// Resolves one relocation of `local` against `target`.
///
/// Cost: a binary search for the first relocation of a type, then a walk over the fields of the candidates. The
/// target's name index is made when it is first needed.
///
/// # Errors
/// The relocation is malformed, or candidates disagree, or the asked value makes no sense for the field.
/// A target without match is no error: see [`Relocated::poison`].
pub fn resolve(
    local: &Btf,
    relo: &CoreRelo,
    target: &Btf,
    cache: &mut Cache,
) -> Result<Relocated, CoreError> {
    let fail = |kind| CoreError::new(local, relo, kind);
    let spec = Spec::parse(local, relo).map_err(fail)?;
    if spec.kind == CoreReloKind::TypeIdLocal {
        let id = u64::from(relo.type_id);
        return Ok(Relocated { orig: id, new: id, ..Relocated::default() });
    }
    if local.name_of(relo.type_id).is_empty() {
        return Err(fail(CoreErrorKind::Anonymous));
    }
    let candidates =
        cache.candidates.entry(relo.type_id).or_insert_with(|| find_candidates(local, relo.type_id, target));
    let (kept, result) = choose(&spec, target, candidates).map_err(fail)?;
    match result {
        Some(found) => {
            *candidates = kept;
            Ok(found)
        }
        None => value::calculate(&spec, None).map_err(fail),
    }
}

/// Whether type `l` of `local` may stand for type `t` of `target`: equal kinds all the way along pointers, arrays,
/// parameters and results, whatever the names (libbpf's `bpf_core_types_are_compat`). That is what decides about
/// extern kernel variables and functions. Types nested too deeply to tell are not.
pub fn types_are_compat(local: &Btf, l: u32, target: &Btf, t: u32) -> bool {
    compat::Pair { local, target }.types_are_compat(l, t, &mut Fuel::new()).unwrap_or(false)
}

/// The relocation in words, as libbpf writes it: `<byte_off> [7] struct sk_buff.len (0:3 @ offset 112)`.
///
/// # Errors
/// The relocation is malformed.
pub fn describe(local: &Btf, relo: &CoreRelo) -> Result<String, CoreError> {
    Ok(Spec::parse(local, relo).map_err(|kind| CoreError::new(local, relo, kind))?.to_string())
}

/// What in the target answers the relocation, in the words of [`describe`]; one entry for each candidate that matches.
///
/// # Errors
/// The relocation is malformed or the target's types nest too deeply.
pub fn describe_targets(local: &Btf, relo: &CoreRelo, target: &Btf) -> Result<Vec<String>, CoreError> {
    let fail = |kind| CoreError::new(local, relo, kind);
    let spec = Spec::parse(local, relo).map_err(fail)?;
    let mut fuel = Fuel::new();
    let mut out = Vec::new();
    for id in find_candidates(local, relo.type_id, target) {
        if let Some(found) = matching::match_spec(&spec, target, id, &mut fuel).map_err(fail)? {
            out.push(found.to_string());
        }
    }
    Ok(out)
}

/// Matches all candidates; gives those that match and what they agree on.
fn choose(
    spec: &Spec<'_>,
    target: &Btf,
    candidates: &[u32],
) -> Result<(Vec<u32>, Option<Relocated>), CoreErrorKind> {
    let mut kept = Vec::new();
    let mut chosen: Option<(Relocated, u64)> = None;
    let mut fuel = Fuel::new();
    for &id in candidates {
        let Some(found) = matching::match_spec(spec, target, id, &mut fuel)? else { continue };
        let result = value::calculate(spec, Some(&found))?;
        match &chosen {
            None => chosen = Some((result, found.bit_offset)),
            Some((_, bits)) if *bits != found.bit_offset => {
                return Err(CoreErrorKind::AmbiguousOffset { first: *bits, second: found.bit_offset });
            }
            Some((first, _)) if first.poison != result.poison || first.new != result.new => {
                return Err(CoreErrorKind::AmbiguousValue { first: first.new, second: result.new });
            }
            Some(_) => {}
        }
        kept.push(id);
    }
    Ok((kept, chosen.map(|c| c.0)))
}

/// Types of the target that may stand for the local one: the base's, or those of split BTF if the base has none.
fn find_candidates(local: &Btf, id: u32, target: &Btf) -> Vec<u32> {
    if let Some(base) = target.base() {
        let found = find_candidates(local, id, base);
        if !found.is_empty() {
            return found;
        }
    }
    let kind = local.kind_of(id);
    let same_kind = |t: &u32| compat::kinds_are_compat(kind, target.kind_of(*t));
    target.find_by_essential_name(essential_name(local.name_of(id))).filter(same_kind).collect()
}
