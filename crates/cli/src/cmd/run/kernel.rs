//! Runs in the kernel, by `BPF_PROG_TEST_RUN`.

use crate::failure::Failure;
use skep::Loaded;
use skep::descriptors::env::CtxData;
use skep::descriptors::packet::Redirect;
use skep::descriptors::{Context, Engine, Errno, RunError};
use skep::hooks::report::Report;
use skep::kernel::explain::{Asked, Rights, is_permission, why};
use skep::kernel::{Kernel, KernelProgram, Ran};

/// Runs a program on data and context.
pub(crate) fn run(
    engine: &Kernel,
    loaded: &dyn Loaded,
    data: &[u8],
    ctx: &[u8],
    repeat: u32,
) -> Result<Ran, Failure> {
    let p = loaded.program();
    let program = loaded.as_any().downcast_ref::<KernelProgram>();
    let program = program.ok_or_else(|| Failure::Unsupported("program of another engine".into()))?;
    engine.run(program, data, ctx, repeat).map_err(|errno| {
        let text = format!(
            "program {} ({}): {}",
            p.name,
            p.prog_type.label(),
            why(Asked::Run, errno, &Rights::own())
        );
        match errno {
            Errno::ENOTSUPP | Errno::EOPNOTSUPP => Failure::Unsupported(text),
            e if is_permission(e) => Failure::Permission(text),
            Errno::EINVAL => Failure::Input(text),
            _ => Failure::Failed(text),
        }
    })
}

/// Runs over a capture, with the time that the kernel took for them.
pub(crate) struct Runs<'k> {
    engine: &'k Kernel,
    repeat: u32,
    ns: u64,
    packets: u64,
}

impl<'k> Runs<'k> {
    /// Nothing run yet.
    pub(crate) fn new(engine: &'k Kernel, repeat: u32) -> Runs<'k> {
        Runs { engine, repeat, ns: 0, packets: 0 }
    }

    /// Runs the program on one packet.
    pub(crate) fn run(&mut self, loaded: &dyn Loaded, ctx: &mut Context) -> Result<u64, Box<RunError>> {
        let Some(program) = loaded.as_any().downcast_ref::<KernelProgram>() else {
            return self.engine.test_run(loaded, ctx);
        };
        let (r0, ns) = self.engine.run_packet(program, ctx, self.repeat)?;
        self.ns += u64::from(ns);
        self.packets += 1;
        // Where a redirected packet goes to is not told; that it goes somewhere is.
        if let CtxData::Packet(p) = &mut ctx.data {
            p.redirect.get_or_insert(Redirect::Interface { ifindex: 0, flags: 0 });
        }
        Ok(r0)
    }

    /// The report with the kernel's own times. Where packets were redirected to is not told by the kernel.
    pub(crate) fn told(&self, mut report: Report) -> Report {
        report.redirects.clear();
        report.runs = self.packets * u64::from(self.repeat);
        report.ns_per_run = (self.packets > 0).then(|| self.ns as f64 / self.packets as f64);
        report
    }
}
