//! A map that is only its definition, for verification.

use skep_platform::map::{MapDef, Side};
use skep_platform::{Errno, Map, MapType};
use std::any::Any;
use std::sync::Arc;

#[derive(Debug)]
pub(crate) struct Paper {
    pub(crate) def: MapDef,
    pub(crate) frozen: bool,
    pub(crate) data: Option<Vec<u8>>,
}

impl Map for Paper {
    fn def(&self) -> &MapDef {
        &self.def
    }
    fn lookup(&self, _: &[u8], _: u32) -> Result<Option<u64>, Errno> {
        Ok(None)
    }
    fn read(&self, _: &[u8], out: &mut Vec<u8>) -> Result<(), Errno> {
        *out = self.data.clone().ok_or(Errno::ENOENT)?;
        Ok(())
    }
    fn update(&self, _: &[u8], _: &[u8], _: u64, _: Side) -> Result<(), Errno> {
        Err(Errno::EINVAL)
    }
    fn delete(&self, _: &[u8], _: Side) -> Result<(), Errno> {
        Err(Errno::EINVAL)
    }
    fn next_key(&self, _: Option<&[u8]>, _: &mut Vec<u8>) -> Result<(), Errno> {
        Err(Errno::ENOENT)
    }
    fn freeze(&self) -> Result<(), Errno> {
        Ok(())
    }
    fn frozen(&self) -> bool {
        self.frozen
    }
    fn direct(&self) -> Option<(u64, u64)> {
        (self.def.map_type == MapType::Array).then_some((1 << 20, self.def.value_size as u64))
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

pub(crate) fn def(name: &str, map_type: MapType, key: u32, value: u32, entries: u32) -> MapDef {
    MapDef {
        name: name.into(),
        map_type,
        key_size: key,
        value_size: value,
        max_entries: entries,
        flags: 0,
        map_extra: 0,
        numa_node: 0,
        pin_by_name: false,
        inner: None,
        btf: None,
    }
}

pub(crate) fn paper(def: MapDef) -> Arc<dyn Map> {
    Arc::new(Paper { def, frozen: false, data: None })
}
