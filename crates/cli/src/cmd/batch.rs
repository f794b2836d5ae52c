//! `skep batch file FILE`: commands from a file, one a line, in one process.

use super::kobj::{Words, words_arg};
use crate::commands::Cmd;
use crate::failure::Failure;
use crate::input;
use crate::output::{Format, Out};
use clap::ArgMatches;
use std::ffi::OsString;

/// `skep batch file FILE`.
pub(crate) static BATCH: Cmd = Cmd {
    path: &["batch"],
    about: "Run the commands of a file, one a line, until one fails",
    long: "FILE is - for standard input. Words stand between blanks, or in quotation marks; # begins a comment, and a line that ends\n\
           with \\ goes on in the next.\n\n\
           Example:\n  printf 'prog show\\nmap show\\n' | skep batch file -",
    args: || vec![words_arg("file FILE", "The commands")],
    run: batch,
};

fn batch(m: &ArgMatches, out: &mut Out) -> Result<(), Failure> {
    let mut words = Words::new(m);
    words.take("file");
    let path = words.value("batch file")?;
    words.end()?;
    let text = String::from_utf8_lossy(&input::file(path.as_ref())?).into_owned();
    let options: &[&str] = match out.format {
        Format::Text => &[],
        Format::Json { pretty: false } => &["-j"],
        Format::Json { pretty: true } => &["-p"],
        Format::Jsonl => &["-o", "jsonl"],
        Format::Csv => &["-o", "csv"],
    };
    let mut done = 0;
    for (number, line) in lines(&text) {
        let line = split(&line)
            .ok_or_else(|| Failure::Input(format!("{path}:{number}: a quotation mark is not closed")))?;
        if line.is_empty() {
            continue;
        }
        if line[0] == "batch" {
            return Err(Failure::Input(format!("{path}:{number}: a batch in a batch")));
        }
        let words = std::iter::once("skep").chain(options.iter().copied()).map(str::to_owned).chain(line);
        let code = crate::run(&words.map(OsString::from).collect::<Vec<_>>());
        if code != 0 {
            return Err(Failure::Command(
                code,
                format!("{path}:{number}: the command failed; {done} before it did not"),
            ));
        }
        done += 1;
    }
    eprintln!("processed {done} commands");
    Ok(())
}

/// Lines with the number of their first, those that go on put together.
fn lines(text: &str) -> Vec<(usize, String)> {
    let mut all: Vec<(usize, String)> = Vec::new();
    let mut goes_on = false;
    for (i, line) in text.lines().enumerate() {
        let (part, more) = line.strip_suffix('\\').map_or((line, false), |part| (part, true));
        match all.last_mut().filter(|_| goes_on) {
            Some((_, begun)) => begun.push_str(part),
            None => all.push((i + 1, part.to_owned())),
        }
        goes_on = more;
    }
    all
}

/// The words of a line; `None` if a quotation mark is not closed.
fn split(line: &str) -> Option<Vec<String>> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for c in line.chars() {
        match (c, quote) {
            (c, Some(q)) if c == q => quote = None,
            ('"' | '\'', None) => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            ('#', None) if word.is_none() => break,
            (c, None) if c.is_whitespace() => words.extend(word.take()),
            (c, _) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    quote.is_none().then_some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_lines() {
        let of = |line| split(line).unwrap_or_default();
        assert_eq!(of(" prog  show name 'a b'\"c\" # all"), ["prog", "show", "name", "a bc"]);
        assert_eq!(of("map dump ''"), ["map", "dump", ""]);
        assert!(of("# nothing").is_empty());
        assert_eq!(split("prog 'show"), None);
        assert_eq!(lines("a \\\nb\nc"), [(1, "a b".to_owned()), (3, "c".to_owned())]);
    }
}
