//! An environment on native memory with real maps, and a host whose answers are fixed.

use skep_helpers::HELPERS;
use skep_platform::ctx::CtxLayout;
use skep_platform::env::{Context, CtxData, Env, Fault, Fib, FibResult, Host, Memory, PlainCtx, Region, Ret};
use skep_platform::map::MapDef;
use skep_platform::{Body, Errno, Map, MapType, Packet};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

static PLAIN: CtxLayout = CtxLayout { name: "plain", size: 0, fields: &[] };
static SKB: CtxLayout = CtxLayout { name: "__sk_buff", size: 192, fields: &[] };

/// The host; `lines` are what was traced.
#[derive(Default)]
pub(crate) struct World {
    pub(crate) lines: Mutex<Vec<String>>,
    pub(crate) routes: bool,
}

impl Host for World {
    fn ktime_ns(&self) -> u64 {
        1_000
    }
    fn ktime_boot_ns(&self) -> u64 {
        2_000
    }
    fn ktime_coarse_ns(&self) -> u64 {
        3_000
    }
    fn ktime_tai_ns(&self) -> u64 {
        4_000
    }
    fn jiffies64(&self) -> u64 {
        5_000
    }
    fn prandom_u32(&self) -> u32 {
        0xdead_beef
    }
    fn cpus(&self) -> u32 {
        2
    }
    fn current_cpu(&self) -> u32 {
        1
    }
    fn numa_node(&self) -> u32 {
        3
    }
    fn pid_tgid(&self) -> u64 {
        11 << 32 | 12
    }
    fn uid_gid(&self) -> u64 {
        21 << 32 | 22
    }
    fn comm(&self) -> [u8; 16] {
        *b"fifteen-letters\0"
    }
    fn cgroup_id(&self) -> u64 {
        31
    }
    fn netns_cookie(&self) -> u64 {
        41
    }
    fn pid_ns(&self) -> Option<(u64, u64)> {
        Some((4, 4_026_531_836))
    }
    /// Only the page at `0x5000_0000` is mapped: it holds `far away`.
    fn probe_read(&self, addr: u64, out: &mut [u8]) -> Result<(), Errno> {
        let mut page = vec![0; 4096];
        page[..8].copy_from_slice(b"far away");
        let at = addr.checked_sub(0x5000_0000).ok_or(Errno::EFAULT)? as usize;
        out.copy_from_slice(page.get(at..at + out.len()).ok_or(Errno::EFAULT)?);
        Ok(())
    }
    fn probe_write(&self, _: u64, _: &[u8]) -> Result<(), Errno> {
        Err(Errno::EFAULT)
    }
    fn trace(&self, line: &str) {
        self.lines.lock().expect("one thread").push(line.to_owned());
    }
    fn fib(&self) -> Option<&dyn Fib> {
        self.routes.then_some(self)
    }
}

impl Fib for World {
    /// 10.0.0.0/8 goes out of interface 7 by a gateway; the rest is unreachable.
    fn route(&self, dst: &[u8], _: u32, _: bool) -> FibResult {
        match dst {
            [10, last @ .., host] => FibResult::Hop {
                ifindex: 7,
                gateway: if last == [0, 9] { vec![0xfe; 16] } else { vec![10, 0, 0, 254] },
                mtu: 1400,
                mac: (*host != 99).then_some(([1; 6], [2; 6])),
                src: vec![10, 0, 0, 77],
            },
            [0x20, ..] => {
                FibResult::Hop { ifindex: 8, gateway: dst.to_vec(), mtu: 0, mac: None, src: Vec::new() }
            }
            _ => FibResult::Refused(2),
        }
    }
}

/// Native memory that helpers may use.
#[derive(Default)]
pub(crate) struct Native(Vec<(u64, u64, bool)>);

impl Native {
    fn find(&self, addr: u64, len: u64, write: bool) -> Result<(), Fault> {
        let end = addr.checked_add(len);
        let inside =
            |r: &&(u64, u64, bool)| addr >= r.0 && end.is_some_and(|end| end <= r.0 + r.1) && (r.2 || !write);
        match self.0.iter().find(inside) {
            Some(_) => Ok(()),
            None => Err(Fault::Access { addr, len, write, region: None, why: "outside".into() }),
        }
    }

