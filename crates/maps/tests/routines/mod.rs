//! Calls of the routines that compiled code calls.

use skep_platform::map::{FastPath, LastArg, Map, MapOp, MapRoutine};
use std::sync::Arc;

/// CPU that the calls are from.
pub(crate) const CPU: u32 = 0;

/// Calls the routine, if the map has one for the operation; those for keys made of parts, too, which do the same.
pub(crate) fn by_routine(map: &Arc<dyn Map>, op: MapOp, a: [u64; 3]) -> Option<u64> {
    let addr = Arc::as_ptr(map).cast::<()>().expose_provenance() as u64;
    match map.fast_path(op)? {
        FastPath::Call(MapRoutine { call, last, parts }) => {
            let last = match last {
                LastArg::None => 0,
                LastArg::Cpu => CPU.into(),
                LastArg::Map => addr,
            };
            let first = if matches!(op, MapOp::Submit | MapOp::Discard) { a[0] } else { addr };
            // SAFETY: the map's own routine, with its address and keys and values of its sizes.
            let done = unsafe { call(first, a[0], a[1], a[2], 0, last) };
            for same in parts.into_iter().flatten() {
                assert_eq!(op, MapOp::Lookup, "others have one way to load a key");
                // SAFETY: as above.
                assert_eq!(unsafe { same(first, a[0], a[1], a[2], 0, last) }, done, "{:?}", map.def());
            }
            Some(done)
        }
        FastPath::Index { .. } | FastPath::Ids { .. } => None,
    }
}

/// The address of bytes.
pub(crate) fn at(bytes: &[u8]) -> u64 {
    bytes.as_ptr().expose_provenance() as u64
}
