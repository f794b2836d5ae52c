//! How a map type lives in a file: the four steps that every type names once, and the two ways through them.
//!
//! New map: `check` the definition, make a file of `layout`, `init` it, `attach`.
//! Existing file: `check` what its header says, compare the `layout`, `attach`.

use crate::file::{Layout, MapFile};
use skep_platform::Errno;
use skep_platform::map::{Map, MapDef, MapError};
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// A map type's way into a file.
pub(crate) struct Storage {
    /// The type's `map_alloc_check`; gives the definition with sizes as the type rounds them.
    pub(crate) check: fn(&MapDef) -> Result<MapDef, MapError>,
    /// What it needs of the file, for so many CPUs.
    pub(crate) layout: fn(&MapDef, u32) -> Layout,
    /// Initialises a new file, which is all zero after the header.
    pub(crate) init: fn(&MapFile),
    /// The map in an initialised file.
    pub(crate) attach: fn(MapFile) -> Arc<dyn Map>,
}

impl Storage {
    /// Makes a new map, in a memory file of its own or in `file`, which has to be empty.
    pub(crate) fn create(&self, def: &MapDef, file: Option<OwnedFd>) -> Result<Arc<dyn Map>, MapError> {
        let def = (self.check)(def)?;
        let layout = (self.layout)(&def, crate::file::possible_cpus());
        let file = match file {
            None => MapFile::create(&def, layout)?,
            Some(fd) => MapFile::create_on(fd, &def, layout)?,
        };
        (self.init)(&file);
        file.complete();
        Ok((self.attach)(file))
    }

    /// Opens the map in a file.
    pub(crate) fn open(&self, file: MapFile) -> Result<Arc<dyn Map>, Errno> {
        let def = (self.check)(&file.def).map_err(|e| e.errno)?;
        file.check_layout((self.layout)(&def, file.cpus))?;
        Ok((self.attach)(file))
    }
}
