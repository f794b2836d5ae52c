//! Contexts from bytes and text, for every program type, and back.

#![allow(clippy::unwrap_used)]

use skep_hooks::PROG_TYPES;
use skep_hooks::ctx_text::{self, parse, render};
use skep_hooks::input::{Input, InputError, context, output};
use skep_platform::ctx::UserRun;
use skep_platform::env::{CtxData, PlainCtx};
use skep_platform::{AttachType, Context, Packet, ProgType, ProgTypeDesc};
use std::fmt::Write as _;
use std::path::Path;

fn row(t: ProgType) -> &'static ProgTypeDesc {
    PROG_TYPES.iter().find(|r| r.prog_type == t).unwrap()
}

fn packet(ctx: &mut Context) -> &mut Packet {
    match &mut ctx.data {
        CtxData::Packet(p) => p,
        CtxData::Plain(_) => panic!("not a packet"),
    }
}

fn plain(ctx: &Context) -> &PlainCtx {
    match &ctx.data {
        CtxData::Plain(p) => p,
        CtxData::Packet(_) => panic!("a packet"),
    }
}

fn data(d: &[u8]) -> Input<'_> {
    Input { data: Some(d), ctx: None }
}

fn ctx(c: &[u8]) -> Input<'_> {
    Input { data: None, ctx: Some(c) }
}

/// The first attach type by which a row has a layout.
fn attach(r: &ProgTypeDesc) -> Option<AttachType> {
    match r.layout(None) {
        Some(_) => None,
        None => r.attach_types.iter().copied().find(|a| r.layout(Some(*a)).is_some()),
    }
}

fn word(p: &PlainCtx, at: usize) -> u32 {
    (p.words[at / 8] >> (at % 8 * 8)) as u32
}

const FRAME: [u8; 40] = {
    let mut f = [0; 40];
    (f[12], f[13], f[14]) = (8, 0, 0x45);
    f
};

#[test]
fn every_program_type_takes_something_or_says_why_not() {
    for r in PROG_TYPES {
        let a = attach(r);
        let t = r.prog_type.label();
        match r.user {
            UserRun::No(why) => {
                assert_eq!(context(r, a, &data(&FRAME)).unwrap_err(), InputError::NotHere(why))
            }
            UserRun::Packets => {
                let mut c = context(r, a, &data(&FRAME)).unwrap_or_else(|e| panic!("{t}: {e}"));
                let out = output(r, &mut c);
                assert_eq!(out.ctx.len(), c.layout.size as usize, "{t}");
                assert_eq!(out.data.unwrap()[14..], FRAME[14..], "{t}");
                assert_eq!(context(r, a, &ctx(b"mark=1")).unwrap_err(), InputError::NoData, "{t}");
            }
            UserRun::Plain => {
                let size = r.layout(a).unwrap_or_else(|| panic!("{t}: no layout")).size as usize;
                let mut c = context(r, a, &ctx(&vec![0; size])).unwrap_or_else(|e| panic!("{t}: {e}"));
                assert_eq!(plain(&c).len, size, "{t}");
                let text = render(c.layout, &output(r, &mut c).ctx);
                assert!(text.is_empty() || text == "len=0x0\n", "{t}: {text}");
                assert!(context(r, a, &Input::default()).is_err(), "{t}: nothing is not enough");
            }
        }
    }
}

#[test]
fn text_and_bytes_agree() {
    let regs =
        context(row(ProgType::Kprobe), None, &ctx(b"regs: di=1 rsi=0x7ffe_0000 # two\nip=-1")).unwrap();
    let p = plain(&regs);
    assert_eq!((p.len, p.words[14], p.words[13], p.words[16]), (168, 1, 0x7ffe_0000, u64::MAX));
    let args = context(row(ProgType::RawTracepoint), None, &ctx(b"args=5,6 args[3]=0xff")).unwrap();
    assert_eq!(plain(&args).words[..4], [5, 6, 0, 255]);
    let typed = context(row(ProgType::Tracing), None, &ctx(b"args=5,6 arg3=7 args[11]=8")).unwrap();
    assert_eq!((plain(&typed).words[..4].to_vec(), plain(&typed).words[11]), (vec![5, 6, 0, 7], 8));
    let record = context(row(ProgType::Tracepoint), None, &ctx(b"record=0102 @16:8=-2 @24:2=7")).unwrap();
    let p = plain(&record);
    assert_eq!((p.len, &p.words[1..4]), (32, &[0x0201, -2i64 as u64, 7][..]));
    let lookup = b"family=2 protocol=6 remote_ip4=10.0.0.1 remote_port=80 local_ip4=10.0.0.2 local_port=443";
    let mut c = context(row(ProgType::SkLookup), Some(AttachType::SkLookup), &ctx(lookup)).unwrap();
    assert_eq!(word(plain(&c), 16).to_ne_bytes(), [10, 0, 0, 1]);
    let bytes = output(row(ProgType::SkLookup), &mut c).ctx;
    let again = context(row(ProgType::SkLookup), Some(AttachType::SkLookup), &ctx(&bytes)).unwrap();
    assert_eq!(plain(&again).words, plain(&c).words);
    let six = context(
        row(ProgType::CgroupSockAddr),
        Some(AttachType::CgroupInet6Connect),
        &ctx(b"user_family=10 user_ip6=2001:db8::1 user_port=0x5000"),
    )
    .unwrap();
    assert_eq!(word(plain(&six), 8).to_ne_bytes(), [0x20, 1, 0x0d, 0xb8]);
}

