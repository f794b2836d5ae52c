//! Legacy packet loads at every kind of offset: on each tier the value, or the end of the program with 0, that the packet's
//! bytes say.

use skep_isa::asm::parse_insns;
use skep_platform::env::CtxData;
use skep_platform::uapi::ProgType;
use skep_testkit::programs;
use skep_vm::{FixedHost, User};
use std::sync::Arc;

mod tier;

/// Length of the packet.
const LEN: usize = 40;
/// Where the network header begins: not where `Packet::new` has it.
const MAC_LEN: usize = 18;
/// `SKF_NET_OFF`, `SKF_LL_OFF`.
const HEADERS: [(i64, usize); 2] = [(-0x10_0000, MAC_LEN), (-0x20_0000, 0)];

/// What a program returns that adds one to what it loads, so that a load outside is told from one of 0.
fn expected(bytes: &[u8], at: i64, size: usize) -> u64 {
    let header = HEADERS.iter().find(|(base, _)| (*base..base + 0x10_0000).contains(&at));
    let start = match header {
        Some((base, front)) => at - base + *front as i64,
        None => at,
    };
    let field = usize::try_from(start).ok().and_then(|s| bytes.get(s..s.checked_add(size)?));
    field.map_or(0, |f| f.iter().fold(0, |v, b| v << 8 | u64::from(*b)) + 1)
}

/// Offsets around the packet's two ends, by each way to count them, and those that are no place at all.
fn offsets() -> Vec<i64> {
    let near = |base: i64| [0, 1, 17, 20, 21, 22, 36, 37, 38, 39, 40, 41].map(|o| base + o);
    let mut all: Vec<i64> = near(0).to_vec();
    all.extend(HEADERS.iter().flat_map(|(base, _)| near(*base)));
    all.extend([-1, -0x20_0001, i64::from(i32::MIN), i64::from(i32::MAX), i64::from(i32::MAX) - 1]);
    all
}

#[test]
fn loads_of_every_offset() {
    let bytes: Vec<u8> = (0..LEN as u8).map(|i| i.wrapping_mul(37)).collect();
    let layout = skep::platform().prog_type(ProgType::SocketFilter).and_then(|r| r.layout(None));
    let layout = layout.expect("socket filters have a context");
    // Another call takes the program from the short way into the engine's runs.
    let calls = ["", "call bpf_ktime_get_ns#5\n"];
    let (mut inside, mut outside) = (0, 0);
    for tier in tier::TIERS {
        let engine = User::new(*skep::platform(), Arc::new(FixedHost::new(1))).with_tier(*tier);
        let mut runner = engine.runner();
        for (call, (bits, size)) in calls.iter().flat_map(|c| [(*c, (8, 1)), (*c, (16, 2)), (*c, (32, 4))]) {
            for at in offsets() {
                // The offset in the instruction, in a register, and in both.
                for (imm, index) in [(at, None), (0, Some(at)), (at - 3, Some(3)), (7, Some(at - 7))] {
                    let Ok(imm) = i32::try_from(imm) else { continue };
                    let load = match index {
                        None => format!("r0 = *(u{bits} *)skb[{imm}]"),
                        Some(r) => format!("r7 = {}\nr0 = *(u{bits} *)skb[r7 + {imm}]", r as i32),
                    };
                    let text = format!("r6 = r1\n{call}{load}\nr0 += 1\nexit\n");
                    let insns = parse_insns(&text).unwrap_or_else(|e| panic!("{text}: {e:?}"));
                    let program = programs::program(ProgType::SocketFilter, insns);
                    let loaded = engine.load_program(&tier::loadable(*tier, program)).expect("it loads");
                    let mut ctx = programs::packet(layout, &bytes);
                    let CtxData::Packet(p) = &mut ctx.data else { panic!("a packet") };
                    p.mac_len = MAC_LEN;
                    let ran =
                        runner.run(&loaded, &mut ctx).unwrap_or_else(|e| panic!("{tier:?} {text}: {e}"));
                    let want = expected(
                        &bytes,
                        i64::from((imm as u32).wrapping_add(index.unwrap_or(0) as u32) as i32),
                        size,
                    );
                    assert_eq!(ran, want, "{tier:?}: {text}");
                    if want == 0 { outside += 1 } else { inside += 1 }
                }
            }
        }
    }
    assert!(inside > 1000 && outside > 1000, "{inside} inside, {outside} outside");
}
