//! Filters over capture files: accepted packets are counted, printed or written.

use super::choose::{self, How};
use super::line::line;
use crate::failure::Failure;
use crate::output::{Out, object};
use clap::ArgMatches;
use skep::hooks::capture::{Capture, Format, Interface, Record, Writer};
use skep::hooks::link::LinkType;
use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};

/// Where accepted packets go: a file, lines, or nowhere.
pub(super) struct Target<'a> {
    write: Option<(&'a Path, Writer<BufWriter<File>>)>,
    print: bool,
    /// Packets after which to stop.
    most: u64,
    pub(super) matched: u64,
}

impl<'a> Target<'a> {
    /// By the arguments; `print` is what happens to packets that are not written.
    pub(super) fn new(
        m: &'a ArgMatches,
        format: Format,
        first: Interface,
        print: bool,
    ) -> Result<Target<'a>, Failure> {
        let write = match m.get_one::<PathBuf>("write") {
            Some(t) => {
                let made = File::create(t).and_then(|f| Writer::new(BufWriter::new(f), format, first));
                Some((t.as_path(), made.map_err(|e| Failure::io("write", t, &e))?))
            }
            None => None,
        };
        let print = m.get_flag("print") || (print && write.is_none());
        Ok(Target { write, print, most: m.get_one::<u64>("count").copied().unwrap_or(u64::MAX), matched: 0 })
    }

    /// Takes an accepted packet. Whether more are wanted.
    pub(super) fn take(
        &mut self,
        out: &mut Out,
        record: &Record<'_>,
        known: &[Interface],
    ) -> Result<bool, Failure> {
        self.matched += 1;
        if let Some((path, writer)) = &mut self.write {
            writer.write(record, known).map_err(|e| Failure::io("write", path, &e))?;
        }
        if self.print {
            out.line(&line(record))?;
        }
        Ok(self.matched < self.most)
    }

    /// Packets are printed, so that numbers about them go to standard error.
    pub(super) fn prints(&self) -> bool {
        self.print
    }

    pub(super) fn finish(self) -> Result<(), Failure> {
        let Some((path, writer)) = self.write else { return Ok(()) };
        let flushed = writer
            .finish()
            .and_then(|b| b.into_inner().map(drop).map_err(std::io::IntoInnerError::into_error));
        flushed.map_err(|e| Failure::io("write", path, &e))
    }
}

/// Runs an expression over a capture.
pub(super) fn run(m: &ArgMatches, out: &mut Out, expr: &str, path: &Path) -> Result<(), Failure> {
    let file = File::open(path).map_err(|e| Failure::io("read", path, &e))?;
    let mut capture = Capture::new(file).map_err(|e| Failure::malformed(path, e))?;
    let first =
        capture.interfaces().first().copied().unwrap_or(Interface { link: LinkType::ETHERNET, snaplen: 0 });
    choose::keep(&How::of(m), expr, &mut capture)?;
    let mut target = Target::new(m, capture.format(), first, false)?;
    let end = loop {
        match capture.next_described() {
            Ok(Some((record, known))) => {
                if !target.take(out, &record, known)? {
                    break Ok(());
                }
            }
            Ok(None) => break Ok(()),
            Err(e) => {
                break Err(Failure::malformed(path, format!("{e}; the packets before it were looked at")));
            }
        }
    };
    let (packets, matched, prints) = (capture.packets(), target.matched, target.prints());
    target.finish()?;
    if out.is_json() {
        out.json(object([("expr", expr.into()), ("packets", packets.into()), ("matched", matched.into())]))?;
    } else if prints {
        out.finish()?;
        eprintln!("{matched} of {packets} packets match");
    } else {
        out.line(&format!("{matched} of {packets} packets match"))?;
    }
    end
}
