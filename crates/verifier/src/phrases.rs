//! Which rule a phrase of the kernel's verifier speaks of: for refusals that are known by their log alone.
//!
//! The table (`phrases.tsv`) has the phrases as this verifier says them, with numbers as `N`. A phrase that does not stand there
//! is of the rule of the row that begins like it, if one does for long enough.

use crate::reject::Rule;

static TABLE: &str = include_str!("phrases.tsv");

/// Beginning that two phrases have to share.
const ALIKE: usize = 16;

/// The rule that a main phrase of the kernel's speaks of. Cost: a walk over some hundred rows.
///
/// ```
/// use skep_verifier::{Rule, rule_of};
/// assert_eq!(rule_of("R3 invalid mem access 'scalar'"), Some(Rule::BadPointer));
/// assert_eq!(rule_of("never heard of"), None);
/// ```
pub fn rule_of(phrase: &str) -> Option<Rule> {
    let wanted = normal(phrase);
    let common = |row: &str| row.bytes().zip(wanted.bytes()).take_while(|(a, b)| a == b).count();
    let alike = |(row, rule): (&str, Rule)| (if row == wanted { usize::MAX } else { common(row) }, rule);
    let best = rows().map(alike).max_by_key(|(n, _)| *n)?;
    (best.0 >= ALIKE).then_some(best.1)
}

fn rows() -> impl Iterator<Item = (&'static str, Rule)> {
    TABLE.lines().filter(|l| !l.starts_with('#')).filter_map(|l| {
        let (phrase, name) = l.split_once('\t')?;
        Some((phrase, *Rule::ALL.iter().find(|r| r.name() == name)?))
    })
}

/// Numbers, decimal with their sign and hexadecimal, become `N`.
fn normal(phrase: &str) -> String {
    let (mut out, mut rest) = (String::new(), phrase);
    while let Some(c) = rest.chars().next() {
        let after = rest.strip_prefix('-').unwrap_or(rest);
        let hex = after.strip_prefix("0x").filter(|h| h.starts_with(|c: char| c.is_ascii_hexdigit()));
        rest = match hex {
            Some(h) => h.trim_start_matches(|c: char| c.is_ascii_hexdigit()),
            None if after.starts_with(|c: char| c.is_ascii_digit()) => {
                after.trim_start_matches(|c: char| c.is_ascii_digit())
            }
            None => {
                out.push(c);
                rest = &rest[c.len_utf8()..];
                continue;
            }
        };
        out.push('N');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_names_rules() {
        let lines: Vec<&str> = TABLE.lines().skip(1).collect();
        assert_eq!(lines.len(), rows().count(), "a row without a rule");
        let phrases: Vec<&str> = rows().map(|r| r.0).collect();
        assert!(phrases.windows(2).all(|w| w[0] < w[1]), "sorted, no phrase twice");
        assert!(phrases.iter().all(|p| normal(p) == **p));
    }

    #[test]
    fn numbers_do_not_matter() {
        assert_eq!(normal("off=-8 size=0x10 R3"), "off=N size=N RN");
        assert_eq!(rule_of("R8 max value is outside of the allowed memory range"), Some(Rule::MapAccess));
        assert_eq!(rule_of("R11 !read_ok"), Some(Rule::Uninitialised));
    }
}
