//! `firewall.bpf.o`: its maps, programs and variables. Made by `skep gen skeleton`; changes are lost.

use skep::descriptors::{Errno, Program};
use skep::skeleton::{self, Field};
use skep::{Collection, Engine, Error, Loadable, Loaded, Map, Object, Options};
use std::sync::Arc;

/// The object, as it was compiled.
pub static OBJECT: &[u8] = include_bytes!("../../../../examples/firewall/firewall.bpf.o");

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
    ) -> Result<Firewall, Error> {
        Ok(Firewall { collection: Collection::open(self.object, engine, options, judge)? })
    }
}

/// The object in an engine.
pub struct Firewall {
    /// Its maps and programs.
    pub collection: Collection,
}

impl Firewall {
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

    /// Map `blocked_v4` (lpm_trie); `None` where the engine cannot make it.
    pub fn map_blocked_v4(&self) -> Option<&Arc<dyn Map>> {
        self.collection.map("blocked_v4")
    }

    /// Map `blocked_v6` (lpm_trie); `None` where the engine cannot make it.
    pub fn map_blocked_v6(&self) -> Option<&Arc<dyn Map>> {
        self.collection.map("blocked_v6")
    }

    /// Map `ports` (hash); `None` where the engine cannot make it.
    pub fn map_ports(&self) -> Option<&Arc<dyn Map>> {
        self.collection.map("ports")
    }

    /// Map `buckets` (lru_hash); `None` where the engine cannot make it.
    pub fn map_buckets(&self) -> Option<&Arc<dyn Map>> {
        self.collection.map("buckets")
    }

    /// Map `fragments` (lru_hash); `None` where the engine cannot make it.
    pub fn map_fragments(&self) -> Option<&Arc<dyn Map>> {
        self.collection.map("fragments")
    }

    /// Map `counters` (percpu_array); `None` where the engine cannot make it.
    pub fn map_counters(&self) -> Option<&Arc<dyn Map>> {
        self.collection.map("counters")
    }

    /// Map `events` (ringbuf); `None` where the engine cannot make it.
    pub fn map_events(&self) -> Option<&Arc<dyn Map>> {
        self.collection.map("events")
    }

    /// Program `firewall` (section `xdp`), if it was loaded.
    pub fn prog_firewall(&self) -> Option<&Arc<dyn Loaded>> {
        skeleton::program(&self.collection, "firewall")
    }
}

/// Variables of `.rodata`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rodata {
    /// At byte 0.
    pub install_defaults: bool,
    /// At byte 8.
    pub rate_per_second: u64,
    /// At byte 16.
    pub rate_burst: u64,
    /// At byte 24.
    pub default_action: u32,
    /// At byte 28.
    pub default_blocked_v4: [PrefixV4; 3],
    /// At byte 52.
    pub default_blocked_v6: [PrefixV6; 2],
    /// At byte 92.
    pub default_ports: [PortRule; 6],
}

impl Field for Rodata {
    fn get(bytes: &[u8]) -> Option<Rodata> {
        Some(Rodata {
            install_defaults: Field::get(bytes.get(0..1)?)?,
            rate_per_second: Field::get(bytes.get(8..16)?)?,
            rate_burst: Field::get(bytes.get(16..24)?)?,
            default_action: Field::get(bytes.get(24..28)?)?,
            default_blocked_v4: Field::get(bytes.get(28..52)?)?,
            default_blocked_v6: Field::get(bytes.get(52..92)?)?,
            default_ports: Field::get(bytes.get(92..140)?)?,
        })
    }

    fn put(&self, bytes: &mut [u8]) -> Option<()> {
        self.install_defaults.put(bytes.get_mut(0..1)?)?;
        self.rate_per_second.put(bytes.get_mut(8..16)?)?;
        self.rate_burst.put(bytes.get_mut(16..24)?)?;
        self.default_action.put(bytes.get_mut(24..28)?)?;
        self.default_blocked_v4.put(bytes.get_mut(28..52)?)?;
        self.default_blocked_v6.put(bytes.get_mut(52..92)?)?;
        self.default_ports.put(bytes.get_mut(92..140)?)?;
        Some(())
    }
}

/// Variables of `.bss`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bss {
    /// At byte 0.
    pub defaults_installed: u32,
    /// At byte 8.
    pub events_lost: u64,
}

impl Field for Bss {
    fn get(bytes: &[u8]) -> Option<Bss> {
        Some(Bss {
            defaults_installed: Field::get(bytes.get(0..4)?)?,
            events_lost: Field::get(bytes.get(8..16)?)?,
        })
    }

    fn put(&self, bytes: &mut [u8]) -> Option<()> {
        self.defaults_installed.put(bytes.get_mut(0..4)?)?;
        self.events_lost.put(bytes.get_mut(8..16)?)?;
        Some(())
    }
}

/// `struct port_rule`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PortRule {
    /// At byte 0.
    pub key: PortKey,
    /// At byte 4.
    pub action: u32,
}

impl Field for PortRule {
    fn get(bytes: &[u8]) -> Option<PortRule> {
        Some(PortRule {
            key: Field::get(bytes.get(0..4)?)?,
            action: Field::get(bytes.get(4..8)?)?,
        })
    }

    fn put(&self, bytes: &mut [u8]) -> Option<()> {
        self.key.put(bytes.get_mut(0..4)?)?;
        self.action.put(bytes.get_mut(4..8)?)?;
        Some(())
    }
}

/// `struct port_key`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PortKey {
    /// At byte 0.
    pub port: u16,
    /// At byte 2.
    pub proto: u8,
    /// At byte 3.
    pub unused: u8,
}

impl Field for PortKey {
    fn get(bytes: &[u8]) -> Option<PortKey> {
        Some(PortKey {
            port: Field::get(bytes.get(0..2)?)?,
            proto: Field::get(bytes.get(2..3)?)?,
            unused: Field::get(bytes.get(3..4)?)?,
        })
    }

    fn put(&self, bytes: &mut [u8]) -> Option<()> {
        self.port.put(bytes.get_mut(0..2)?)?;
        self.proto.put(bytes.get_mut(2..3)?)?;
        self.unused.put(bytes.get_mut(3..4)?)?;
        Some(())
    }
}

/// `struct prefix_v6`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PrefixV6 {
    /// At byte 0.
    pub bits: u32,
    /// At byte 4.
    pub address: [u8; 16],
}

impl Field for PrefixV6 {
    fn get(bytes: &[u8]) -> Option<PrefixV6> {
        Some(PrefixV6 {
            bits: Field::get(bytes.get(0..4)?)?,
            address: Field::get(bytes.get(4..20)?)?,
        })
    }

    fn put(&self, bytes: &mut [u8]) -> Option<()> {
        self.bits.put(bytes.get_mut(0..4)?)?;
        self.address.put(bytes.get_mut(4..20)?)?;
        Some(())
    }
}

/// `struct prefix_v4`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PrefixV4 {
    /// At byte 0.
    pub bits: u32,
    /// At byte 4.
    pub address: [u8; 4],
}

impl Field for PrefixV4 {
    fn get(bytes: &[u8]) -> Option<PrefixV4> {
        Some(PrefixV4 {
            bits: Field::get(bytes.get(0..4)?)?,
            address: Field::get(bytes.get(4..8)?)?,
        })
    }

    fn put(&self, bytes: &mut [u8]) -> Option<()> {
        self.bits.put(bytes.get_mut(0..4)?)?;
        self.address.put(bytes.get_mut(4..8)?)?;
        Some(())
    }
}
