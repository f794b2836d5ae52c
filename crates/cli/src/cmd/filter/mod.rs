//! `skep filter`: the language of tcpdump's filters, compiled to classic BPF and run over captures.

mod capture;
pub(crate) mod choose;
mod line;
mod live;
mod object;

use crate::commands::Cmd;
use crate::failure::Failure;
use crate::output::{Out, object as json_object};
use choose::How;
use clap::{Arg, ArgAction, ArgMatches, value_parser};
use skep::cbpf::filter::Packets;
use skep::cbpf::text;
use std::path::PathBuf;

/// `skep filter EXPR`.
pub(crate) static FILTER: Cmd = Cmd {
    path: &["filter"],
    about: "Compile a filter expression, print it, run it over packets, or make an object of it",
    long: "The language is that of tcpdump (pcap-filter(7)). Without --run and --object the program is printed.\n\n\
           --run counts the packets of a capture that the filter accepts, writes them with -w, or prints a line for each with\n\
           --print; times are UTC.\n\n\
           -i listens to a network device, with the filter in the kernel, and prints a line for each packet or writes it with -w,\n\
           until Ctrl-C or -c; it takes root, or CAP_NET_RAW.\n\n\
           --object writes an eBPF object with one program, `filter`, for a socket, XDP or traffic control: it returns the bytes\n\
           to keep; passes what the filter accepts and drops the rest (XDP_PASS, XDP_DROP; TC_ACT_OK, TC_ACT_SHOT).\n\n\
           In the language `vlan`, `mpls`, `pppoes`, `geneve` and `vxlan` move the headers for everything to their right, also behind\n\
           `or` and outside of parentheses. With --scoped they do so only up to the end of the parentheses that they stand in.\n\n\
           Examples:\n  skep filter -d 'tcp port 80'\n  skep filter -ddd --dlt RAW 'udp'\n  \
           skep filter 'icmp or arp' --run traffic.pcap -w found.pcap\n  skep filter 'udp port 53' --object dns.bpf.o --hook xdp\n  \
           skep filter --scoped '(vlan 5 and ip) or (mpls and ip6)' --run traffic.pcap --print",
    args: || {
        let file = |name: &'static str, help: &'static str| {
            Arg::new(name).value_name("FILE").value_parser(value_parser!(PathBuf)).help(help)
        };
        let mut args = vec![
            Arg::new("expr")
                .value_name("EXPR")
                .num_args(0..)
                .help("The expression; several words are put together"),
            Arg::new("dump")
                .short('d')
                .action(ArgAction::Count)
                .help("Print the program; -dd as C, -ddd as numbers"),
            file("run", "Run it over this capture and count").long("run").group("packets"),
            Arg::new("interface")
                .short('i')
                .long("interface")
                .value_name("DEVICE")
                .group("packets")
                .conflicts_with("run")
                .help("Listen to this network device"),
            file("write", "Write the accepted packets here").short('w').long("write").requires("packets"),
            Arg::new("print")
                .long("print")
                .action(ArgAction::SetTrue)
                .requires("packets")
                .help("Print a line for each accepted packet"),
            Arg::new("count")
                .long("count")
                .short('c')
                .value_name("N")
                .value_parser(value_parser!(u64).range(1..))
                .requires("packets")
                .help("Stop after this many accepted packets"),
            file("object", "Write an eBPF object").long("object").conflicts_with_all(["run", "interface"]),
            Arg::new("hook")
                .long("hook")
                .value_parser(["socket", "xdp", "tc"])
                .default_value("socket")
                .help("Program type of the object"),
        ];
        args.extend(choose::args());
        args
    },
    run: filter,
};

fn filter(m: &ArgMatches, out: &mut Out) -> Result<(), Failure> {
    let words: Vec<&str> = m.get_many::<String>("expr").into_iter().flatten().map(String::as_str).collect();
    let expr = words.join(" ");
    if let Some(path) = m.get_one::<PathBuf>("run") {
        return capture::run(m, out, &expr, path);
    }
    if let Some(device) = m.get_one::<String>("interface") {
        return live::run(m, out, &expr, device);
    }
    let how = How::of(m);
    if let Some(path) = m.get_one::<PathBuf>("object") {
        return object::write(m, &how, &expr, path);
    }
    let f = how.compile(&expr, how.dlt(), Packets::Any)?;
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
        return out.json(json_object([("expr", expr.into()), ("insns", insns.into())]));
    }
    out.text(&listing)
}
