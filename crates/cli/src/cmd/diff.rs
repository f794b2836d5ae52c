//! `skep diff`: the same object on the same packets, or the same context, in the user engine and in the kernel; the first
//! difference.
//!
//! Flow: the object is opened in both → each packet runs in the kernel, then in the user engine, in one context of either →
//! verdict and bytes are compared → after the last packet the maps are. Both run on one CPU, so that per-CPU values stand
//! in the same places.
//!
//! Always holds: packets that the kernel takes no test run of are run by neither and counted.

mod maps;

use super::run::{choose, machine, open, row_of};
use crate::commands::Cmd;
use crate::failure::Failure;
use crate::output::{Out, object};
use crate::progress::Progress;
use clap::{Arg, ArgAction, ArgMatches, value_parser};
use serde_json::{Map, Value, json};
use skep::descriptors::ctx::UserRun;
use skep::descriptors::env::CtxData;
use skep::descriptors::{Context, Errno, ProgTypeDesc};
use skep::hooks::capture::Capture;
use skep::hooks::packet::{Arrival, Feeder};
use skep::kernel::explain::{self, Asked, Rights};
use skep::kernel::{Kernel, KernelProgram, current_cpu, pin_to_cpu};
use skep::vm::{Runner, SystemHost, Tier, User, UserProgram};
use skep::{Collection, Loaded};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// `skep diff OBJ --pcap IN`.
pub(crate) static DIFF: Cmd = Cmd {
    path: &["diff"],
    about: "Run an object in the user engine and in the kernel and show the first difference",
    long: "Every packet goes through both engines, as BPF_PROG_TEST_RUN gives it to programs; verdicts and packets are compared, and\n\
           after the last packet what the maps hold. With --ctx-in programs that run on a context run once, and what they left of\n\
           it is compared. A classic tracepoint's program runs in the kernel as a raw tracepoint's: it takes no test run otherwise.\n\
           Exit code 0: no difference, 1: one was found. Times differ in any two runs: --ignore leaves fields that hold them, or\n\
           whole maps, out of the comparison.\n\n\
           Examples:\n  skep diff lb.bpf.o --pcap traffic.pcap\n  \
           skep diff flowmon.bpf.o --pcap traffic.pcap --ignore first_ns --ignore last_ns\n  \
           skep diff switches.bpf.o --ctx-in context.bin",
    args,
    run,
};

fn args() -> Vec<Arg> {
    let file = |name: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name("FILE").value_parser(value_parser!(PathBuf)).help(help)
    };
    let many = |name: &'static str, value: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(value).action(ArgAction::Append).help(help)
    };
    vec![
        Arg::new("object")
            .required(true)
            .value_name("OBJ")
            .value_parser(value_parser!(PathBuf))
            .help("Object file"),
        file("pcap", "Packets to run on (pcap or pcapng)").required_unless_present("ctx-in"),
        super::filter::choose::arg().requires("pcap"),
        file("ctx-in", "Context to run on: raw bytes, or lines of FIELD=VALUE").conflicts_with("pcap"),
        many("prog", "NAME", "Program to run, by name or section; default: all that run on packets"),
        many("ignore", "NAME", "Do not compare this map, or fields of this name in any map's values"),
        many("set", "VARIABLE=VALUE", "Set a global variable before the programs are loaded"),
        file("btf", "Types that CO-RE relocations are resolved against; default: the running kernel's"),
        file("kconfig", "Kernel configuration for .kconfig externs; default: the running kernel's"),
    ]
}

/// What the programs run on.
enum Input {
    /// The packets of a capture.
    Packets(PathBuf),
    /// The context in a file.
    Context(PathBuf, Vec<u8>),
}

impl Input {
    fn from_args(m: &ArgMatches) -> Result<Input, Failure> {
        match (m.get_one::<PathBuf>("pcap"), m.get_one::<PathBuf>("ctx-in")) {
            (Some(pcap), _) => Ok(Input::Packets(pcap.clone())),
            (None, Some(path)) => Ok(Input::Context(path.clone(), crate::input::file(path)?)),
            (None, None) => Err(Failure::Usage("give a capture (--pcap) or a context (--ctx-in)".into())),
        }
    }

    /// Whether programs that run like this can be given it.
    fn fits(&self, user: UserRun) -> bool {
        user == if self.of_packets() { UserRun::Packets } else { UserRun::Plain }
    }

