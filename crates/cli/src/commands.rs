//! The one table of commands. Parser, help, completions, man pages and the reference in `docs/cli.md` read it.

use crate::cmd;
use crate::failure::Failure;
use crate::output::Out;
use clap::{Arg, ArgAction, ArgMatches, Command};
use std::ffi::OsString;

/// One command: a row. A path of two words is a noun and its verb.
pub(crate) struct Cmd {
    /// Words on the command line.
    pub(crate) path: &'static [&'static str],
    /// One line.
    pub(crate) about: &'static str,
    /// More, with examples; shown by `--help`.
    pub(crate) long: &'static str,
    /// Arguments.
    pub(crate) args: fn() -> Vec<Arg>,
    /// Runs it.
    pub(crate) run: fn(&ArgMatches, &mut Out) -> Result<(), Failure>,
}

/// Every command, in the order of the help.
pub(crate) static COMMANDS: &[&Cmd] = &[
    &cmd::run::RUN,
    &cmd::verify::VERIFY,
    &cmd::diff::DIFF,
    &cmd::build::BUILD,
    &cmd::filter::FILTER,
    &cmd::seccomp::COMPILE,
    &cmd::seccomp::SHOW,
    &cmd::seccomp::EXPLAIN,
    &cmd::seccomp::TEST,
    &cmd::seccomp::RUN,
    &cmd::seccomp::RECORD,
    &cmd::asm::ASM,
    &cmd::asm::DISASM,
    &cmd::obj::SHOW,
    &cmd::obj::LINK,
    &cmd::prog::SHOW,
    &cmd::prog::DUMP,
    &cmd::kobj::load::LOAD,
    &cmd::kobj::load::LOADALL,
    &cmd::prog::RUN,
    &cmd::prog::PIN,
    &cmd::kobj::profile::PROFILE,
    &cmd::kobj::events::TRACELOG,
    &cmd::kobj::attach::PROG_ATTACH,
    &cmd::kobj::attach::PROG_DETACH,
    &cmd::map::SHOW,
    &cmd::map::DUMP,
    &cmd::map::CREATE,
    &cmd::map::LOOKUP,
    &cmd::map::UPDATE,
    &cmd::map::DELETE,
    &cmd::map::GETNEXT,
    &cmd::map::PEEK,
    &cmd::map::PUSH,
    &cmd::map::ENQUEUE,
    &cmd::map::POP,
    &cmd::map::DEQUEUE,
    &cmd::map::FREEZE,
    &cmd::map::PIN,
    &cmd::kobj::events::EVENT_PIPE,
    &cmd::kobj::link::SHOW,
    &cmd::kobj::link::PIN,
    &cmd::kobj::link::DETACH,
    &cmd::kobj::net::NET,
    &cmd::kobj::attach::NET_ATTACH,
    &cmd::kobj::attach::NET_DETACH,
    &cmd::kobj::net::CGROUP,
    &cmd::kobj::net::TREE,
    &cmd::kobj::attach::CGROUP_ATTACH,
    &cmd::kobj::net::CGROUP_DETACH,
    &cmd::kobj::net::PERF,
    &cmd::kobj::attach::ITER_PIN,
    &cmd::kobj::struct_ops::SHOW,
    &cmd::kobj::struct_ops::LIST,
    &cmd::kobj::struct_ops::DUMP,
    &cmd::kobj::struct_ops::REGISTER,
    &cmd::kobj::struct_ops::UNREGISTER,
    &cmd::btf::DUMP,
    &cmd::kobj::btf::SHOW,
    &cmd::kobj::token::LIST,
    &cmd::r#gen::OBJECT,
    &cmd::r#gen::SKELETON,
    &cmd::r#gen::MIN_CORE_BTF,
    &cmd::feature::SHOW,
    &cmd::feature::LIST,
    &cmd::probe::PROBE,
    &cmd::doctor::DOCTOR,
    &cmd::batch::BATCH,
    &cmd::conformance::CONFORMANCE,
    &cmd::conformance::PLUGIN,
    &cmd::manual::COMPLETIONS,
    &cmd::manual::MAN,
];

/// Nouns that have verbs, with their line of help.
const NOUNS: &[(&str, &str)] = &[
    ("obj", "Inspect and link object files"),
    ("btf", "Inspect BTF type information"),
    ("seccomp", "Policies for system calls: compile, question, test, run and record"),
    ("prog", "Inspect programs; load, run, pin and attach them in the running kernel"),
    ("map", "Inspect maps; create, read and write them in the running kernel"),
    ("link", "Links of the running kernel: what is attached where"),
    ("net", "Programs on network devices"),
    ("cgroup", "Programs on cgroups"),
    ("perf", "Programs on perf events and tracepoints"),
    ("iter", "Iterators"),
    (
        "struct_ops",
        "Structures of the running kernel whose functions are programs, such as TCP congestion control",
    ),
    ("token", "BPF tokens: rights handed to user namespaces"),
    ("gen", "Files made from objects"),
    ("feature", "What this build supports, and what the running kernel has"),
];

