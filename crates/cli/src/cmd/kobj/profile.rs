//! `skep prog profile`: what a program of the running kernel costs. Hardware counters around each of its runs where the kernel and
//! the machine have them; else its runs and their time.

use super::{Words, door, events, refused, words_arg};
use crate::commands::Cmd;
use crate::failure::Failure;
use crate::output::{Out, object};
use clap::ArgMatches;
use serde_json::{Map, Value};
use skep::kernel::door::{Door, IdKind};
use skep::kernel::profile::{METRICS, Metric, Profiler, Reading, Stats};
use skep::kernel::wait::Event;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// `skep prog profile PROG [duration N] METRIC…`.
pub(crate) static PROFILE: Cmd = Cmd {
    path: &["prog", "profile"],
    about: "Count what a program of the running kernel costs: cycles, instructions, misses, or its runs and their time",
    long: "Metrics: cycles, instructions, l1d_loads, llc_misses, itlb_misses, dtlb_misses. For so many seconds, or until it is\n\
           interrupted. Where the kernel has no trampolines or the machine no counters it says so, and counts runs and their time.\n\n\
           Example:\n  skep prog profile id 12 duration 10 cycles instructions",
    args: || {
        vec![words_arg("PROG WORD", "id N, pinned PATH, name NAME or tag TAG; [duration SECONDS]; metrics")]
    },
    run: profile,
};

fn profile(m: &ArgMatches, out: &mut Out) -> Result<(), Failure> {
    let mut words = Words::new(m);
    let door = door();
    let prog = words.which()?.one(&*door, IdKind::Prog)?;
    let seconds = if words.take("duration") { Some(words.number("duration")?) } else { None };
    let metrics = metrics(&mut words)?;
    // Interrupts are events before anything is attached.
    let waiter = events::waiter()?;
    let until = seconds.map(|s| Instant::now() + Duration::from_secs(s.into()));
    let rows = match counting(&door, prog.as_fd(), &metrics)? {
        Counting::Metrics(profiler) => {
            wait(&waiter, until)?;
            let (runs, readings) = profiler.read().map_err(|e| refused("reading the counters", e))?;
            rows(runs, &metrics, &readings)
        }
        Counting::Runs(stats) => {
            wait(&waiter, until)?;
            let (runs, ns) = stats.read().map_err(|e| refused("reading the program's statistics", e))?;
            let each = if runs == 0 { String::new() } else { note(ns as f64 / runs as f64, "ns a run") };
            vec![Row {
                name: "run_time_ns",
                runs,
                reading: Reading { value: ns, ..Reading::default() },
                each,
            }]
        }
    };
    if out.is_json() {
        return out.json_rows("metrics", rows.iter().map(Row::json).collect());
    }
    out.text(&format!("\n{:18} {:<20}\n", rows.first().map_or(0, |r| r.runs), "run_cnt"))?;
    rows.iter().try_for_each(|r| out.line(&r.text()))
}

/// The metrics that the words name.
fn metrics(words: &mut Words<'_>) -> Result<Vec<Metric>, Failure> {
    let names = || METRICS.map(|m| m.name).join(", ");
    let mut all = Vec::new();
    while let Some(word) = words.next() {
        let found = METRICS.iter().find(|m| m.name == word);
        let found =
            found.ok_or_else(|| Failure::Usage(format!("no metric {word:?}; there are {}", names())))?;
        if !all.contains(found) {
            all.push(*found);
        }
    }
    if all.is_empty() {
        return Err(Failure::Usage(format!("name at least one metric: {}", names())));
    }
    Ok(all)
}

/// What is counted with.
enum Counting {
    Metrics(Box<Profiler>),
    Runs(Stats),
}

