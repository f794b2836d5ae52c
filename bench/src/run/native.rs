//! The programs as native code: compiled by clang into a shared object, which is loaded.

use super::{MEMORY, PACKET, hash_key};
use std::ffi::{CString, c_char, c_int, c_void};
use std::path::Path;
use std::process::Command;

/// What the programs call: not inlined, as helpers are not. They do what the maps and helpers of the other builds do.
const HELPERS: &str = "
typedef unsigned int u32; typedef unsigned long long u64;
static u64 arr[256]; static struct { u64 k, v; u32 used; } ht[2048];
static u64 hs(u64 k) { k ^= k >> 32; k *= 0xd6e8feb86659fd93ULL; k ^= k >> 32; return k; }
u64 h_trivial(u64 a, u64 b, u64 c, u64 d, u64 e) { return 0; }
void *h_array_lookup(u64 m, void *key, u64 c, u64 d, u64 e) { u32 k = *(u32 *)key; return k < 256 ? &arr[k] : 0; }
void *h_hash_lookup(u64 m, void *key, u64 c, u64 d, u64 e) {
    u64 k = *(u64 *)key; u32 i = hs(k) & 2047;
    while (ht[i].used) { if (ht[i].k == k) return &ht[i].v; i = (i + 1) & 2047; }
    return 0;
}
void h_put(u64 k) { u32 i = hs(k) & 2047; while (ht[i].used) i = (i + 1) & 2047; ht[i].k = k; ht[i].used = 1; }
";

/// Functions of the program that are called through its own table would be slower than a program's own calls.
const FLAGS: [&str; 5] = ["-O2", "-w", "-shared", "-fPIC", "-fvisibility=hidden"];

type Entry = unsafe extern "C" fn(*mut u8, u64) -> u64;

/// A program, loaded for the rest of the process.
pub(super) struct Native {
    entry: Entry,
    memory: Vec<u8>,
    len: u64,
}

unsafe extern "C" {
    fn dlopen(file: *const c_char, flags: c_int) -> *mut c_void;
    fn dlsym(handle: *mut c_void, name: *const c_char) -> *mut c_void;
}

impl Native {
    pub(super) fn build(name: &str, memory: &[u8]) -> Result<Native, String> {
        let folder = std::env::temp_dir().join(format!("skep-bench-{}", std::process::id()));
        std::fs::create_dir_all(&folder).map_err(|e| e.to_string())?;
        let (helpers, out) = (folder.join("helpers.c"), folder.join(format!("{name}.so")));
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("programs/{name}.c"));
        let export = "#define entry __attribute__((visibility(\"default\"))) entry\n";
        let text = format!("{export}#define NATIVE\n#include \"{}\"\n", source.display());
        let wrapped = folder.join(format!("{name}.c"));
        std::fs::write(&wrapped, text).map_err(|e| e.to_string())?;
        let put = "void h_put(u64 k) __attribute__((visibility(\"default\")));\nvoid h_put";
        std::fs::write(&helpers, HELPERS.replace("void h_put", put)).map_err(|e| e.to_string())?;
        let clang = ["clang-19", "clang"].into_iter().find(|c| {
            let run = Command::new(c).args(FLAGS).arg(&wrapped).arg(&helpers).arg("-o").arg(&out).status();
            run.is_ok_and(|s| s.success())
        });
        clang.ok_or("clang did not build it")?;
        let file = CString::new(out.to_string_lossy().as_bytes()).map_err(|e| e.to_string())?;
        // SAFETY: the object was just built from the benchmark's sources; it has no initialisers.
        let handle = unsafe { dlopen(file.as_ptr(), 2) };
        let _ = std::fs::remove_dir_all(&folder);
        if handle.is_null() {
            return Err("it cannot be loaded".into());
        }
        // SAFETY: the handle is valid, the names are C strings.
        let (entry, put) = unsafe { (dlsym(handle, c"entry".as_ptr()), dlsym(handle, c"h_put".as_ptr())) };
        if entry.is_null() || put.is_null() {
            return Err("it has no function `entry`".into());
        }
        // SAFETY: `h_put` is the function of `HELPERS`, `entry` the one that every program defines (`common.h`).
        let entry: Entry = unsafe {
            let put: unsafe extern "C" fn(u64) = std::mem::transmute(put);
            (0..512).for_each(|i| put(hash_key(i)));
            std::mem::transmute(entry)
        };
        let len = if name == "pktparse" { PACKET } else { MEMORY };
        Ok(Native { entry, memory: memory.to_vec(), len: len as u64 })
    }

    pub(super) fn run(&mut self) -> u64 {
        // SAFETY: the program stays inside of its memory of `MEMORY` bytes, as its source shows.
        unsafe { (self.entry)(self.memory.as_mut_ptr(), self.len) }
    }
}
