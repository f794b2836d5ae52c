//! Opens objects and says what is in them.
#[allow(clippy::print_stdout, clippy::expect_used)]
fn main() {
    let mut bad = 0;
    let mut n = 0;
    let verbose = std::env::var("V").is_ok();
    for path in std::env::args().skip(1) {
        n += 1;
        let bytes = std::fs::read(&path).expect("file");
        match skep_obj::Object::parse(&bytes) {
            Ok(o) => {
                if verbose {
                    println!(
                        "{path}: {} programs {} subprograms {} maps {} externs",
                        o.programs().count(),
                        o.subprograms().count(),
                        o.maps.len(),
                        o.externs.len()
                    );
                }
                for d in &o.diagnostics {
                    println!("{path}: note: {d}");
                }
                if o.programs().count() == 0 {
                    println!("{path}: no programs");
                }
            }
            Err(e) => {
                bad += 1;
                println!("{path}: {e}");
            }
        }
    }
    println!("{n} files, {bad} refused");
}
