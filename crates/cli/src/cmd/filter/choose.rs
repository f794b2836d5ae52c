//! Filter expressions among a command's arguments: compiled for the link types of what they judge.

use crate::failure::Failure;
use crate::names::Files;
use clap::{Arg, ArgAction, ArgMatches, value_parser};
use skep::cbpf::filter::{Numbers, Packets, Resolver, Why, link_types};
use skep::cbpf::{Filter, FilterOptions, Meta, Packet};
use skep::hooks::capture::{Capture, Record};
use skep::hooks::link::LinkType;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io::Read;

/// How expressions are compiled, by a command's arguments; commands that take `--filter` have none of them.
#[derive(Clone)]
pub(crate) struct How {
    dlt: Option<String>,
    numeric: bool,
    plain: bool,
    scoped: bool,
    snaplen: u32,
}

/// Arguments of `skep filter` that say how.
pub(super) fn args() -> Vec<Arg> {
    let flag = |name: &'static str, help: &'static str| Arg::new(name).action(ArgAction::SetTrue).help(help);
    vec![
        Arg::new("dlt")
            .long("dlt")
            .short('y')
            .value_name("NAME")
            .help("Link type; default: EN10MB, or that of the capture or the interface"),
        flag("plain", "Do not optimise").short('O').long("no-optimize"),
        flag("numeric", "Look no names up").short('n'),
        flag("scoped", "vlan, mpls, pppoes, geneve and vxlan count inside their parentheses only")
            .long("scoped"),
        Arg::new("snaplen")
            .long("snaplen")
            .short('s')
            .value_name("N")
            .value_parser(value_parser!(u32))
            .default_value("262144")
            .help("What accepted packets return: the bytes kept of them"),
    ]
}

/// `--filter EXPR` of commands that read packets.
pub(crate) fn arg() -> Arg {
    Arg::new("filter")
        .long("filter")
        .value_name("EXPR")
        .help("Take only packets that this filter accepts (see skep filter)")
}

/// Lets a capture give only what `--filter` accepts, where the command was given one.
pub(crate) fn apply<R: Read>(m: &ArgMatches, capture: &mut Capture<R>) -> Result<(), Failure> {
    let Some(expr) = m.get_one::<String>("filter") else { return Ok(()) };
    let how = How { dlt: None, numeric: false, plain: false, scoped: false, snaplen: 262_144 };
    keep(&how, expr, capture)
}

/// Lets a capture give only what an expression accepts. The expression is compiled at once for the capture's first link
/// type, for others when they are met.
pub(super) fn keep<R: Read>(how: &How, expr: &str, capture: &mut Capture<R>) -> Result<(), Failure> {
    let first = capture.interfaces().first().map_or(LinkType::ETHERNET, |i| i.link);
    let mut filters = HashMap::from([(first, how.compile(expr, &how.link_name(first)?, Packets::File)?)]);
    let (how, expr, meta) = (how.clone(), expr.to_owned(), Meta::default());
    capture.keep(move |record: &Record<'_>| {
        let filter = match filters.entry(record.link) {
            Entry::Occupied(e) => e.into_mut(),
            Entry::Vacant(e) => {
                let name = how.link_name(record.link).map_err(|e| e.to_string())?;
                e.insert(how.compile(&expr, &name, Packets::File).map_err(|e| e.to_string())?)
            }
        };
        Ok(filter.program().run(&Packet { len: record.orig_len, ..Packet::new(record.data, &meta) }) != 0)
    });
    Ok(())
}

impl How {
    pub(super) fn of(m: &ArgMatches) -> How {
        How {
            dlt: m.get_one::<String>("dlt").cloned(),
            numeric: m.get_flag("numeric"),
            plain: m.get_flag("plain"),
            scoped: m.get_flag("scoped"),
            snaplen: m.get_one::<u32>("snaplen").copied().unwrap_or(262_144),
        }
    }

    pub(super) fn snaplen(&self) -> u32 {
        self.snaplen
    }

    /// The link type given, else Ethernet.
    pub(super) fn dlt(&self) -> &str {
        self.dlt.as_deref().unwrap_or("EN10MB")
    }

    /// libpcap's name of the link type given, else of this one.
    pub(super) fn link_name(&self, link: LinkType) -> Result<String, Failure> {
        if let Some(dlt) = &self.dlt {
            return Ok(dlt.clone());
        }
        // Programs have another number for raw IP than files; some write it.
        let number = if matches!(link.0, 12 | 14) { 101 } else { link.0 };
        let found = link_types().find(|(_, n)| *n == number).map(|(name, _)| name.to_owned());
        found.ok_or_else(|| Failure::Unsupported(format!("link type {} has no name in filters", link.0)))
    }

    pub(super) fn compile(&self, expr: &str, link: &str, packets: Packets) -> Result<Filter, Failure> {
        let resolver: &dyn Resolver = if self.numeric { &Numbers } else { &Files };
        let options = FilterOptions {
            link,
            snaplen: self.snaplen,
            optimize: !self.plain,
            packets,
            scoped: self.scoped,
            resolver,
            ..FilterOptions::default()
        };
        Filter::compile(expr, &options).map_err(|e| match e.why {
            Why::LinkType(_) => Failure::Unsupported(e.with_caret(expr)),
            _ => Failure::Input(e.with_caret(expr)),
        })
    }
}
