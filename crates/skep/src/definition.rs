//! A map that is nothing but its definition: what the verifier needs of a map type that the user engine cannot make.

use skep_platform::map::Side;
use skep_platform::{Errno, Map, MapDef};
use std::any::Any;

/// The definition alone; every operation gives `EOPNOTSUPP`.
#[derive(Debug)]
pub(crate) struct Definition(pub(crate) MapDef);

impl Map for Definition {
    fn def(&self) -> &MapDef {
        &self.0
    }

    fn lookup(&self, _: &[u8], _: u32) -> Result<Option<u64>, Errno> {
        Err(Errno::EOPNOTSUPP)
    }

    fn read(&self, _: &[u8], _: &mut Vec<u8>) -> Result<(), Errno> {
        Err(Errno::EOPNOTSUPP)
    }

    fn update(&self, _: &[u8], _: &[u8], _: u64, _: Side) -> Result<(), Errno> {
        Err(Errno::EOPNOTSUPP)
    }

    fn delete(&self, _: &[u8], _: Side) -> Result<(), Errno> {
        Err(Errno::EOPNOTSUPP)
    }

    fn next_key(&self, _: Option<&[u8]>, _: &mut Vec<u8>) -> Result<(), Errno> {
        Err(Errno::EOPNOTSUPP)
    }

    fn freeze(&self) -> Result<(), Errno> {
        Err(Errno::EOPNOTSUPP)
    }

    fn frozen(&self) -> bool {
        false
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
