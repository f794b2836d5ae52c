//! struct_ops: structures of the kernel whose functions are programs, such as `tcp_congestion_ops`.
//!
//! Flow: the map is made for the kernel's type `bpf_struct_ops_NAME` → the object's programs are loaded, each for its member →
//! [`KernelMap::fill_struct_ops`] puts the value together → [`crate::Kernel::attach_struct_ops`] writes it, which registers the
//! structure, or makes it ready for a link where the map asks for one (`.struct_ops.link`).
//!
//! Members are found by name, so that the object's layout may be of another kernel; types are compared by kind and size as
//! libbpf does. Sources: kernel/bpf/bpf_struct_ops.c, `bpf_map__init_kern_struct_ops`.

use crate::btf::LoadedBtf;
use crate::door::{Door, IdKind, MapCreate};
use crate::info::{self, Place};
use crate::load::KernelProgram;
use crate::map::{KernelMap, object_name};
use skep_btf::{Btf, Composite, Kind, Type, essential_name};
use skep_platform::map::{MapBtf, MapDef, MapError, Side, flags};
use skep_platform::{Errno, Loaded, Map};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// How the kernel's types name the value of such a map.
const PREFIX: &str = "bpf_struct_ops_";

/// Where a structure lies in the values of its maps.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Layout {
    /// Type of the value: what the kernel keeps, and the structure.
    pub value_type: u32,
    /// Bytes of the value.
    pub value_size: u32,
    /// Type of the structure.
    pub data_type: u32,
    /// Bytes in front of it.
    pub data_offset: u32,
}

impl Layout {
    /// That of a structure by its name, without `___` and what follows. `None`: the kernel has none of this name that programs
    /// may be members of.
    pub fn find(kernel: &Btf, name: &str) -> Option<Layout> {
        let value_type = kernel.find_by_name_kind(&format!("{PREFIX}{name}"), Kind::Struct)?;
        Layout::of_value(kernel, value_type).filter(|l| kernel.name_of(l.data_type) == name)
    }

    /// That of a value's type ([`info::MapInfo::vmlinux_value_type`]).
    pub fn of_value(kernel: &Btf, value_type: u32) -> Option<Layout> {
        let value = kernel.type_by_id(value_type)?.composite()?;
        let name = value.name.strip_prefix(PREFIX)?;
        let mut members = value.members;
        let data = members
            .find(|m| kernel.name_of(m.type_id) == name && m.bitfield_size == 0 && m.bit_offset % 8 == 0)?;
        let (data_type, data_offset) = (data.type_id, data.bit_offset / 8);
        Some(Layout { value_type, value_size: value.size, data_type, data_offset })
    }
}

/// A value that is ready to be written, with the programs whose descriptors are in it.
pub(crate) struct Prepared {
    value: Vec<u8>,
    written: AtomicBool,
    _programs: Vec<Arc<dyn Loaded>>,
}

/// Creates a map; `object` are the types of the object, which the kernel wants to have been loaded.
pub(crate) fn create(
    door: &Arc<dyn Door>,
    def: &MapDef,
    object: Option<&LoadedBtf>,
    kernel: Option<&Arc<Btf>>,
) -> Result<KernelMap, MapError> {
    let refuse = |errno, why: String| MapError { map: def.name.clone(), errno, why };
    let kernel = kernel.ok_or_else(|| {
        let why = "the structure is found in the kernel's types, and there are none: the kernel was built without \
                   CONFIG_DEBUG_INFO_BTF=y (/sys/kernel/btf/vmlinux)";
        refuse(Errno::ENOENT, why.into())
    })?;
    let types = def.btf.as_ref().ok_or_else(|| refuse(Errno::EINVAL, "its type is not known".into()))?;
    let name = essential_name(types.btf.name_of(types.value));
    let layout = Layout::find(kernel, name).ok_or_else(|| {
        let have: Vec<&str> = structures(kernel).collect();
        let have = if have.is_empty() { "none".into() } else { have.join(", ") };
        refuse(Errno::ENOENT, format!("this kernel has no struct_ops {name:?}; it has {have}"))
    })?;
    let request = MapCreate {
        map_type: def.map_type.id(),
        key_size: 4,
        value_size: layout.value_size,
        max_entries: 1,
        flags: def.flags,
        numa_node: 0,
        extra: 0,
        name: object_name(&def.name),
        inner: None,
        btf: object.map(|b| (b.fd.as_fd(), 0, 0)),
        vmlinux_value_type: layout.value_type,
    };
    let fd = door.map_create(&request).map_err(|errno| {
        let why = match errno {
            Errno::ENOTSUPP | Errno::EOPNOTSUPP if def.flags & flags::LINK != 0 => {
                format!("this kernel takes no links for {name}; put the variable into section .struct_ops")
            }
            e => crate::explain::why(crate::explain::Asked::Map, e, &crate::explain::Rights::own()),
        };
        refuse(errno, why)
    })?;
    let def = MapDef {
        key_size: 4,
        value_size: layout.value_size,
        max_entries: 1,
        btf: Some(MapBtf { btf: kernel.clone(), key: 0, value: layout.value_type }),
        ..def.clone()
    };
    Ok(KernelMap::new(def, fd, door))
}

