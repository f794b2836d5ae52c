//! What programs run on, by the arguments: a capture, one packet, or a context.

use super::follow::Stream;
use super::kernel;
use super::machine::Machine;
use super::report::{Outcome, Packets, Single};
use crate::failure::Failure;
use crate::output::Out;
use crate::progress::Progress;
use clap::ArgMatches;
use skep::Loaded;
use skep::descriptors::ctx::UserRun;
use skep::descriptors::{AttachType, ProgType, ProgTypeDesc, Program, RunError};
use skep::hooks::capture::{Capture, Writer};
use skep::hooks::ctx_text;
use skep::hooks::input as hooks_input;
use skep::hooks::packet::Arrival;
use skep::hooks::run::{OnFault, Options, Sink, run_capture_watched};
use skep::kernel::Kernel;
use skep::vm::{User, UserProgram};
use std::fs::File;
use std::io::BufWriter;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Runs on one input between two looks at the records that are followed.
const AT_ONCE: u32 = 1024;

/// Shows records; breaks where the run is to end.
type Between<'a> = &'a mut dyn FnMut() -> ControlFlow<()>;

/// Input of a run.
pub(crate) enum Input {
    /// Packets of a capture; those that pass go to the second file.
    Pcap(PathBuf, Option<PathBuf>),
    /// One packet or buffer, one context, or both.
    One(One),
}

/// One run's input, and where what it leaves is written.
pub(crate) struct One {
    data: Option<Given>,
    ctx: Option<Given>,
    data_out: Option<PathBuf>,
    ctx_out: Option<PathBuf>,
}

/// A file with its bytes.
struct Given {
    path: PathBuf,
    bytes: Vec<u8>,
}

impl Given {
    fn read(path: Option<PathBuf>) -> Result<Option<Given>, Failure> {
        path.map(|path| Ok(Given { bytes: crate::input::file(&path)?, path })).transpose()
    }
}

impl Input {
    /// From `--pcap`, `--data-in`, `--ctx-in`.
    pub(crate) fn from_args(m: &ArgMatches) -> Result<Input, Failure> {
        let file = |name: &str| m.get_one::<PathBuf>(name).cloned();
        match (file("pcap"), file("data-in"), file("ctx-in")) {
            (Some(pcap), _, _) => {
                let out = file("pcap-out");
                if out.as_ref().is_some_and(|o| same_file(o, &pcap)) {
                    return Err(Failure::Usage("--pcap-out names the capture that is read; name another file".into()));
                }
                Ok(Input::Pcap(pcap, out))
            }
            (_, data, ctx) if data.is_some() || ctx.is_some() => Ok(Input::One(One {
                data: Given::read(data)?,
                ctx: Given::read(ctx)?,
                data_out: file("data-out"),
                ctx_out: file("ctx-out"),
            })),
            _ => Err(Failure::Usage(
                "nothing to run on: give packets with --pcap, one packet with --data-in or a context with --ctx-in".into(),
            )),
        }
    }

    /// Whether programs that run like this can be given it.
    pub(crate) fn fits(&self, user: UserRun) -> bool {
        match self {
            Input::Pcap(..) => user == UserRun::Packets,
            Input::One(one) if one.data.is_some() => user == UserRun::Packets,
            Input::One(_) => user == UserRun::Plain,
        }
    }

    /// Its name in messages.
    pub(crate) fn what(&self) -> String {
        match self {
            Input::Pcap(path, _) => format!("packets (--pcap {})", path.display()),
            Input::One(one) => one.what(),
        }
    }

    /// Whether something is written.
    pub(crate) fn has_output(&self) -> bool {
        match self {
            Input::Pcap(_, out) => out.is_some(),
            Input::One(one) => one.data_out.is_some() || one.ctx_out.is_some(),
        }
    }

