//! The runner over captures, with programs that are closures: what is counted, what is written, in which link type.

#![allow(clippy::unwrap_used)]

use skep_hooks::capture::{Capture, Direction, Format, Interface, LinkType, Record, Writer};
use skep_hooks::packet::Arrival;
use skep_hooks::report::Report;
use skep_hooks::run::{OnFault, Options, Sink, run_capture};
use skep_hooks::{PROG_TYPES, tc};
use skep_platform::engine::RunError;
use skep_platform::env::CtxData;
use skep_platform::packet::Redirect;
use skep_platform::{Context, Fault, Packet, ProgType, ProgTypeDesc, Program};
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

fn row(t: ProgType) -> &'static ProgTypeDesc {
    PROG_TYPES.iter().find(|r| r.prog_type == t).unwrap()
}

fn packet(ctx: &mut Context) -> &mut Packet {
    match &mut ctx.data {
        CtxData::Packet(p) => p,
        CtxData::Plain(_) => panic!("a packet program"),
    }
}

/// A capture of `packets` on one interface.
fn capture(link: LinkType, packets: &[&[u8]]) -> Vec<u8> {
    let format = Format { pcapng: false, big_endian: false, nanoseconds: true };
    let interface = Interface { link, snaplen: 0 };
    let mut w = Writer::new(Vec::new(), format, interface).unwrap();
    for (i, data) in packets.iter().enumerate() {
        let record = Record {
            data,
            orig_len: data.len() as u32,
            time_ns: i as u64,
            interface: 0,
            link,
            direction: Direction::Unknown,
            offset: 0,
        };
        w.write(&record, &[interface]).unwrap();
    }
    w.finish().unwrap()
}

/// Runs `program` over a capture; the report and the packets written.
fn run(
    t: ProgType,
    bytes: &[u8],
    options: &Options,
    program: impl FnMut(&mut Context) -> Result<u64, Box<RunError>>,
) -> (Report, Vec<Vec<u8>>) {
    let mut input = Capture::new(bytes).unwrap();
    let mut writer = Writer::new(Vec::new(), input.format(), input.interfaces()[0]).unwrap();
    let sink: &mut dyn Sink = &mut writer;
    let report = run_capture(row(t), None, &mut input, Some(sink), options, program).unwrap();
    let out = writer.finish().unwrap();
    let mut written = Vec::new();
    let mut output = Capture::new(&out[..]).unwrap();
    while let Some(r) = output.next_packet().unwrap() {
        written.push(r.data.to_vec());
    }
    assert_eq!(written.len() as u64, report.written.packets);
    (report, written)
}

fn text(r: &Report) -> String {
    let mut s = String::new();
    let _ = writeln!(s, "total {:?}, written {:?}, clones {:?}", r.total, r.written, r.clones);
    for v in &r.verdicts {
        let _ = writeln!(s, "  {} ({:?}): {:?}, {:?}", v.name, v.value, v.fate, v.count);
    }
    for v in &r.redirects {
        let _ = writeln!(s, "  to {:?}: {:?}", v.to, v.count);
    }
    for (why, count) in &r.unfit {
        let _ = writeln!(s, "  unfit, {why}: {count:?}");
    }
    for f in &r.faults {
        let _ = writeln!(s, "  fault at packet {}: {}, {:?}", f.packet, f.first, f.count);
    }
    if let Some(e) = &r.capture_error {
        let _ = writeln!(s, "  {e}");
    }
    s
}

fn fault() -> Box<RunError> {
    let program = Program {
        name: "broken".into(),
        section: "xdp".into(),
        prog_type: ProgType::Xdp,
        attach_type: None,
        attach_target: None,
        sleepable: false,
        xdp_frags: false,
        license: "GPL".into(),
        insns: Vec::new(),
        subprogs: Vec::new(),
        maps: Vec::new(),
        lines: Vec::new(),
        btf: None,
        kernel_btf: None,
        poisoned: Vec::new(),
    };
    Box::new(RunError {
        fault: Fault::NoPacket,
        program: Arc::new(program),
        insn: 3,
        text: String::new(),
        calls: Vec::new(),
        history: Vec::new(),
        registers: Vec::new(),
    })
}

const ETH: [u8; 14] = [2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0];
const IP: [u8; 20] = [0x45, 0, 0, 20, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];

fn frame(field: [u8; 2], rest: &[u8]) -> Vec<u8> {
    [&ETH[..12], &field, rest].concat()
}

fn tagged() -> Vec<u8> {
    frame([0x81, 0], &[&[0x20, 0x64, 8, 0][..], &IP].concat())
}