    fn atomic<T>(&self, addr: u64, len: u64) -> Result<*const T, Fault> {
        self.find(addr, len, true)?;
        if !addr.is_multiple_of(len) {
            return Err(Fault::Access { addr, len, write: true, region: None, why: "not aligned".into() });
        }
        Ok(std::ptr::with_exposed_provenance(addr as usize))
    }
}

impl Memory for Native {
    fn read(&mut self, addr: u64, out: &mut [u8]) -> Result<(), Fault> {
        self.find(addr, out.len() as u64, false)?;
        let from = std::ptr::with_exposed_provenance::<u8>(addr as usize);
        // SAFETY: the range lies in a region that its owner keeps alive and whose address was exposed.
        unsafe { std::ptr::copy(from, out.as_mut_ptr(), out.len()) };
        Ok(())
    }
    fn write(&mut self, addr: u64, data: &[u8]) -> Result<(), Fault> {
        self.find(addr, data.len() as u64, true)?;
        let to = std::ptr::with_exposed_provenance_mut::<u8>(addr as usize);
        // SAFETY: as in `read`; the region is writable.
        unsafe { std::ptr::copy(data.as_ptr(), to, data.len()) };
        Ok(())
    }
    fn check(&mut self, addr: u64, len: u64, write: bool) -> Result<(), Fault> {
        self.find(addr, len, write)
    }
    fn cmpxchg32(&mut self, addr: u64, old: u32, new: u32) -> Result<u32, Fault> {
        let word: *const AtomicU32 = self.atomic(addr, 4)?;
        // SAFETY: inside a live writable region and aligned.
        let word = unsafe { &*word };
        Ok(word.compare_exchange(old, new, SeqCst, SeqCst).unwrap_or_else(|seen| seen))
    }
    fn xchg64(&mut self, addr: u64, new: u64) -> Result<u64, Fault> {
        let word: *const AtomicU64 = self.atomic(addr, 8)?;
        // SAFETY: inside a live writable region and aligned.
        Ok(unsafe { &*word }.swap(new, SeqCst))
    }
}

/// What a callback does: its arguments, its result.
type Callback = Box<dyn FnMut(&mut Native, [u64; 5]) -> u64>;

/// A run.
pub(crate) struct Run {
    pub(crate) mem: Native,
    ctx: Context,
    world: &'static World,
    maps: Vec<&'static Arc<dyn Map>>,
    pub(crate) callback: Option<Callback>,
}

impl Run {
    /// Without a packet.
    pub(crate) fn new() -> Run {
        Run::with(World::default(), &PLAIN, CtxData::Plain(PlainCtx::default()))
    }

    /// On a packet of a traffic control program.
    pub(crate) fn on(world: World, bytes: &[u8]) -> Run {
        let mut p = Packet::new();
        p.set(bytes);
        Run::with(world, &SKB, CtxData::Packet(p))
    }

    fn with(world: World, layout: &'static CtxLayout, data: CtxData) -> Run {
        let ctx = Context { layout, data };
        Run {
            mem: Native::default(),
            ctx,
            world: Box::leak(Box::new(world)),
            maps: Vec::new(),
            callback: None,
        }
    }

