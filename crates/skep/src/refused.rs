//! A refusal of the kernel's verifier as a [`Rejection`], the type of our own.
//!
//! The program is judged here too. Where both refuse it by the same phrase the refusal is ours, with everything that can be said
//! of it (registers, causes, an input, a fix), and the kernel's log. Else it is what the log says: phrase, rule, instruction,
//! source line and counts.

use crate::definition::Definition;
use skep_platform::engine::Refusal;
use skep_platform::map::{Map, Side};
use skep_platform::{Engine, MapType, Program};
use skep_verifier::{Options, Reject, Rejection, Rule, Stats, rule_of, verify_full};
use skep_vm::{SystemHost, Tier, User};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// A refusal of the kernel's.
#[derive(Clone, Debug)]
pub struct KernelRejection {
    /// What it says. [`Rejection::log`] is the kernel's.
    pub rejection: Rejection,
    /// Our verifier refuses the program by the same phrase: [`crate::explain::explain`] has more to say of it.
    pub same: bool,
    /// Error number and log, as they came.
    pub refusal: Refusal,
}

impl fmt::Display for KernelRejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.refusal.fmt(f)
    }
}

/// Explains why the kernel refused a program. Cost: that of verifying it here.
pub fn explained(program: &Arc<Program>, refusal: Refusal) -> KernelRejection {
    let maps = program.maps.iter().map(here).collect();
    let program = Arc::new(Program { maps, ..Program::clone(program) });
    let options = Options { cpus: skep_maps::possible_cpus(), ..Options::default() };
    let log = refusal.log.clone();
    match verify_full(&program, crate::platform(), &options) {
        Err(ours) if is_said(&ours, &log) => {
            KernelRejection { rejection: Rejection { log, ..*ours }, same: true, refusal }
        }
        _ => KernelRejection { rejection: by_log(program, options, &refusal), same: false, refusal },
    }
}

/// Whether the log has the phrase, on a line of its own or, as some lack their end, before the counts.
fn is_said(ours: &Rejection, log: &str) -> bool {
    let phrase = ours.message();
    log.lines().any(|l| {
        l.trim_end() == phrase.trim_end()
            || l.strip_prefix(phrase)
                .is_some_and(|r| r.contains("verification time") || r.contains("processed "))
    })
}

/// What the log says.
fn by_log(program: Arc<Program>, options: Options, refusal: &Refusal) -> Rejection {
    let rule = rule_of(&refusal.message).unwrap_or(Rule::Load);
    Rejection {
        program,
        options,
        reject: *Reject::new(rule, refusal.message.clone()),
        insn: refusal.insn,
        line: refusal.line.clone(),
        registers: Vec::new(),
        calls: Vec::new(),
        stats: counts(&refusal.log),
        log: refusal.log.clone(),
    }
}

/// `processed N insns (limit …) max_states_per_insn N total_states N peak_states N …` and `verification time N usec`.
fn counts(log: &str) -> Stats {
    let number = |before: &str| {
        let at = log.rfind(before)? + before.len();
        let digits = log.get(at..)?.trim_start();
        digits.split(|c: char| !c.is_ascii_digit()).next()?.parse::<u64>().ok()
    };
    Stats {
        insns: number("processed ").unwrap_or(0),
        total_states: number("total_states ").unwrap_or(0),
        peak_states: number("peak_states ").unwrap_or(0),
        max_states_per_insn: number("max_states_per_insn ").unwrap_or(0),
        time: Duration::from_micros(number("verification time ").unwrap_or(0)),
        ..Stats::default()
    }
}

/// A map as the user engine has it, with the contents of a data section, which the verifier reads.
fn here(map: &Arc<dyn Map>) -> Arc<dyn Map> {
    let def = map.def();
    let engine = User::new(*crate::platform(), Arc::new(SystemHost::new())).with_tier(Tier::Checked);
    let Ok(new) = engine.create_map(def) else { return Arc::new(Definition(def.clone())) };
    if def.map_type == MapType::Array && def.max_entries == 1 && map.frozen() {
        let (first, mut bytes) = (0u32.to_ne_bytes(), Vec::new());
        let copied = map.read(&first, &mut bytes).and_then(|()| new.update(&first, &bytes, 0, Side::User));
        // Without its contents the map's constants are unknown, which refuses rather than accepts.
        let _ = copied.and_then(|()| new.freeze());
    }
    new
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_log_counts() {
        let log = "R1 !read_ok\nverification time 18 usec\nstack depth 8\nprocessed 12 insns (limit 1000000) \
                   max_states_per_insn 1 total_states 3 peak_states 2 mark_read 0\n";
        let s = counts(log);
        assert_eq!((s.insns, s.total_states, s.peak_states, s.max_states_per_insn), (12, 3, 2, 1));
        assert_eq!(s.time, Duration::from_micros(18));
        assert_eq!(counts("").insns, 0);
    }
}