#[test]
fn verdicts_redirects_faults_and_damage_are_counted() {
    let frames: Vec<Vec<u8>> = (0..40).map(|i| frame([8, 0], &[&IP[..], &vec![0; i]].concat())).collect();
    let mut list: Vec<&[u8]> = frames.iter().map(|f| &f[..]).collect();
    list.push(&[1, 2, 3]);
    let mut bytes = capture(LinkType::ETHERNET, &list);
    bytes.extend([0; 7]);
    let mut n = 0u64;
    let options = Options { on_fault: OnFault::Count, ..Options::default() };
    let (report, _) = run(ProgType::Xdp, &bytes, &options, |ctx| {
        n += 1;
        match n % 8 {
            5 => packet(ctx).redirect = Some(Redirect::Interface { ifindex: 7, flags: 0 }),
            6 => {
                packet(ctx).redirect =
                    Some(Redirect::MapEntry { map: "tx_port".into(), index: n / 20, flags: 0 });
                return Ok(4);
            }
            7 => return Err(fault()),
            _ => {}
        }
        Ok(if n % 8 == 5 { 4 } else { n % 8 })
    });
    golden("run-xdp.txt", &text(&report));
    assert_eq!((report.runs, report.faulted()), (40, 5));
    assert!(report.ns_per_run.is_some_and(|ns| ns >= 0.0));
}

#[test]
fn a_fault_stops_the_run_where_it_is() {
    let f = frame([8, 0], &IP);
    let bytes = capture(LinkType::ETHERNET, &vec![&f[..]; 50]);
    let mut n = 0;
    let (report, written) = run(ProgType::Xdp, &bytes, &Options::default(), |_| {
        n += 1;
        if n == 21 { Err(fault()) } else { Ok(2) }
    });
    assert_eq!((n, report.total.packets, report.runs, written.len()), (21, 21, 21, 20));
    assert_eq!((report.faults[0].packet, report.faulted()), (21, 1));
}

#[test]
fn repeated_runs_count_once_a_packet() {
    let f = frame([8, 0], &IP);
    let bytes = capture(LinkType::ETHERNET, &vec![&f[..]; 20]);
    let mut n = 0;
    let options = Options { repeat: 5, ..Options::default() };
    let (report, _) = run(ProgType::SchedCls, &bytes, &options, |_| {
        n += 1;
        Ok(0)
    });
    assert_eq!((n, report.runs, report.total.packets), (100, 100, 20));
}

#[test]
fn socket_filters_keep_cut_and_drop() {
    let frames: Vec<Vec<u8>> = (0..6).map(|i| frame([8, 0], &[&IP[..], &vec![9; i]].concat())).collect();
    let list: Vec<&[u8]> = frames.iter().map(|f| &f[..]).collect();
    let bytes = capture(LinkType::ETHERNET, &list);
    let mut n = 0;
    let (report, written) = run(ProgType::SocketFilter, &bytes, &Options::default(), |ctx| {
        assert_eq!(packet(ctx).bytes()[..14], ETH);
        n += 1;
        Ok([0, 20, 0xffff_ffff, 8, 1 << 32, 36][n - 1])
    });
    golden("run-socket-filter.txt", &text(&report));
    assert_eq!(written.iter().map(Vec::len).collect::<Vec<_>>(), [20, 36, 8, 36]);
    assert_eq!(report.kept_bytes, 20 + 36 + 8 + 36);
    let mut out = Vec::new();
    let first = Capture::new(&bytes[..]).unwrap();
    let mut w = Writer::new(&mut out, first.format(), first.interfaces()[0]).unwrap();
    let mut again = Capture::new(&bytes[..]).unwrap();
    let sink: &mut dyn Sink = &mut w;
    run_capture(row(ProgType::SocketFilter), None, &mut again, Some(sink), &Options::default(), |_| Ok(20))
        .unwrap();
    w.finish().unwrap();
    let record = Capture::new(&out[..]).unwrap().next_packet().unwrap().map(|r| (r.data.len(), r.orig_len));
    assert_eq!(record, Some((20, 34)), "a cut packet keeps its length on the wire");
}

