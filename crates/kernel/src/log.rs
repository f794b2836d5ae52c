//! The verifier's log, read: the main phrase, and the instruction that was being looked at.
//!
//! A refusal's log ends with the phrase, sometimes a few lines that explain it, and then what the verifier counted
//! (`print_verification_stats`, kernel/bpf/verifier.c). Before it stand instructions, `12: (95) exit`, and states.

use skep_platform::{Errno, Program, Refusal};

/// Beginnings of lines that count and judge nothing.
const COUNTS: [&str; 5] =
    ["processed ", "verification time ", "stack depth ", "mark_precise: ", "Processed "];

/// Reads a refusal.
pub fn refusal(program: &Program, errno: Errno, log: String) -> Refusal {
    let insn = instruction(&log).filter(|i| *i < program.insns.len());
    let mut message =
        message(&log).map_or_else(|| format!("{errno}, without a reason in the log"), str::to_owned);
    // What could not be resolved was replaced by a call that no kernel knows.
    let poisoned = insn.and_then(|i| program.poisoned.iter().find(|(at, _)| *at == i));
    if let Some((_, why)) = poisoned {
        message = format!("{message} ({why})");
    }
    Refusal {
        prog: program.name.clone(),
        errno,
        message,
        insn,
        line: insn.and_then(|i| program.line_at(i)).cloned(),
        log,
    }
}

/// The last line that is neither counts nor an instruction, a state or a source line.
pub fn message(log: &str) -> Option<&str> {
    let told = |l: &&str| !l.is_empty() && !COUNTS.iter().any(|c| l.starts_with(c)) && !is_walk(l);
    log.lines().map(str::trim_end).rev().find(told)
}

/// The last instruction that the log shows.
pub fn instruction(log: &str) -> Option<usize> {
    log.lines().rev().find_map(|l| {
        let (number, rest) = l.split_once(": (")?;
        rest.get(2..3).filter(|c| *c == ")")?;
        number.parse().ok()
    })
}

/// Lines of the walk through the program: `7: (…`, `7: R0=…`, `; source`, `from 3 to 7: …`, `R1=ctx() …`, `func#0 @0`.
fn is_walk(line: &str) -> bool {
    let numbered = line.split_once(':').is_some_and(|(n, rest)| {
        !n.is_empty()
            && n.bytes().all(|b| b.is_ascii_digit())
            && rest.starts_with(" ")
            && (rest.starts_with(" (")
                || rest.starts_with(" R")
                || rest.trim().is_empty()
                || rest.starts_with(" safe"))
    });
    let state = line.starts_with("from ") && line.contains(" to ") && line.contains(": ")
        || line.starts_with('R')
            && line.split_once('=').is_some_and(|(r, _)| r.len() <= 5 && !r.contains(' '));
    let states = line.starts_with("old state: ") || line.starts_with("cur state: ");
    numbered || state || states || line.starts_with("; ") || line.starts_with("func#")
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "func#0 @0\n0: R1=ctx() R10=fp0\n; int x = *p; @ a.c:3\n0: (b7) r0 = 0                        ; R0_w=0\n\
                       1: (61) r0 = *(u32 *)(r0 +0)\nR0 invalid mem access 'scalar'\n\
                       processed 2 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0\n";

    #[test]
    fn phrase_and_place() {
        assert_eq!(message(LOG), Some("R0 invalid mem access 'scalar'"));
        assert_eq!(instruction(LOG), Some(1));
        assert_eq!(message("R0=scalar() R1=ctx()\n"), None);
        let looping =
            "infinite loop detected at insn 4\ncur state: R0=1\nold state: R0=1\nprocessed 9 insns\n";
        assert_eq!(message(looping), Some("infinite loop detected at insn 4"));
        assert_eq!(message(""), None);
        assert_eq!(message("R0 !read_ok\nprocessed 1 insns\n"), Some("R0 !read_ok"));
        let large =
            "BPF program is too large. Processed 1000001 insn\nprocessed 1000001 insns (limit 1000000)\n";
        assert_eq!(message(large), Some("BPF program is too large. Processed 1000001 insn"));
    }

    #[test]
    fn a_refusal_without_a_log_names_the_error() {
        let program = Program::from_insns("p", skep_platform::ProgType::Xdp, Vec::new());
        let r = refusal(&program, Errno::EINVAL, String::new());
        assert!(r.message.contains("EINVAL"), "{}", r.message);
        assert_eq!(r.insn, None);
    }
}
