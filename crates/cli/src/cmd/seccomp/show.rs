//! `skep seccomp compile`, `show`, `explain` and `test`: nothing of this needs a kernel.

use super::read::{Source, file_arg, host_args, policy, spelled};
use crate::commands::Cmd;
use crate::failure::Failure;
use crate::output::{Out, object};
use clap::{Arg, ArgAction, ArgMatches, value_parser};
use serde_json::{Map, Value, json};
use skep::cbpf::seccomp::bypass::{Bypass, bypasses};
use skep::cbpf::seccomp::calls::calls;
use skep::cbpf::seccomp::measure::{corner_args, run};
use skep::cbpf::seccomp::{
    Action, Arch, Call, Compiled, Data, Decision, Policy, Reason, compile as compiled, expr,
};
use skep::cbpf::text;
use std::path::PathBuf;

/// `skep seccomp compile POLICY`.
pub(crate) static COMPILE: Cmd = Cmd {
    path: &["seccomp", "compile"],
    about: "Compile a policy to the program that seccomp(2) takes",
    long: "Prints the program as tcpdump -d, -dd or -ddd would, or writes it as the array of struct sock_filter that \
           other tools load (bwrap --seccomp, systemd's tests).\n\n\
           Examples:\n  skep seccomp compile policy.toml\n  skep seccomp compile docker.json --only-arch -dd\n  \
           skep seccomp compile policy.toml -w policy.bpf",
    args: || {
        let mut args = vec![
            file_arg(),
            Arg::new("dump")
                .short('d')
                .action(ArgAction::Count)
                .help("Print the program; -dd as C, -ddd as numbers"),
            Arg::new("write")
                .short('w')
                .long("write")
                .value_name("FILE")
                .value_parser(value_parser!(PathBuf))
                .help("Write the instructions here, eight bytes each, little-endian"),
        ];
        args.extend(host_args());
        args
    },
    run: compile,
};

/// `skep seccomp show POLICY`.
pub(crate) static SHOW: Cmd = Cmd {
    path: &["seccomp", "show"],
    about: "Show what a policy does with every call, and the size and speed of its program",
    long: "Warnings on standard error name rules that never decide, and calls that get round the policy: io_uring_setup \
           where calls are refused that io_uring makes by itself.\n\n\
           Examples:\n  skep seccomp show policy.toml\n  skep seccomp show docker.json --stats\n  \
           skep seccomp show docker.json --arch aarch64 -o json",
    args: || {
        let stats = Arg::new("stats").long("stats").action(ArgAction::SetTrue).help("Only size and speed");
        let mut args = vec![file_arg(), stats];
        args.extend(host_args());
        args
    },
    run: show,
};

/// `skep seccomp explain CALL`.
pub(crate) static EXPLAIN: Cmd = Cmd {
    path: &["seccomp", "explain"],
    about: "Say what a call is, and what a policy does with it and why",
    long: "A call is a name, or a name with values: socket(2, 1) or socket(family=16). Without a policy its numbers and \
           arguments are shown.\n\n\
           Examples:\n  skep seccomp explain clone3\n  skep seccomp explain ptrace 'socket(16, 3, 9)' --policy docker.json",
    args: || {
        let calls = Arg::new("calls")
            .value_name("SYSCALL")
            .num_args(1..)
            .required(true)
            .help("Calls, with values of their arguments or without");
        let mut args = vec![calls, file_arg().required(false).long("policy").short('P')];
        args.extend(host_args());
        args
    },
    run: explain,
};

/// `skep seccomp test POLICY`.
pub(crate) static TEST: Cmd = Cmd {
    path: &["seccomp", "test"],
    about: "Hold a policy's program against its rules, and the policy against expectations",
    long: "Every number of every architecture, known or not, with argument values around those of the rules, is decided by \
           the compiled program and by the rules as written; any difference fails. Expectations are CALL=ACTION.\n\n\
           Examples:\n  skep seccomp test policy.toml\n  \
           skep seccomp test docker.json 'personality(0)=allow' 'clone3=errno(ENOSYS)' 'ptrace=allow'",
    args: || {
        let expected = Arg::new("expected")
            .value_name("CALL=ACTION")
            .num_args(0..)
            .help("What the policy has to do with a call");
        let mut args = vec![file_arg(), expected];
        args.extend(host_args());
        args
    },
    run: test,
};

fn source(m: &ArgMatches) -> Result<Source, Failure> {
    let Some(path) = m.get_one::<PathBuf>("policy") else {
        return Err(Failure::Usage("name a policy".into()));
    };
    policy(m, path)
}

/// The program.
pub(super) fn program(policy: &Policy) -> Result<Compiled, Failure> {
    compiled(policy).map_err(|e| Failure::Unsupported(e.to_string()))
}