/// A program that does nothing leaves every link type as it was, through every program type.
#[test]
fn link_types_come_back_as_they_were() {
    let v6 = [&[0x60u8][..], &[0; 39]].concat();
    let sll =
        |kind: u8, proto: [u8; 2]| [&[0, kind, 0, 1, 0, 6, 2, 0, 0, 0, 0, 9, 0, 0][..], &proto].concat();
    let sll2 =
        |proto: [u8; 2]| [&proto[..], &[0, 0, 0, 0, 0, 3, 0, 1, 0, 6, 2, 0, 0, 0, 0, 9, 0, 0]].concat();
    let plain: Vec<(LinkType, Vec<u8>)> = vec![
        (LinkType::ETHERNET, frame([8, 0], &IP)),
        (LinkType::ETHERNET, tagged()),
        (LinkType::ETHERNET, frame([0x88, 0xa8], &[&[0, 5, 0x81, 0, 0, 7, 8, 0][..], &IP].concat())),
        (LinkType::ETHERNET, frame([0, 38], &[0x42; 38])),
        (LinkType::RAW, IP.to_vec()),
        (LinkType::RAW, v6.clone()),
        (LinkType::IPV4, IP.to_vec()),
        (LinkType::IPV6, v6.clone()),
        (LinkType::NULL, [&[2, 0, 0, 0][..], &IP].concat()),
        (LinkType::LOOP, [&[0, 0, 0, 30][..], &v6].concat()),
        (LinkType::LINUX_SLL, [sll(0, [8, 0]), IP.to_vec()].concat()),
        (LinkType::LINUX_SLL, [sll(4, [0x81, 0]), vec![0, 9, 8, 0], IP.to_vec()].concat()),
        (LinkType::LINUX_SLL2, [sll2([8, 0]), IP.to_vec()].concat()),
        (LinkType::LINUX_SLL2, [sll2([0x81, 0]), vec![0, 9, 8, 0], IP.to_vec()].concat()),
    ];
    let types = [
        (ProgType::Xdp, 2),
        (ProgType::SchedCls, 0),
        (ProgType::SocketFilter, 0xffff),
        (ProgType::CgroupSkb, 1),
        (ProgType::LwtXmit, 0),
    ];
    for (link, data) in &plain {
        for (t, pass) in types {
            for arrival in [Arrival::default(), Arrival::TestRun] {
                let options = Options { arrival, ..Options::default() };
                let (report, written) = run(t, &capture(*link, &[data]), &options, |_| Ok(pass));
                assert!(report.unfit.is_empty(), "{link} {t:?}: {:?}", report.unfit);
                assert_eq!(written, std::slice::from_ref(data), "{link} {t:?} {arrival:?}");
            }
        }
    }
}

#[test]
fn what_each_program_type_sees_of_a_tagged_frame() {
    let mut seen = String::new();
    for t in [ProgType::Xdp, ProgType::SchedCls, ProgType::SocketFilter, ProgType::CgroupSkb] {
        for arrival in [Arrival::Receive { mac: Some([2, 0, 0, 0, 0, 9]) }, Arrival::TestRun] {
            let options = Options { arrival, ..Options::default() };
            run(t, &capture(LinkType::ETHERNET, &[&tagged()]), &options, |ctx| {
                let p = packet(ctx);
                let c = &p.ctx;
                let _ = writeln!(
                    seen,
                    "{t:?} {arrival:?}: {} bytes from {:02x?}, protocol {:#x}, vlan {} {:#x} {:#x}, type {}, \
                     ifindex {} {}, family {}",
                    p.len(),
                    &p.bytes()[..2],
                    c.protocol,
                    c.vlan_present,
                    c.vlan_tci,
                    c.vlan_proto,
                    c.pkt_type,
                    c.ifindex,
                    c.ingress_ifindex,
                    c.family,
                );
                Ok(1)
            });
        }
    }
    golden("views.txt", &seen);
}

/// Cgroup programs see the socket's ends: local is where the packet goes to, unless it is on its way out.
#[test]
fn sockets_of_cgroup_programs() {
    let mut tcp = IP.to_vec();
    tcp[9] = 6;
    tcp.extend([0x12, 0x34, 0, 80]);
    let bytes = capture(LinkType::ETHERNET, &[&frame([8, 0], &tcp)]);
    let mut seen = Vec::new();
    for arrival in [Arrival::default(), Arrival::TestRun] {
        let options = Options { arrival, ..Options::default() };
        run(ProgType::CgroupSkb, &bytes, &options, |ctx| {
            let c = &packet(ctx).ctx;
            let ends = [c.local_ip4, c.remote_ip4].map(|a| a.to_ne_bytes()[3]);
            seen.push((c.family, ends, c.local_port, u32::from_be(c.remote_port)));
            Ok(1)
        });
    }
    assert_eq!(seen, [(2, [2, 1], 80, 0x1234), (2, [1, 2], 0, 0)]);
}

