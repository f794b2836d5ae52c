//! Short names for the access rights that most context fields have, so that a field is one line.

use skep_platform::{CtxField, FieldKind, Rights};

/// No access.
pub(crate) const NO: Rights = Rights::NONE;
/// One, two or four bytes anywhere: `bpf_ctx_narrow_access_ok` with a default of four.
pub(crate) const R124: Rights = Rights::any(1 | 2 | 4);
/// Four bytes.
pub(crate) const R4: Rights = Rights::any(4);
/// Eight bytes.
pub(crate) const R8: Rights = Rights::any(8);
/// Any size anywhere.
pub(crate) const RALL: Rights = Rights::any(1 | 2 | 4 | 8);
/// One, two or four bytes, but at the field's start alone.
pub(crate) const S124: Rights = Rights::start(1 | 2 | 4);

/// A number that may only be read.
pub(crate) const fn read(name: &'static str, off: u16, size: u16, rights: Rights) -> CtxField {
    CtxField::plain(name, off, size, FieldKind::Scalar, rights, NO)
}

/// A number that may be read and written.
pub(crate) const fn both(
    name: &'static str,
    off: u16,
    size: u16,
    rights: Rights,
    writes: Rights,
) -> CtxField {
    CtxField::plain(name, off, size, FieldKind::Scalar, rights, writes)
}

/// An eight-byte pointer that may only be read, and as a whole.
pub(crate) const fn pointer(name: &'static str, off: u16, kind: FieldKind) -> CtxField {
    CtxField::plain(name, off, 8, kind, R8, NO)
}
