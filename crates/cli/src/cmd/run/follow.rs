//! `skep run --follow` on a capture or a context: records as the programs write them, between two batches of packets, on either
//! engine.

use super::machine::Machine;
use crate::cmd::kobj::events;
use crate::failure::Failure;
use crate::output::{Format, Out};
use crate::stream::{Followed, Limits, summary, summary_json};
use clap::ArgMatches;
use serde_json::{Map, Value};
use skep::Collection;
use skep::descriptors::MapType;
use skep::kernel::KernelMap;
use std::ops::ControlFlow;
use std::time::Instant;

/// The maps whose records are shown; none without `--follow`. `cpus` is for perf event arrays of the user engine.
pub(super) fn followed<'c>(
    m: &ArgMatches,
    c: &'c Collection,
    cpus: usize,
) -> Result<Vec<Followed<'c>>, Failure> {
    let Some(wanted) = m.get_one::<String>("follow") else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    for map in c.maps.iter().flatten() {
        let has = matches!(map.def().map_type, MapType::Ringbuf | MapType::PerfEventArray);
        let meant = if wanted.is_empty() { has } else { map.def().name == *wanted };
        if !meant {
            continue;
        }
        let btf = c.object.btf.as_deref();
        found.push(match map.as_any().downcast_ref::<KernelMap>() {
            Some(map) => Followed::open(map, btf, None)?,
            None => Followed::of_user(&**map, btf, cpus)?,
        });
    }
    if found.is_empty() {
        return Err(Failure::Input(match wanted.as_str() {
            "" => "--follow: the object has no ring buffer and no perf event array".into(),
            name => format!("--follow: the object has no map {name:?}"),
        }));
    }
    Ok(found)
}

/// What is followed while programs run.
pub(super) struct Stream<'c> {
    maps: Vec<Followed<'c>>,
    limits: Limits,
    began: Instant,
    left: u64,
    quiet: bool,
    trouble: Result<(), Failure>,
    /// The format of what is printed at the end.
    format: Format,
}

impl<'c> Stream<'c> {
    /// By the arguments; lines from here on where JSON is printed, since a document cannot be printed piece by piece.
    pub(super) fn new(
        m: &ArgMatches,
        machine: &Machine,
        c: &'c Collection,
        out: &mut Out,
    ) -> Result<Self, Failure> {
        let maps = followed(m, c, machine.cpus())?;
        let limits = events::limits(m)?;
        let (left, quiet, format) = (limits.count.unwrap_or(u64::MAX), m.get_flag("quiet"), out.format);
        if !maps.is_empty() && matches!(format, Format::Json { .. }) {
            out.format = Format::Jsonl;
        }
        Ok(Stream { maps, limits, began: Instant::now(), left, quiet, trouble: Ok(()), format })
    }

    /// Prints what came since the last call; breaks where a limit is reached or nothing can be printed.
    pub(super) fn show(&mut self, out: &mut Out) -> ControlFlow<()> {
        let named = self.maps.len() > 1;
        for map in &mut self.maps {
            if self.left > 0 && self.trouble.is_ok() {
                self.trouble = map.consume(named, &mut self.left, self.quiet, out);
            }
        }
        if !self.maps.is_empty() && self.trouble.is_ok() {
            self.trouble = out.finish();
        }
        let late = self.limits.duration.is_some_and(|d| self.began.elapsed() >= d);
        if self.left == 0 || late || self.trouble.is_err() {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }

    /// Whether a limit was reached: what is left of the input, and further programs, are not run.
    pub(super) fn is_over(&self) -> bool {
        self.left == 0 || self.trouble.is_err()
    }

    /// What came and what was lost: on standard error, and in the rows of JSON.
    pub(super) fn end(self, rows: &mut [Map<String, Value>], out: &mut Out) -> Result<(), Failure> {
        if self.maps.is_empty() {
            return self.trouble;
        }
        eprintln!("{}", summary(&self.maps));
        // Records stand on lines of their own before the report, which is a line as well.
        out.format = if self.quiet { self.format } else { out.format };
        for row in rows {
            row.insert("streams".into(), summary_json(&self.maps));
        }
        self.trouble
    }
}
