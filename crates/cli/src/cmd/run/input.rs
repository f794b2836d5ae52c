//! What programs run on, by the arguments: a capture, one packet, or a context.

use super::report::Outcome;
use crate::failure::Failure;
use crate::progress::Progress;
use clap::ArgMatches;
use skep::Loaded;
use skep::descriptors::ctx::UserRun;
use skep::hooks::capture::{Capture, Writer};
use skep::hooks::run::{OnFault, Options, Sink, run_capture};
use skep::vm::{User, UserProgram};
use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};

/// Input of a run.
pub(crate) enum Input {
    /// Packets of a capture; those that pass go to the second file.
    Pcap(PathBuf, Option<PathBuf>),
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
            _ => Err(Failure::Usage(
                "nothing to run on: give packets with --pcap, one packet with --data-in or a context with --ctx-in".into(),
            )),
        }
    }

    /// Whether programs that run like this can be given it.
    pub(crate) fn fits(&self, user: UserRun) -> bool {
        match self {
            Input::Pcap(..) => user == UserRun::Packets,
        }
    }

    /// Its name in messages.
    pub(crate) fn what(&self) -> String {
        match self {
            Input::Pcap(path, _) => format!("packets (--pcap {})", path.display()),
        }
    }

    /// Whether something is written.
    pub(crate) fn has_output(&self) -> bool {
        match self {
            Input::Pcap(_, out) => out.is_some(),
        }
    }

    /// Runs a program on it.
    pub(crate) fn run(
        &self,
        m: &ArgMatches,
        engine: &User,
        program: &UserProgram,
    ) -> Result<Outcome, Failure> {
        match self {
            Input::Pcap(path, out) => run_pcap(m, engine, program, path, out.as_deref()),
        }
    }
}

fn same_file(a: &Path, b: &Path) -> bool {
    matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

fn run_pcap(
    m: &ArgMatches,
    engine: &User,
    program: &UserProgram,
    path: &Path,
    out: Option<&Path>,
) -> Result<Outcome, Failure> {
    let file = File::open(path).map_err(|e| Failure::io("read", path, &e))?;
    let mut capture = Capture::new(file).map_err(|e| Failure::malformed(path, e))?;
    let mut writer = out.map(|out| create(out, &capture)).transpose()?;
    let p = program.program();
    let row = skep::platform().prog_type(p.prog_type).ok_or_else(|| {
        Failure::Unsupported(format!("program {}: its type is not known; rename its section", p.name))
    })?;
    let options = Options {
        repeat: m.get_one::<u32>("repeat").copied().unwrap_or(1),
        on_fault: if m.get_one::<String>("on-fault").is_some_and(|f| f == "count") {
            OnFault::Count
        } else {
            OnFault::Stop
        },
        ..Options::default()
    };
    let mut runner = engine.runner();
    let mut progress = Progress::new("packets");
    let sink = writer.as_mut().map(|w| w as &mut dyn Sink);
    let report = run_capture(row, p.attach_type, &mut capture, sink, &options, |ctx| {
        progress.step();
        runner.run(program, ctx)
    });
    let report = report.map_err(|why| {
        Failure::Unsupported(format!("program {} ({}): {why}", p.name, p.prog_type.label()))
    })?;
    if let (Some(w), Some(out)) = (writer, out) {
        let flushed =
            w.finish().and_then(|b| b.into_inner().map_err(std::io::IntoInnerError::into_error).map(drop));
        flushed.map_err(|e| Failure::io("write", out, &e))?;
    }
    Ok(Outcome::capture(report, path))
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
