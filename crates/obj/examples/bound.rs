//! Binds every program of the objects named and prints the instructions, for comparison with another loader's.
//! Kernel types are the running kernel's. One line an instruction: index, opcode, registers, offset, immediate; references
//! to maps and kernel types are written as such.

#[path = "../tests/stub/mod.rs"]
mod stub;

use std::collections::HashMap;
use std::sync::Arc;

use skep_obj::{BindEnv, Ksym, Object};

#[allow(clippy::print_stdout, clippy::expect_used)]
fn main() {
    let btf = std::fs::read("/sys/kernel/btf/vmlinux").expect("the kernel's BTF");
    let btf = Arc::new(skep_btf::Btf::parse(&btf).expect("good BTF"));
    let text = std::fs::read_to_string("/proc/kallsyms").unwrap_or_default();
    let symbols: HashMap<&str, u64> = text
        .lines()
        .filter_map(|line| {
            let mut words = line.split(' ');
            let address = u64::from_str_radix(words.next()?, 16).ok()?;
            Some((words.nth(1)?.split('\t').next()?, address))
        })
        .collect();
    let find = |name: &str| symbols.get(name).copied().map(Ksym::At);
    for path in std::env::args().skip(1) {
        let bytes = std::fs::read(&path).expect("file");
        let object = match Object::parse(&bytes) {
            Ok(object) => object,
            Err(e) => {
                println!("FILE {path} {e}");
                continue;
            }
        };
        println!("FILE {path}");
        let maps = stub::maps(&object);
        let mut env = BindEnv::new(&maps).target(btf.clone());
        env.ksym = Some(&find);
        for (index, function) in object.functions.iter().enumerate().filter(|f| f.1.is_program()) {
            match object.bind_index(index, &mut env) {
                Ok(program) => print(&program),
                Err(e) => println!("PROG {} ERROR {e}", function.name),
            }
        }
    }
}

#[allow(clippy::print_stdout)]
fn print(program: &skep_platform::Program) {
    println!("PROG {} {}", program.name, program.insns.len());
    let mut skip = false;
    for (k, x) in program.insns.iter().enumerate() {
        if std::mem::take(&mut skip) {
            continue;
        }
        let second = program.insns.get(k + 1).map_or(0, |s| s.imm());
        match (x.opcode(), x.src()) {
            (0x18, 5 | 6) => {
                println!(" {k} map{} {} M {second}", x.src() - 4, x.dst());
                skip = true;
            }
            (0x18, 3) => {
                println!(" {k} btfid {}", x.imm());
                skip = true;
            }
            (0x85, 2) => println!(" {k} kfunc {}", x.imm()),
            _ => println!(" {k} {:02x} {:x} {:x} {} {}", x.opcode(), x.dst(), x.src(), x.off(), x.imm()),
        }
    }
}
