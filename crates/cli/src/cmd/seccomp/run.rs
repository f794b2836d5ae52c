//! `skep seccomp run`: a command under a policy; what is refused is shown and decided.

use super::read::{Source, host_args, policy};
use super::show::{program, reason, warn};
use crate::commands::Cmd;
use crate::failure::Failure;
use crate::output::{Out, object};
use clap::{Arg, ArgMatches, value_parser};
use serde_json::{Map, Value};
use skep::cbpf::Program;
use skep::cbpf::seccomp::{Action, Arch, Data, Policy, numbered};
use skep::descriptors::Errno;
use skep::kernel::seccomp::{Answer, Notification, StartError, Supervised, start};
use std::collections::HashMap;
use std::ffi::OsString;
use std::io::{BufRead, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::ExitStatus;

/// `skep seccomp run -- COMMAND`.
pub(crate) static RUN: Cmd = Cmd {
    path: &["seccomp", "run"],
    about: "Run a command under a policy",
    long: "Modes: enforce (the kernel does what the policy says), log (calls that the policy refuses are made all the same, \
           and shown), notify (each of them is shown and decided). Calls are shown on standard error, or in --report. In mode \
           notify --decide says who decides: the policy, allow, deny, or a person who is asked. Letting pass is for \
           watching: the command can change what pointers lead to after it was looked at.\n\
           The exit code is the command's, or 128 and the number of the signal that ended it.\n\n\
           Examples:\n  skep seccomp run --policy docker.json -- curl http://localhost/\n  \
           skep seccomp run -P policy.toml --mode log -- python3 server.py\n  \
           skep seccomp run -P policy.toml --mode notify --decide ask -- ./tool",
    args: || {
        let mut args = vec![
            super::read::file_arg().long("policy").short('P'),
            Arg::new("mode")
                .long("mode")
                .value_name("MODE")
                .value_parser(["enforce", "log", "notify"])
                .default_value("enforce")
                .help("What happens with calls that the policy refuses"),
            Arg::new("decide")
                .long("decide")
                .value_name("WHO")
                .value_parser(["policy", "allow", "deny", "ask"])
                .default_value("policy")
                .help("Who decides in mode notify"),
            Arg::new("report")
                .long("report")
                .value_name("FILE")
                .value_parser(value_parser!(PathBuf))
                .help("Write what was refused here, one JSON object a line"),
            command_arg(),
        ];
        args.extend(host_args());
        args
    },
    run,
};

/// The command behind `--`.
pub(super) fn command_arg() -> Arg {
    Arg::new("command")
        .value_name("COMMAND")
        .num_args(1..)
        .last(true)
        .required(true)
        .value_parser(value_parser!(OsString))
        .help("The command and its arguments")
}

/// The words behind `--`.
pub(super) fn command(m: &ArgMatches) -> Vec<OsString> {
    m.get_many::<OsString>("command").into_iter().flatten().cloned().collect()
}

/// The instructions as bytes.
pub(super) fn bytes(program: &Program) -> Vec<[u8; 8]> {
    program.insns().iter().map(|i| i.to_bytes()).collect()
}

/// A start that failed, by exit code.
pub(super) fn start_failure(e: &StartError) -> Failure {
    let text = e.to_string();
    match e {
        StartError::NotFound(_) | StartError::ZeroByte => Failure::Input(text),
        StartError::Filter(Errno::EINVAL | Errno::ENOSYS) | StartError::Listener(Errno::ENOSYS) => {
            Failure::Unsupported(text)
        }
        StartError::Filter(_) | StartError::Listener(_) | StartError::Exec(_, Errno::EACCES) => {
            Failure::Permission(text)
        }
        StartError::Exec(..) | StartError::System(..) => Failure::Failed(text),
    }
}

/// How a command ended, as this command's own end.
pub(super) fn ended(status: ExitStatus) -> Result<(), Failure> {
    match (status.code(), status.signal()) {
        (Some(0), _) => Ok(()),
        (Some(code), _) => Err(Failure::Command(code as u8, String::new())),
        (None, Some(31)) => Err(Failure::Command(
            128 + 31,
            "the command was ended by SIGSYS: it made a call for which the policy kills; --mode notify names it".into(),
        )),
        (None, signal) => {
            let n = signal.unwrap_or(0);
            Err(Failure::Command(128u8.wrapping_add(n as u8), format!("the command was ended by signal {n}")))
        }
    }
}

fn run(m: &ArgMatches, out: &mut Out) -> Result<(), Failure> {
    let Some(path) = m.get_one::<PathBuf>("policy") else {
        return Err(Failure::Usage("name a policy".into()));
    };
    let s = policy(m, path)?;
    let mode = m.get_one::<String>("mode").map_or("enforce", String::as_str);
    let decide = m.get_one::<String>("decide").map_or("policy", String::as_str);
    if mode == "enforce" && decide != "policy" {
        return Err(Failure::Usage("--decide is for --mode notify".into()));
    }
    Ways(&s).say();
    // In mode enforce a listener is wanted only where the policy itself asks for a supervisor.
    let asks = s.policy.rules().iter().any(|r| r.action == Action::UserNotif)
        || s.policy.default_action() == Action::UserNotif;
    let filter = match mode {
        "enforce" => program(&s.policy)?,
        _ => program(&s.policy.mapped(|a| if a.lets_pass() { a } else { Action::UserNotif }))?,
    };
    out.finish()?;
    let listen = mode != "enforce" || asks;
    let mut child = start(&bytes(&filter.program), &command(m), listen).map_err(|e| start_failure(&e))?;
    let decide = if mode == "log" { "allow" } else { decide };
    let report = match m.get_one::<PathBuf>("report") {
        Some(p) => Some(std::fs::File::create(p).map_err(|e| Failure::io("write", p, &e))?),
        None => None,
    };
    let mut supervisor = Supervisor { policy: &s.policy, decide, report, seen: HashMap::new() };
    while let Some(call) = child.next_call().map_err(|e| start_failure(&e))? {
        supervisor.handle(&child, &call)?;
    }
    let status = child.wait().map_err(|e| start_failure(&e))?;
    supervisor.sum_up();
    ended(status)
}

/// Notes and warnings before a run: only what concerns its safety.
struct Ways<'a>(&'a Source);

