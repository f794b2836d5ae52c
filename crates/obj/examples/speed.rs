//! How long objects take to open and to bind: `speed FILE…`, best of 50 runs each. `cargo run --release --example speed`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use skep_obj::{BindEnv, Object};

#[allow(clippy::print_stdout, clippy::expect_used)]
fn main() {
    let target = std::fs::read("/sys/kernel/btf/vmlinux")
        .ok()
        .and_then(|b| skep_btf::Btf::parse(&b).ok())
        .map(Arc::new);
    if let Some(btf) = &target {
        // The index of names is made once per process.
        let _ = btf.find_by_name_kind("task_struct", skep_btf::Kind::Struct);
    }
    for path in std::env::args().skip(1) {
        let bytes = std::fs::read(&path).expect("file");
        let (opened, object) = best(|| Object::parse(&bytes));
        let Ok(object) = object else {
            println!("{path}: refused in {opened:?}: {}", object.expect_err("refused"));
            continue;
        };
        let maps = vec![None; object.maps.len()];
        let (bound, insns) = best(|| {
            let mut env = BindEnv::new(&maps);
            env.target_btf = target.clone();
            let programs = (0..object.functions.len()).filter(|&f| object.functions[f].is_program());
            programs.filter_map(|f| object.bind_index(f, &mut env).ok()).map(|p| p.insns.len()).sum::<usize>()
        });
        println!(
            "{path}: {} bytes, opened in {opened:?}, {insns} instructions bound in {bound:?}",
            bytes.len()
        );
    }
}

fn best<T>(mut f: impl FnMut() -> T) -> (Duration, T) {
    let mut once = || {
        let start = Instant::now();
        let result = f();
        (start.elapsed(), result)
    };
    let first = once();
    (1..50).map(|_| once()).fold(first, |best, next| if next.0 < best.0 { next } else { best })
}
