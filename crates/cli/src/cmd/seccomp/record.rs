//! `skep seccomp record`: a policy from the calls that a command makes.

use super::run::{bytes, command, command_arg, ended, start_failure};
use crate::commands::Cmd;
use crate::failure::Failure;
use crate::output::{Out, object};
use clap::{Arg, ArgAction, ArgMatches, value_parser};
use serde_json::{Map, Value, json};
use skep::cbpf::seccomp::recorded::Recorded;
use skep::cbpf::seccomp::{Action, Arch, Compare, Condition, Data, Rule};
use skep::cbpf::{Op, Program};
use skep::kernel::seccomp::{Answer, start};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// `skep seccomp record -- COMMAND`.
pub(crate) static RECORD: Cmd = Cmd {
    path: &["seccomp", "record"],
    about: "Run a command and write a policy that allows the calls it made",
    long: "Every call of the command and its descendants is recorded and made. The policy allows each by name, and where an \
           argument chooses what the call does (the family of socket, the command of ioctl and fcntl, the option of prctl, …) \
           only with the values seen. The short form is written, or a profile for container runtimes (-o json, or a file that \
           ends with .json). The exit code is the command's.\n\n\
           Examples:\n  skep seccomp record -w policy.toml -- ./server --once\n  \
           skep seccomp record --names -o json -- curl -s http://localhost/ > profile.json",
    args: || {
        vec![
            Arg::new("write")
                .short('w')
                .long("write")
                .value_name("FILE")
                .value_parser(value_parser!(PathBuf))
                .help("Write the policy here and not to standard output"),
            Arg::new("names").long("names").action(ArgAction::SetTrue).help("Leave arguments out"),
            command_arg(),
        ]
    },
    run: record,
};

fn record(m: &ArgMatches, out: &mut Out) -> Result<(), Failure> {
    let all = Op::RetK(Action::UserNotif.value()).encode();
    let program = Program::new(vec![all]).map_err(|e| Failure::Failed(e.to_string()))?;
    let mut child = start(&bytes(&program), &command(m), true).map_err(|e| start_failure(&e))?;
    let mut recorded = Recorded::default();
    while let Some(n) = child.next_call().map_err(|e| start_failure(&e))? {
        recorded.add(&Data { nr: n.nr, arch: n.arch, ip: n.ip, args: n.args });
        child
            .answer(&n, Answer::Pass)
            .map_err(|e| Failure::Failed(format!("cannot let a call pass: {e}")))?;
    }
    let status = child.wait().map_err(|e| start_failure(&e))?;
    for (arch, nr) in &recorded.unknown {
        eprintln!(
            "warning: call {nr:#x} of architecture {arch:#x} is not known here; the policy has no rule for it"
        );
    }
    let rules = recorded.rules(!m.get_flag("names"));
    let target = m.get_one::<PathBuf>("write");
    let json = target.map_or(out.is_json(), |t| t.extension().is_some_and(|e| e == "json"));
    let text = if json { None } else { Some(short(&recorded, &rules)) };
    match (target, text) {
        (Some(path), text) => {
            let text = text.unwrap_or_else(|| format!("{:#}\n", Value::Object(profile(&recorded, &rules))));
            std::fs::write(path, text).map_err(|e| Failure::io("write", path, &e))?;
        }
        (None, Some(text)) => out.text(&text)?,
        (None, None) => out.json(profile(&recorded, &rules))?,
    }
    out.finish()?;
    ended(status)
}

/// The short form: one line a call, with how often it was made.
fn short(recorded: &Recorded, rules: &[Rule]) -> String {
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    recorded.calls().for_each(|e| *counts.entry(e.call).or_insert(0) += e.count);
    let archs: Vec<String> = recorded.archs().iter().map(|a| format!("{:?}", a.name())).collect();
    let arch = recorded.archs().first().copied().unwrap_or(Arch::X86_64);
    let mut out = format!(
        "# Recorded: {} calls, {} different ones.\ndefault = \"errno(EPERM)\"\narch = [{}]\nallow = [\n",
        counts.values().sum::<u64>(),
        counts.len(),
        archs.join(", ")
    );
    let mut last = "";
    for r in rules {
        let times = counts.get(r.call.as_str()).filter(|_| last != r.call);
        let note = times.map_or(String::new(), |n| format!(" # {n}"));
        out.push_str(&format!("    {:?},{note}\n", r.show(arch)));
        last = &r.call;
    }
    out.push_str("]\n");
    out
}

/// A profile as runtimes read it.
fn profile(recorded: &Recorded, rules: &[Rule]) -> Map<String, Value> {
    let archs: Vec<&str> = recorded.archs().iter().map(|a| a.scmp()).collect();
    let names: Vec<&str> =
        rules.iter().filter(|r| r.conditions.is_empty()).map(|r| r.call.as_str()).collect();
    let mut syscalls = vec![json!({"names": names, "action": "SCMP_ACT_ALLOW"})];
    for r in rules.iter().filter(|r| !r.conditions.is_empty()) {
        let args: Vec<Value> = r.conditions.iter().map(arg).collect();
        syscalls.push(json!({"names": [r.call], "action": "SCMP_ACT_ALLOW", "args": args}));
    }
    let counts: Map<String, Value> =
        recorded.calls().map(|e| (format!("{}:{}", e.arch.name(), e.call), e.count.into())).collect();
    object([
        ("defaultAction", "SCMP_ACT_ERRNO".into()),
        ("defaultErrnoRet", 1.into()),
        ("architectures", archs.into()),
        ("syscalls", syscalls.into()),
        ("recorded", counts.into()),
    ])
}

fn arg(c: &Condition) -> Value {
    let (op, value, two) = match c.compare {
        Compare::Eq(k) => ("EQ", k, 0),
        Compare::Ne(k) => ("NE", k, 0),
        Compare::Lt(k) => ("LT", k, 0),
        Compare::Le(k) => ("LE", k, 0),
        Compare::Gt(k) => ("GT", k, 0),
        Compare::Ge(k) => ("GE", k, 0),
        Compare::Masked { mask, value } => ("MASKED_EQ", mask, value),
    };
    json!({"index": c.arg, "value": value, "valueTwo": two, "op": format!("SCMP_CMP_{op}")})
}
