//! Any bytes as a capture: packets in order, then the end or one located error; every packet becomes a context for every
//! kind of program, and the frame that is written back is the captured one.
#![no_main]

use libfuzzer_sys::fuzz_target;
use skep_hooks::PROG_TYPES;
use skep_hooks::capture::{Capture, MAX_CAPTURED};
use skep_hooks::packet::{Arrival, Feeder};
use skep_platform::ProgType;
use skep_platform::env::CtxData;

const TYPES: [ProgType; 4] = [ProgType::Xdp, ProgType::SchedCls, ProgType::SocketFilter, ProgType::CgroupSkb];

fuzz_target!(|data: &[u8]| {
    let mut capture = match Capture::new(data) {
        Ok(capture) => capture,
        Err(e) => return assert!(e.packets == 0 && !e.to_string().is_empty()),
    };
    let feeders = TYPES.map(|t| {
        let row = PROG_TYPES.iter().find(|r| r.prog_type == t).expect("a row for every type");
        [Arrival::default(), Arrival::TestRun].map(|a| Feeder::new(row, None, a).expect("a packet type"))
    });
    let mut contexts = feeders.each_ref().map(|pair| pair.each_ref().map(Feeder::context));
    let (mut total, mut last, mut frame) = (0, 0, Vec::new());
    loop {
        let record = match capture.next_packet() {
            Ok(Some(record)) => record,
            Ok(None) => return,
            Err(e) => return assert!(e.offset <= data.len() as u64 && !e.to_string().is_empty()),
        };
        total += record.data.len();
        assert!(total <= data.len() && record.data.len() <= MAX_CAPTURED as usize);
        assert!(record.orig_len as usize >= record.data.len());
        assert!(record.offset >= last, "records come in order");
        last = record.offset;
        for (feeder, ctx) in feeders.iter().flatten().zip(contexts.iter_mut().flatten()) {
            let Ok(envelope) = feeder.feed(&record, ctx) else { continue };
            let CtxData::Packet(p) = &ctx.data else { unreachable!("a packet type") };
            frame.clear();
            envelope.frame(p.bytes(), p, &mut frame);
            assert_eq!(frame, record.data, "an untouched packet is written as it came");
            frame.clear();
            envelope.frame(&p.bytes()[..p.len() / 2], p, &mut frame);
        }
    }
});
