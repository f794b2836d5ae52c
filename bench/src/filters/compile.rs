//! Compile times: ours, and libpcap's in the same rounds, where the machine has the library.

use crate::{ROUNDS, median};
use skep::cbpf::{Filter, FilterOptions};
use std::ffi::{CStr, CString, c_char, c_int, c_uint, c_void};
use std::hint::black_box;
use std::time::Instant;

/// Compilations in one sample.
const BATCH: usize = 20;

/// Microseconds to compile an expression: ours, and libpcap's where it is there and takes the expression.
pub(super) fn times(
    expr: &str,
    options: &FilterOptions<'_>,
    libpcap: Option<&Pcap>,
) -> Result<(f64, Option<f64>), String> {
    let text = CString::new(expr).map_err(|e| e.to_string())?;
    let netmask = options.netmask.unwrap_or(0);
    let libpcap = libpcap.filter(|p| p.compile(&text, netmask).is_some());
    let sample = |compile: &dyn Fn() -> bool| {
        let began = Instant::now();
        for _ in 0..BATCH {
            black_box(compile());
        }
        began.elapsed().as_nanos() as f64 / (BATCH * 1000) as f64
    };
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS * 3 {
        ours.push(sample(&|| Filter::compile(black_box(expr), options).is_ok()));
        if let Some(p) = libpcap {
            theirs.push(sample(&|| p.compile(black_box(&text), netmask).is_some()));
        }
    }
    Ok((median(ours), libpcap.map(|_| median(theirs))))
}

/// Names under which systems keep libpcap.
const FILES: [&CStr; 3] = [c"libpcap.so.0.8", c"libpcap.so.1", c"libpcap.so"];
/// `DLT_EN10MB`.
const ETHERNET: c_int = 1;

/// `struct bpf_program`.
#[repr(C)]
struct Code {
    len: c_uint,
    insns: *mut c_void,
}

type OpenDead = unsafe extern "C" fn(c_int, c_int) -> *mut c_void;
type Compile = unsafe extern "C" fn(*mut c_void, *mut Code, *const c_char, c_int, u32) -> c_int;
type FreeCode = unsafe extern "C" fn(*mut Code);
type LibVersion = unsafe extern "C" fn() -> *const c_char;

unsafe extern "C" {
    fn dlopen(file: *const c_char, flags: c_int) -> *mut c_void;
    fn dlsym(handle: *mut c_void, name: *const c_char) -> *mut c_void;
}

/// The library with an Ethernet handle, both for the rest of the process.
pub(super) struct Pcap {
    handle: *mut c_void,
    compile: Compile,
    free: FreeCode,
    /// What it calls itself: name and version.
    pub version: String,
}

impl Pcap {
    /// The library, if there is one.
    pub(super) fn open(snaplen: u32) -> Option<Pcap> {
        // SAFETY: the names are C strings; initialisers of libpcap are those that every program with it runs.
        let library = FILES.iter().map(|f| unsafe { dlopen(f.as_ptr(), 2) }).find(|l| !l.is_null())?;
        let function = |name: &CStr| {
            // SAFETY: the library is loaded, the name is a C string.
            let found = unsafe { dlsym(library, name.as_ptr()) };
            (!found.is_null()).then_some(found)
        };
        let (open, compile) = (function(c"pcap_open_dead")?, function(c"pcap_compile")?);
        let (free, version) = (function(c"pcap_freecode")?, function(c"pcap_lib_version")?);
        // SAFETY: the types are those of pcap/pcap.h.
        let (open, compile, free, version) = unsafe {
            (
                std::mem::transmute::<*mut c_void, OpenDead>(open),
                std::mem::transmute::<*mut c_void, Compile>(compile),
                std::mem::transmute::<*mut c_void, FreeCode>(free),
                std::mem::transmute::<*mut c_void, LibVersion>(version),
            )
        };
        // SAFETY: `pcap_lib_version` returns a string of the library, `pcap_open_dead` a handle or null.
        let (version, handle) = unsafe { (CStr::from_ptr(version()), open(ETHERNET, snaplen as c_int)) };
        let version = version.to_string_lossy();
        let version = version.split(" (").next().unwrap_or_default().to_owned();
        (!handle.is_null()).then_some(Pcap { handle, compile, free, version })
    }

    /// Compiles, optimised, and frees: the number of instructions.
    pub(super) fn compile(&self, expr: &CString, netmask: u32) -> Option<usize> {
        let mut code = Code { len: 0, insns: std::ptr::null_mut() };
        // SAFETY: handle and expression live as long as the calls; a program is freed when there is one, once.
        unsafe {
            // The netmask is in network byte order.
            if (self.compile)(self.handle, &mut code, expr.as_ptr(), 1, netmask.to_be()) != 0 {
                return None;
            }
            let len = code.len as usize;
            (self.free)(&mut code);
            Some(len)
        }
    }
}
