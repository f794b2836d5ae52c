//! What modules made by `skep gen skeleton` stand on: values of data sections to and from bytes.
//!
//! A section is read and written by the places that its types say; bytes between them stay as they are.

use skep_obj::Object;
use skep_platform::map::{Map, Side};
use skep_platform::{Errno, Loaded};
use std::sync::Arc;

/// A type of C that stands in a data section.
pub trait Field: Sized {
    /// Reads it from as many bytes as it has; `None` from fewer.
    fn get(bytes: &[u8]) -> Option<Self>;
    /// Writes it to as many bytes as it has; `None` to fewer.
    fn put(&self, bytes: &mut [u8]) -> Option<()>;
}

macro_rules! numbers {
    ($($t:ty),*) => {$(
        impl Field for $t {
            fn get(bytes: &[u8]) -> Option<$t> {
                Some(<$t>::from_ne_bytes(bytes.get(..size_of::<$t>())?.try_into().ok()?))
            }
            fn put(&self, bytes: &mut [u8]) -> Option<()> {
                bytes.get_mut(..size_of::<$t>())?.copy_from_slice(&self.to_ne_bytes());
                Some(())
            }
        }
    )*};
}
numbers!(u8, i8, u16, i16, u32, i32, u64, i64, u128, i128, f32, f64);

impl Field for bool {
    fn get(bytes: &[u8]) -> Option<bool> {
        bytes.first().map(|b| *b != 0)
    }
    fn put(&self, bytes: &mut [u8]) -> Option<()> {
        *bytes.first_mut()? = u8::from(*self);
        Some(())
    }
}

impl<T: Field, const N: usize> Field for [T; N] {
    fn get(bytes: &[u8]) -> Option<[T; N]> {
        let each = bytes.len().checked_div(N).filter(|n| *n > 0)?;
        let all: Option<Vec<T>> = bytes.chunks_exact(each).take(N).map(T::get).collect();
        all?.try_into().ok()
    }
    fn put(&self, bytes: &mut [u8]) -> Option<()> {
        let each = bytes.len().checked_div(N).filter(|n| *n > 0)?;
        self.iter().zip(bytes.chunks_exact_mut(each)).try_for_each(|(v, b)| v.put(b))
    }
}

/// What a section holds when the object is loaded.
pub fn initial<T: Field>(object: &Object, section: &str) -> Option<T> {
    let spec = object.maps.iter().find(|m| m.def.name == section)?;
    match &spec.contents {
        Some(bytes) => T::get(bytes),
        None => T::get(&vec![0; spec.def.value_size as usize]),
    }
}

/// Changes what a section holds when the object is loaded; `None` if the object has no such section.
pub fn set_initial<T: Field>(object: &mut Object, section: &str, value: &T) -> Option<()> {
    let spec = object.maps.iter_mut().find(|m| m.def.name == section)?;
    let size = spec.def.value_size as usize;
    value.put(spec.contents.get_or_insert_with(|| vec![0; size]))
}

/// What a section holds now.
///
/// # Errors
/// `ENOENT` if there is no such map, `EINVAL` if its value is shorter than the type, and the map's.
pub fn section<T: Field>(map: Option<&Arc<dyn Map>>) -> Result<T, Errno> {
    T::get(&bytes(map)?).ok_or(Errno::EINVAL)
}

/// Changes what a section holds.
///
/// # Errors
/// As [`section`]; `EPERM` for sections that are read-only once they are loaded.
pub fn set_section<T: Field>(map: Option<&Arc<dyn Map>>, value: &T) -> Result<(), Errno> {
    let mut all = bytes(map)?;
    value.put(&mut all).ok_or(Errno::EINVAL)?;
    map.ok_or(Errno::ENOENT)?.update(&0u32.to_ne_bytes(), &all, 0, Side::User)
}

fn bytes(map: Option<&Arc<dyn Map>>) -> Result<Vec<u8>, Errno> {
    let mut bytes = Vec::new();
    map.ok_or(Errno::ENOENT)?.read(&0u32.to_ne_bytes(), &mut bytes)?;
    Ok(bytes)
}

/// A program of a collection that was loaded.
pub fn program<'c>(collection: &'c crate::Collection, name: &str) -> Option<&'c Arc<dyn Loaded>> {
    collection.program(name).map(|p| &p.loaded)
}
