//! Modules made by `skep gen skeleton` (a test of the command holds them to what it writes now), used on both engines: variables
//! set before the load, read and changed after it, maps and programs by name. Without the right to use the kernel that half says
//! so and is passed over.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may panic and say what it skipped")]

#[rustfmt::skip]
#[allow(dead_code, unreachable_pub, reason = "a skeleton is a module of somebody's crate, and has more than one test needs")]
#[path = "skeleton/firewall.rs"]
mod firewall;
#[rustfmt::skip]
#[allow(dead_code, unreachable_pub, reason = "a skeleton is a module of somebody's crate, and has more than one test needs")]
#[path = "skeleton/lb.rs"]
mod lb;

use skep::descriptors::Engine;
use skep::hooks::input::{Input, context};
use skep::kernel::Kernel;
use skep::vm::{SystemHost, User};
use skep::{Options, verify::unverified};
use std::sync::Arc;

/// The engines that there are.
fn engines() -> Vec<(&'static str, Box<dyn Engine>)> {
    let user: Box<dyn Engine> = Box::new(User::new(*skep::platform(), Arc::new(SystemHost::new())));
    let mut all = vec![("user", user)];
    match Kernel::open(*skep::platform()) {
        Ok(kernel) => all.push(("kernel", Box::new(kernel))),
        Err(e) => println!("kernel: skipped: {e}"),
    }
    all
}

#[test]
fn variables_before_and_after_the_load() {
    for (name, engine) in engines() {
        for defaults in [true, false] {
            let mut open = firewall::Open::new().unwrap();
            let mut rodata = open.rodata().unwrap();
            assert!(rodata.install_defaults, "as it was compiled");
            rodata.install_defaults = defaults;
            open.set_rodata(&rodata).unwrap();
            let fw = open.load(&*engine, &Options::default(), &mut unverified).unwrap();
            assert_eq!(fw.map_ports().unwrap().def().name, "ports");
            let program = fw.prog_firewall().unwrap();
            let row = skep::platform().prog_type(program.program().prog_type).unwrap();
            let packet = [0; 64];
            let mut ctx = context(row, None, &Input { data: Some(&packet), ctx: None }).unwrap();
            engine.test_run(&**program, &mut ctx).unwrap();
            let mut bss = fw.bss().unwrap();
            assert_eq!(bss.defaults_installed != 0, defaults, "{name}");
            bss.events_lost = 7;
            fw.set_bss(&bss).unwrap();
            assert_eq!(fw.bss().unwrap(), bss, "{name}");
        }
    }
}

#[test]
fn structs_and_arrays_of_them() {
    let mut open = lb::Open::new().unwrap();
    let compiled = open.data().unwrap();
    let mut data = compiled;
    data.wanted_generation = compiled.wanted_generation + 1;
    open.set_data(&data).unwrap();
    assert_eq!(open.data().unwrap(), data);
    for (name, engine) in engines() {
        let lb = open.clone().load(&*engine, &Options::default(), &mut unverified).unwrap();
        assert_eq!(lb.data().unwrap(), data, "{name}");
        let mut bss = lb.bss().unwrap();
        let last = bss.turns.len() - 1;
        bss.turns[last].skip = 5;
        lb.set_bss(&bss).unwrap();
        assert_eq!(lb.bss().unwrap().turns[last].skip, 5, "{name}");
    }
}
