//! Maps that hold nothing, for binding alone.

use std::any::Any;
use std::sync::Arc;

use skep_obj::Object;
use skep_platform::errno::Errno;
use skep_platform::map::{Map, MapDef, Side};

#[derive(Debug)]
struct Nothing(MapDef);

impl Map for Nothing {
    fn def(&self) -> &MapDef {
        &self.0
    }
    fn lookup(&self, _: &[u8], _: u32) -> Result<Option<u64>, Errno> {
        Ok(None)
    }
    fn read(&self, _: &[u8], _: &mut Vec<u8>) -> Result<(), Errno> {
        Err(Errno::ENOENT)
    }
    fn update(&self, _: &[u8], _: &[u8], _: u64, _: Side) -> Result<(), Errno> {
        Err(Errno::ENOENT)
    }
    fn delete(&self, _: &[u8], _: Side) -> Result<(), Errno> {
        Err(Errno::ENOENT)
    }
    fn next_key(&self, _: Option<&[u8]>, _: &mut Vec<u8>) -> Result<(), Errno> {
        Err(Errno::ENOENT)
    }
    fn freeze(&self) -> Result<(), Errno> {
        Ok(())
    }
    fn frozen(&self) -> bool {
        false
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// A map for each definition of the object.
pub(crate) fn maps(object: &Object) -> Vec<Option<Arc<dyn Map>>> {
    object.maps.iter().map(|m| Some(Arc::new(Nothing(m.def.clone())) as Arc<dyn Map>)).collect()
}
