//! The kernel's own selftest programs with a known result (`__retval`): they return it, on every tier and in the running
//! kernel, and none of the others that the verifier accepts ever faults.
//!
//! `$SKEP_SELFTESTS` names the folders of objects that the suite's `build.sh` makes, divided by colons. What the tests
//! say of themselves are BTF decl tags (`comment:test_retval=`); they run as the kernel's test loader runs them: on 64
//! zero bytes, or without any for syscall programs. As root the running kernel runs each program, too.
//! `SKEP_LIST=1` names every program that did not run, and why.

#![allow(clippy::print_stdout)]

use skep::btf::{Btf, Type};
use skep::descriptors::EngineError;
use skep::kernel::Kernel;
use skep::{Collection, Object, Options as Open, Select};
use skep_platform::Fault;
use skep_platform::ctx::UserRun;
use skep_platform::engine::{Engine, Loaded};
use skep_platform::env::{Context, CtxData};
use skep_platform::map::Side;
use skep_platform::uapi::ProgType;
use skep_testkit::programs;
use skep_vm::{FixedHost, Options, Tier, User, report};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const TIERS: [Tier; 5] = [Tier::Checked, Tier::Interp, Tier::Baseline, Tier::Optimized, Tier::Auto];

/// What the kernel's own runner puts into maps before programs of an object run (`prog_tests/verifier.c`): a value whose
/// index is 28 and whose seventh element is 0xabcdef12.
const FILLED: &[(&str, &str)] =
    &[("verifier_array_access.bpf.o", "map_array_ro"), ("verifier_value_ptr_arith.bpf.o", "map_array_48b")];

/// Types whose contexts hold pointers to kernel objects.
const OF_KERNEL: [ProgType; 3] = [ProgType::Tracing, ProgType::Netfilter, ProgType::StructOps];

/// Programs that look into the kernel's own `struct bpf_map`.
const INTO_MAPS: &[&str] = &["verifier_map_ptr.bpf.o:ptr_read_ops_field_accepted"];

/// The name of "a pointer, whatever its value" (`POINTER_VALUE`).
const POINTER: u32 = 0xcafe_4a11;

/// Why a program did not run, or what went wrong.
enum Odd {
    Skipped(String),
    Failed(String),
}

/// What a program says of itself.
#[derive(Default)]
struct Says {
    success: bool,
    retval: Option<u32>,
}

fn says(btf: Option<&Btf>, func: u32) -> Says {
    let mut out = Says::default();
    for (_, t) in btf.into_iter().flat_map(|b| b.own_types()) {
        let Type::DeclTag(t) = t else { continue };
        let Some(word) = t.name.split_once("test_").map(|(_, w)| w).filter(|_| t.type_id == func) else {
            continue;
        };
        out.success |= word.ends_with("expect_success");
        if let Some((_, value)) = word.split_once("retval=") {
            out.retval = number(value);
        }
    }
    out
}

/// `parse_retval` of the kernel's test_loader.c.
fn number(text: &str) -> Option<u32> {
    match text {
        "INT_MIN" => Some(i32::MIN as u32),
        "POINTER_VALUE" => Some(POINTER),
        "TEST_DATA_LEN" => Some(64),
        _ => match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
            Some(hex) => u32::from_str_radix(hex, 16).ok(),
            None => text.parse::<i64>().ok().map(|n| n as u32),
        },
    }
}

fn context(engine: &dyn Engine, loaded: &dyn Loaded) -> Option<Context> {
    let program = loaded.program();
    let row = engine.platform().prog_type(program.prog_type)?;
    let layout = row.layout(program.attach_type)?;
    if row.user != UserRun::Packets {
        return Some(programs::plain(layout, &vec![0; layout.size.into()]));
    }
    let whole = matches!(program.prog_type, ProgType::Xdp | ProgType::SchedCls | ProgType::SchedAct);
    let mut ctx = programs::packet(layout, if whole { &[0; 64] } else { &[0; 50] });
    if let CtxData::Packet(p) = &mut ctx.data {
        p.ctx.wire_len = 0;
        // Test runs come in by the loopback device.
        (p.ctx.ifindex, p.ctx.ingress_ifindex) = (1, 1);
    }
    Some(ctx)
}