    /// What was traced so far.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.world.lines.lock().expect("one thread").clone()
    }

    /// Native memory with these bytes, for the rest of the process.
    pub(crate) fn memory(&mut self, bytes: &[u8]) -> u64 {
        let words: &'static mut [u64] = vec![0u64; bytes.len().div_ceil(8).max(1)].leak();
        let addr = words.as_mut_ptr().expose_provenance() as u64;
        self.mem.0.push((addr, bytes.len() as u64, true));
        self.mem.write(addr, bytes).expect("just made");
        addr
    }

    /// The bytes at an address.
    pub(crate) fn bytes(&mut self, addr: u64, len: usize) -> Vec<u8> {
        let mut out = vec![0; len];
        self.mem.read(addr, &mut out).expect("readable");
        out
    }

    /// A map, by the handle that the program has.
    pub(crate) fn new_map(&mut self, map_type: MapType, key: u32, value: u32, entries: u32) -> u64 {
        let def = MapDef {
            name: "m".into(),
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
        };
        let map: &'static Arc<dyn Map> = Box::leak(Box::new(skep_maps::create(&def).expect("a map")));
        self.maps.push(map);
        self.maps.len() as u64
    }

    /// Gives the program a map that another run has.
    pub(crate) fn adopt(&mut self, map: &'static Arc<dyn Map>) -> u64 {
        self.maps.push(map);
        self.maps.len() as u64
    }

    /// The map itself.
    pub(crate) fn map_of(&self, handle: u64) -> &'static Arc<dyn Map> {
        self.maps[handle as usize - 1]
    }

    /// Calls a helper. Regions that it returns become usable.
    pub(crate) fn try_call(&mut self, name: &str, args: &[u64]) -> Result<Ret, Fault> {
        let name = format!("bpf_{name}");
        let h = HELPERS.iter().find(|h| h.name == name).unwrap_or_else(|| panic!("no helper {name}"));
        let Body::Fn(body) = h.body else { panic!("{name} has no body") };
        let mut all = [0; 5];
        all[..args.len()].copy_from_slice(args);
        let ret = body(self, all)?;
        if let Ret::Region(r) = &ret {
            self.mem.0.push((r.addr, r.len, r.writable));
        }
        Ok(ret)
    }

    /// Calls a helper that does not fault; `r0` as a signed number.
    pub(crate) fn call(&mut self, name: &str, args: &[u64]) -> i64 {
        match self.try_call(name, args).unwrap_or_else(|f| panic!("{name}: {f}")) {
            Ret::Scalar(v) => v as i64,
            Ret::Null => 0,
            Ret::Region(r) => r.addr as i64,
            other => panic!("{name} gave {other:?}"),
        }
    }
}

impl Env<'static> for Run {
    fn mem(&mut self) -> &mut dyn Memory {
        &mut self.mem
    }
    fn map(&mut self, handle: u64) -> Result<&'static dyn Map, Fault> {
        match self.maps.get((handle as usize).wrapping_sub(1)) {
            Some(m) => Ok(&***m),
            None => Err(Fault::BadArg { arg: 1, why: format!("no map {handle:#x}") }),
        }
    }
    fn find_map(&mut self, is: &mut dyn FnMut(&dyn Map) -> bool) -> Option<&'static dyn Map> {
        self.maps.iter().map(|m| &***m).find(|m| is(*m))
    }
    fn keep_map(&mut self, map: Arc<dyn Map>) -> u64 {
        self.maps.push(Box::leak(Box::new(map)));
        self.maps.len() as u64
    }
    fn ctx(&mut self) -> &mut Context {
        &mut self.ctx
    }
    fn host(&self) -> &'static dyn Host {
        self.world
    }
    fn cpu(&self) -> u32 {
        1
    }
    fn call(&mut self, func: u64, args: [u64; 5]) -> Result<u64, Fault> {
        let Some(mut callback) = self.callback.take() else {
            return Err(Fault::BadArg { arg: 2, why: format!("no function {func:#x}") });
        };
        let r0 = callback(&mut self.mem, args);
        self.callback = Some(callback);
        Ok(r0)
    }
    fn lend(&mut self, region: Region) -> Result<u64, Fault> {
        self.hold(region)?;
        Ok(region.addr)
    }
    fn hold(&mut self, region: Region) -> Result<(), Fault> {
        self.mem.0.push((region.addr, region.len, region.writable));
        Ok(())
    }
    fn forget(&mut self, addr: u64, len: u64) {
        self.mem.0.retain(|r| r.0 < addr || r.0 + r.1 > addr + len);
    }
}

impl Run {
    /// Writes as a program would.
    pub(crate) fn mem_write(&mut self, addr: u64, data: &[u8]) {
        self.mem.write(addr, data).expect("writable");
    }
}