    fn of_packets(&self) -> bool {
        matches!(self, Input::Packets(_))
    }
}

/// Packets of one program that went through both engines.
#[derive(Default)]
struct Agreed {
    name: String,
    label: String,
    packets: u64,
    /// Packets that the kernel takes no test run of, or that are none for this program type.
    left_out: u64,
    /// It ran on a context, not on packets.
    on_context: bool,
}

/// Something that is not the same in both.
#[derive(Debug, PartialEq, Eq)]
enum Difference {
    /// What became of a packet, or of the context.
    Packet {
        /// The program.
        prog: String,
        /// Number in the capture, from 1; 0: the context.
        packet: u64,
        /// What differs: `verdict`, `length`, or `byte N`.
        what: String,
        /// In the user engine.
        user: String,
        /// In the kernel.
        kernel: String,
    },
    /// An entry of a map.
    Entry(maps::Difference),
}

fn run(m: &ArgMatches, out: &mut Out) -> Result<(), Failure> {
    let path: &PathBuf = m.get_one("object").ok_or_else(|| Failure::Usage("no object".into()))?;
    let input = Input::from_args(m)?;
    let both = Both::open(m, path)?;
    let (mut agreed, mut difference) = (Vec::new(), None);
    for (user, kernel) in both.pairs(m, path, &input)? {
        let (done, found) = match &input {
            Input::Packets(pcap) => both.packets(m, user, kernel, pcap)?,
            Input::Context(path, bytes) => both.context(user, kernel, path, bytes)?,
        };
        agreed.push(done);
        difference = found;
        if difference.is_some() {
            break;
        }
    }
    let ignore: Vec<&str> =
        m.get_many::<String>("ignore").into_iter().flatten().map(String::as_str).collect();
    let mut counted = maps::Counted::default();
    if difference.is_none() {
        difference =
            maps::compare(&both.user_side, &both.kernel_side, &ignore, &mut counted)?.map(Difference::Entry);
    }
    if out.is_json() {
        out.json(to_json(&agreed, &counted, difference.as_ref()))?;
    } else {
        out.text(&to_text(&agreed, &counted, difference.as_ref()))?;
    }
    out.finish()?;
    match difference {
        None => Ok(()),
        Some(_) => Err(Failure::Failed("the engines differ".into())),
    }
}

/// One object in both engines.
struct Both {
    user: User,
    kernel: Kernel,
    user_side: Collection,
    kernel_side: Collection,
}

impl Both {
    fn open(m: &ArgMatches, path: &Path) -> Result<Both, Failure> {
        let kernel = machine::kernel()?;
        let cpu = current_cpu();
        pin_to_cpu(cpu).map_err(|e| Failure::Failed(format!("cannot stay on CPU {cpu}: {e}")))?;
        let host = SystemHost::new().with_cpu(cpu);
        let host = host.ok_or_else(|| Failure::Failed(format!("CPU {cpu} is not in the user engine")))?;
        // The kernel lets root read stack bytes that were never written.
        let limits = skep::vm::Options { unset_stack: true, ..skep::vm::Options::default() };
        let user = User::new(*skep::platform(), Arc::new(host)).with_tier(Tier::Checked).with_options(limits);
        let kernel_side = open(m, path, &kernel, Some(&kernel))?;
        let user_side = open(m, path, &user, Some(&kernel))?;
        for e in user_side.missing.iter().chain(&kernel_side.missing) {
            eprintln!("skep: {e}");
        }
        Ok(Both { user, kernel, user_side, kernel_side })
    }

    /// The programs to run, in either engine.
    fn pairs(
        &self,
        m: &ArgMatches,
        path: &Path,
        input: &Input,
    ) -> Result<Vec<(&UserProgram, &KernelProgram)>, Failure> {
        let what = if input.of_packets() { "packets (--pcap)" } else { "a context (--ctx-in)" };
        let mut pairs = Vec::new();
        for p in choose(&self.kernel_side, m, path, &|user| input.fits(user), what)? {
            let other = self.user_side.programs.iter().find(|u| u.function == p.function);
            let user = other.and_then(|u| u.loaded.as_any().downcast_ref::<UserProgram>());
            match (user, p.loaded.as_any().downcast_ref::<KernelProgram>()) {
                (Some(user), Some(kernel)) => pairs.push((user, kernel)),
                _ => eprintln!("skep: program {} is left out: not in both engines", p.loaded.program().name),
            }
        }
        Ok(pairs)
    }