/// An object read once.
struct Subject<'a> {
    file: &'a str,
    bytes: &'a [u8],
    types: Option<Arc<Btf>>,
}

impl Subject<'_> {
    /// The object in an engine, with one program of it.
    fn open(&self, engine: &dyn Engine, name: &str, verified: bool) -> Result<Collection, Odd> {
        let object = Object::parse(self.bytes).map_err(|e| Odd::Skipped(e.to_string()))?;
        let select = [name];
        let mut open = Open::default();
        open.select = Select::Named(&select);
        open.target_btf = self.types.clone();
        let mut judge = skep::verify::judge(Default::default());
        let mut unjudged = skep::verify::unverified;
        let judge: &mut dyn FnMut(_) -> _ = if verified { &mut judge } else { &mut unjudged };
        let c = Collection::open(object, engine, &open, judge)
            .map_err(|e| Odd::Skipped(e.to_string().lines().next().unwrap_or("").to_owned()))?;
        if let Some((_, map)) = FILLED.iter().find(|(f, _)| *f == self.file)
            && let Some(map) = c.map(map)
        {
            let mut value = vec![0; map.def().value_size as usize];
            value[..4].copy_from_slice(&28u32.to_ne_bytes());
            value[28..32].copy_from_slice(&0xabcd_ef12u32.to_ne_bytes());
            map.update(&0u32.to_ne_bytes(), &value, 0, Side::User)
                .map_err(|e| Odd::Failed(format!("its map cannot be filled: {e}")))?;
        }
        Ok(c)
    }

    fn run(&self, tier: Tier, name: &str) -> Result<u32, Odd> {
        let options = Options { unset_stack: true, ..Options::default() };
        let host = Arc::new(FixedHost::new(2));
        let engine = User::new(*skep::platform(), host).with_options(options).with_tier(tier);
        let c = self.open(&engine, name, tier != Tier::Checked)?;
        let program = c.program(name).ok_or_else(|| Odd::Skipped("no such program".into()))?;
        let mut ctx = context(&engine, &*program.loaded)
            .ok_or_else(|| Odd::Skipped("its context is not made in user space".into()))?;
        let fault = match engine.test_run(&*program.loaded, &mut ctx) {
            Ok(r0) => return Ok(r0 as u32),
            Err(e) => e,
        };
        Err(match &fault.fault {
            Fault::NoHelper { .. } => Odd::Skipped(fault.fault.to_string()),
            Fault::Rule { code: "kfunc" | "kernel-variable" | "arena" | "poisoned", .. } => {
                Odd::Skipped(fault.fault.to_string())
            }
            // Their contexts hold kernel objects, which are not there.
            _ if OF_KERNEL.contains(&program.loaded.program().prog_type) => {
                Odd::Skipped("needs kernel objects in its context".into())
            }
            _ => Odd::Failed(report(&fault)),
        })
    }

    /// In the running kernel, on what its test loader gives.
    fn run_in(&self, kernel: &Kernel, name: &str) -> Result<u32, Odd> {
        let c = self.open(kernel, name, false)?;
        let program = c.program(name).ok_or_else(|| Odd::Skipped("no such program".into()))?;
        let loaded = program.loaded.as_any().downcast_ref::<skep::kernel::KernelProgram>();
        let loaded = loaded.ok_or_else(|| Odd::Skipped("not a program of the kernel".into()))?;
        let data: &[u8] = if loaded.program().prog_type == ProgType::Syscall { &[] } else { &[0; 64] };
        kernel.run(loaded, data, &[], 1).map(|r| r.retval).map_err(|e| Odd::Skipped(e.to_string()))
    }
}

#[derive(Default)]
struct Tally {
    known: usize,
    right: usize,
    only_ran: usize,
    in_kernel: usize,
    skipped: BTreeMap<String, Vec<String>>,
    failed: Vec<String>,
}

