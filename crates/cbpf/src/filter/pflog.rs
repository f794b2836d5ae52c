//! The log of BSD's packet filter: fields of its header (net/if_pflog.h).

use super::r#gen::{Gen, Result};
use super::link::Variable;
use super::parse::Value;
use super::tree::Tree;
use super::words::Key;
use crate::insn::{Cond, Size};

const ACTION_AT: u32 = 2;
const REASON_AT: u32 = 3;
const IFNAME_AT: u32 = 4;
const RULESET_AT: u32 = 20;
const RULE_AT: u32 = 36;
const SUBRULE_AT: u32 = 40;
/// Bytes of a name with the zero behind it.
const NAME_LEN: usize = 16;

/// Reasons by name.
const REASONS: &[(&str, u32)] = &[
    ("match", 0),
    ("bad-offset", 1),
    ("fragment", 2),
    ("short", 3),
    ("normalize", 4),
    ("memory", 5),
    ("bad-timestamp", 6),
    ("congestion", 7),
    ("ip-option", 8),
    ("proto-cksum", 9),
    ("state-mismatch", 10),
    ("state-insert", 11),
    ("state-limit", 12),
    ("src-limit", 13),
    ("synproxy", 14),
];

/// Actions by name.
const ACTIONS: &[(&str, u32)] = &[
    ("pass", 0),
    ("accept", 0),
    ("drop", 1),
    ("block", 1),
    ("scrub", 2),
    ("noscrub", 3),
    ("nat", 4),
    ("nonat", 5),
    ("binat", 6),
    ("nobinat", 7),
    ("rdr", 8),
    ("nordr", 9),
    ("synproxy-drop", 10),
    ("defer", 11),
];

impl Gen<'_> {
    /// A field of the log's header.
    pub(super) fn pflog(&self, key: Key, value: Value<'_>) -> Result<Tree> {
        if self.outer != Variable::Pflog {
            return self.fail(format!("'{}' supported only on PFLOG linktype", key.name()));
        }
        let is = |size, at, n| Ok(self.test(Cond::Eq, self.link_header(size, at), self.k(n)));
        let find = |rows: &[(&str, u32)], name: &str| rows.iter().find(|r| r.0 == name).map(|r| r.1);
        match (key, value) {
            (Key::Rulenum, Value::Num(n)) => is(Size::W, RULE_AT, n),
            (Key::Subrulenum, Value::Num(n)) => is(Size::W, SUBRULE_AT, n),
            (Key::Reason, Value::Num(n)) => is(Size::B, REASON_AT, n),
            (Key::Reason, Value::Name(name)) => match find(REASONS, name) {
                Some(n) => is(Size::B, REASON_AT, n),
                None => self.fail(format!("unknown PF reason \"{name}\"")),
            },
            (Key::Action, Value::Name(name)) => match find(ACTIONS, name) {
                Some(n) => is(Size::B, ACTION_AT, n),
                None => self.fail(format!("unknown PF action \"{name}\"")),
            },
            (_, Value::Name(name)) => {
                if name.len() >= NAME_LEN {
                    let max = NAME_LEN - 1;
                    return self.fail(format!(
                        "'{}' name length {} greater than maximum {max}",
                        key.name(),
                        name.len()
                    ));
                }
                let at = if key == Key::Ifname { IFNAME_AT } else { RULESET_AT };
                Ok(self.bytes_are(|size, k| self.link_header(size, at + k), name.as_bytes()))
            }
            (_, Value::Num(_)) => self.fail("a name is needed here"),
        }
    }
}
