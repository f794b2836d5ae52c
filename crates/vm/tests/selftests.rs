//! The kernel's own selftest programs that its verifier accepts: they run without a fault, and those whose result is
//! known return it. Needs the objects that the suite's `build.sh` makes, in the folder `$SKEP_SELFTESTS`.

#![allow(clippy::print_stdout)]

use serde_json::Value;
use skep::{Collection, Object, Options as Open, Select};
use skep_platform::Fault;
use skep_platform::ctx::UserRun;
use skep_platform::engine::{Engine, Loadable, Loaded};
use skep_platform::env::{Context, CtxData};
use skep_platform::uapi::ProgType;
use skep_testkit::{programs, suites};
use skep_vm::{FixedHost, Options, User, report};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Why a program did not run, or what went wrong.
enum Odd {
    Skipped(String),
    Failed(String),
}

fn context(engine: &User, loaded: &dyn Loaded) -> Option<Context> {
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
    }
    Some(ctx)
}

fn run(engine: &User, object: &Path, case: &Value) -> Result<bool, Odd> {
    let skip = |why: String| Odd::Skipped(why);
    let name = case["prog"].as_str().unwrap_or("");
    let bytes = std::fs::read(object).map_err(|e| skip(e.to_string()))?;
    let object = Object::parse(&bytes).map_err(|e| skip(e.to_string()))?;
    let select = [name];
    let mut open = Open::default();
    open.select = Select::Named(&select);
    let mut judge = |p| Ok(Loadable::Unverified(Arc::new(p)));
    let collection =
        Collection::open(object, engine, &open, &mut judge).map_err(|e| skip(format!("open: {e}")))?;
    let program = collection.program(name).ok_or(Odd::Skipped("no such program".into()))?;
    let mut ctx = context(engine, &*program.loaded).ok_or(Odd::Skipped("no context".into()))?;
    let r0 = match engine.test_run(&*program.loaded, &mut ctx) {
        Ok(r0) => r0 as u32,
        Err(e) => match &e.fault {
            Fault::NoHelper { .. } => return Err(skip(e.fault.to_string())),
            Fault::Rule { code: "kfunc" | "kernel-variable" | "arena" | "poisoned", .. } => {
                return Err(skip(e.fault.to_string()));
            }
            // Their contexts hold kernel objects, which are not there.
            _ if matches!(program.loaded.program().prog_type, ProgType::Tracing | ProgType::Netfilter) => {
                return Err(skip("needs kernel objects in its context".into()));
            }
            _ => return Err(Odd::Failed(report(&e))),
        },
    };
    if case["retval_ok"] != true {
        return Ok(false);
    }
    let want = case["retval_expected"].as_i64().unwrap_or(0) as u32;
    // The kernel's name for "a pointer, whatever its value".
    let fits = r0 == want || want == 0xcafe_4a11 || case["retval"].as_i64() == Some(r0 as i32 as i64);
    if fits { Ok(true) } else { Err(Odd::Failed(format!("r0 is {r0:#x}, expected {want:#x}\n"))) }
}

#[test]
fn accepted_selftests_run_without_a_fault() {
    let Some(objects) = std::env::var_os("SKEP_SELFTESTS").map(PathBuf::from) else {
        return println!("skipped: $SKEP_SELFTESTS names no folder of selftest objects");
    };
    let dir = match suites::dir("selftests") {
        Ok(dir) => dir,
        Err(why) => return println!("{why}"),
    };
    let cases = suites::jsonl(&dir.join("dev.jsonl.gz")).expect("the suite is readable");
    let options = Options { unset_stack: true, ..Options::default() };
    let engine = User::new(*skep::platform(), Arc::new(FixedHost::new(2))).with_options(options);
    let accepted =
        |c: &&Value| c["expect"] == "accept" && c["load_err"] == 0 && c["reached_verifier"] == true;
    let (mut ran, mut agreed, mut skipped, mut failed) = (0, 0, BTreeMap::<String, usize>::new(), Vec::new());
    for case in cases.iter().filter(accepted) {
        let object = case["obj"].as_str().unwrap_or("");
        match run(&engine, &objects.join(object), case) {
            Ok(compared) => (ran, agreed) = (ran + 1, agreed + usize::from(compared)),
            Err(Odd::Skipped(why)) => *skipped.entry(why).or_default() += 1,
            Err(Odd::Failed(why)) => failed.push(format!("{object} {}: {why}", case["prog"])),
        }
    }
    println!(
        "selftests, accepted: {ran} ran, {agreed} of them with the known result, {} failed",
        failed.len()
    );
    for (why, n) in &skipped {
        println!("skipped {n}: {why}");
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}