impl Tally {
    fn odd(&mut self, name: &str, on: &str, odd: Odd) {
        match odd {
            Odd::Skipped(why) => {
                let plain = bare(&why);
                self.skipped.entry(plain).or_default().push(format!("{name} ({on})"));
            }
            Odd::Failed(why) => self.failed.push(format!("{name} on {on}: {why}")),
        }
    }

    fn one(&mut self, s: &Subject<'_>, program: &str, says: &Says, kernel: Option<&Kernel>) {
        let name = format!("{}:{program}", s.file);
        let fits = |r0: u32| says.retval.is_none_or(|want| want == POINTER || want == r0);
        self.known += usize::from(says.retval.is_some());
        let mut right = true;
        if INTO_MAPS.contains(&name.as_str()) {
            let why = "reads members of the kernel's struct bpf_map".to_owned();
            return self.odd(&name, "every tier", Odd::Skipped(why));
        }
        for tier in TIERS {
            match s.run(tier, program) {
                Ok(r0) if fits(r0) => {}
                Ok(r0) => {
                    right = false;
                    let want = says.retval.unwrap_or(0);
                    self.failed.push(format!("{name} on {}: r0 is {r0:#x}, expected {want:#x}", tier.name()));
                }
                Err(odd) => {
                    right = false;
                    self.odd(&name, tier.name(), odd);
                    break;
                }
            }
        }
        self.right += usize::from(right && says.retval.is_some());
        self.only_ran += usize::from(right && says.retval.is_none());
        if let (Some(k), Some(want)) = (kernel, says.retval) {
            match s.run_in(k, program) {
                Ok(r0) if fits(r0) => self.in_kernel += 1,
                Ok(r0) => println!("{name}: the running kernel returns {r0:#x}, its own test says {want:#x}"),
                Err(_) => {}
            }
        }
    }
}

/// The reason without the names in it.
fn bare(why: &str) -> String {
    let mut parts = why.splitn(3, ['"', '\'']);
    match (parts.next(), parts.next(), parts.next()) {
        (Some(before), Some(_), Some(after)) => format!("{before}…{after}"),
        _ => why.to_owned(),
    }
}

#[test]
fn accepted_selftests_run_and_return_what_they_should() {
    let Some(folders) = std::env::var_os("SKEP_SELFTESTS") else {
        return println!("selftests: skipped: $SKEP_SELFTESTS names no folder of selftest objects");
    };
    let kernel = Kernel::open(*skep::platform());
    if let Err(e) = &kernel {
        println!("the running kernel does not compare: {}", reason(e));
    }
    let types = std::fs::read("/sys/kernel/btf/vmlinux").ok();
    let types = types.and_then(|b| Btf::parse(&b).ok()).map(Arc::new);
    let mut tally = Tally::default();
    for path in std::env::split_paths(&folders).flat_map(|f| objects(&f)) {
        let file = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let Ok(bytes) = std::fs::read(&path) else { continue };
        let Ok(object) = Object::parse(&bytes) else { continue };
        let subject = Subject { file: &file, bytes: &bytes, types: types.clone() };
        for f in object.programs() {
            let says = says(object.btf.as_deref(), f.type_id);
            if says.success || says.retval.is_some() {
                tally.one(&subject, &f.name, &says, kernel.as_ref().ok());
            }
        }
    }
    println!(
        "selftests, __retval: {} programs, {} right on all of {} tiers; {} without one ran; the running kernel agrees on {}",
        tally.known,
        tally.right,
        TIERS.len(),
        tally.only_ran,
        tally.in_kernel
    );
    let list = std::env::var_os("SKEP_LIST").is_some();
    for (why, names) in &tally.skipped {
        println!("selftests, not run: {}: {why}", names.len());
        names.iter().filter(|_| list).for_each(|n| println!("    {n}"));
    }
    assert!(tally.failed.is_empty(), "{}", tally.failed.join("\n"));
}

fn reason(e: &EngineError) -> String {
    e.to_string().lines().next().unwrap_or("").to_owned()
}

fn objects(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("the folder is readable").flatten().map(|e| e.path());
    let mut all: Vec<PathBuf> = entries.filter(|p| p.extension().is_some_and(|e| e == "o")).collect();
    all.sort();
    all
}