/// Names of the structures that programs may be members of.
fn structures(kernel: &Btf) -> impl Iterator<Item = &str> {
    let named = kernel.types().filter_map(|(_, t)| match t {
        Type::Struct(s) => s.name.strip_prefix(PREFIX),
        _ => None,
    });
    // The prefix begins names of other things, too.
    named.filter(|n| Layout::find(kernel, n).is_some())
}

/// A structure as an object defines it.
#[derive(Clone, Copy, Debug)]
pub struct Definition<'a> {
    /// The object's types.
    pub btf: &'a Btf,
    /// Type of the structure in them.
    pub type_id: u32,
    /// Its bytes, programs apart; too few are followed by zeros.
    pub contents: &'a [u8],
}

impl KernelMap {
    /// Puts together what registration writes: the members of `definition`, and programs by their offset in it.
    ///
    /// # Errors
    /// In words, when the kernel's structure lacks a member that is not zero, or has another type for it, when a program is on a
    /// member that is no function, and when the map is none of this kind.
    pub fn fill_struct_ops(
        &self,
        definition: &Definition<'_>,
        programs: &[(u32, Arc<dyn Loaded>)],
    ) -> Result<(), String> {
        let types = self.def().btf.as_ref().ok_or("the map's types are not known")?;
        let layout = Layout::of_value(&types.btf, types.value).ok_or("the map is none of struct_ops")?;
        let mut functions = Vec::with_capacity(programs.len());
        for (offset, program) in programs {
            let mine = program.as_any().downcast_ref::<KernelProgram>();
            let fd = mine.ok_or("a program was loaded by another engine")?.as_fd().as_raw_fd();
            functions.push((*offset, fd));
        }
        let value = convert(&types.btf, &layout, definition, &functions)?;
        let programs = programs.iter().map(|(_, p)| p.clone()).collect();
        let prepared = Prepared { value, written: AtomicBool::new(false), _programs: programs };
        self.ops.set(prepared).map_err(|_| "the map is filled already".into())
    }

    /// Writes the value that was put together, once. A map that was opened rather than made has been written by its maker.
    pub(crate) fn write_struct_ops(&self) -> Result<(), Errno> {
        let Some(ops) = self.ops.get().filter(|o| !o.written.load(Ordering::Relaxed)) else { return Ok(()) };
        self.update(&0u32.to_ne_bytes(), &ops.value, 0, Side::User)?;
        ops.written.store(true, Ordering::Relaxed);
        Ok(())
    }
}

