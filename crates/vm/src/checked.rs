//! The checked tier: an interpreter that knows where every pointer came from and which bytes were written, runs programs
//! that nobody has verified, and stops at the first wrong step.
//!
//! ```text
//! Program ── code.rs ──► Code ── run.rs (loop, frames) ── step.rs (one instruction)
//!                                  │                        ├─ access.rs, context.rs (memory), packet.rs
//!                                  │                        └─ helper.rs, args.rs ──► bodies ──► door.rs (Env) ─┐
//!                                  ▲────────────────────────────────── callbacks ◄──────────────────────────────┘
//! ```
//!
//! Always holds: no instruction touches memory but through a live slot of the run's region table, within its bounds;
//! whatever the program does, the outcome is a value or a [`RunError`], never a panic.

pub mod code;
pub mod report;
pub mod run;

mod access;
mod args;
mod context;
mod door;
mod helper;
mod history;
pub(crate) mod keep;
pub(crate) mod packet;
mod shadow;
mod step;

use crate::region::Val;
use code::Code;
use keep::Chain;
use run::{Active, Machine, Moment, Observer, Options, Run};
use skep_platform::engine::RunError;
use skep_platform::env::{Context, Host};
use std::sync::Arc;

/// Runs a program on `ctx` from its beginning; the value of `r0` at its end.
///
/// A run that is stopped releases the spin lock and discards the ring buffer records that it holds.
pub fn run(
    machine: &mut Machine,
    code: &Arc<Code>,
    ctx: &mut Context,
    host: &dyn Host,
    options: Options,
) -> Result<u64, Box<RunError>> {
    run_with(machine, code, ctx, host, options, None)
}

/// The same, telling an observer of every instruction before it runs: for tests that hold other views of a program
/// against what really happens.
pub fn run_observed(
    machine: &mut Machine,
    code: &Arc<Code>,
    ctx: &mut Context,
    host: &dyn Host,
    options: Options,
    observer: &mut Observer<'_>,
) -> Result<u64, Box<RunError>> {
    // A closure of our own, so that the observer's lifetime may be shortened to this call's.
    let mut tell = |m: &Moment<'_>| observer(m);
    run_with(machine, code, ctx, host, options, Some(&mut tell))
}

fn run_with<'m>(
    machine: &'m mut Machine,
    code: &Arc<Code>,
    ctx: &'m mut Context,
    host: &dyn Host,
    options: Options,
    observer: Option<&'m mut Observer<'m>>,
) -> Result<u64, Box<RunError>> {
    let (maps, codes) = (Chain::new(), Chain::new());
    let cpu = host.current_cpu();
    let mut run = Run {
        m: machine,
        ctx,
        host,
        maps: &maps,
        codes: &codes,
        options,
        code,
        pc: 0,
        regs: [Val::UNINIT; 11],
        frames: Vec::new(),
        own: 0,
        may_goto: 0,
        depth: 0,
        left: options.budget,
        tail_calls: 0,
        cpu,
        active: Active { args: [Val::UNINIT; 5], helper: None },
        references: Vec::new(),
        lock: None,
        dead: None,
        observer,
    };
    run.m.history.clear();
    run.start().map_err(|fault| {
        let error = run.error(fault);
        run.clean_up();
        Box::new(error)
    })
}