/// Found by fuzzing: a text that sets nothing was a record of no bytes, which is refused when it comes back.
#[test]
fn a_text_that_sets_nothing_is_a_context_of_zeros() {
    for t in [ProgType::Tracepoint, ProgType::Syscall, ProgType::Kprobe] {
        let mut c = context(row(t), None, &ctx(b"record: # nothing=yet")).unwrap();
        let out = output(row(t), &mut c).ctx;
        assert!(out.len() >= 8 && out.iter().all(|b| *b == 0));
        assert!(context(row(t), None, &ctx(&out)).is_ok());
        assert!(matches!(context(row(t), None, &ctx(b"d8=-:")), Err(InputError::Text(_))));
    }
}

#[test]
fn buffers_are_pointed_to() {
    for (t, a) in [
        (ProgType::CgroupSockopt, Some(AttachType::CgroupSetsockopt)),
        (ProgType::SkMsg, None),
        (ProgType::SkReuseport, None),
        (ProgType::SockOps, None),
        (ProgType::RawTracepointWritable, None),
    ] {
        let c = context(row(t), a, &data(b"hello buffer")).unwrap();
        let p = plain(&c);
        let (words, len, _) = &p.buffers[0];
        assert_eq!((*len, &words[0].to_ne_bytes()), (12, b"hello bu"));
        let at = |name| c.layout.by_name(name).map(|f| p.words[f.off as usize / 8]);
        let start = ["optval", "data", "skb_data", "buffer"].iter().find_map(|n| at(n)).unwrap();
        assert_eq!(start, words.as_ptr() as u64, "{t:?}");
        if let Some(end) = ["optval_end", "data_end", "skb_data_end"].iter().find_map(|n| at(n)) {
            assert_eq!(end, start + 12, "{t:?}");
        }
        let mut c = c;
        let out = output(row(t), &mut c);
        assert_eq!(out.data.as_deref(), Some(&b"hello buffer"[..]));
        assert!(out.ctx[..8].iter().all(|b| *b == 0) || t == ProgType::SockOps, "pointers read back as zero");
    }
    let c = context(
        row(ProgType::CgroupSockopt),
        Some(AttachType::CgroupGetsockopt),
        &Input { data: Some(&[1; 16]), ctx: Some(b"level=1 optname=2 optlen=4") },
    )
    .unwrap();
    assert_eq!(word(plain(&c), 32), 4, "a length that was given stays");
}

#[test]
fn packet_contexts_take_fields_beside_the_packet() {
    let given =
        Input { data: Some(&FRAME), ctx: Some(b"mark=7 cb=1,2 cb[4]=9 ingress_ifindex=3 tstamp=5000000000") };
    let mut c = context(row(ProgType::SchedCls), None, &given).unwrap();
    let p = packet(&mut c);
    assert_eq!((p.ctx.mark, p.ctx.cb, p.ctx.ingress_ifindex), (7, [1, 2, 0, 0, 9], 3));
    assert_eq!((p.ctx.tstamp, p.ctx.protocol, p.bytes()), (5_000_000_000, 8, &FRAME[..]));
    let out = output(row(ProgType::SchedCls), &mut c);
    // What came out goes in again, but for what follows from the packet.
    let mut again = out.ctx.clone();
    again[..4].fill(0);
    let mut c2 =
        context(row(ProgType::SchedCls), None, &Input { data: Some(&FRAME), ctx: Some(&again) }).unwrap();
    assert_eq!(output(row(ProgType::SchedCls), &mut c2), out);
    let fixed = Input { data: Some(&FRAME), ctx: Some(b"len=5") };
    assert!(matches!(
        context(row(ProgType::SchedCls), None, &fixed),
        Err(InputError::Fixed { field: "len", .. })
    ));
}

