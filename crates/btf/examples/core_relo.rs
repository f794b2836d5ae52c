//! Resolves all CO-RE relocations of an object's `.BTF` and `.BTF.ext` sections (as files) against a target's BTF:
//! `cargo run -p skep-btf --example core_relo obj.btf obj.ext /sys/kernel/btf/vmlinux`.
#![allow(clippy::print_stdout)]

use std::error::Error;

use skep_btf::core::{Cache, describe, describe_targets, resolve};
use skep_btf::{Btf, BtfExt};

fn main() -> Result<(), Box<dyn Error>> {
    let files = std::env::args().skip(1).map(std::fs::read).collect::<Result<Vec<_>, _>>()?;
    let [local, ext, target] = files.as_slice() else { return Err("usage: core_relo BTF EXT TARGET".into()) };
    let (local, target) = (Btf::parse(local)?, Btf::parse(target)?);
    let mut cache = Cache::default();
    for section in BtfExt::parse(ext, &local)?.core_relo {
        for (i, relo) in section.records.iter().enumerate() {
            println!("{} #{i}: {}", section.section(&local), describe(&local, relo)?);
            for found in describe_targets(&local, relo, &target).unwrap_or_default() {
                println!("\tmatches {found}");
            }
            match resolve(&local, relo, &target, &mut cache) {
                Ok(r) if r.poison => println!("\tpoison"),
                Ok(r) if r.fail_memsz_adjust => println!("\t{} -> {}, no load or store", r.orig, r.new),
                Ok(r) => println!("\t{} -> {}", r.orig, r.new),
                Err(e) => println!("\terror: {e}"),
            }
        }
    }
    Ok(())
}
