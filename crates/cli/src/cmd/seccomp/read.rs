//! Policies from files: profiles of Docker, Podman and the OCI runtime specification (JSON), and the short form (TOML).
//! Faults are named by the path to where they are, as in `syscalls[3].args[0].op`.

use crate::failure::Failure;
use clap::{Arg, ArgMatches, value_parser};
use serde_json::{Map, Value};
use skep::cbpf::seccomp::profile::{DOCKER_CAPS, Filter, Note, action};
use skep::cbpf::seccomp::{
    Action, Arch, Compare, Condition, Entry, Host, Policy, Profile, action as actions, expr,
};
use std::path::{Path, PathBuf};

/// A policy with where it comes from.
pub(super) struct Source {
    /// The policy.
    pub(super) policy: Policy,
    /// What of the file it does not have.
    pub(super) notes: Vec<Note>,
}

/// The options that say for which machine and process a profile is read.
pub(super) fn host_args() -> Vec<Arg> {
    vec![
        Arg::new("arch")
            .long("arch")
            .value_name("NAME")
            .help("The machine's architecture; default: this machine's"),
        Arg::new("only").long("only-arch").action(clap::ArgAction::SetTrue).help(
            "Leave out the further architectures that the profile names, such as i386 and x32 on x86_64",
        ),
        Arg::new("caps")
            .long("caps")
            .value_name("LIST")
            .default_value("docker")
            .help("Capabilities that the process has: docker, none, all, or names with commas"),
        Arg::new("kernel")
            .long("kernel")
            .value_name("VERSION")
            .default_value("6.18")
            .help("Kernel that conditions on its version are read for"),
    ]
}

/// The argument that names a policy's file.
pub(super) fn file_arg() -> Arg {
    Arg::new("policy")
        .value_name("POLICY")
        .required(true)
        .value_parser(value_parser!(PathBuf))
        .help("Profile of Docker or OCI (JSON), or a policy in the short form (TOML)")
}

/// Whether the profile is read with all capabilities.
const ALL_CAPS: &str = "all";

fn host(m: &ArgMatches, entries: &[Entry]) -> Result<Host, Failure> {
    let usage = |t: String| Failure::Usage(t);
    let arch = match m.get_one::<String>("arch") {
        Some(name) => Arch::parse(name).ok_or_else(|| {
            usage(format!("architecture {name} is not known here; use x86_64, x32, i386 or aarch64"))
        })?,
        None => Arch::native().unwrap_or(Arch::X86_64),
    };
    let caps = match m.get_one::<String>("caps").map_or("docker", String::as_str) {
        "docker" => DOCKER_CAPS.map(String::from).to_vec(),
        "none" => Vec::new(),
        ALL_CAPS => {
            entries.iter().flat_map(|e| e.includes.caps.iter().chain(&e.excludes.caps)).cloned().collect()
        }
        list => list.split(',').map(cap_name).collect(),
    };
    let text = m.get_one::<String>("kernel").map_or("6.18", String::as_str);
    let kernel =
        version(text).ok_or_else(|| usage(format!("--kernel: {text:?} is no version; write it as 6.18")))?;
    Ok(Host { arch, caps, kernel })
}

fn cap_name(text: &str) -> String {
    let name = text.trim().to_ascii_uppercase();
    if name.starts_with("CAP_") { name } else { format!("CAP_{name}") }
}

fn version(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.split(['.', '-']);
    Some((parts.next()?.parse().ok()?, parts.next().unwrap_or("0").parse().ok()?))
}

/// Reads the file and resolves it for the machine that the options name.
pub(super) fn policy(m: &ArgMatches, path: &Path) -> Result<Source, Failure> {
    let text = std::fs::read_to_string(path).map_err(|e| Failure::io("read", path, &e))?;
    let read = if path.extension().is_some_and(|e| e == "toml") || !text.trim_start().starts_with('{') {
        let arch = m.get_one::<String>("arch").and_then(|n| Arch::parse(n)).or(Arch::native());
        toml::from_str::<Value>(&text)
            .map_err(|e| e.to_string().trim_end().to_string())
            .and_then(|v| short(&v, arch.unwrap_or(Arch::X86_64)))
    } else {
        serde_json::from_str::<Value>(&text).map_err(|e| e.to_string()).and_then(|v| profile(&v))
    };
    let mut profile = read.map_err(|e| Failure::malformed(path, e))?;
    let host = host(m, &profile.entries)?;
    if m.get_flag("only") {
        profile.archs.clear();
        profile.arch_map.clear();
    }
    let (policy, notes) = profile.resolve(&host).map_err(|e| Failure::malformed(path, e))?;
    Ok(Source { policy, notes })
}