/// Traffic control: the tag may change, the packet may grow, copies may be sent.
#[test]
fn changed_packets_are_written_as_changed() {
    let bytes = capture(LinkType::ETHERNET, &[&tagged(), &frame([8, 0], &IP)]);
    let mut n = 0;
    let (report, written) = run(ProgType::SchedCls, &bytes, &Options::default(), |ctx| {
        let p = packet(ctx);
        n += 1;
        if n == 1 {
            p.ctx.vlan_tci = 0x2007;
            p.bytes_mut()[0] = 0xaa;
            p.clones.push((3, p.bytes().to_vec()));
            p.redirect = Some(Redirect::Interface { ifindex: 4, flags: 1 });
            return Ok(7);
        }
        p.resize(p.len() + 6).unwrap();
        Ok(7) // a redirection without a target
    });
    assert_eq!(written.len(), 2, "the copy and the redirected packet");
    assert_eq!(written[0], written[1]);
    assert_eq!((written[0][0], &written[0][12..16]), (0xaa, &[0x81, 0, 0x20, 0x07][..]));
    assert_eq!(report.redirects.len(), 2);
    assert_eq!(report.clones.packets, 1);
}

#[test]
fn unfit_captures_say_why() {
    let odd = capture(LinkType(127), &[&[0; 40]]);
    let (report, _) = run(ProgType::Xdp, &odd, &Options::default(), |_| Ok(2));
    assert_eq!(report.total.packets, 0);
    assert!(report.ns_per_run.is_none());
    assert!(report.unfit[0].0.to_string().contains("link type 127"), "{}", report.unfit[0].0);
    let (report, _) =
        run(ProgType::Xdp, &capture(LinkType::RAW, &[&[0x10; 20]]), &Options::default(), |_| Ok(2));
    assert_eq!(report.unfit[0].0.to_string(), "neither IPv4 nor IPv6");
}

#[test]
fn many_kinds_stay_bounded() {
    let f = frame([8, 0], &IP);
    let bytes = capture(LinkType::ETHERNET, &vec![&f[..]; 1000]);
    let mut n = 100;
    let (report, _) = run(ProgType::Xdp, &bytes, &Options::default(), |ctx| {
        n += 1;
        packet(ctx).redirect = Some(Redirect::Interface { ifindex: n, flags: 0 });
        Ok(if n % 2 == 0 { n as u64 } else { 4 })
    });
    assert!(report.verdicts.len() <= 258 && report.redirects.len() <= 257);
    assert_eq!(report.verdicts.iter().map(|v| v.count.packets).sum::<u64>(), 1000);
    assert_eq!(report.redirects.iter().map(|v| v.count.packets).sum::<u64>(), 500);
}

#[test]
fn types_without_packets_are_refused() {
    let bytes = capture(LinkType::ETHERNET, &[]);
    let refuse = |t| {
        let mut input = Capture::new(&bytes[..]).unwrap();
        run_capture(row(t), None, &mut input, None, &Options::default(), |_| Ok(0)).map(|_| ()).unwrap_err()
    };
    assert!(refuse(ProgType::Kprobe).contains("context as a file"));
    assert!(refuse(ProgType::Netfilter).contains("kernel"));
    assert_eq!(tc::SCHED_CLS.prog_type, ProgType::SchedCls);
}

/// A sink that is full after two packets.
struct Full(u32);

impl Sink for Full {
    fn write(&mut self, _: &Record<'_>, _: &[Interface]) -> std::io::Result<()> {
        self.0 += 1;
        if self.0 > 2 { Err(std::io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
}

#[test]
fn a_full_disk_ends_the_run_and_keeps_the_report() {
    let f = frame([8, 0], &IP);
    let bytes = capture(LinkType::ETHERNET, &vec![&f[..]; 100]);
    let mut input = Capture::new(&bytes[..]).unwrap();
    let mut sink = Full(0);
    let options = Options::default();
    let report =
        run_capture(row(ProgType::Xdp), None, &mut input, Some(&mut sink), &options, |_| Ok(2)).unwrap();
    assert!(report.output_error.is_some());
    assert_eq!((report.written.packets, sink.0), (2, 3));
    assert_eq!(report.total.packets, 16, "the batch is counted, and nothing after it is run");
}

/// Compares with a file in `tests/golden`; `SKEP_BLESS=1` writes it.
fn golden(name: &str, got: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("SKEP_BLESS").is_some() {
        std::fs::write(&path, got).unwrap();
    }
    let want = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(got, want, "{} differs; SKEP_BLESS=1 rewrites it", path.display());
}
