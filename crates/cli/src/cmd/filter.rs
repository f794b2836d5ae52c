//! `skep filter`: the language of tcpdump's filters, compiled to classic BPF and run over captures.

use crate::commands::Cmd;
use crate::failure::Failure;
use crate::names::Files;
use crate::output::{Out, object};
use clap::{Arg, ArgAction, ArgMatches, value_parser};
use skep::cbpf::filter::{Numbers, Resolver, Why, link_types};
use skep::cbpf::{Filter, FilterOptions, Meta, Packet, text};
use skep::hooks::capture::{Capture, Interface, Writer};
use skep::hooks::link::LinkType;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};

/// `skep filter EXPR`.
pub(crate) static FILTER: Cmd = Cmd {
    path: &["filter"],
    about: "Compile a filter expression, print it, or run it over a capture",
    long: "The language is that of tcpdump (pcap-filter(7)).\n\n\
           Examples:\n  skep filter -d 'tcp port 80'\n  skep filter -ddd --dlt RAW 'udp'\n  \
           skep filter 'icmp or arp' --run traffic.pcap -w found.pcap",
    args: || {
        let file = |name: &'static str, help: &'static str| {
            Arg::new(name).value_name("FILE").value_parser(value_parser!(PathBuf)).help(help)
        };
        vec![
            Arg::new("expr")
                .value_name("EXPR")
                .num_args(0..)
                .help("The expression; several words are put together"),
            Arg::new("dump")
                .short('d')
                .action(ArgAction::Count)
                .help("Print the program; -dd as C, -ddd as numbers"),
            Arg::new("dlt")
                .long("dlt")
                .value_name("NAME")
                .help("Link type; default: EN10MB, or that of the capture"),
            Arg::new("plain")
                .short('O')
                .long("no-optimize")
                .action(ArgAction::SetTrue)
                .help("Do not optimise"),
            Arg::new("numeric").short('n').action(ArgAction::SetTrue).help("Look no names up"),
            Arg::new("snaplen")
                .long("snaplen")
                .value_name("N")
                .value_parser(value_parser!(u32))
                .default_value("262144")
                .help("What accepted packets return"),
            file("run", "Run it over this capture and count").long("run"),
            file("write", "Write the accepted packets here").short('w').long("write").requires("run"),
        ]
    },
    run: filter,
};

fn filter(m: &ArgMatches, out: &mut Out) -> Result<(), Failure> {
    let words: Vec<&str> = m.get_many::<String>("expr").into_iter().flatten().map(String::as_str).collect();
    let expr = words.join(" ");
    if let Some(capture) = m.get_one::<PathBuf>("run") {
        return run(m, out, &expr, capture);
    }
    let f = compile(m, &expr, m.get_one::<String>("dlt").map_or("EN10MB", String::as_str))?;
    let listing = match m.get_count("dump") {
        0 | 1 => text::listing(f.insns()),
        2 => text::c_initialiser(f.insns()),
        _ => text::decimal(f.insns()),
    };
    if out.is_json() {
        let insns: Vec<serde_json::Value> = f
            .insns()
            .iter()
            .map(|i| serde_json::json!({"code": i.code, "jt": i.jt, "jf": i.jf, "k": i.k}))
            .collect();
        return out.json(object([("expr", expr.into()), ("insns", insns.into())]));
    }
    out.text(&listing)
}

fn compile(m: &ArgMatches, expr: &str, link: &str) -> Result<Filter, Failure> {
    let resolver: &dyn Resolver = if m.get_flag("numeric") { &Numbers } else { &Files };
    let options = FilterOptions {
        link,
        snaplen: m.get_one::<u32>("snaplen").copied().unwrap_or(262_144),
        optimize: !m.get_flag("plain"),
        resolver,
        ..FilterOptions::default()
    };
    Filter::compile(expr, &options).map_err(|e| match e.why {
        Why::LinkType(_) => Failure::Unsupported(e.with_caret(expr)),
        _ => Failure::Input(e.with_caret(expr)),
    })
}

/// libpcap's name of a capture's link type.
fn link_name(link: LinkType) -> Result<&'static str, Failure> {
    // Programs have another number for raw IP than files; some write it.
    let number = if matches!(link.0, 12 | 14) { 101 } else { link.0 };
    let found = link_types().find(|(_, n)| *n == number).map(|(name, _)| name);
    found.ok_or_else(|| Failure::Unsupported(format!("link type {} has no name in filters", link.0)))
}

fn run(m: &ArgMatches, out: &mut Out, expr: &str, path: &Path) -> Result<(), Failure> {
    let file = File::open(path).map_err(|e| Failure::io("read", path, &e))?;
    let mut capture = Capture::new(file).map_err(|e| Failure::malformed(path, e))?;
    let first =
        capture.interfaces().first().copied().unwrap_or(Interface { link: LinkType::ETHERNET, snaplen: 0 });
    let given = m.get_one::<String>("dlt").map(String::as_str);
    let mut filters =
        HashMap::from([(first.link.0, compile(m, expr, given.map_or_else(|| link_name(first.link), Ok)?)?)]);
    let target = m.get_one::<PathBuf>("write");
    let mut writer = match target {
        Some(t) => {
            let made = File::create(t).and_then(|f| Writer::new(BufWriter::new(f), capture.format(), first));
            Some(made.map_err(|e| Failure::io("write", t, &e))?)
        }
        None => None,
    };
    let (meta, mut packets, mut matched) = (Meta::default(), 0u64, 0u64);
    let end = loop {
        let known = capture.interfaces().to_vec();
        let record = match capture.next_packet() {
            Ok(Some(r)) => r,
            Ok(None) => break Ok(()),
            Err(e) => {
                break Err(Failure::malformed(path, format!("{e}; the packets before it were looked at")));
            }
        };
        packets += 1;
        let filter = match filters.entry(record.link.0) {
            Entry::Occupied(e) => e.into_mut(),
            Entry::Vacant(e) => {
                e.insert(compile(m, expr, given.map_or_else(|| link_name(record.link), Ok)?)?)
            }
        };
        let packet = Packet { len: record.orig_len, ..Packet::new(record.data, &meta) };
        if filter.program().run(&packet) == 0 {
            continue;
        }
        matched += 1;
        if let (Some(w), Some(t)) = (&mut writer, target) {
            w.write(&record, &known).map_err(|e| Failure::io("write", t, &e))?;
        }
    };
    if let (Some(w), Some(t)) = (writer, target) {
        let flushed =
            w.finish().and_then(|b| b.into_inner().map(drop).map_err(std::io::IntoInnerError::into_error));
        flushed.map_err(|e| Failure::io("write", t, &e))?;
    }
    if out.is_json() {
        out.json(object([("expr", expr.into()), ("packets", packets.into()), ("matched", matched.into())]))?;
    } else {
        out.line(&format!("{matched} of {packets} packets match"))?;
    }
    end
}
