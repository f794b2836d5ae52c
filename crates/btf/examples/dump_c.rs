//! Writes a BTF file as a C header: `cargo run -p skep-btf --example dump_c /sys/kernel/btf/vmlinux > vmlinux.h`.

use std::error::Error;
use std::io::Write;

use skep_btf::{Btf, CDumpOptions, dump_c};

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).ok_or("usage: dump_c FILE")?;
    let btf = Btf::parse(&std::fs::read(path)?)?;
    std::io::stdout().write_all(dump_c(&btf, &CDumpOptions::default())?.as_bytes())?;
    Ok(())
}