    /// Runs a program on it.
    pub(crate) fn run(
        &self,
        m: &ArgMatches,
        machine: &Machine,
        loaded: &dyn Loaded,
        (stream, out): (&mut Stream<'_>, &mut Out),
    ) -> Result<Outcome, Failure> {
        let between = &mut || stream.show(out);
        match (self, machine) {
            (Input::Pcap(path, to), _) => run_pcap(m, machine, loaded, (path, to.as_deref()), between),
            (Input::One(one), Machine::Kernel(kernel)) => one.run_kernel(m, kernel, loaded, between),
            (Input::One(one), Machine::User(user)) => one.run(m, user, of_user(loaded)?, between),
        }
    }
}

fn of_user(loaded: &dyn Loaded) -> Result<&UserProgram, Failure> {
    loaded.as_any().downcast_ref().ok_or_else(|| Failure::Unsupported("program of another engine".into()))
}

/// The row of a program's type.
pub(crate) fn row_of(p: &Program) -> Result<&'static ProgTypeDesc, Failure> {
    let unknown = || {
        Failure::Unsupported(format!(
            "program {}: section {:?} is of no known program type; rename the section",
            p.name, p.section
        ))
    };
    skep::platform().prog_type(p.prog_type).filter(|r| r.prog_type != ProgType::Unspec).ok_or_else(unknown)
}

impl One {
    fn what(&self) -> String {
        let name =
            |option: &str, g: &Option<Given>| g.as_ref().map(|g| format!("{option} {}", g.path.display()));
        let parts = [name("--data-in", &self.data), name("--ctx-in", &self.ctx)];
        parts.into_iter().flatten().collect::<Vec<_>>().join(" ")
    }

    fn given(&self) -> hooks_input::Input<'_> {
        hooks_input::Input {
            data: self.data.as_ref().map(|g| g.bytes.as_slice()),
            ctx: self.ctx.as_ref().map(|g| g.bytes.as_slice()),
        }
    }

    fn run_kernel(
        &self,
        m: &ArgMatches,
        engine: &Kernel,
        loaded: &dyn Loaded,
        between: Between<'_>,
    ) -> Result<Outcome, Failure> {
        let p = loaded.program();
        let row = row_of(p)?;
        let (data, ctx) =
            hooks_input::test_run_bytes(row, p.attach_type, &self.given()).map_err(|e| misfit(p, e))?;
        let repeat = m.get_one::<u32>("repeat").copied().unwrap_or(1);
        let ran = kernel::run(engine, loaded, &data, &ctx, repeat)?;
        let _ = between();
        let left = hooks_input::Output { data: (!data.is_empty()).then_some(ran.data), ctx: ran.ctx };
        let (result, ns_per_run) = (Ok(u64::from(ran.retval)), f64::from(ran.ns));
        self.outcome(row, p.attach_type, left, (result, repeat, ns_per_run))
    }

    fn run(
        &self,
        m: &ArgMatches,
        engine: &User,
        program: &UserProgram,
        between: Between<'_>,
    ) -> Result<Outcome, Failure> {
        let p = program.program();
        let row = row_of(p)?;
        let mut ctx = hooks_input::context(row, p.attach_type, &self.given()).map_err(|e| misfit(p, e))?;
        let repeat = m.get_one::<u32>("repeat").copied().unwrap_or(1);
        let mut runner = engine.runner();
        let (mut result, mut runs, mut took) = (Ok(0), 0, Duration::ZERO);
        let mut goes_on = true;
        while goes_on && runs < repeat && result.is_ok() {
            let (began, until) = (Instant::now(), repeat.min(runs + AT_ONCE));
            while runs < until && result.is_ok() {
                result = runner.run(program, &mut ctx);
                runs += 1;
            }
            took += began.elapsed();
            goes_on = between().is_continue();
        }
        let ns_per_run = took.as_nanos() as f64 / f64::from(runs.max(1));
        let left = hooks_input::output(row, &mut ctx);
        self.outcome(row, p.attach_type, left, (result, runs, ns_per_run))
    }

    /// Writes what a run left, and tells of it.
    fn outcome(
        &self,
        row: &'static ProgTypeDesc,
        attach: Option<AttachType>,
        left: hooks_input::Output,
        (result, runs, ns_per_run): (Result<u64, Box<RunError>>, u32, f64),
    ) -> Result<Outcome, Failure> {
        if let (Some(path), Some(data)) = (&self.data_out, &left.data) {
            crate::input::write(path, data)?;
        }
        let layout = row.layout(attach).filter(|l| left.ctx.len() <= l.size as usize);
        let text = layout.map_or(String::new(), |l| ctx_text::render(l, &left.ctx));
        if let Some(path) = &self.ctx_out {
            let as_text = self.ctx.as_ref().is_some_and(|g| ctx_text::is_text(&g.bytes));
            crate::input::write(path, if as_text { text.as_bytes() } else { &left.ctx })?;
        }
        let single = Single { what: self.what(), result, runs, ns_per_run, data: left.data, ctx: text };
        Ok(Outcome::One(Box::new(single), row))
    }
}

