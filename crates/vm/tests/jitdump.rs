//! The dump for `perf inject`: every function's code byte by byte, its lines before it, the end noted.

#![cfg(all(target_arch = "x86_64", target_os = "linux"))]
#![allow(clippy::unwrap_used)]

use skep_isa::asm::parse_insns;
use skep_platform::engine::Loadable;
use skep_platform::program::{LineInfo, Program, Subprog};
use skep_platform::uapi::ProgType;
use skep_vm::{FixedHost, JitDump, Tier, User};
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn long(bytes: &[u8], at: usize) -> u64 {
    u64::from_ne_bytes(bytes[at..at + 8].try_into().unwrap())
}

#[test]
fn functions_are_dumped_with_their_lines() {
    let work: String = (0..700).map(|i| format!("r0 += {i}\nr0 *= r1\n")).collect();
    let insns = parse_insns(&format!("r1 = 3\ncall add\nr0 += 1\nexit\nadd:\nr0 = 1\n{work}exit\n")).unwrap();
    let mut program = Program::from_insns("dumped", ProgType::Xdp, insns);
    program.subprogs.push(Subprog { name: "add".into(), start: 4, btf_id: 0, global: false });
    let line = |(insn, line)| LineInfo { insn, file: "a.c".into(), text: "".into(), line, col: 1 };
    program.lines = [(0, 10), (2, 11), (4, 20), (700, 21)].map(line).into();
    let how = skep_verifier::Options::default();
    let verified = skep_verifier::verify(&Arc::new(program), skep::platform(), &how).unwrap();
    let folder = std::env::temp_dir().join(format!("skep-jitdump-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let dump = Arc::new(JitDump::open(&folder).unwrap());
    let path = dump.path().to_owned();
    let mut codes = Vec::new();
    for tier in [Tier::Baseline, Tier::Optimized] {
        let engine = User::new(*skep::platform(), Arc::new(FixedHost::new(1))).with_tier(tier);
        let engine = engine.with_jitdump(dump.clone());
        codes.push((tier, engine.load_program(&Loadable::Verified(verified.clone())).unwrap()));
    }
    drop(dump);
    let bytes = std::fs::read(&path).unwrap();
    let mode = path.metadata().unwrap().permissions().mode() & 0o777;
    std::fs::remove_dir_all(&folder).unwrap();
    assert_eq!((mode, word(&bytes, 0), word(&bytes, 4), word(&bytes, 8)), (0o600, 0x4a69_5444, 1, 40));
    assert_eq!((word(&bytes, 12), word(&bytes, 20)), (62, std::process::id()));
    let (mut at, mut seen, mut lines, mut before) = (40, Vec::new(), None, long(&bytes, 24));
    while at < bytes.len() {
        let (kind, len, time) = (word(&bytes, at), word(&bytes, at + 4) as usize, long(&bytes, at + 8));
        let body = &bytes[at + 16..at + len];
        assert!(time >= before, "times ascend");
        (at, before) = (at + len, time);
        match kind {
            2 => {
                let (mut n, mut rows) = (16, Vec::new());
                for _ in 0..long(body, 8) {
                    rows.push(word(body, n + 8));
                    let end = body[n + 16..].iter().position(|b| *b == 0).unwrap();
                    assert_eq!(&body[n + 16..n + 16 + end], b"a.c");
                    n += 16 + end + 1;
                }
                assert_eq!(n, body.len());
                lines = Some((long(body, 0), rows));
            }
            0 => {
                let (address, size) = (long(body, 16), long(body, 24) as usize);
                let (from, rows) = lines.take().unwrap();
                assert_eq!(
                    (from, word(body, 0), long(body, 32)),
                    (address, std::process::id(), seen.len() as u64)
                );
                let name = body[40..].split(|b| *b == 0).next().unwrap();
                assert_eq!(body.len(), 40 + name.len() + 1 + size);
                let code = codes.iter().map(|(_, c)| c.machine_code().unwrap());
                let code = code.into_iter().find(|c| address.wrapping_sub(c.address) < c.bytes.len() as u64);
                let code = code.unwrap();
                let from = (address - code.address) as usize;
                assert_eq!(&body[body.len() - size..], &code.bytes[from..from + size]);
                seen.push((String::from_utf8(name.to_vec()).unwrap(), rows));
            }
            3 => assert_eq!((len, at), (16, bytes.len())),
            other => panic!("a record of kind {other}"),
        }
    }
    let names: Vec<&str> = seen.iter().map(|s| s.0.as_str()).collect();
    let expected = ["baseline", "optimized"]
        .map(|t| [format!("bpf_prog_dumped [{t}]"), format!("bpf_prog_dumped::add [{t}]")])
        .concat();
    assert_eq!(names, expected);
    for (name, rows) in seen {
        let of = if name.contains("::") { [20, 21] } else { [10, 11] };
        assert!(!rows.is_empty() && rows.iter().all(|l| of.contains(l)), "{name}: {rows:?}");
    }
}
