//! Links objects: `link OUT IN…`.

#[allow(clippy::print_stdout, clippy::expect_used)]
fn main() {
    let mut args = std::env::args().skip(1);
    let out = args.next().expect("OUT");
    let files: Vec<Vec<u8>> = args.map(|path| std::fs::read(path).expect("file")).collect();
    let parts: Vec<&[u8]> = files.iter().map(Vec::as_slice).collect();
    match skep_obj::link(&parts) {
        Ok(bytes) => std::fs::write(out, bytes).expect("written"),
        Err(e) => println!("{e}"),
    }
}
