//! Filters as eBPF objects.

use super::choose::How;
use crate::failure::Failure;
use crate::input;
use clap::ArgMatches;
use skep::cbpf::Target;
use skep::cbpf::filter::Packets;
use skep::obj::asm::to_elf;
use std::path::Path;

/// Writes an object with one program for the hook asked for.
pub(super) fn write(m: &ArgMatches, how: &How, expr: &str, path: &Path) -> Result<(), Failure> {
    let target = match m.get_one::<String>("hook").map(String::as_str) {
        Some("xdp") => Target::XDP,
        Some("tc") => Target::SCHED_CLS,
        _ => Target::SOCKET_FILTER,
    };
    let filter = how.compile(expr, how.dlt(), Packets::Any)?;
    let assembly = filter.to_assembly(&target).map_err(|e| Failure::Unsupported(format!("{expr}: {e}")))?;
    let elf = to_elf(&assembly).map_err(|e| Failure::malformed(path, e))?;
    input::write(path, &elf.write())
}