fn compile(m: &ArgMatches, out: &mut Out) -> Result<(), Failure> {
    let s = source(m)?;
    warn(&s);
    let c = program(&s.policy)?;
    let insns = c.program.insns();
    if let Some(path) = m.get_one::<PathBuf>("write") {
        let bytes: Vec<u8> = insns.iter().flat_map(|i| i.to_bytes()).collect();
        return std::fs::write(path, bytes).map_err(|e| Failure::io("write", path, &e));
    }
    if out.is_json() {
        let list: Vec<Value> =
            insns.iter().map(|i| json!({"code": i.code, "jt": i.jt, "jf": i.jf, "k": i.k})).collect();
        return out.json(object([("insns", list.into())]));
    }
    out.text(&match m.get_count("dump") {
        0 | 1 => text::listing(insns),
        2 => text::c_initialiser(insns),
        _ => text::decimal(insns),
    })
}

fn arch_names(b: &Bypass) -> String {
    b.archs.iter().map(|a| a.name()).collect::<Vec<_>>().join(", ")
}

/// What a person should know of a policy.
pub(super) fn warn(s: &Source) {
    for n in &s.notes {
        eprintln!("note: {n}");
    }
    for r in s.policy.shadowed() {
        let arch = s.policy.archs()[0];
        eprintln!(
            "warning: {} for {} never counts: another rule has {} without conditions",
            r.action,
            r.show(arch),
            r.call
        );
    }
    for b in bypasses(&s.policy) {
        eprintln!(
            "warning: {} passes on {}, and with it the work of calls that are refused: {}",
            b.by,
            arch_names(&b),
            b.of.join(", ")
        );
    }
}

fn show(m: &ArgMatches, out: &mut Out) -> Result<(), Failure> {
    let s = source(m)?;
    warn(&s);
    let c = program(&s.policy)?;
    if out.is_json() {
        let mut all = stats_json(&c);
        if !m.get_flag("stats") {
            all.insert("default".into(), s.policy.default_action().to_string().into());
            all.insert("unknown_arch".into(), s.policy.unknown_arch().to_string().into());
            all.insert(
                "calls".into(),
                s.policy.archs().iter().flat_map(|a| call_rows(&s.policy, *a)).collect(),
            );
            let ways = bypasses(&s.policy);
            let row = |b: &Bypass| json!({"archs": b.archs.iter().map(|a| a.name()).collect::<Vec<_>>(), "by": b.by, "of": b.of});
            all.insert("bypasses".into(), ways.iter().map(row).collect());
        }
        return out.json(all);
    }
    if !m.get_flag("stats") {
        out.text(&listing(&s.policy))?;
    }
    out.text(&stats(&c))
}

fn stats(c: &Compiled) -> String {
    let m = &c.measure;
    let mut out =
        format!("{} instructions; a call executes {:.1} on average, {} at most\n", m.length, m.mean, m.most);
    if m.by_arch.len() > 1 {
        let each: Vec<String> = m.by_arch.iter().map(|(a, mean)| format!("{} {mean:.1}", a.name())).collect();
        out.push_str(&format!("average by architecture: {}\n", each.join(", ")));
    }
    out
}

fn stats_json(c: &Compiled) -> Map<String, Value> {
    let m = &c.measure;
    let rounded = |v: f64| (v * 1000.0).round() / 1000.0;
    let each: Map<String, Value> =
        m.by_arch.iter().map(|(a, mean)| (a.name().to_string(), rounded(*mean).into())).collect();
    object([
        ("instructions", m.length.into()),
        ("executed_mean", rounded(m.mean).into()),
        ("executed_most", m.most.into()),
        ("executed_mean_by_arch", each.into()),
    ])
}

/// One action of a call, and under which conditions.
fn branches(policy: &Policy, call: &Call, arch: Arch) -> Vec<(Action, String)> {
    let mut out: Vec<(Action, String)> =
        policy.rules_of(call.name).map(|r| (r.action, r.show(arch))).collect();
    let always = policy.rules_of(call.name).any(|r| r.conditions.is_empty());
    if !always {
        let name = if out.is_empty() { call.name.to_string() } else { format!("{} otherwise", call.name) };
        out.push((policy.default_action(), name));
    }
    out
}

fn call_rows(policy: &Policy, arch: Arch) -> Vec<Value> {
    let mut out = Vec::new();
    for call in calls() {
        let Some(nr) = call.number(arch) else { continue };
        for (action, text) in branches(policy, call, arch) {
            out.push(json!({"arch": arch.name(), "nr": nr, "call": call.name, "rule": text, "action": action.to_string()}));
        }
    }
    out
}