fn misfit(p: &Program, e: hooks_input::InputError) -> Failure {
    Failure::Input(format!("program {} ({}): {e}", p.name, p.prog_type.label()))
}

fn same_file(a: &Path, b: &Path) -> bool {
    matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

fn run_pcap(
    m: &ArgMatches,
    machine: &Machine,
    loaded: &dyn Loaded,
    (path, out): (&Path, Option<&Path>),
    between: Between<'_>,
) -> Result<Outcome, Failure> {
    let file = File::open(path).map_err(|e| Failure::io("read", path, &e))?;
    let mut capture = Capture::new(file).map_err(|e| Failure::malformed(path, e))?;
    crate::cmd::filter::choose::apply(m, &mut capture)?;
    let mut writer = out.map(|out| create(out, &capture)).transpose()?;
    let p = loaded.program();
    let row = row_of(p)?;
    let mut options = Options {
        repeat: m.get_one::<u32>("repeat").copied().unwrap_or(1),
        on_fault: if m.get_one::<String>("on-fault").is_some_and(|f| f == "count") {
            OnFault::Count
        } else {
            OnFault::Stop
        },
        ..Options::default()
    };
    let mut progress = Progress::new("packets");
    let sink = writer.as_mut().map(|w| w as &mut dyn Sink);
    let report = match machine {
        Machine::User(engine) => {
            let (program, mut runner) = (of_user(loaded)?, engine.runner());
            run_capture_watched(
                row,
                p.attach_type,
                &mut capture,
                sink,
                &options,
                |ctx| {
                    progress.step();
                    runner.run(program, ctx)
                },
                between,
            )
        }
        Machine::Kernel(engine) => {
            // The kernel repeats by itself, and times itself.
            let mut runs = kernel::Runs::new(engine, std::mem::replace(&mut options.repeat, 1));
            // A socket filter in a test run can be given the Ethernet header that a packet socket's sees; tags beside the
            // packet can be given to nobody.
            if row.prog_type != ProgType::SocketFilter {
                options.arrival = Arrival::TestRun;
            }
            let report = run_capture_watched(
                row,
                p.attach_type,
                &mut capture,
                sink,
                &options,
                |ctx| {
                    progress.step();
                    runs.run(loaded, ctx)
                },
                between,
            );
            report.map(|r| runs.told(r))
        }
    };
    let report = report.map_err(|why| {
        Failure::Unsupported(format!("program {} ({}): {why}", p.name, p.prog_type.label()))
    })?;
    if let (Some(w), Some(out)) = (writer, out) {
        let flushed =
            w.finish().and_then(|b| b.into_inner().map_err(std::io::IntoInnerError::into_error).map(drop));
        flushed.map_err(|e| Failure::io("write", out, &e))?;
    }
    Ok(Outcome::Capture(Box::new(Packets { report, path: path.into() })))
}

fn create(out: &Path, capture: &Capture<File>) -> Result<Writer<BufWriter<File>>, Failure> {
    let file = File::create(out).map_err(|e| Failure::io("write", out, &e))?;
    let first = capture.interfaces().first().copied();
    let first = first.unwrap_or(skep::hooks::capture::Interface {
        link: skep::hooks::link::LinkType::ETHERNET,
        snaplen: 0,
    });
    Writer::new(BufWriter::new(file), capture.format(), first).map_err(|e| Failure::io("write", out, &e))
}
