//! `bench packets`: what small packet programs cost a packet, beside the running kernel where that may be asked, the cost of a
//! program that does nothing taken off (which has a row of its own). `single` is one run after the other, `batch` sixteen
//! packets a call.

use crate::maps::{Subject, Which, open_all};
use crate::{ROUNDS, Row, median};
use skep::descriptors::map::{Map, Side, flags};
use skep::descriptors::{Context, Errno, ProgType};
use skep::hooks::input;
use skep::kernel::KernelProgram;
use skep::vm::{User, UserProgram};
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Instant;

/// Packets of a batch.
const BATCH: usize = 16;
/// Runs of one round.
const RUNS: u32 = 16_384;
const SOURCE: [u8; 4] = [10, 1, 2, 3];
const DESTINATION: [u8; 4] = [192, 168, 7, 9];

/// Ethernet, IPv4, UDP, zeros.
fn frame() -> [u8; 64] {
    let mut f = [0; 64];
    f[12] = 8;
    f[14] = 0x45;
    f[17] = 50;
    f[22] = 64;
    f[23] = 17;
    f[26..30].copy_from_slice(&SOURCE);
    f[30..34].copy_from_slice(&DESTINATION);
    f[34..38].copy_from_slice(&[0x30, 0x39, 0, 53]);
    f[39] = 30;
    f
}

fn fill(map: &dyn Map) -> Result<(), Errno> {
    let put = |key: &[u8], value: &[u8]| map.update(key, value, flags::ANY, Side::User);
    let other = |i: u32| (i.wrapping_mul(0x9e37_79b9) | 1).to_ne_bytes();
    match map.def().name.as_str() {
        "blocked" => {
            (0..10_000).try_for_each(|i| put(&other(i), &[0; 4]))?;
            put(&SOURCE, &[0; 4])
        }
        "buckets" => {
            (0..10_000).try_for_each(|i| put(&other(i), &[0; 16]))?;
            put(&SOURCE, &[0; 16])
        }
        "routes" => {
            let at = |len: u32, addr: [u8; 4]| [len.to_ne_bytes(), addr].concat();
            (0..10_000).try_for_each(|i| put(&at(8 + i % 25, other(i)), &[1; 4]))?;
            (8..=28).step_by(4).try_for_each(|len| put(&at(len, DESTINATION), &[1; 4]))
        }
        _ => Ok(()),
    }
}

/// Nanoseconds a packet.
pub(crate) fn run(path: &Path) -> Result<Vec<Row>, String> {
    let subjects = open_all(path, &[], fill)?;
    let names: Vec<String> =
        subjects[0].collection.programs.iter().map(|p| p.loaded.program().name.clone()).collect();
    let ways: Vec<(&Subject, &'static str)> = subjects
        .iter()
        .flat_map(|s| match s.engine {
            Which::Kernel(_) => vec![(s, "kernel")],
            Which::User(_) => vec![(s, "single"), (s, "batch")],
        })
        .collect();
    let mut samples = vec![vec![Vec::new(); ways.len()]; names.len()];
    for _ in 0..ROUNDS * 3 {
        for (name, samples) in names.iter().zip(&mut samples) {
            for ((subject, way), samples) in ways.iter().zip(samples) {
                samples.push(round(subject, name, way)?);
            }
        }
    }
    let medians: Vec<Vec<f64>> = samples.into_iter().map(|s| s.into_iter().map(median).collect()).collect();
    let base = names.iter().position(|n| n == "pass").ok_or("no program `pass`")?;
    let mut rows = Vec::new();
    for (at, name) in names.iter().enumerate() {
        let net = |way: usize| medians[at][way] - if at == base { 0.0 } else { medians[base][way] };
        for (way, (subject, how)) in ways.iter().enumerate() {
            let program = if *how == "kernel" { name.clone() } else { format!("{name}, {how}") };
            rows.push(Row {
                engine: subject.name,
                program,
                ns: net(way),
                ratio: net(way) / net(0),
                compile_ns: 0.0,
            });
        }
    }
    Ok(rows)
}

fn round(s: &Subject, name: &str, way: &str) -> Result<f64, String> {
    let loaded = &s.collection.program(name).ok_or("no such program")?.loaded;
    match &s.engine {
        Which::Kernel(kernel) => {
            let program = loaded.as_any().downcast_ref::<KernelProgram>().ok_or("not the kernel's")?;
            let ran = kernel.run(program, &frame(), &[], RUNS).map_err(|e| format!("{name}: {e}"))?;
            Ok(f64::from(ran.ns))
        }
        Which::User(user) => {
            user_round(user, loaded.as_any().downcast_ref().ok_or("not a program of the engine")?, way)
        }
    }
}

fn user_round(user: &User, program: &UserProgram, way: &str) -> Result<f64, String> {
    let mut runner = user.runner();
    let row = skep::platform().prog_type(ProgType::Xdp).ok_or("no XDP")?;
    let frame = frame();
    let given = input::Input { data: Some(&frame), ctx: None };
    let made: Result<Vec<Context>, _> = (0..BATCH).map(|_| input::context(row, None, &given)).collect();
    let mut contexts = made.map_err(|e| e.to_string())?;
    let (mut sum, mut fault) = (0u64, None);
    let began = Instant::now();
    for _ in 0..RUNS as usize / BATCH {
        if way == "single" {
            for ctx in &mut contexts {
                sum += runner.run(program, ctx).map_err(|e| e.to_string())?;
            }
            continue;
        }
        runner.run_batch(program, &mut contexts, |r0| match r0 {
            Ok(r0) => {
                sum += r0;
                ControlFlow::Continue(())
            }
            Err(e) => {
                fault = Some(e.to_string());
                ControlFlow::Break(())
            }
        });
    }
    let ns = began.elapsed().as_nanos() as f64 / f64::from(RUNS);
    std::hint::black_box(sum);
    fault.map_or(Ok(ns), Err)
}
