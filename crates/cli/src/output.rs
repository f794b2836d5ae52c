//! Standard output in the format asked for. Data goes here and nowhere else; everything said to a person beside the data
//! goes to standard error.

use crate::failure::Failure;
use clap::ArgMatches;
use serde_json::{Map, Value};
use std::io::{BufWriter, ErrorKind, Stdout, Write};

/// Format of standard output.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Format {
    /// For people.
    Text,
    /// One JSON document.
    Json {
        /// Indented.
        pretty: bool,
    },
    /// One JSON object a line.
    Jsonl,
    /// Comma-separated values with a heading, where the command has rows.
    Csv,
}

/// Where a command's data goes.
pub(crate) struct Out {
    /// Chosen format.
    pub(crate) format: Format,
    stdout: BufWriter<Stdout>,
}

impl Out {
    /// From the global options `-o`, `-j` and `-p`.
    pub(crate) fn new(m: &ArgMatches) -> Out {
        let named = m.get_one::<String>("output").map(String::as_str);
        let pretty = m.get_flag("pretty");
        let format = match named {
            Some("json") => Format::Json { pretty },
            Some("jsonl") => Format::Jsonl,
            Some("csv") => Format::Csv,
            _ if pretty || m.get_flag("json") => Format::Json { pretty },
            _ => Format::Text,
        };
        let stdout = std::io::stdout();
        Out { format, stdout: BufWriter::new(stdout) }
    }

    /// Whether the format is JSON of either kind.
    pub(crate) fn is_json(&self) -> bool {
        matches!(self.format, Format::Json { .. } | Format::Jsonl)
    }

    /// Writes text as it is.
    pub(crate) fn text(&mut self, text: &str) -> Result<(), Failure> {
        self.bytes(text.as_bytes())
    }

    /// Writes one line.
    pub(crate) fn line(&mut self, text: &str) -> Result<(), Failure> {
        self.text(text)?;
        self.bytes(b"\n")
    }

    /// Writes raw bytes.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.stdout.write_all(bytes).map_err(|e| write_failed(&e))
    }

    /// Writes one JSON object; `apiVersion` stands first in it.
    pub(crate) fn json(&mut self, object: Map<String, Value>) -> Result<(), Failure> {
        let mut whole = Map::new();
        whole.insert("apiVersion".into(), 1.into());
        whole.extend(object);
        let text = match self.format {
            Format::Json { pretty: true } => serde_json::to_string_pretty(&whole),
            _ => serde_json::to_string(&whole),
        };
        self.line(&text.map_err(|e| Failure::Failed(format!("cannot write JSON: {e}")))?)
    }

    /// Several objects: a line each for `jsonl`, else one object with the array under `key`.
    pub(crate) fn json_rows(&mut self, key: &str, rows: Vec<Map<String, Value>>) -> Result<(), Failure> {
        if self.format == Format::Jsonl {
            return rows.into_iter().try_for_each(|r| self.json(r));
        }
        let rows = rows.into_iter().map(Value::Object).collect();
        self.json(Map::from_iter([(key.to_string(), Value::Array(rows))]))
    }

    /// Flushes; call once at the end.
    pub(crate) fn finish(&mut self) -> Result<(), Failure> {
        self.stdout.flush().map_err(|e| write_failed(&e))
    }
}

fn write_failed(e: &std::io::Error) -> Failure {
    match e.kind() {
        ErrorKind::BrokenPipe => Failure::BrokenPipe,
        _ => Failure::Failed(format!("cannot write to standard output: {e}")),
    }
}

/// Shorthand for a JSON object from pairs.
pub(crate) fn object<const N: usize>(pairs: [(&str, Value); N]) -> Map<String, Value> {
    pairs.into_iter().map(|(k, v)| (k.to_string(), v)).collect()
}
