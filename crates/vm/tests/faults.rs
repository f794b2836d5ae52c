//! Programs that go wrong, and some that nearly do, each in a file of `faults/`: assembly, then the outcome as comments.
//! `SKEP_BLESS=1` rewrites the outcomes.

use skep::{Collection, Object, Select};
use skep_platform::ctx::UserRun;
use skep_platform::engine::{Engine, Loadable};
use skep_platform::env::Context;
use skep_testkit::programs;
use skep_vm::{FixedHost, Options, Tier, User, report};
use std::path::Path;
use std::sync::Arc;

const RULE: &str = "; ---- outcome";

/// What becomes of the file's function `prog` on a packet of 34 bytes.
fn outcome(text: &str) -> Result<String, String> {
    let asm = skep_isa::asm::parse(text).map_err(|e| e.to_string())?;
    let object = Object::from_asm(&asm).map_err(|e| e.to_string())?;
    let options = Options { budget: 1_000_000, ..Options::default() };
    let engine = User::new(*skep::platform(), Arc::new(FixedHost::new(1)))
        .with_tier(Tier::Checked)
        .with_options(options);
    let mut open = skep::Options::default();
    open.select = Select::Named(&["prog"]);
    let collection = Collection::open(object, &engine, &open, &mut |p| Ok(Loadable::Unverified(Arc::new(p))));
    let collection = collection.map_err(|e| e.to_string())?;
    let program = collection.program("prog").ok_or("no function prog")?;
    let mut ctx = context(&engine, program.loaded.program()).ok_or("no context")?;
    Ok(match engine.test_run(&*program.loaded, &mut ctx) {
        Ok(r0) => format!("r0 = {r0:#x}\n"),
        Err(e) => report(&e),
    })
}

fn context(engine: &User, program: &skep_platform::Program) -> Option<Context> {
    let row = engine.platform().prog_type(program.prog_type)?;
    let layout = row.layout(program.attach_type)?;
    let bytes: Vec<u8> = (0..34).collect();
    Some(match row.user {
        UserRun::Packets => programs::packet(layout, &bytes),
        _ => programs::plain(layout, &vec![0; layout.size.into()]),
    })
}

/// Native addresses differ from run to run.
fn without_addresses(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("0x") {
        let digits = rest[at + 2..].chars().take_while(char::is_ascii_hexdigit).count();
        let end = at + 2 + digits;
        out.push_str(if (9..16).contains(&digits) { &rest[..at] } else { &rest[..end] });
        if (9..16).contains(&digits) {
            out.push_str("ADDRESS");
        }
        rest = &rest[end..];
    }
    out.push_str(rest);
    out
}

fn check(path: &Path, bless: bool) -> Result<(), String> {
    let text = std::fs::read_to_string(path).map_err(|e| e.to_string())?;
    let source = text.split(RULE).next().unwrap_or("");
    let got = without_addresses(&outcome(source)?);
    let got: String = got.lines().map(|l| format!("; {l}\n")).collect();
    let whole = format!("{}\n\n{RULE}\n{got}", source.trim_end());
    if bless {
        return std::fs::write(path, whole).map_err(|e| e.to_string());
    }
    if whole == text { Ok(()) } else { Err(format!("expected:\n{text}\ngot:\n{whole}")) }
}

#[test]
fn outcomes_are_as_written() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/faults");
    let bless = std::env::var_os("SKEP_BLESS").is_some();
    let entries = std::fs::read_dir(dir).expect("the folder is there");
    let files =
        entries.filter_map(|e| Some(e.ok()?.path())).filter(|p| p.extension().is_some_and(|e| e == "s"));
    let mut failed: Vec<String> =
        files.filter_map(|f| Some(format!("{}: {}", f.display(), check(&f, bless).err()?))).collect();
    failed.sort();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}