/// A value of a file with the path to it.
struct At<'a> {
    value: &'a Value,
    path: String,
}

type Read<T> = Result<T, String>;

impl<'a> At<'a> {
    fn fault<T>(&self, why: impl std::fmt::Display) -> Read<T> {
        Err(format!("{}: {why}", if self.path.is_empty() { "the file" } else { &self.path }))
    }

    fn map(&self) -> Read<&'a Map<String, Value>> {
        self.value.as_object().map_or_else(|| self.fault("an object is wanted"), Ok)
    }

    /// A field that is there and not null.
    fn field(&self, name: &str) -> Read<Option<At<'a>>> {
        let path = if self.path.is_empty() { name.to_string() } else { format!("{}.{name}", self.path) };
        let value = self.map()?.get(name).filter(|v| !v.is_null());
        Ok(value.map(|value| At { value, path }))
    }

    fn wanted(&self, name: &str) -> Read<At<'a>> {
        self.field(name)?.map_or_else(|| self.fault(format!("{name:?} is missing")), Ok)
    }

    fn text(&self) -> Read<&'a str> {
        self.value.as_str().map_or_else(|| self.fault("a text is wanted"), Ok)
    }

    fn number(&self) -> Read<u64> {
        match self.value.as_u64() {
            Some(n) => Ok(n),
            None => self.fault(format!("{} is no number from 0 to {}", self.value, u64::MAX)),
        }
    }

    fn list(&self) -> Read<Vec<At<'a>>> {
        let Some(list) = self.value.as_array() else { return self.fault("a list is wanted") };
        let at = |(i, value)| At { value, path: format!("{}[{i}]", self.path) };
        Ok(list.iter().enumerate().map(at).collect())
    }

    fn items(&self, name: &str) -> Read<Vec<At<'a>>> {
        self.field(name)?.map_or_else(|| Ok(Vec::new()), |f| f.list())
    }

    fn texts(&self, name: &str) -> Read<Vec<String>> {
        self.items(name)?.iter().map(|t| Ok(t.text()?.to_string())).collect()
    }

    fn only(&self, names: &[&str]) -> Read<()> {
        match self.map()?.keys().find(|k| !names.contains(&k.as_str())) {
            Some(k) => self.fault(format!("{k:?} is not known; there are {}", names.join(", "))),
            None => Ok(()),
        }
    }
}

/// A profile of Docker (with `archMap`, `includes`, `excludes`), or of the OCI runtime specification: alone, or inside of a
/// `config.json` under `linux.seccomp`.
fn profile(value: &Value) -> Read<Profile> {
    let mut at = At { value, path: String::new() };
    if let Some(inner) = at.field("linux")? {
        at = inner.wanted("seccomp")?;
    }
    let act = |at: &At<'_>, name: &str, numbers: &[&str]| -> Read<Action> {
        let named = at.wanted(name)?;
        let mut number = None;
        for n in numbers {
            number = number.or(at.field(n)?.map(|f| f.number()).transpose()?);
        }
        action(named.text()?, number).or_else(|e| named.fault(e))
    };
    let default = act(&at, "defaultAction", &["defaultErrnoRet"])?;
    let mut arch_map = Vec::new();
    for m in at.items("archMap")? {
        arch_map.push((m.wanted("architecture")?.text()?.to_string(), m.texts("subArchitectures")?));
    }
    let mut entries = Vec::new();
    for e in at.items("syscalls")? {
        let mut names = e.texts("names")?;
        if let Some(one) = e.field("name")? {
            names.push(one.text()?.to_string());
        }
        if names.is_empty() {
            return e.fault("it names no system call; \"names\" is a list of them");
        }
        let entry = Entry {
            names,
            action: act(&e, "action", &["errnoRet"])?,
            conditions: e.items("args")?.iter().map(condition).collect::<Read<_>>()?,
            includes: filter(&e, "includes")?,
            excludes: filter(&e, "excludes")?,
        };
        entries.extend(alternatives(entry));
    }
    Ok(Profile {
        default,
        // As libseccomp, which runtimes read profiles with.
        unknown_arch: Action::KillThread,
        archs: at.texts("architectures")?,
        arch_map,
        entries,
    })
}

/// Where an entry has two conditions on one argument, runtimes take each condition as an entry of its own.
fn alternatives(entry: Entry) -> Vec<Entry> {
    let twice = |c: &Condition| entry.conditions.iter().filter(|o| o.arg == c.arg).count() > 1;
    if !entry.conditions.iter().any(twice) {
        return vec![entry];
    }
    entry.conditions.iter().map(|c| Entry { conditions: vec![*c], ..entry.clone() }).collect()
}

