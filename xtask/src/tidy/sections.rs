//! The loader's section table against `../shared/uapi/sections.json`, the section names of libbpf; `SKEP_SECTIONS` names
//! another place. Where that file is not there, nothing is checked.

use serde_json::Value;
use skep_obj::sections::{
    ATTACH_BTF, EXPECTED, Match, OPTIONAL, SECTIONS, SLEEPABLE, SectionDef, USDT, XDP_FRAGS,
};
use std::path::Path;

/// The flags of a row with their names in the file.
static FLAGS: &[(u8, &str)] = &[
    (SLEEPABLE, "sleepable"),
    (ATTACH_BTF, "needs_btf_attach"),
    (XDP_FRAGS, "xdp_frags"),
    (USDT, "usdt"),
    (EXPECTED, "expected_attach_type_set"),
    (OPTIONAL, "expected_attach_type_optional"),
];

pub(super) fn check(root: &Path) -> Result<Vec<String>, String> {
    let path =
        std::env::var_os("SKEP_SECTIONS").map_or(root.join("../shared/uapi/sections.json"), Into::into);
    let Ok(text) = std::fs::read_to_string(&path) else {
        println!("       {} is not there; the section table was not compared with it", path.display());
        return Ok(Vec::new());
    };
    let facts: Value = serde_json::from_str(&text).map_err(|e| format!("{}: {e}", path.display()))?;
    let theirs: Vec<String> = facts["sections"].as_array().into_iter().flatten().map(their_row).collect();
    let ours: Vec<String> = SECTIONS.iter().map(our_row).collect();
    let missing = theirs.iter().filter(|t| !ours.contains(t)).map(|t| format!("not in the table: {t}"));
    let extra = ours.iter().filter(|o| !theirs.contains(o)).map(|o| format!("not in the file: {o}"));
    let order =
        (ours.len() == theirs.len() && ours != theirs).then(|| "the rows are in another order".to_string());
    let faults: Vec<String> = missing.chain(extra).collect();
    Ok(if faults.is_empty() { order.into_iter().collect() } else { faults })
}

fn our_row(r: &SectionDef) -> String {
    let attach = r.attach_type.map_or("", |a| a.uapi_name());
    let slash = if r.matches == Match::Slash { "+" } else { "" };
    let flags: Vec<&str> =
        FLAGS.iter().filter(|(bit, _)| r.flags & bit != 0).map(|(_, name)| *name).collect();
    format!("{}{slash} {} {attach} {}", r.prefix, r.prog_type.uapi_name(), flags.join(","))
}

fn their_row(r: &Value) -> String {
    let text = |key: &str| r[key].as_str().unwrap_or("");
    let slash = if text("match") == "exact" { "" } else { "+" };
    let flags: Vec<&str> = FLAGS.iter().filter(|(_, name)| r[*name] == true).map(|(_, name)| *name).collect();
    format!("{}{slash} {} {} {}", text("prefix"), text("prog_type"), text("attach_type"), flags.join(","))
}
