//! bpftool's ways on the command line: its options stand before the noun and some mean nothing here, and `version` is a word.

use std::ffi::{OsStr, OsString};

/// bpftool's nouns.
const NOUNS: [&str; 12] =
    ["prog", "map", "link", "net", "cgroup", "perf", "btf", "struct_ops", "iter", "feature", "gen", "token"];

/// Its options that ask for what always is so here: nothing is mounted, names of older libbpf versions are not wanted, logs of
/// refused programs are shown.
const NEEDLESS: [&str; 10] =
    ["-n", "--nomount", "-m", "--mapcompat", "-l", "--legacy", "-L", "--use-loader", "-d", "--debug"];

/// The line as the parser takes it: for bpftool's nouns its options are where their command is, or left out.
pub(crate) fn plain(line: &[OsString]) -> Vec<OsString> {
    let is = |word: &OsStr, set: &[&str]| set.iter().any(|w| word == *w);
    let mut at = 1;
    while let Some(word) = line.get(at).filter(|w| w.as_encoded_bytes().starts_with(b"-")) {
        at += if is(word, &["-o", "--output", "-B", "--base-btf"]) { 2 } else { 1 };
    }
    let Some(noun) = line.get(at) else { return line.to_vec() };
    if noun == "version" && line.len() == at + 1 {
        return vec![line[0].clone(), "--version".into()];
    }
    if !is(noun, &NOUNS) {
        return line.to_vec();
    }
    let (mut before, mut after) = (Vec::new(), Vec::new());
    let mut words = line[..at].iter();
    while let Some(word) = words.next() {
        if is(word, &["-f", "--bpffs"]) {
            // Other commands have no pins to show.
            let shows = is(noun, &["prog", "map", "link"])
                && line.get(at + 1).is_some_and(|v| is(v, &["show", "list"]));
            after.extend(shows.then(|| word.clone()));
        } else if is(word, &["-B", "--base-btf"]) {
            after.push(word.clone());
            after.extend(words.next().cloned());
        } else if !is(word, &NEEDLESS) {
            before.push(word.clone());
        }
    }
    before.extend(line[at..].iter().filter(|w| !is(w, &NEEDLESS)).cloned());
    before.extend(after);
    before
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plainly(line: &str) -> String {
        let line: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        let words: Vec<String> =
            plain(&line).into_iter().map(|w| w.into_string().unwrap_or_default()).collect();
        words.join(" ")
    }

    #[test]
    fn options_of_bpftool() {
        for (given, meant) in [
            ("skep -f prog show id 3", "skep prog show id 3 -f"),
            ("skep -j -f -n map list", "skep -j map list -f"),
            ("skep -f net show", "skep net show"),
            ("skep -d prog load a.o /p -m", "skep prog load a.o /p"),
            ("skep -o json -B base btf dump file x", "skep -o json btf dump file x -B base"),
            ("skep version", "skep --version"),
            ("skep filter -d tcp", "skep filter -d tcp"),
            ("skep run -n x.o", "skep run -n x.o"),
            ("skep -d filter tcp", "skep -d filter tcp"),
            ("skep", "skep"),
        ] {
            assert_eq!(plainly(given), meant);
        }
    }
}