/// The value in the kernel's layout; functions are descriptors at their members.
fn convert(
    kernel: &Btf,
    layout: &Layout,
    from: &Definition<'_>,
    functions: &[(u32, i32)],
) -> Result<Vec<u8>, String> {
    let composite = |btf: &Btf, id| btf.type_by_id(id).and_then(|t| t.composite()).map(|c| c.size);
    let size = composite(from.btf, from.type_id).ok_or("its type is no struct")?;
    let mut contents = from.contents.to_vec();
    contents.resize(size as usize, 0);
    let mut value = vec![0; layout.value_size as usize];
    let theirs = members(kernel, layout.data_type)?;
    let mut placed = 0;
    for m in members(from.btf, from.type_id)?.members {
        let (name, at) = (m.name, (m.bit_offset / 8) as usize);
        let wrong = |why: &str| Err(format!("member {name} of struct {}: {why}", theirs.name));
        let len = from.btf.size_of(m.type_id).unwrap_or(0) as usize;
        let function = functions.iter().find(|(offset, _)| *offset as usize == at).map(|(_, fd)| *fd);
        let bytes = contents.get(at..at + len).unwrap_or_default();
        let zero = function.is_none() && bytes.iter().all(|b| *b == 0);
        let mut same_name = theirs.members;
        let Some(k) = same_name.find(|k| k.name == name) else {
            if zero {
                continue;
            }
            return wrong(
                "the running kernel has no such member, and the object sets it; leave it zero, or guard it by \
                          another variable of a type with ___ in its name",
            );
        };
        if m.bitfield_size != 0 || k.bitfield_size != 0 {
            if zero {
                continue;
            }
            return wrong("bit fields cannot be set");
        }
        let to = (layout.data_offset + k.bit_offset / 8) as usize;
        if let Some(fd) = function {
            if !is_function(kernel, k.type_id) {
                return wrong("it is no function in the running kernel, and the object puts a program there");
            }
            let place = value.get_mut(to..to + 8).ok_or("the kernel's types contradict themselves")?;
            place.copy_from_slice(&(fd as u64).to_ne_bytes());
            placed += 1;
            continue;
        }
        if kind(from.btf, m.type_id) != kind(kernel, k.type_id) {
            return wrong("its type differs from the running kernel's");
        }
        if kernel.size_of(k.type_id).map(|n| n as usize) != Some(len) {
            return wrong("its size differs from the running kernel's");
        }
        if kind(kernel, k.type_id) == Some(Kind::Ptr) && !zero {
            return wrong("a pointer can only be a program, or zero");
        }
        let place = value.get_mut(to..to + len).ok_or("the kernel's types contradict themselves")?;
        place.copy_from_slice(bytes);
    }
    if placed != functions.len() {
        return Err("a program lies on no member".into());
    }
    Ok(value)
}

fn members(btf: &Btf, id: u32) -> Result<Composite<'_>, String> {
    let body = btf.resolve(id).and_then(|(_, t)| t.composite());
    body.ok_or_else(|| format!("type {id} is no struct"))
}

fn kind(btf: &Btf, id: u32) -> Option<Kind> {
    btf.kind_of(btf.skip_mods_and_typedefs(id)?)
}

/// A pointer to a function.
fn is_function(btf: &Btf, id: u32) -> bool {
    match btf.resolve(id) {
        Some((_, Type::Ptr(to))) => kind(btf, to) == Some(Kind::FuncProto),
        _ => false,
    }
}