    /// Runs the capture's packets until something differs.
    fn packets(
        &self,
        m: &ArgMatches,
        user: &UserProgram,
        kernel: &KernelProgram,
        pcap: &Path,
    ) -> Result<(Agreed, Option<Difference>), Failure> {
        let p = kernel.program();
        let row = row_of(p)?;
        let file = File::open(pcap).map_err(|e| Failure::io("read", pcap, &e))?;
        let mut capture = Capture::new(file).map_err(|e| Failure::malformed(pcap, e))?;
        super::filter::choose::apply(m, &mut capture)?;
        let feeder = Feeder::new(row, p.attach_type, Arrival::TestRun)
            .map_err(|why| Failure::Unsupported(format!("program {}: {why}", p.name)))?;
        let mut agreed = Agreed { name: p.name.clone(), label: p.prog_type.label(), ..Agreed::default() };
        let (mut ours, mut theirs) = (feeder.context(), feeder.context());
        let mut runner = self.user.runner();
        let mut progress = Progress::new("packets");
        while let Some(record) = capture.next_packet().map_err(|e| Failure::malformed(pcap, e))? {
            progress.step();
            if feeder.feed(&record, &mut ours).is_err() || feeder.feed(&record, &mut theirs).is_err() {
                agreed.left_out += 1;
                continue;
            }
            let found = match self.kernel.run_context(kernel, &mut theirs, 1) {
                Err(Errno::EINVAL) => {
                    agreed.left_out += 1;
                    continue;
                }
                Err(e) => {
                    return Err(Failure::Failed(format!("program {}: the kernel's test run: {e}", p.name)));
                }
                Ok((r0, _)) => differs(&mut runner, user, row, &mut ours, (r0, &theirs)),
            };
            agreed.packets += 1;
            if let Some((what, user, kernel)) = found {
                let (prog, packet) = (p.name.clone(), agreed.packets + agreed.left_out);
                return Ok((agreed, Some(Difference::Packet { prog, packet, what, user, kernel })));
            }
        }
        Ok((agreed, None))
    }

    /// Runs both once on a context.
    fn context(
        &self,
        user: &UserProgram,
        kernel: &KernelProgram,
        path: &Path,
        bytes: &[u8],
    ) -> Result<(Agreed, Option<Difference>), Failure> {
        let p = kernel.program();
        let row = row_of(p)?;
        let given = skep::hooks::input::Input { data: None, ctx: Some(bytes) };
        let make = || {
            skep::hooks::input::context(row, p.attach_type, &given)
                .map_err(|e| Failure::Input(format!("{}: program {}: {e}", path.display(), p.name)))
        };
        let (mut ours, mut theirs) = (make()?, make()?);
        let ran = self.kernel.run_context(kernel, &mut theirs, 1).map_err(|e| {
            let why = explain::why(Asked::Run, e, &Rights::own());
            let text = format!("program {}: {why}", p.name);
            if matches!(e, Errno::ENOTSUPP | Errno::EOPNOTSUPP) {
                Failure::Unsupported(text)
            } else {
                Failure::Failed(text)
            }
        })?;
        let mut agreed = Agreed { name: p.name.clone(), label: p.prog_type.label(), ..Agreed::default() };
        (agreed.packets, agreed.on_context) = (1, true);
        let found = differs(&mut self.user.runner(), user, row, &mut ours, (ran.0, &theirs));
        let found = found.map(|(what, user, kernel)| {
            let (prog, packet) = (p.name.clone(), 0);
            Difference::Packet { prog, packet, what, user, kernel }
        });
        Ok((agreed, found))
    }
}

/// Runs the packet in the user engine too: what differs, and how it is in either.
fn differs(
    runner: &mut Runner,
    program: &UserProgram,
    row: &ProgTypeDesc,
    ours: &mut Context,
    (r0, theirs): (u64, &Context),
) -> Option<(String, String, String)> {
    let verdict = |r0: u64| match row.verdict(r0) {
        Some(v) => format!("{} ({})", v.name, v.value),
        None => format!("{}", r0 as u32 as i32),
    };
    match runner.run(program, ours) {
        Err(e) => Some(("verdict".into(), format!("stopped: {e}"), verdict(r0))),
        Ok(mine) if mine as u32 != r0 as u32 => Some(("verdict".into(), verdict(mine), verdict(r0))),
        Ok(_) => match (&ours.data, &theirs.data) {
            (CtxData::Packet(a), CtxData::Packet(b)) => bytes_differ(a.bytes(), b.bytes()),
            (CtxData::Plain(a), CtxData::Plain(b)) => bytes_differ(&a.bytes(), &b.bytes()),
            _ => None,
        },
    }
}

