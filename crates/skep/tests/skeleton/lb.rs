//! `lb.bpf.o`: its maps, programs and variables. Made by `skep gen skeleton`; changes are lost.

use skep::descriptors::{Errno, Program};
use skep::skeleton::{self, Field};
use skep::{Collection, Engine, Error, Loadable, Loaded, Map, Object, Options};
use std::sync::Arc;

/// The object, as it was compiled.
pub static OBJECT: &[u8] = include_bytes!("../../../../examples/lb/lb.bpf.o");

/// The object before it is loaded: variables can be set.
#[derive(Clone)]
pub struct Open {
    /// The object.
    pub object: Object,
}

impl Open {
    /// Reads the object.
    ///
    /// # Errors
    /// None for the object that was compiled in.
    pub fn new() -> Result<Open, skep::obj::ObjError> {
        Ok(Open { object: Object::parse(OBJECT)? })
    }

    /// What `.rodata` holds at first.
    pub fn rodata(&self) -> Option<Rodata> {
        skeleton::initial(&self.object, ".rodata")
    }

    /// Changes what `.rodata` holds at first.
    pub fn set_rodata(&mut self, value: &Rodata) -> Option<()> {
        skeleton::set_initial(&mut self.object, ".rodata", value)
    }

    /// What `.data` holds at first.
    pub fn data(&self) -> Option<Data> {
        skeleton::initial(&self.object, ".data")
    }

    /// Changes what `.data` holds at first.
    pub fn set_data(&mut self, value: &Data) -> Option<()> {
        skeleton::set_initial(&mut self.object, ".data", value)
    }

    /// What `.bss` holds at first.
    pub fn bss(&self) -> Option<Bss> {
        skeleton::initial(&self.object, ".bss")
    }

    /// Changes what `.bss` holds at first.
    pub fn set_bss(&mut self, value: &Bss) -> Option<()> {
        skeleton::set_initial(&mut self.object, ".bss", value)
    }

    /// Loads it into an engine; `judge` as in [`Collection::open`].
    ///
    /// # Errors
    /// As [`Collection::open`].
    pub fn load(
        self,
        engine: &dyn Engine,
        options: &Options<'_>,
        judge: &mut dyn FnMut(Program) -> Result<Loadable, Error>,
    ) -> Result<Lb, Error> {
        Ok(Lb { collection: Collection::open(self.object, engine, options, judge)? })
    }
}

/// The object in an engine.
pub struct Lb {
    /// Its maps and programs.
    pub collection: Collection,
}

impl Lb {
    /// What `.data` holds now.
    ///
    /// # Errors
    /// The map's.
    pub fn data(&self) -> Result<Data, Errno> {
        skeleton::section(self.collection.map(".data"))
    }

    /// Changes what `.data` holds.
    ///
    /// # Errors
    /// The map's.
    pub fn set_data(&self, value: &Data) -> Result<(), Errno> {
        skeleton::set_section(self.collection.map(".data"), value)
    }

    /// What `.bss` holds now.
    ///
    /// # Errors
    /// The map's.
    pub fn bss(&self) -> Result<Bss, Errno> {
        skeleton::section(self.collection.map(".bss"))
    }

    /// Changes what `.bss` holds.
    ///
    /// # Errors
    /// The map's.
    pub fn set_bss(&self, value: &Bss) -> Result<(), Errno> {
        skeleton::set_section(self.collection.map(".bss"), value)
    }

    /// Map `vips` (hash); `None` where the engine cannot make it.
    pub fn map_vips(&self) -> Option<&Arc<dyn Map>> {
        self.collection.map("vips")
    }

    /// Map `stats` (percpu_array); `None` where the engine cannot make it.
    pub fn map_stats(&self) -> Option<&Arc<dyn Map>> {
        self.collection.map("stats")
    }

    /// Map `ring` (array); `None` where the engine cannot make it.
    pub fn map_ring(&self) -> Option<&Arc<dyn Map>> {
        self.collection.map("ring")
    }

    /// Map `connections` (lru_hash); `None` where the engine cannot make it.
    pub fn map_connections(&self) -> Option<&Arc<dyn Map>> {
        self.collection.map("connections")
    }

    /// Map `chosen` (array); `None` where the engine cannot make it.
    pub fn map_chosen(&self) -> Option<&Arc<dyn Map>> {
        self.collection.map("chosen")
    }

    /// Program `lb` (section `xdp`), if it was loaded.
    pub fn prog_lb(&self) -> Option<&Arc<dyn Loaded>> {
        skeleton::program(&self.collection, "lb")
    }
}

/// Variables of `.rodata`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rodata {
    /// At byte 0.
    pub outer_source: u32,
    /// At byte 4.
    pub mtu: u32,
    /// At byte 8.
    pub default_vips: [DefaultVip; 3],
    /// At byte 56.
    pub install_defaults: bool,
}

