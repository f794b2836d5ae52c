//! The references in `docs/` say what the tables say. `SKEP_BLESS=1` rewrites them.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use skep::descriptors::ctx::UserRun;
use skep::descriptors::helper::Body;
use skep::descriptors::map::Create;
use std::fmt::Write;
use std::path::Path;

/// Compares a generated text with a file of the repository, or writes it.
fn agrees(file: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(file);
    if std::env::var_os("SKEP_BLESS").is_some() {
        std::fs::write(&path, text).unwrap();
        return;
    }
    let old = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(old == text, "docs/{file} is not what the tables say; `cargo xtask bless` rewrites it");
}

/// A row's line as a sentence without its full stop.
fn sentence(doc: &str) -> String {
    let mut letters = doc.trim_end_matches('.').chars();
    letters.next().map_or(String::new(), |c| c.to_uppercase().chain(letters).collect())
}

const NOTE: &str = "\nGenerated from the tables; do not edit. `cargo xtask bless` rewrites it.\n\n";

#[test]
fn helpers() {
    let mut t = format!(
        "# Helpers\n{NOTE}| id | helper | since | user engine | what it does |\n|---:|---|---|---|---|\n"
    );
    for h in skep::platform().helpers {
        let here = if let Body::Absent(why) = h.body { why } else { "yes" };
        let _ = writeln!(t, "| {} | `{}` | {} | {here} | {} |", h.id, h.name, h.since, sentence(h.doc));
    }
    agrees("helpers.md", &t);
}

#[test]
fn map_types() {
    let mut t = format!(
        "# Map types\n{NOTE}| id | type | since | user engine | what it is |\n|---:|---|---|---|---|\n"
    );
    for m in skep::platform().map_types {
        let here = if let Create::Absent(why) = m.create { why } else { "yes" };
        let _ = writeln!(
            t,
            "| {} | `{}` | {} | {here} | {} |",
            m.map_type.id(),
            m.map_type.label(),
            m.since,
            m.doc
        );
    }
    agrees("map-types.md", &t);
}

#[test]
fn prog_types() {
    let mut t = format!("# Program types\n{NOTE}");
    for p in skep::platform().prog_types {
        let run = match p.user {
            UserRun::Packets => "on packets".to_string(),
            UserRun::Plain => "on a context given as bytes".into(),
            UserRun::No(why) => format!("not: {why}"),
        };
        let _ = write!(
            t,
            "## {}\n\n{}. Since Linux {}. In the user engine: {run}.\n\n",
            p.prog_type.label(),
            sentence(p.doc),
            p.since
        );
        for (attach, layout) in p.layouts {
            let names: Vec<String> = attach.iter().map(|a| format!("`{}`", a.uapi_name())).collect();
            let of = if names.is_empty() { String::new() } else { format!(" ({})", names.join(", ")) };
            let _ = writeln!(
                t,
                "Context `struct {}`{of}: {} bytes, {} fields.\n",
                layout.name,
                layout.size,
                layout.fields.len()
            );
        }
        if !p.verdicts.is_empty() {
            let names: Vec<String> =
                p.verdicts.iter().map(|v| format!("`{}` = {}", v.name, v.value)).collect();
            let _ = writeln!(t, "Verdicts: {}.\n", names.join(", "));
        }
    }
    agrees("program-types.md", &t);
}

/// Each rule of the verifier has a page: its head is generated, what follows is written by hand and kept.
#[test]
fn rules() {
    use skep::verifier::Rule;
    let mut index =
        format!("# Rules of the verifier\n{NOTE}| code | name | what it asks for |\n|---|---|---|\n");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/rules");
    let mut pages = vec!["README.md".to_string()];
    for (i, r) in Rule::ALL.iter().enumerate() {
        let first = |f: fn(Rule) -> &'static str| Rule::ALL[..i].iter().all(|o| f(*o) != f(*r));
        assert!(first(Rule::code) && first(Rule::name), "{} or {} twice", r.code(), r.name());
        let _ = writeln!(index, "| {} | [{}]({}.md) | {} |", r.code(), r.name(), r.name(), r.doc());
        let file = format!("{}.md", r.name());
        let page = std::fs::read_to_string(folder.join(&file)).unwrap_or_default();
        let Some(at) = page.find("## Why\n") else { panic!("docs/rules/{file}: no section \"Why\"") };
        for section in ["## What Linux says\n", "## What to do\n"] {
            assert!(page.contains(section), "docs/rules/{file}: no section {section:?}");
        }
        agrees(
            &format!("rules/{file}"),
            &format!("# {} {}\n\n{}\n\n{}", r.code(), r.name(), r.doc(), &page[at..]),
        );
        pages.push(file);
    }
    agrees("rules/README.md", &index);
    for entry in std::fs::read_dir(&folder).unwrap() {
        let name = entry.unwrap().file_name().to_string_lossy().into_owned();
        assert!(pages.contains(&name), "docs/rules/{name} is no rule's page");
    }
}
