//! `bench load`: from the bytes of an object to the first run of its programs: opened, its maps made, verified, compiled by the
//! baseline and run once on an empty packet. Beside it the running kernel, which opens the same object by the same code, judges
//! and compiles it; it runs nothing.

use crate::{ROUNDS, Row, median};
use skep::descriptors::{Context, ProgType};
use skep::hooks::input;
use skep::kernel::Kernel;
use skep::vm::{SystemHost, Tier, User, UserProgram};
use skep::{Collection, Object, Options, verifier, verify};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

/// Rows of each file: `user`, and `kernel` where it may be asked; `compile_ns` is the opening of the file alone.
pub(crate) fn run(files: &[PathBuf]) -> Result<Vec<Row>, String> {
    let kernel =
        Kernel::open(*skep::platform()).inspect_err(|e| eprintln!("bench: without the kernel: {e}")).ok();
    let user = User::new(*skep::platform(), Arc::new(SystemHost::new())).with_tier(Tier::Baseline);
    let bytes = files.iter().map(|p| std::fs::read(p).map_err(|e| format!("{}: {e}", p.display())));
    let bytes: Vec<Vec<u8>> = bytes.collect::<Result<_, _>>()?;
    let mut samples = vec![[const { Vec::new() }; 3]; files.len()];
    for _ in 0..ROUNDS * 3 {
        for ((path, bytes), [ours, opening, theirs]) in files.iter().zip(&bytes).zip(&mut samples) {
            let fail = |e: &dyn std::fmt::Display| format!("{}: {e}", path.display());
            let (all, open) = loaded(bytes, &user).map_err(|e| fail(&e))?;
            ours.push(all);
            opening.push(open);
            if let Some(kernel) = &kernel {
                let began = Instant::now();
                let object = Object::parse(bytes).map_err(|e| fail(&e))?;
                Collection::open(object, kernel, &Options::default(), &mut verify::unverified)
                    .map_err(|e| fail(&e))?;
                theirs.push(began.elapsed().as_nanos() as f64);
            }
        }
    }
    let mut rows = Vec::new();
    for (path, [ours, opening, theirs]) in files.iter().zip(samples) {
        let (ours, opening, theirs) = (median(ours), median(opening), median(theirs));
        let judge = if kernel.is_some() { theirs } else { ours };
        let row =
            |engine, ns| Row { engine, program: name(path), ns, ratio: ns / judge, compile_ns: opening };
        rows.push(row("user", ours));
        if kernel.is_some() {
            rows.push(row("kernel", theirs));
        }
    }
    Ok(rows)
}

/// Nanoseconds from the bytes to the end of the first runs, and of the opening alone.
fn loaded(bytes: &[u8], engine: &User) -> Result<(f64, f64), String> {
    let began = Instant::now();
    let object = Object::parse(bytes).map_err(|e| e.to_string())?;
    let opening = began.elapsed().as_nanos() as f64;
    let judge = &mut verify::judge(verifier::Options::default());
    let c = Collection::open(object, engine, &Options::default(), judge).map_err(|e| e.to_string())?;
    for p in &c.programs {
        if let Some(program) = p.loaded.as_any().downcast_ref::<UserProgram>()
            && p.loaded.program().prog_type == ProgType::Xdp
        {
            engine.runner().run(program, &mut packet()?).map_err(|e| e.to_string())?;
        }
    }
    Ok((began.elapsed().as_nanos() as f64, opening))
}

fn packet() -> Result<Context, String> {
    let row = skep::platform().prog_type(ProgType::Xdp).ok_or("no XDP")?;
    let given = input::Input { data: Some(&[0; 64]), ctx: None };
    input::context(row, None, &given).map_err(|e| e.to_string())
}

fn name(path: &Path) -> String {
    path.file_name().map_or(String::new(), |n| n.to_string_lossy().into_owned())
}