/// Calls by action, for each architecture.
fn listing(policy: &Policy) -> String {
    let mut out =
        format!("default {}, unknown architecture {}\n", policy.default_action(), policy.unknown_arch());
    for arch in policy.archs() {
        let mut groups: Vec<(Action, Vec<String>)> = Vec::new();
        let mut unnamed = 0;
        for call in calls().iter().filter(|c| c.number(*arch).is_some()) {
            if policy.rules_of(call.name).next().is_none() {
                unnamed += 1;
                continue;
            }
            for (action, text) in branches(policy, call, *arch) {
                match groups.iter_mut().find(|(a, _)| *a == action) {
                    Some((_, list)) => list.push(text),
                    None => groups.push((action, vec![text])),
                }
            }
        }
        groups.sort_by_key(|(a, _)| *a);
        for (action, list) in groups {
            out.push_str(&format!("{} {action}\n{}", arch.name(), wrapped(&list, 110)));
        }
        out.push_str(&format!(
            "{} {}\n  {unnamed} calls without a rule\n",
            arch.name(),
            policy.default_action()
        ));
    }
    out
}

fn wrapped(words: &[String], width: usize) -> String {
    let mut out = String::new();
    let mut line = String::from(" ");
    for w in words {
        if line.len() + w.len() + 2 > width && line.len() > 1 {
            out.push_str(&line);
            out.push('\n');
            line = String::from(" ");
        }
        line.push_str(&format!(" {w}"));
    }
    out.push_str(&line);
    out.push('\n');
    out
}

/// Why, in words.
pub(super) fn reason(policy: &Policy, d: &Decision, arch: Option<Arch>) -> String {
    match d.reason {
        Reason::Rule(i) => {
            let rule = &policy.rules()[i];
            format!("rule {}", rule.show(arch.unwrap_or(policy.archs()[0])))
        }
        Reason::NoneHolds => {
            let rules: Vec<String> = d
                .call
                .iter()
                .flat_map(|c| policy.rules_of(c.name))
                .map(|r| r.show(arch.unwrap_or(policy.archs()[0])))
                .collect();
            format!("the conditions of no rule hold ({}): the default", rules.join("; "))
        }
        Reason::NoRule => "no rule names it: the default".into(),
        Reason::UnknownNumber => "no call has this number: the default".into(),
        Reason::UnknownArch => "the policy has nothing for this architecture".into(),
    }
}

fn explain(m: &ArgMatches, out: &mut Out) -> Result<(), Failure> {
    let source = match m.get_one::<PathBuf>("policy") {
        Some(path) => Some(policy(m, path)?),
        None => None,
    };
    let native = source.as_ref().map_or(Arch::native().unwrap_or(Arch::X86_64), |s| s.policy.archs()[0]);
    let mut rows = Vec::new();
    for text in m.get_many::<String>("calls").into_iter().flatten() {
        let (call, args) = expr::values(text, native).map_err(|e| Failure::Input(e.to_string()))?;
        let given = text.contains('(');
        match &source {
            Some(s) => rows.extend(explain_by(&s.policy, call, given.then_some(args))),
            None => rows.push(explain_call(call)),
        }
    }
    if out.is_json() {
        return out.json_rows("calls", rows.into_iter().map(|(_, j)| j).collect());
    }
    rows.into_iter().try_for_each(|(text, _)| out.text(&text))
}

type Shown = (String, Map<String, Value>);

fn explain_call(call: &Call) -> Shown {
    let mut text = format!("{}\n", call.name);
    let mut numbers = Map::new();
    for arch in Arch::ALL {
        let Some(nr) = call.number(arch) else { continue };
        let params: Vec<&str> = call.params(arch).unwrap_or_default().iter().map(|p| p.name).collect();
        let shown = if arch == Arch::X32 { format!("{nr:#x}") } else { nr.to_string() };
        let args =
            call.params(arch).map_or("arguments not known".into(), |_| format!("({})", params.join(", ")));
        text.push_str(&format!("  {:<8} {shown:>10}  {args}\n", arch.name()));
        numbers.insert(arch.name().into(), json!({"nr": nr, "arguments": call.params(arch).map(|_| params)}));
    }
    (text, object([("call", call.name.into()), ("archs", numbers.into())]))
}

