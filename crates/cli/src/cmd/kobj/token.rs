//! `skep token list`: the bpf file systems that hand rights to user namespaces, and which.

use crate::commands::Cmd;
use crate::failure::Failure;
use crate::output::{Out, object};
use clap::ArgMatches;
use skep::kernel::token::{DELEGATED, Delegation, delegations};
use std::fmt::Write;

/// `skep token list`.
pub(crate) static LIST: Cmd = Cmd {
    path: &["token", "list"],
    about: "List bpf file systems that delegate rights to a user namespace, and which",
    long: "A process in the user namespace of such a file system loads by its token, where it has the namespace's CAP_BPF: commands that\n\
           create or load take the token of the file system in SKEP_BPF_TOKEN_PATH (or LIBBPF_BPF_TOKEN_PATH), else the first\n\
           that gives one; the empty variable keeps them from it.\n\n\
           Example:\n  mount -t bpf bpf /run/container/bpf -o delegate_cmds=any,delegate_maps=any,delegate_progs=xdp,delegate_attachs=xdp\n  \
           skep token list",
    args: Vec::new,
    run: list,
};

/// Words on a line, and the columns of each, as bpftool prints them.
const ON_A_LINE: usize = 4;
const WIDTH: usize = 20;

fn list(_: &ArgMatches, out: &mut Out) -> Result<(), Failure> {
    let all = delegations();
    if out.is_json() {
        let rows = all.iter().map(|d| {
            let mut row = object([("token_info", d.path.display().to_string().into())]);
            row.extend(parts(d).map(|(part, words)| (part, words.to_vec().into())));
            row
        });
        return out.json_rows("tokens", rows.collect());
    }
    all.iter().try_for_each(|d| out.text(&text(d)))
}

/// Names of what is delegated, each with its words.
fn parts(d: &Delegation) -> impl Iterator<Item = (String, &[String])> {
    DELEGATED.iter().zip(&d.allowed).map(|(part, words)| (format!("allowed_{part}"), words.as_slice()))
}

fn text(d: &Delegation) -> String {
    let mut text = format!("token_info  {}", d.path.display());
    for (part, words) in parts(d) {
        let _ = write!(text, "\n\t{part}:");
        for line in words.chunks(ON_A_LINE) {
            text.push_str("\n\t  ");
            for word in line {
                let _ = write!(text, "{word:<WIDTH$}");
            }
        }
    }
    text.push('\n');
    text
}