/// What a command line says. The parser has only the commands that words of the line name: making all of them would take longer
/// than many a command. What it does not take, the whole parser answers: its help and its suggestions know every command.
///
/// # Errors
/// Usage errors, and what `--help` and `--version` print.
pub(crate) fn matches(line: &[OsString]) -> Result<ArgMatches, clap::Error> {
    let in_line = |word: &str| line.iter().any(|w| w == word);
    let named = |c: &Cmd| {
        let (last, nouns) = c.path.split_last().unwrap_or((&"", &[]));
        nouns.iter().all(|word| in_line(word)) && (in_line(last) || other_name(c).is_some_and(in_line))
    };
    let short = parser_of(&named, &named).try_get_matches_from(line);
    short.or_else(|_| parser_of(&|_| true, &named).try_get_matches_from(line))
}

/// The parser for the whole table.
pub(crate) fn parser() -> Command {
    parser_of(&|_| true, &|_| true)
}

/// The parser for the commands that are `listed`; only those that are `whole` have arguments.
fn parser_of(listed: &dyn Fn(&Cmd) -> bool, whole: &dyn Fn(&Cmd) -> bool) -> Command {
    let mut root = Command::new("skep")
        .about("eBPF in user space: run, check, assemble and inspect eBPF objects")
        .version(env!("CARGO_PKG_VERSION"))
        .subcommand_required(true)
        .arg_required_else_help(true)
        .args(globals());
    for (noun, about) in NOUNS {
        let mut verbs =
            COMMANDS.iter().filter(|c| c.path.len() == 2 && c.path[0] == *noun && listed(c)).peekable();
        if verbs.peek().is_none() {
            continue;
        }
        let n = Command::new(*noun).about(*about).subcommand_required(true).arg_required_else_help(true);
        root = root.subcommand(verbs.fold(n, |n, v| n.subcommand(single(v, whole(v)))));
    }
    let alone = COMMANDS.iter().filter(|c| c.path.len() == 1 && listed(c));
    alone.fold(root, |root, c| root.subcommand(single(c, whole(c))))
}

fn single(c: &Cmd, whole: bool) -> Command {
    let command = Command::new(c.path[c.path.len() - 1]).about(c.about);
    let command = other_name(c).into_iter().fold(command, |command, name| command.visible_alias(name));
    if !whole {
        return command;
    }
    command.long_about(format!("{}\n\n{}", c.about, c.long).trim().to_string()).args((c.args)())
}

/// bpftool's second name for listing: `show` is `list`, unless a noun has both.
fn other_name(c: &Cmd) -> Option<&'static str> {
    let other = match c.path {
        [_, "show"] => "list",
        [_, "list"] => "show",
        _ => return None,
    };
    COMMANDS.iter().all(|o| o.path != [c.path[0], other]).then_some(other)
}

fn globals() -> Vec<Arg> {
    vec![
        Arg::new("output")
            .short('o')
            .long("output")
            .global(true)
            .value_name("FORMAT")
            .value_parser(["text", "json", "jsonl", "csv"])
            .help("Format of standard output"),
        Arg::new("json")
            .short('j')
            .long("json")
            .global(true)
            .action(ArgAction::SetTrue)
            .help("Same as -o json"),
        Arg::new("pretty")
            .short('p')
            .long("pretty")
            .global(true)
            .action(ArgAction::SetTrue)
            .help("JSON with indentation; implies -j"),
    ]
}

/// The row that a parsed command line names, with its own matches.
pub(crate) fn find(m: &ArgMatches) -> Option<(&'static Cmd, &ArgMatches)> {
    let (first, inner) = m.subcommand()?;
    let (path, inner) = match inner.subcommand() {
        Some((second, deeper)) => (vec![first, second], deeper),
        None => (vec![first], inner),
    };
    let cmd = COMMANDS.iter().find(|c| c.path == path)?;
    Some((cmd, inner))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parser_is_sound() {
        parser().debug_assert();
    }

    #[test]
    fn rows_are_unique_and_documented() {
        for (i, c) in COMMANDS.iter().enumerate() {
            assert!(COMMANDS[..i].iter().all(|o| o.path != c.path), "{:?} twice", c.path);
            assert!(!c.about.is_empty() && !c.about.ends_with('.'), "{:?}", c.path);
            assert!(!c.long.is_empty(), "{:?} has no examples", c.path);
            assert!(c.path.len() == 1 || NOUNS.iter().any(|(n, _)| *n == c.path[0]), "{:?}", c.path);
        }
    }
}