#[test]
fn xdp_metadata_stands_in_front_of_the_data() {
    let all = [&[1, 2, 3, 4, 5, 6, 7, 8][..], &FRAME].concat();
    let given =
        Input { data: Some(&all), ctx: Some(b"data=8 data_end=48 rx_queue_index=2 ingress_ifindex=5") };
    let mut c = context(row(ProgType::Xdp), None, &given).unwrap();
    let p = packet(&mut c);
    assert_eq!((p.metadata(), p.bytes()), (&all[..8], &FRAME[..]));
    assert_eq!((p.ctx.rx_queue_index, p.ctx.ingress_ifindex), (2, 5));
    let out = output(row(ProgType::Xdp), &mut c);
    assert_eq!(out.data.unwrap(), all);
    assert_eq!((out.ctx[0], out.ctx[4]), (8, 48));
}

#[test]
fn rendered_contexts_parse_to_themselves() {
    arbtest::arbtest(|u| {
        let rows: Vec<_> = PROG_TYPES.iter().filter(|r| matches!(r.user, UserRun::Plain)).collect();
        let r = *u.choose(&rows)?;
        let layout = r.layout(attach(r)).unwrap();
        let mut bytes = vec![0; layout.size as usize];
        for f in layout.fields.iter().filter(|f| !f.kind.is_pointer()) {
            for b in &mut bytes[f.off as usize..(f.off + f.size) as usize].iter_mut().take(40) {
                *b = u.arbitrary()?;
            }
        }
        let text = render(layout, &bytes);
        assert_eq!(parse(layout, &text).unwrap().bytes, bytes, "{text}");
        Ok(())
    });
}

#[test]
fn random_text_never_panics() {
    arbtest::arbtest(|u| {
        let layout = u.choose(PROG_TYPES)?.layout(None);
        let text: String = (0..u.int_in_range(0..=40)?)
            .map(|_| {
                *u.choose(&[
                    '=', '@', ':', '[', ']', '-', '0', '9', 'x', 'd', 'i', ',', ' ', '\n', 'c', 'b', '.', 'é',
                ])
                .unwrap()
            })
            .collect();
        if let Some(layout) = layout {
            let _ = parse(layout, &text).map_err(|e| e.to_string());
        }
        let _ = ctx_text::is_text(text.as_bytes());
        Ok(())
    });
}

#[test]
fn messages() {
    let mut out = String::new();
    let mut say = |t: ProgType, a: Option<AttachType>, d: Option<&[u8]>, c: Option<&[u8]>| {
        let e = context(row(t), a, &Input { data: d, ctx: c }).map(|_| ()).unwrap_err();
        let _ = writeln!(out, "{}: {e}", t.label());
    };
    say(ProgType::Xdp, None, None, None);
    say(ProgType::Xdp, None, Some(&[1, 2, 3]), None);
    say(ProgType::Xdp, None, Some(&FRAME), Some(b"data=6"));
    say(ProgType::Xdp, None, Some(&FRAME), Some(b"data_meta=4"));
    say(ProgType::SchedCls, None, Some(&FRAME), Some(&[1; 200]));
    say(ProgType::SchedCls, None, Some(&FRAME), Some(b"sk=1"));
    say(ProgType::SchedCls, None, Some(&vec![0; 300_000]), None);
    say(ProgType::Kprobe, None, None, None);
    say(ProgType::Kprobe, None, Some(&[1]), Some(&[0; 168]));
    say(ProgType::Kprobe, None, None, Some(&[0; 100]));
    say(ProgType::Kprobe, None, None, Some(b"di=1\nsi"));
    say(ProgType::Kprobe, None, None, Some(b"edi=1"));
    say(ProgType::Kprobe, None, None, Some(b"di=0x1ffffffffffffffff"));
    say(ProgType::Tracepoint, None, None, Some(&[0; 7]));
    say(ProgType::Tracepoint, None, None, Some(b"record=123"));
    say(ProgType::Tracepoint, None, None, Some(b"@9000:8=1"));
    say(ProgType::RawTracepoint, None, None, Some(&[0; 12]));
    say(ProgType::RawTracepoint, None, None, Some(b"args[12]=1"));
    say(ProgType::CgroupSockAddr, None, None, Some(&[0; 72]));
    say(ProgType::SkLookup, Some(AttachType::SkLookup), None, Some(&[1; 72]));
    say(ProgType::SkLookup, Some(AttachType::SkLookup), None, Some(b"remote_ip4=10.0.0.300"));
    say(ProgType::Netfilter, None, None, None);
    say(ProgType::Ext, None, None, None);
    golden("input-messages.txt", &out);
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
