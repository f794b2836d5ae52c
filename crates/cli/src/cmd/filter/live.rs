//! Filters on a network device: the kernel filters, accepted packets are printed or written until `-c`, Ctrl-C or SIGTERM.

use super::capture::Target;
use super::choose::How;
use crate::failure::Failure;
use crate::output::{Out, object};
use clap::ArgMatches;
use skep::cbpf::filter::Packets;
use skep::cbpf::{Filter, Meta, Packet, Program};
use skep::descriptors::Errno;
use skep::hooks::capture::{Direction, Format, Interface, Record};
use skep::hooks::link::LinkType;
use skep::kernel::packet::{Event, PacketError, PacketSocket, SockFilter};

/// Hardware types (`ARPHRD_*`) and the link types of their frames.
const HARDWARE: &[(u16, LinkType)] = &[
    (1, LinkType::ETHERNET),
    (772, LinkType::ETHERNET),
    // Devices without a link layer: tunnels, point to point.
    (512, LinkType::RAW),
    (768, LinkType::RAW),
    (776, LinkType::RAW),
    (778, LinkType::RAW),
    (65534, LinkType::RAW),
];

/// What went by.
#[derive(Clone, Copy, Default)]
struct Counts {
    accepted: u64,
    dropped: u64,
}

pub(super) fn run(m: &ArgMatches, out: &mut Out, expr: &str, device: &str) -> Result<(), Failure> {
    let mut socket = PacketSocket::open(device).map_err(|e| refused(device, &e))?;
    let link = HARDWARE.iter().find(|(h, _)| *h == socket.hardware()).map(|(_, l)| *l).ok_or_else(|| {
        Failure::Unsupported(format!(
            "{device}: frames of hardware type {} are not known here",
            socket.hardware()
        ))
    })?;
    let how = How::of(m);
    let (filter, here) = compiled(&how, expr, link)?;
    let insns = filter.insns().iter().map(|i| SockFilter { code: i.code, jt: i.jt, jf: i.jf, k: i.k });
    let snaplen = how.snaplen().clamp(1, 262_144);
    socket.start(device, &insns.collect::<Vec<_>>(), snaplen as usize).map_err(|e| refused(device, &e))?;
    let known = [Interface { link, snaplen }];
    let format = Format { pcapng: false, big_endian: false, nanoseconds: false };
    let mut target = Target::new(m, format, known[0], !out.is_json())?;
    eprintln!("listening on {device}, link type {link}, up to {snaplen} bytes a packet");
    let ended = listen(&mut socket, here.as_ref(), link, &mut |record| {
        let more = target.take(out, record, &known)?;
        // Lines are there to be read as they come.
        if target.prints() { out.finish().map(|()| more) } else { Ok(more) }
    });
    let mut counts = Counts::default();
    if let Ok((accepted, dropped)) = socket.statistics() {
        counts = Counts { accepted: accepted.into(), dropped: dropped.into() };
    }
    let captured = target.matched;
    target.finish()?;
    if out.is_json() {
        out.json(object([
            ("interface", device.into()),
            ("expr", expr.into()),
            ("captured", captured.into()),
            ("received", counts.accepted.into()),
            ("dropped", counts.dropped.into()),
        ]))?;
    } else {
        eprintln!("{captured} packets captured");
        eprintln!("{} packets received by filter", counts.accepted);
        eprintln!("{} packets dropped by kernel", counts.dropped);
    }
    ended
}

/// The filter for the kernel, and one for here where the kernel cannot take it all: loops are not for it.
fn compiled(how: &How, expr: &str, link: LinkType) -> Result<(Filter, Option<Program>), Failure> {
    let name = how.link_name(link)?;
    let filter = how.compile(expr, &name, Packets::Live)?;
    if !filter.program().has_loops() {
        return Ok((filter, None));
    }
    // Tags are put back before the packet is judged here.
    let here = how.compile(expr, &name, Packets::File)?;
    Ok((how.compile("", &name, Packets::Live)?, Some(here.program().clone())))
}

fn listen(
    socket: &mut PacketSocket,
    here: Option<&Program>,
    link: LinkType,
    take: &mut dyn FnMut(&Record<'_>) -> Result<bool, Failure>,
) -> Result<(), Failure> {
    let meta = Meta::default();
    let failed = |e: PacketError| Failure::Failed(e.to_string());
    while socket.wait().map_err(failed)? == Event::Packets {
        while let Some(live) = socket.receive().map_err(failed)? {
            let packet = Packet { len: live.len, ..Packet::new(live.data, &meta) };
            if here.is_some_and(|p| p.run(&packet) == 0) {
                continue;
            }
            let record = Record {
                data: live.data,
                orig_len: live.len,
                time_ns: live.time_ns,
                interface: 0,
                link,
                direction: Direction::Unknown,
                offset: 0,
            };
            if !take(&record)? {
                return Ok(());
            }
        }
    }
    Ok(())
}

fn refused(device: &str, e: &PacketError) -> Failure {
    match e.errno {
        Errno::EPERM | Errno::EACCES => {
            Failure::Permission(format!("{device}: {e}; it takes root, or CAP_NET_RAW"))
        }
        Errno::ENODEV => Failure::Input(format!("{device}: no such network device; `ip link` lists them")),
        _ => Failure::Failed(format!("{device}: {e}")),
    }
}