/// Ends the registration of a map: one without links directly, one with links by detaching these. Says how many links there
/// were.
///
/// # Errors
/// `ENOENT` when it is not registered, `EINPROGRESS` when it is going already; the kernel's.
pub fn unregister(door: &dyn Door, map: &KernelMap) -> Result<usize, Errno> {
    match door.map_delete(map.as_fd(), &0u32.to_ne_bytes()) {
        Err(Errno::EOPNOTSUPP | Errno::ENOTSUPP) => {}
        done => return done.map(|()| 0),
    }
    let id = info::map(door, map.as_fd())?.id;
    let mut links = 0;
    for fd in info::all(door, IdKind::Link)? {
        if info::link(door, fd.as_fd()).is_ok_and(|l| l.place == Place::StructOps(id)) {
            door.link_detach(fd.as_fd())?;
            links += 1;
        }
    }
    if links == 0 { Err(Errno::ENOENT) } else { Ok(links) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;
    use skep_btf::{BtfBuilder, IntEncoding, Member};

    /// A structure of these members: name, kind (`f` function, `4` and `8` numbers), one after the other.
    fn structure(b: &mut BtfBuilder, name: &str, members: &[(&str, char)]) -> u32 {
        let four = b.add_int("unsigned int", 4, IntEncoding::default()).unwrap();
        let eight = b.add_int("unsigned long", 8, IntEncoding::default()).unwrap();
        let proto = b.add_func_proto(0, &[]).unwrap();
        let function = b.add_ptr(proto).unwrap();
        let mut at = 0u32;
        let placed = members.iter().map(|(name, kind)| {
            let (type_id, size) = match kind {
                'f' => (function, 8),
                '4' => (four, 4),
                _ => (eight, 8),
            };
            at = at.next_multiple_of(size);
            let m = Member { name, type_id, bit_offset: at * 8, bitfield_size: 0 };
            at += size;
            m
        });
        let placed: Vec<_> = placed.collect();
        b.add_struct(name, at.next_multiple_of(8), &placed).unwrap()
    }

    fn kernel(members: &[(&str, char)]) -> (Btf, Layout) {
        let mut b = BtfBuilder::new();
        let ops = structure(&mut b, "ops", members);
        let common = structure(&mut b, "bpf_struct_ops_common_value", &[("refcnt", '4'), ("state", '4')]);
        let size = 64 + 8 * members.len() as u32;
        let parts = [
            Member { name: "common", type_id: common, bit_offset: 0, bitfield_size: 0 },
            Member { name: "data", type_id: ops, bit_offset: 64 * 8, bitfield_size: 0 },
        ];
        b.add_struct("bpf_struct_ops_ops", size, &parts).unwrap();
        let btf = b.finish().unwrap();
        let layout = Layout::find(&btf, "ops").unwrap();
        assert_eq!((layout.value_size, layout.data_offset), (size, 64));
        (btf, layout)
    }

    fn converted(
        theirs: &[(&str, char)],
        mine: &[(&str, char)],
        contents: &[u8],
        functions: &[(u32, i32)],
    ) -> Result<Vec<u8>, String> {
        let (kernel, layout) = kernel(theirs);
        let mut b = BtfBuilder::new();
        let type_id = structure(&mut b, "ops___mine", mine);
        let btf = b.finish().unwrap();
        convert(&kernel, &layout, &Definition { btf: &btf, type_id, contents }, functions)
    }

    #[test]
    fn members_go_to_the_kernels_places() {
        let theirs = [("new", '8'), ("flags", '4'), ("init", 'f'), ("exit", 'f')];
        let mine = [("exit", 'f'), ("init", 'f'), ("flags", '4'), ("gone", '4')];
        let contents = [&[0; 16][..], &7u32.to_ne_bytes()].concat();
        let value = converted(&theirs, &mine, &contents, &[(8, 40)]).unwrap();
        let mut wanted = vec![0; 64 + 32];
        wanted[64 + 8..64 + 12].copy_from_slice(&7u32.to_ne_bytes());
        wanted[64 + 16..64 + 24].copy_from_slice(&40u64.to_ne_bytes());
        assert_eq!(value, wanted);
    }

    #[test]
    fn what_does_not_fit_is_told() {
        let told =
            |theirs: &[(&str, char)], mine: &[(&str, char)], contents: &[u8], functions: &[(u32, i32)]| {
                converted(theirs, mine, contents, functions).unwrap_err()
            };
        assert!(told(&[("a", '4')], &[("b", '4')], &[1], &[]).contains("no such member"));
        assert!(told(&[("a", '4')], &[("b", 'f')], &[], &[(0, 4)]).contains("no such member"));
        assert!(told(&[("a", '4')], &[("a", '8')], &[1], &[]).contains("size differs"));
        assert!(told(&[("a", '8')], &[("a", 'f')], &[], &[]).contains("type differs"));
        assert!(told(&[("a", '8')], &[("a", '8')], &[], &[(0, 4)]).contains("no function"));
        assert!(told(&[("a", 'f')], &[("a", 'f')], &[1], &[]).contains("a pointer can only be a program"));
        assert!(told(&[("a", 'f')], &[("a", 'f')], &[], &[(4, 4)]).contains("on no member"));
    }
}
