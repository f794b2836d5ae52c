//! `skep completions` and `skep man`: generated from the table of commands.

use crate::commands::{self, Cmd};
use crate::failure::Failure;
use crate::output::Out;
use clap::{Arg, ArgMatches};
use std::path::PathBuf;

/// `skep completions SHELL`.
pub(crate) static COMPLETIONS: Cmd = Cmd {
    path: &["completions"],
    about: "Print a completion script for a shell",
    long: "Example:\n  skep completions bash > ~/.local/share/bash-completion/completions/skep",
    args: || {
        vec![
            Arg::new("shell")
                .required(true)
                .value_parser(clap::value_parser!(clap_complete::Shell))
                .help("Shell"),
        ]
    },
    run: |m, out| {
        let Some(shell) = m.get_one::<clap_complete::Shell>("shell") else { return Ok(()) };
        let mut text = Vec::new();
        clap_complete::generate(*shell, &mut commands::parser(), "skep", &mut text);
        out.bytes(&text)
    },
};

/// `skep man [FOLDER]`.
pub(crate) static MAN: Cmd = Cmd {
    path: &["man"],
    about: "Print the manual page, or write all pages into a folder",
    long: "Examples:\n  skep man | man -l -\n  skep man /usr/local/share/man/man1",
    args: || {
        let parser = clap::value_parser!(PathBuf);
        vec![
            Arg::new("folder")
                .value_name("FOLDER")
                .value_parser(parser)
                .help("Write one page a command here"),
        ]
    },
    run: man,
};

fn man(m: &ArgMatches, out: &mut Out) -> Result<(), Failure> {
    if let Some(folder) = m.get_one::<PathBuf>("folder") {
        std::fs::create_dir_all(folder).map_err(|e| Failure::io("create", folder, &e))?;
        return clap_mangen::generate_to(commands::parser(), folder)
            .map_err(|e| Failure::io("write to", folder, &e));
    }
    let mut page = Vec::new();
    let rendered = clap_mangen::Man::new(commands::parser()).render(&mut page);
    rendered.map_err(|e| Failure::Failed(format!("cannot render the manual page: {e}")))?;
    out.bytes(&page)
}