fn condition(at: &At<'_>) -> Read<Condition> {
    let index = at.wanted("index")?;
    let arg = match index.number()? {
        n @ 0..=5 => n as u8,
        n => return index.fault(format!("there is no argument {n}; calls have arguments 0 to 5")),
    };
    let value = at.field("value")?.map_or(Ok(0), |v| v.number())?;
    let two = at.field("valueTwo")?.map_or(Ok(0), |v| v.number())?;
    let op = at.wanted("op")?;
    let compare = match op.text()? {
        "SCMP_CMP_EQ" => Compare::Eq(value),
        "SCMP_CMP_NE" => Compare::Ne(value),
        "SCMP_CMP_LT" => Compare::Lt(value),
        "SCMP_CMP_LE" => Compare::Le(value),
        "SCMP_CMP_GT" => Compare::Gt(value),
        "SCMP_CMP_GE" => Compare::Ge(value),
        "SCMP_CMP_MASKED_EQ" => Compare::Masked { mask: value, value: two },
        other => {
            return op.fault(format!(
                "{other:?} is no comparison; there are SCMP_CMP_NE, LT, LE, EQ, GE, GT, MASKED_EQ"
            ));
        }
    };
    Ok(Condition { arg, compare })
}

fn filter(at: &At<'_>, name: &str) -> Read<Filter> {
    let Some(at) = at.field(name)? else { return Ok(Filter::default()) };
    let min_kernel = match at.field("minKernel")? {
        Some(v) => Some(version(v.text()?).map_or_else(|| v.fault("no version; write it as 4.8"), Ok)?),
        None => None,
    };
    Ok(Filter { arches: at.texts("arches")?, caps: at.texts("caps")?, min_kernel })
}

/// Keys of the short form that name an action.
const ACTIONS: [&str; 6] = ["allow", "log", "notify", "trap", "kill_thread", "kill_process"];

/// The short form.
fn short(value: &Value, arch: Arch) -> Read<Profile> {
    let at = At { value, path: String::new() };
    let mut keys = vec!["default", "unknown_arch", "arch", "errno", "trace"];
    keys.extend(ACTIONS);
    at.only(&keys)?;
    let mut entries = Vec::new();
    let mut add = |list: &At<'_>, action: Action| -> Read<()> {
        for item in list.list()? {
            let p = expr::pattern(item.text()?, arch).or_else(|e| item.fault(e))?;
            entries.push(Entry {
                names: vec![p.call.name.to_string()],
                action,
                conditions: p.conditions,
                includes: Filter::default(),
                excludes: Filter::default(),
            });
        }
        Ok(())
    };
    // The order of the file is not kept by its format: the stricter actions come first.
    for name in ACTIONS.iter().rev() {
        if let (Some(list), Some(action)) = (at.field(name)?, Action::parse(name)) {
            add(&list, action)?;
        }
        if *name == "trap" {
            for (group, plain) in [("errno", Action::Errno(0)), ("trace", Action::Trace(0))] {
                let Some(group) = at.field(group)? else { continue };
                for number in group.map()?.keys() {
                    let list = group.wanted(number)?;
                    let n = match plain {
                        Action::Errno(_) => actions::errno(number),
                        _ => number.parse().ok(),
                    };
                    let Some(n) = n else {
                        return list.fault("the key is no number and no name of an error");
                    };
                    add(&list, plain.with_number(n))?;
                }
            }
        }
    }
    let one = |name: &str, without: Action| -> Read<Action> {
        at.field(name)?.map_or(Ok(without), |f| spelled(f.text()?).map_or_else(|| f.fault("no action; write allow, log, notify, trap, kill_thread, kill_process, errno(NAME) or trace(N)"), Ok))
    };
    Ok(Profile {
        default: one("default", Action::Errno(1))?,
        unknown_arch: one("unknown_arch", Action::KillProcess)?,
        archs: at.texts("arch")?,
        arch_map: Vec::new(),
        entries,
    })
}

/// An action as it is shown: `allow`, `errno(ENOSYS)`.
pub(super) fn spelled(text: &str) -> Option<Action> {
    match text.split_once('(') {
        None => Action::parse(text).map(|a| if matches!(a, Action::Errno(_)) { Action::Errno(1) } else { a }),
        Some((name, number)) => {
            let number = number.strip_suffix(')')?;
            match Action::parse(name)? {
                Action::Errno(_) => actions::errno(number).map(Action::Errno),
                Action::Trace(_) => number.parse().ok().map(Action::Trace),
                _ => None,
            }
        }
    }
}