impl Field for Rodata {
    fn get(bytes: &[u8]) -> Option<Rodata> {
        Some(Rodata {
            outer_source: Field::get(bytes.get(0..4)?)?,
            mtu: Field::get(bytes.get(4..8)?)?,
            default_vips: Field::get(bytes.get(8..56)?)?,
            install_defaults: Field::get(bytes.get(56..57)?)?,
        })
    }

    fn put(&self, bytes: &mut [u8]) -> Option<()> {
        self.outer_source.put(bytes.get_mut(0..4)?)?;
        self.mtu.put(bytes.get_mut(4..8)?)?;
        self.default_vips.put(bytes.get_mut(8..56)?)?;
        self.install_defaults.put(bytes.get_mut(56..57)?)?;
        Some(())
    }
}

/// Variables of `.data`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Data {
    /// At byte 0.
    pub servers: [[u32; 16]; 4],
    /// At byte 256.
    pub wanted_generation: u16,
}

impl Field for Data {
    fn get(bytes: &[u8]) -> Option<Data> {
        Some(Data {
            servers: Field::get(bytes.get(0..256)?)?,
            wanted_generation: Field::get(bytes.get(256..258)?)?,
        })
    }

    fn put(&self, bytes: &mut [u8]) -> Option<()> {
        self.servers.put(bytes.get_mut(0..256)?)?;
        self.wanted_generation.put(bytes.get_mut(256..258)?)?;
        Some(())
    }
}

/// Variables of `.bss`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bss {
    /// At byte 0.
    pub ring_generation: u16,
    /// At byte 4.
    pub building: u32,
    /// At byte 8.
    pub turns: [Turn; 16],
}

impl Field for Bss {
    fn get(bytes: &[u8]) -> Option<Bss> {
        Some(Bss {
            ring_generation: Field::get(bytes.get(0..2)?)?,
            building: Field::get(bytes.get(4..8)?)?,
            turns: Field::get(bytes.get(8..136)?)?,
        })
    }

    fn put(&self, bytes: &mut [u8]) -> Option<()> {
        self.ring_generation.put(bytes.get_mut(0..2)?)?;
        self.building.put(bytes.get_mut(4..8)?)?;
        self.turns.put(bytes.get_mut(8..136)?)?;
        Some(())
    }
}

/// `struct turn`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Turn {
    /// At byte 0.
    pub next: u32,
    /// At byte 4.
    pub skip: u32,
}

impl Field for Turn {
    fn get(bytes: &[u8]) -> Option<Turn> {
        Some(Turn {
            next: Field::get(bytes.get(0..4)?)?,
            skip: Field::get(bytes.get(4..8)?)?,
        })
    }

    fn put(&self, bytes: &mut [u8]) -> Option<()> {
        self.next.put(bytes.get_mut(0..4)?)?;
        self.skip.put(bytes.get_mut(4..8)?)?;
        Some(())
    }
}

/// `struct default_vip`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DefaultVip {
    /// At byte 0.
    pub vip: Vip,
    /// At byte 8.
    pub service: Service,
}

impl Field for DefaultVip {
    fn get(bytes: &[u8]) -> Option<DefaultVip> {
        Some(DefaultVip {
            vip: Field::get(bytes.get(0..8)?)?,
            service: Field::get(bytes.get(8..16)?)?,
        })
    }

    fn put(&self, bytes: &mut [u8]) -> Option<()> {
        self.vip.put(bytes.get_mut(0..8)?)?;
        self.service.put(bytes.get_mut(8..16)?)?;
        Some(())
    }
}

/// `struct service`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Service {
    /// At byte 0.
    pub pool: u32,
    /// At byte 4.
    pub stats: u32,
}

impl Field for Service {
    fn get(bytes: &[u8]) -> Option<Service> {
        Some(Service {
            pool: Field::get(bytes.get(0..4)?)?,
            stats: Field::get(bytes.get(4..8)?)?,
        })
    }

    fn put(&self, bytes: &mut [u8]) -> Option<()> {
        self.pool.put(bytes.get_mut(0..4)?)?;
        self.stats.put(bytes.get_mut(4..8)?)?;
        Some(())
    }
}

/// `struct vip`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Vip {
    /// At byte 0.
    pub address: u32,
    /// At byte 4.
    pub port: u16,
    /// At byte 6.
    pub proto: u8,
    /// At byte 7.
    pub unused: u8,
}

impl Field for Vip {
    fn get(bytes: &[u8]) -> Option<Vip> {
        Some(Vip {
            address: Field::get(bytes.get(0..4)?)?,
            port: Field::get(bytes.get(4..6)?)?,
            proto: Field::get(bytes.get(6..7)?)?,
            unused: Field::get(bytes.get(7..8)?)?,
        })
    }

    fn put(&self, bytes: &mut [u8]) -> Option<()> {
        self.address.put(bytes.get_mut(0..4)?)?;
        self.port.put(bytes.get_mut(4..6)?)?;
        self.proto.put(bytes.get_mut(6..7)?)?;
        self.unused.put(bytes.get_mut(7..8)?)?;
        Some(())
    }
}
