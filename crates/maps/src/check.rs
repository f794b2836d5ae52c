//! Rules about definitions that several map types share (the `map_alloc_check` functions of kernel/bpf/*.c).

use crate::mem::PAGE;
use skep_platform::map::{MapError, flags};
use skep_platform::{Errno, MapDef, MapType};

/// Access rights that any type but the ring buffers takes.
pub(crate) const ACCESS: u32 = flags::RDONLY | flags::WRONLY | flags::RDONLY_PROG | flags::WRONLY_PROG;
/// Largest value or key plus value that one allocation holds (`KMALLOC_MAX_SIZE`).
pub(crate) const KMALLOC_MAX: u64 = 1 << 22;
/// Largest value of a per-CPU map (`PCPU_MIN_UNIT_SIZE`).
pub(crate) const PERCPU_MAX: u64 = 32 << 10;

/// Checks of one definition; the first that fails is reported.
pub(crate) struct Check<'d>(pub(crate) &'d MapDef);

impl Check<'_> {
    /// `why` as an error of this definition unless `holds`.
    pub(crate) fn that(
        &self,
        holds: bool,
        errno: Errno,
        why: impl FnOnce() -> String,
    ) -> Result<(), MapError> {
        if holds { Ok(()) } else { Err(MapError { map: self.0.name.clone(), errno, why: why() }) }
    }

    /// Flags are among those the type takes, and access rights do not exclude each other.
    pub(crate) fn flags(&self, taken: u32) -> Result<(), MapError> {
        let has = self.0.flags;
        self.that(has & !taken == 0, Errno::EINVAL, || {
            format!("flags {:#x} are not for a map of this type (it takes {taken:#x})", has & !taken)
        })?;
        let both = |pair: u32| has & pair == pair;
        self.that(!both(flags::RDONLY | flags::WRONLY), Errno::EINVAL, || {
            "BPF_F_RDONLY and BPF_F_WRONLY exclude each other".into()
        })?;
        self.that(!both(flags::RDONLY_PROG | flags::WRONLY_PROG), Errno::EINVAL, || {
            "BPF_F_RDONLY_PROG and BPF_F_WRONLY_PROG exclude each other".into()
        })?;
        self.that(self.0.map_extra == 0 || self.takes_extra(), Errno::EINVAL, || {
            "map_extra is for bloom filters and arenas only".into()
        })
    }

    fn takes_extra(&self) -> bool {
        use skep_platform::MapType::{Arena, BloomFilter};
        matches!(self.0.map_type, BloomFilter | Arena)
    }

    /// Key size is exactly `n`.
    pub(crate) fn key_size(&self, n: u32) -> Result<(), MapError> {
        let has = self.0.key_size;
        self.that(has == n, Errno::EINVAL, || format!("key_size is {has} and has to be {n}"))
    }

    /// Value size is exactly `n`.
    pub(crate) fn value_size(&self, n: u32) -> Result<(), MapError> {
        let has = self.0.value_size;
        self.that(has == n, Errno::EINVAL, || format!("value_size is {has} and has to be {n}"))
    }

    /// Value size and number of entries are not 0.
    pub(crate) fn not_empty(&self) -> Result<(), MapError> {
        self.that(self.0.max_entries != 0, Errno::EINVAL, || {
            "max_entries is 0 and has to be at least 1".into()
        })?;
        self.that(self.0.value_size != 0, Errno::EINVAL, || "value_size is 0 and has to be at least 1".into())
    }

    /// Per-CPU values fit into a per-CPU allocation, and no NUMA node is asked for.
    pub(crate) fn per_cpu_value(&self) -> Result<(), MapError> {
        let size = u64::from(self.0.value_size).next_multiple_of(8);
        self.that(size <= PERCPU_MAX, Errno::E2BIG, || {
            format!(
                "value_size {} is more than the {PERCPU_MAX} bytes a per-CPU value may have",
                self.0.value_size
            )
        })?;
        self.that(self.0.flags & flags::NUMA_NODE == 0, Errno::EINVAL, || {
            "BPF_F_NUMA_NODE is not for per-CPU values".into()
        })
    }

    /// `array_map_alloc_check`: sizes of anything that is an array.
    pub(crate) fn array(&self) -> Result<(), MapError> {
        self.not_empty()?;
        self.key_size(4)?;
        self.that(self.0.value_size <= i32::MAX as u32, Errno::E2BIG, || {
            format!("value_size {} is more than {}", self.0.value_size, i32::MAX)
        })
    }

    /// `fd_array_map_alloc_check`: arrays whose entries are programs, maps or events.
    pub(crate) fn fd_array(&self) -> Result<(), MapError> {
        self.value_size(4)?;
        self.array()
    }

    /// Ring buffers: no key, no value, a power of two of pages.
    pub(crate) fn ring(&self) -> Result<(), MapError> {
        self.key_size(0)?;
        self.value_size(0)?;
        let bytes = self.0.max_entries;
        self.that(bytes.is_power_of_two() && u64::from(bytes) % PAGE == 0, Errno::EINVAL, || {
            format!("max_entries is {bytes} bytes and has to be a power of two and a multiple of {PAGE}")
        })
    }

    /// Maps of maps: the inner map is declared, is no map of maps itself and of a type that may be one
    /// (`bpf_map_meta_alloc`).
    pub(crate) fn inner(&self) -> Result<(), MapError> {
        let missing = || MapError {
            map: self.0.name.clone(),
            errno: Errno::EINVAL,
            why: "a map of maps needs the definition of an inner map".into(),
        };
        let inner = self.0.inner.as_deref().ok_or_else(missing)?;
        let nested = matches!(inner.map_type, MapType::ArrayOfMaps | MapType::HashOfMaps);
        self.that(!nested, Errno::EINVAL, || "a map of maps cannot hold maps of maps".into())?;
        let may = crate::desc(inner.map_type).is_some_and(|desc| desc.inner);
        self.that(may, Errno::ENOTSUPP, || format!("{} cannot be an inner map", inner.map_type.uapi_name()))?;
        crate::check(inner).map(drop)
    }
}