impl Ways<'_> {
    fn say(&self) {
        warn(&Source { policy: self.0.policy.clone(), notes: Vec::new() });
    }
}

/// Decides calls and tells of them.
struct Supervisor<'a> {
    policy: &'a Policy,
    decide: &'a str,
    report: Option<std::fs::File>,
    /// How often a line has been shown.
    seen: HashMap<String, u64>,
}

/// The same line is shown so often; then it is only counted.
const REPEATS: u64 = 3;

impl Supervisor<'_> {
    fn handle(&mut self, child: &Supervised, n: &Notification) -> Result<(), Failure> {
        let data = Data { nr: n.nr, arch: n.arch, ip: n.ip, args: n.args };
        let decision = self.policy.decide(&data);
        let arch = Arch::of(n.arch, n.nr);
        let shown = match arch.and_then(|a| Some((a, numbered(a, n.nr)?))) {
            Some((a, call)) => call.show_with(a, &n.args, |at| {
                let text = child.text(n, at, 256)?;
                Some(String::from_utf8_lossy(&text).into_owned())
            }),
            None => format!("call {:#x} of architecture {:#x}", n.nr, n.arch),
        };
        let why = reason(self.policy, &decision, arch);
        let action = match (self.decide, decision.action) {
            ("allow", _) => Action::Allow,
            ("deny", Action::UserNotif) | ("policy", Action::UserNotif) => Action::Errno(1),
            ("ask", action) => ask(&shown, action, &why),
            (_, action) => action,
        };
        self.tell(n, &shown, decision.action, action, &why);
        let failed = |e: Errno| Failure::Failed(format!("cannot answer a call: {e}"));
        let answer = match action {
            Action::Allow | Action::Log => Answer::Pass,
            Action::Errno(e) => Answer::Fail(Errno(e.into())),
            // Without a tracer the kernel says the same.
            Action::Trace(_) | Action::UserNotif => Answer::Fail(Errno::ENOSYS),
            Action::Trap => {
                child.signal(n, SIGSYS);
                Answer::Fail(Errno::ENOSYS)
            }
            Action::KillProcess | Action::KillThread => {
                child.signal(n, SIGKILL);
                Answer::Fail(Errno::ENOSYS)
            }
        };
        child.answer(n, answer).map_err(failed)
    }

    fn tell(&mut self, n: &Notification, shown: &str, says: Action, done: Action, why: &str) {
        let line = format!(
            "{shown}: {says}, {why}{}",
            if done == says { String::new() } else { format!(" → {done}") }
        );
        let times = self.seen.entry(line.clone()).or_insert(0);
        *times += 1;
        if *times <= REPEATS {
            eprintln!("[{}] {line}", n.pid);
        }
        if let Some(file) = &mut self.report {
            let mut row: Map<String, Value> = object([
                ("apiVersion", 1.into()),
                ("pid", n.pid.into()),
                ("call", shown.into()),
                ("args", n.args.to_vec().into()),
                ("action", says.to_string().into()),
                ("done", done.to_string().into()),
                ("why", why.into()),
            ]);
            row.insert("nr".into(), n.nr.into());
            let _ = writeln!(file, "{}", Value::Object(row));
        }
    }

    fn sum_up(&self) {
        let mut more: Vec<_> = self.seen.iter().filter(|(_, n)| **n > REPEATS).collect();
        more.sort();
        for (line, n) in more {
            eprintln!("{n} times: {line}");
        }
    }
}

const SIGKILL: i32 = 9;
const SIGSYS: i32 = 31;

/// Asks the person at the terminal; where there is none the policy decides.
fn ask(shown: &str, action: Action, why: &str) -> Action {
    let refusal = if action == Action::UserNotif { Action::Errno(1) } else { action };
    let Ok(terminal) = std::fs::File::options().read(true).write(true).open("/dev/tty") else {
        return refusal;
    };
    let _ = write!(&terminal, "{shown}\n  the policy: {action}, {why}. Allow it? [y/N] ");
    let mut line = String::new();
    let _ = std::io::BufReader::new(&terminal).read_line(&mut line);
    if matches!(line.trim(), "y" | "Y" | "yes") { Action::Allow } else { refusal }
}