/// The first byte that differs, or the lengths.
fn bytes_differ(user: &[u8], kernel: &[u8]) -> Option<(String, String, String)> {
    if user.len() != kernel.len() {
        let bytes = |b: &[u8]| format!("{} bytes", b.len());
        return Some(("length".into(), bytes(user), bytes(kernel)));
    }
    let at = user.iter().zip(kernel).position(|(a, b)| a != b)?;
    Some((format!("byte {at}"), format!("{:#04x}", user[at]), format!("{:#04x}", kernel[at])))
}

fn to_text(agreed: &[Agreed], counted: &maps::Counted, difference: Option<&Difference>) -> String {
    let mut out = String::new();
    for a in agreed {
        let same = if difference.is_none() { " agree" } else { " were run" };
        let what = if a.on_context { "run on the context" } else { "packets" };
        let same = if a.on_context && difference.is_none() { " agrees" } else { same };
        out.push_str(&format!("{} ({}): {} {what}{same}", a.name, a.label, a.packets));
        if a.left_out > 0 {
            out.push_str(&format!(", {} were left out", a.left_out));
        }
        out.push('\n');
    }
    match difference {
        None => out.push_str(&format!("maps: {} entries of {} maps agree\n", counted.entries, counted.maps)),
        Some(Difference::Packet { prog, packet, what, user, kernel }) => {
            let input = if *packet == 0 { "the context".into() } else { format!("packet {packet}") };
            out.push_str(&format!("{input}, program {prog}: {what}\n  user    {user}\n  kernel  {kernel}\n"));
        }
        Some(Difference::Entry(d)) => {
            let (user, kernel) = (d.user.as_deref(), d.kernel.as_deref());
            let text = |v: Option<&str>| v.unwrap_or("(no entry)").to_owned();
            out.push_str(&format!(
                "map {}, {}\n  user    {}\n  kernel  {}\n",
                d.map,
                d.key,
                text(user),
                text(kernel)
            ));
        }
    }
    out
}

fn to_json(
    agreed: &[Agreed],
    counted: &maps::Counted,
    difference: Option<&Difference>,
) -> Map<String, Value> {
    let programs = agreed
        .iter()
        .map(|a| json!({"prog": a.name, "type": a.label, "packets": a.packets, "left_out": a.left_out}));
    let found = match difference {
        None => Value::Null,
        Some(Difference::Packet { prog, packet, what, user, kernel }) => {
            json!({"prog": prog, "packet": packet, "what": what, "user": user, "kernel": kernel})
        }
        Some(Difference::Entry(d)) => json!({"map": d.map, "key": d.key, "user": d.user, "kernel": d.kernel}),
    };
    object([
        ("equal", difference.is_none().into()),
        ("programs", programs.collect()),
        ("maps", counted.maps.into()),
        ("entries", counted.entries.into()),
        ("difference", found),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_byte_that_differs() {
        assert_eq!(bytes_differ(&[1, 2], &[1, 2]), None);
        let byte = ("byte 1".to_string(), "0x02".to_string(), "0xff".to_string());
        assert_eq!(bytes_differ(&[1, 2, 3], &[1, 255, 4]), Some(byte));
        let length = ("length".to_string(), "1 bytes".to_string(), "2 bytes".to_string());
        assert_eq!(bytes_differ(&[1], &[1, 2]), Some(length));
    }

    #[test]
    fn a_difference_in_words() {
        let d = Difference::Packet {
            prog: "p".into(),
            packet: 3,
            what: "verdict".into(),
            user: "XDP_PASS (2)".into(),
            kernel: "XDP_DROP (1)".into(),
        };
        let a = Agreed { name: "p".into(), label: "xdp".into(), packets: 3, ..Agreed::default() };
        let text = to_text(&[a], &maps::Counted::default(), Some(&d));
        assert_eq!(
            text,
            "p (xdp): 3 packets were run\npacket 3, program p: verdict\n  user    XDP_PASS (2)\n  kernel  XDP_DROP (1)\n"
        );
    }
}
