//! What a packet program sees in its context, against the running kernel: every number of `__sk_buff` and `xdp_md` that a
//! program type may read, on frames of many kinds, by BPF_PROG_TEST_RUN and by a [`Feeder`] set to it.

#![allow(clippy::print_stdout, clippy::unwrap_used)]

use skep_hooks::PROG_TYPES;
use skep_hooks::capture::{Direction, LinkType, Record};
use skep_hooks::packet::{Arrival, Feeder};
use skep_platform::env::CtxData;
use skep_platform::{CtxAccess, CtxField, FieldKind, ProgType};

mod kernel;
use kernel::frames::{frames, kept};
use kernel::{EXIT, insn, mov, size_bits};

/// Bytes of `cb` through which a program hands a number back.
const CB: i16 = 48;

/// What the kernel shows of a field.
fn kernel_sees(t: ProgType, field: &CtxField, frame: &[u8]) -> Result<u64, i32> {
    let size = field.size as u32;
    let load = insn(0x61 | size_bits(size), 2, 1, field.off as i16, 0);
    if t == ProgType::Xdp {
        let program = kernel::load(t, None, 0, &[load, insn(0xbf, 0, 2, 0, 0), EXIT])?;
        return kernel::run(&program, frame, 0).map(|r| r.retval as u64);
    }
    let store = insn(0x63 | size_bits(size), 1, 2, CB, 0);
    let program = kernel::load(t, None, 0, &[load, store, mov(0, 1), EXIT])?;
    let ran = kernel::run(&program, frame, 192)?;
    let cb = &ran.ctx[CB as usize..CB as usize + size as usize];
    Ok(cb.iter().rev().fold(0, |v, b| v << 8 | *b as u64))
}

#[test]
fn test_runs_show_what_the_kernel_shows() {
    if kernel::load(ProgType::Xdp, None, 0, &[mov(0, 0), EXIT]).is_err() {
        println!("skipped: this process may not load BPF programs");
        return;
    }
    let types = [
        ProgType::Xdp,
        ProgType::SchedCls,
        ProgType::SocketFilter,
        ProgType::CgroupSkb,
        ProgType::LwtIn,
        ProgType::LwtXmit,
    ];
    let (mut asked, mut wrong) = (0, Vec::new());
    for row in PROG_TYPES.iter().filter(|r| types.contains(&r.prog_type)) {
        let feeder = Feeder::new(row, None, Arrival::TestRun).unwrap();
        let mut ctx = feeder.context();
        let numbers = |f: &&CtxField| f.kind == FieldKind::Scalar && matches!(f.size, 1 | 4 | 8);
        for field in ctx.layout.fields.iter().filter(numbers) {
            if !field.allows(field.off as u32, field.size as u32, CtxAccess::Load) {
                continue;
            }
            for (i, frame) in frames().iter().enumerate() {
                let record = Record {
                    data: frame,
                    orig_len: frame.len() as u32,
                    time_ns: 77,
                    interface: 0,
                    link: LinkType::ETHERNET,
                    direction: Direction::Unknown,
                    offset: 0,
                };
                feeder.feed(&record, &mut ctx).unwrap();
                let CtxData::Packet(p) = &ctx.data else { panic!("a packet") };
                let kernel = kernel_sees(row.prog_type, field, frame).unwrap_or_else(|e| {
                    panic!("{} {} frame {i}: errno {e}", row.prog_type.label(), field.name)
                });
                let ours = kept(&p.ctx, field);
                asked += 1;
                if kernel != ours {
                    let t = row.prog_type.label();
                    wrong.push(format!("{t} {} frame {i}: kernel {kernel:#x}, here {ours:#x}", field.name));
                }
            }
        }
    }
    println!("{asked} fields of frames");
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}