fn counting(door: &Arc<dyn Door>, prog: BorrowedFd<'_>, metrics: &[Metric]) -> Result<Counting, Failure> {
    let why = match Profiler::start(door, prog, metrics) {
        Ok(profiler) => return Ok(Counting::Metrics(Box::new(profiler))),
        Err(why) => why,
    };
    let names: Vec<&str> = metrics.iter().map(|m| m.name).collect();
    let stats = Stats::start(door, prog).map_err(|e| {
        let Failure::Permission(text) = refused("counting runs", e) else {
            return refused("counting runs", e);
        };
        Failure::Permission(format!("{why}; {text}"))
    })?;
    eprintln!("skep: {} cannot be counted: {why}; runs and their time are counted instead", names.join(", "));
    Ok(Counting::Runs(stats))
}

/// Sleeps until the time is over or somebody interrupts.
fn wait(waiter: &skep::kernel::wait::Waiter, until: Option<Instant>) -> Result<(), Failure> {
    loop {
        let left = until.map(|u| u.saturating_duration_since(Instant::now()));
        if left.is_some_and(|l| l.is_zero()) {
            return Ok(());
        }
        let millis = left.map(|l| u32::try_from(l.as_millis()).unwrap_or(u32::MAX).max(1));
        let happened = waiter.wait(millis).map_err(|e| Failure::Failed(format!("cannot wait: {e}")))?;
        if happened.contains(&Event::Interrupt) {
            return Ok(());
        }
    }
}

/// What is printed of a metric.
struct Row {
    name: &'static str,
    runs: u64,
    reading: Reading,
    /// What it means for each run or instruction.
    each: String,
}

fn rows(runs: u64, metrics: &[Metric], readings: &[Reading]) -> Vec<Row> {
    let of = |name: &str| metrics.iter().position(|m| m.name == name).and_then(|i| readings.get(i));
    let row = |(metric, reading): (&Metric, &Reading)| {
        let each = metric.per.and_then(|(other, factor, unit)| {
            let other = whole(of(other)?);
            (other > 0.0).then(|| note(whole(reading) / other * factor, unit))
        });
        Row { name: metric.name, runs, reading: *reading, each: each.unwrap_or_default() }
    };
    metrics.iter().zip(readings).map(row).collect()
}

/// The value as if the counter had counted all the time.
fn whole(r: &Reading) -> f64 {
    let share = if r.running == 0 { 1.0 } else { r.enabled as f64 / r.running as f64 };
    r.value as f64 * share
}

fn note(value: f64, unit: &str) -> String {
    format!("# {value:8.2} {unit:<30}")
}

impl Row {
    fn text(&self) -> String {
        let mut text = format!("{:18} {:<20}{:<41}", self.reading.value, self.name, self.each);
        if self.reading.enabled > self.reading.running {
            let share = self.reading.running as f64 / self.reading.enabled as f64 * 100.0;
            text.push_str(&format!("({share:.2}%)"));
        }
        text.trim_end().to_owned()
    }

    fn json(&self) -> Map<String, Value> {
        let mut row = object([
            ("metric", self.name.into()),
            ("run_cnt", self.runs.into()),
            ("value", self.reading.value.into()),
        ]);
        if self.reading.enabled > 0 {
            row.insert("enabled".into(), self.reading.enabled.into());
            row.insert("running".into(), self.reading.running.into());
        }
        row
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_of_what_would_have_been_counted() {
        let readings = [
            Reading { value: 40, enabled: 100, running: 50 },
            Reading { value: 120, enabled: 100, running: 100 },
            Reading { value: 3, enabled: 100, running: 100 },
        ];
        let rows = rows(7, &[METRICS[0], METRICS[1], METRICS[3]], &readings);
        assert_eq!(rows[0].text(), format!("{:18} {:<61}(50.00%)", 40, "cycles"));
        assert_eq!(rows[1].text(), format!("{:18} {:<20}#     1.50 insns per cycle", 120, "instructions"));
        assert!(rows[2].text().ends_with("# 25000.00 LLC misses per million insns"), "{}", rows[2].text());
        assert_eq!(rows[0].json()["run_cnt"], 7);
    }
}
