//! `skep feature`: what this build knows of eBPF and what its user engine runs, straight from the tables.

use crate::commands::Cmd;
use crate::failure::Failure;
use crate::output::{Out, object};
use crate::table::Table;
use clap::{Arg, ArgMatches};
use serde_json::{Map, Value};
use skep::descriptors::ctx::UserRun;
use skep::descriptors::helper::Body;
use skep::descriptors::map::Create;
use skep::descriptors::{AttachType, Platform};

const GROUPS: [&str; 4] = ["prog_types", "map_types", "attach_types", "helpers"];

fn group_arg() -> Arg {
    Arg::new("group").value_name("GROUP").value_parser(GROUPS).help("One group of features")
}

/// `skep feature list_builtins GROUP`.
pub(crate) static LIST: Cmd = Cmd {
    path: &["feature", "list_builtins"],
    about: "List the names this build knows",
    long: "Example:\n  skep feature list_builtins helpers",
    args: || vec![group_arg().required(true)],
    run: |m, out| {
        let group = m.get_one::<String>("group").map_or("", String::as_str);
        let names: Vec<String> = rows(skep::platform(), group).into_iter().map(|r| r.name).collect();
        if out.is_json() {
            return out.json(object([(group, names.into())]));
        }
        names.iter().try_for_each(|n| out.line(n))
    },
};

/// `skep feature show [GROUP]`.
pub(crate) static SHOW: Cmd = Cmd {
    path: &["feature", "show"],
    about: "Show what the user engine supports, and why it does not support the rest",
    long: "Examples:\n  skep feature show\n  skep feature show helpers -j",
    args: || vec![group_arg()],
    run: show,
};

/// One feature: a line of `feature show`.
struct Row {
    name: String,
    since: String,
    /// `None`: supported.
    absent: Option<&'static str>,
    doc: String,
}

fn rows(p: &Platform, group: &str) -> Vec<Row> {
    match group {
        "prog_types" => p
            .prog_types
            .iter()
            .map(|t| Row {
                name: t.prog_type.label(),
                since: t.since.to_string(),
                absent: if let UserRun::No(why) = t.user { Some(why) } else { None },
                doc: t.doc.into(),
            })
            .collect(),
        "map_types" => p
            .map_types
            .iter()
            .map(|t| Row {
                name: t.map_type.label(),
                since: t.since.to_string(),
                absent: if let Create::Absent(why) = t.create { Some(why) } else { None },
                doc: t.doc.into(),
            })
            .collect(),
        "helpers" => p
            .helpers
            .iter()
            .map(|h| Row {
                name: h.name.into(),
                since: h.since.to_string(),
                absent: if let Body::Absent(why) = h.body { Some(why) } else { None },
                doc: h.doc.into(),
            })
            .collect(),
        _ => AttachType::ALL
            .iter()
            .map(|(_, name)| Row {
                name: name.strip_prefix("BPF_").unwrap_or(name).to_ascii_lowercase(),
                since: String::new(),
                absent: None,
                doc: String::new(),
            })
            .collect(),
    }
}

fn show(m: &ArgMatches, out: &mut Out) -> Result<(), Failure> {
    let asked = m.get_one::<String>("group").map(String::as_str);
    let groups = GROUPS.iter().filter(|g| asked.map_or(**g != "attach_types", |a| a == **g));
    let mut json = Map::new();
    for group in groups {
        let rows = rows(skep::platform(), group);
        if out.is_json() {
            json.insert((*group).into(), rows.iter().map(row_json).collect());
            continue;
        }
        let here = rows.iter().filter(|r| r.absent.is_none()).count();
        out.line(&format!("{group}: {here} of {} in the user engine", rows.len()))?;
        let mut t = Table::new(&["name", "since", "user engine", "what it is"]);
        for r in rows {
            let state = r.absent.map_or("yes".into(), |why| format!("no: {why}"));
            t.row(vec![r.name, r.since, state, r.doc]);
        }
        out.text(&t.text())?;
    }
    if out.is_json() { out.json(json) } else { Ok(()) }
}

fn row_json(r: &Row) -> Value {
    let mut v = object([("name", r.name.clone().into()), ("supported", r.absent.is_none().into())]);
    if !r.since.is_empty() {
        v.insert("since".into(), r.since.clone().into());
        v.insert("doc".into(), r.doc.clone().into());
    }
    if let Some(why) = r.absent {
        v.insert("why".into(), why.into());
    }
    Value::Object(v)
}
