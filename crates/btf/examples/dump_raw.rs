//! Lists the types of a BTF file: `cargo run -p skep-btf --example dump_raw /sys/kernel/btf/vmlinux`.

use std::error::Error;
use std::io::Write;

use skep_btf::{Btf, dump_raw};

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).ok_or("usage: dump_raw FILE")?;
    let btf = Btf::parse(&std::fs::read(path)?)?;
    std::io::stdout().write_all(dump_raw(&btf).as_bytes())?;
    Ok(())
}