/// What a policy does with a call: with these values, or rule by rule.
fn explain_by(policy: &Policy, call: &'static Call, args: Option<[u64; 6]>) -> Vec<Shown> {
    let mut out = Vec::new();
    for arch in policy.archs() {
        let Some(nr) = call.number(*arch) else { continue };
        let head = object([("arch", arch.name().into()), ("call", call.name.into())]);
        let mut push = |what: String, action: Action, why: String| {
            let mut json = head.clone();
            json.insert("what".into(), what.clone().into());
            json.insert("action".into(), action.to_string().into());
            json.insert("why".into(), why.clone().into());
            out.push((format!("{} {what}: {action}, {why}\n", arch.name()), json));
        };
        if let Some(args) = args {
            let d = policy.decide(&Data::new(*arch, nr, args));
            push(call.show(*arch, &args), d.action, reason(policy, &d, Some(*arch)));
            continue;
        }
        let named = policy.rules_of(call.name).next().is_some();
        for (action, text) in branches(policy, call, *arch) {
            let why = match (text.ends_with(" otherwise"), named) {
                (true, _) => "the default",
                (false, true) => "by this rule",
                (false, false) => "no rule names it: the default",
            };
            push(text, action, why.into());
        }
        for b in bypasses(policy).iter().filter(|b| b.archs.contains(arch) && b.of.contains(&call.name)) {
            push(call.name.into(), Action::Allow, format!("got round by {}, which passes", b.by));
        }
    }
    out
}

fn test(m: &ArgMatches, out: &mut Out) -> Result<(), Failure> {
    let s = source(m)?;
    let c = program(&s.policy)?;
    skep::cbpf::seccomp::measure::check(&c.program)
        .map_err(|e| Failure::Failed(format!("seccomp(2) would refuse instruction {}", e.insn)))?;
    let (decisions, differs) = agreement(&s.policy, &c);
    let mut failed = Vec::new();
    for text in m.get_many::<String>("expected").into_iter().flatten() {
        if let Some(f) = expectation(&s.policy, text)? {
            failed.push(f);
        }
    }
    if out.is_json() {
        out.json(object([
            ("decisions", decisions.into()),
            ("differences", differs.clone().into()),
            ("failed", failed.clone().into()),
        ]))?;
    } else {
        out.line(&format!("{decisions} decisions of the program and the rules, {} differ", differs.len()))?;
        differs.iter().chain(&failed).try_for_each(|l| out.line(&format!("  {l}")))?;
    }
    match differs.len() + failed.len() {
        0 => Ok(()),
        n => Err(Failure::Failed(format!("{n} of the decisions are not as they should be"))),
    }
}

/// Numbers up to here are all tried.
const NUMBERS: u32 = 1024;

/// The compiled program against the rules: how many decisions, and those that differ.
fn agreement(policy: &Policy, c: &Compiled) -> (usize, Vec<String>) {
    let edges = [u32::MAX, u32::MAX - 1, 0x8000_0000, 0x7fff_ffff, 0x4000_0400, 0x3fff_ffff, 0x2000_0000];
    let numbers: Vec<u32> =
        (0..NUMBERS).flat_map(|n| [n, n | 0x4000_0000, n | 0x8000_0000]).chain(edges).collect();
    let audits = Arch::ALL.iter().map(|a| a.audit()).chain([0, 1, 0x28, 0xc000_00f3, u32::MAX]);
    let (mut decisions, mut differs) = (0, Vec::new());
    for audit in audits {
        for nr in &numbers {
            let call = Arch::of(audit, *nr).and_then(|a| skep::cbpf::seccomp::numbered(a, *nr));
            for args in call.map_or(vec![[0; 6]], |c| corner_args(policy, c.name)) {
                let data = Data { nr: *nr, arch: audit, ip: 0, args };
                let (rules, program) =
                    (policy.decide(&data).action, Action::from_value(run(&c.program, &data).0));
                decisions += 1;
                if rules != program {
                    differs.push(format!("architecture {audit:#x}, call {nr:#x}, {args:x?}: the rules say {rules}, the program {program}"));
                }
            }
        }
    }
    (decisions, differs)
}

/// `CALL=ACTION`: what is wrong, if something is.
fn expectation(policy: &Policy, text: &str) -> Result<Option<String>, Failure> {
    let bad = |why: String| Failure::Usage(format!("{text:?}: {why}"));
    let (call_text, action) = text.rsplit_once('=').ok_or_else(|| bad("write CALL=ACTION".into()))?;
    let wanted = spelled(action).ok_or_else(|| bad(format!("there is no action {action:?}")))?;
    let arch = policy.archs()[0];
    let (call, args) = expr::values(call_text, arch).map_err(|e| bad(e.to_string()))?;
    let nr = call.number(arch).ok_or_else(|| bad(format!("{} has no such call", arch.name())))?;
    let d = policy.decide(&Data::new(arch, nr, args));
    let wrong = d.action != wanted;
    Ok(wrong.then(|| {
        format!("{}: {}, not {wanted}: {}", call.show(arch, &args), d.action, reason(policy, &d, Some(arch)))
    }))
}
