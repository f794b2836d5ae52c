//! The filter language against libpcap's own tests (suite `filters`): what is accepted, the texts of what is refused, and
//! which of 16,427 packets each of 398 expressions accepts.

#![allow(clippy::print_stdout)]

use flate2::read::GzDecoder;
use serde_json::Value;
use skep_cbpf::{Filter, FilterOptions, Meta, Op, Packet, Program, Source, translate};
use skep_testkit::suites;
use std::collections::BTreeMap;
use std::fs::{File, read_to_string};
use std::io::Read;
use std::path::Path;

mod suite_names;

use suite_names::{TestNames, options, options_of};

/// Packets of `[u32le caplen][u32le len][bytes]` records.
fn packets(path: &Path) -> Vec<(u32, Vec<u8>)> {
    let mut all = Vec::new();
    let file = File::open(path).expect("the suite's packets");
    GzDecoder::new(file).read_to_end(&mut all).expect("a gzip file");
    let (mut out, mut rest) = (Vec::new(), &all[..]);
    while let Some((head, tail)) = rest.split_first_chunk::<8>() {
        let caplen = u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let len = u32::from_le_bytes([head[4], head[5], head[6], head[7]]);
        out.push((len, tail[..caplen].to_vec()));
        rest = &tail[caplen..];
    }
    out
}

/// How many packets a program accepts, and the hash of their numbers.
fn accepted(program: &Program, packets: &[(u32, Vec<u8>)]) -> (usize, u64) {
    let meta = Meta::default();
    let (mut count, mut hash) = (0, 0xcbf2_9ce4_8422_2325u64);
    for (i, (len, bytes)) in packets.iter().enumerate() {
        if program.run(&Packet { bytes, len: *len, meta: &meta }) != 0 {
            count += 1;
            for b in (i as u32).to_le_bytes() {
                hash = (hash ^ u64::from(b)).wrapping_mul(0x100_0000_01b3);
            }
        }
    }
    (count, hash)
}

/// Rows of the oracle that are not the unoptimised program's: what libpcap 1.10.3 accepts with `tcpdump -O`.
const OPTIMISED_ROWS: [(&str, (usize, u64)); 1] =
    [("host 10.0.0.1 or host 10.0.0.2 or host 10.0.0.3 or host 10.0.0.4", (656, 0xde4b_7c99_beeb_7d27))];

#[test]
fn packets_accepted_are_the_oracles() {
    let dir = match suites::dir("filters") {
        Ok(dir) => dir,
        Err(why) => return println!("{why}"),
    };
    let packets = packets(&dir.join("eth_mut.bin.gz"));
    let oracle = read_to_string(dir.join("oracle.tsv")).expect("the oracle");
    let (mut right, mut wrong) = (0, Vec::new());
    for line in oracle.lines().filter(|l| !l.starts_with('#')) {
        let cells: Vec<&str> = line.splitn(5, '\t').collect();
        let [_, _, matches, hash, expr] = cells[..] else { continue };
        let want = (matches.parse().unwrap_or(usize::MAX), u64::from_str_radix(hash, 16).unwrap_or(0));
        let want = OPTIMISED_ROWS.iter().find(|r| r.0 == expr).map_or(want, |r| r.1);
        for optimize in [false, true] {
            match Filter::compile(expr, &FilterOptions { optimize, ..options("EN10MB", &TestNames) }) {
                Err(e) => wrong.push(format!("{expr}: {e}")),
                Ok(f) => {
                    let got = accepted(f.program(), &packets);
                    if got == want {
                        right += 1;
                    } else {
                        wrong.push(format!(
                            "{expr} (optimize {optimize}): {} packets, expected {}",
                            got.0, want.0
                        ));
                    }
                }
            }
        }
    }
    println!("filters oracle: {right} right, {} wrong", wrong.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The usual filters against libpcap: none is longer, all together are 5 % shorter at least, and none executes more
/// instructions over the suite's packets.
#[test]
fn usual_filters_are_short() {
    let dir = match suites::dir("filters") {
        Ok(dir) => dir,
        Err(why) => return println!("{why}"),
    };
    let packets = packets(&dir.join("eth_mut.bin.gz"));
    let table = read_to_string(dir.join("usual_64_libpcap.tsv")).expect("libpcap's figures");
    let (mut ours, mut theirs, mut count, mut bad) = (0, 0, 0, Vec::new());
    for line in table.lines().filter(|l| !l.starts_with('#')) {
        let cells: Vec<&str> = line.split('\t').collect();
        let [len, .., expr] = cells[..] else { continue };
        let (len, executed): (usize, f64) =
            (len.parse().expect("a length"), cells[5].parse().expect("a mean"));
        let f = Filter::compile(expr, &options("EN10MB", &TestNames)).expect("a usual filter");
        (ours, theirs, count) = (ours + f.insns().len(), theirs + len, count + 1);
        let mean = executed_mean(f.program(), &packets);
        if f.insns().len() > len || mean > executed + 0.005 {
            bad.push(format!("{expr}: {} and {mean:.2} instead of {len} and {executed}", f.insns().len()));
        }
    }
    println!("usual filters: {count} with {ours} instructions, libpcap {theirs}; longer: {bad:?}");
    assert!(
        bad.is_empty() && ours * 100 <= theirs * 95 && count == 64,
        "{ours} instead of {theirs}: {bad:?}"
    );
}

/// Instructions that a program executes for a packet, on average.
fn executed_mean(program: &Program, packets: &[(u32, Vec<u8>)]) -> f64 {
    let meta = Meta::default();
    let steps =
        packets.iter().map(|(len, bytes)| program.run_counting(&Packet { bytes, len: *len, meta: &meta }).1);
    steps.sum::<usize>() as f64 / packets.len() as f64
}

/// Most exceptions of a hundred cases.
const MOST_EXCEPTIONS: f64 = 1.0;

#[test]
fn libpcaps_own_tests() {
    let dir = match suites::dir("filters") {
        Ok(dir) => dir,
        Err(why) => return println!("{why}"),
    };
    let cases = suites::jsonl(&dir.join("libpcap_dev.jsonl.gz")).expect("the suite is readable");
    let exceptions = exceptions();
    let (mut counts, mut bad) = (BTreeMap::<&str, usize>::new(), Vec::new());
    let mut used = vec![0; exceptions.len()];
    for case in &cases {
        let label = case["label"].as_str().unwrap_or_default();
        let outcome = match judge(case) {
            Judged::Right(outcome) => outcome,
            Judged::Wrong(why) => match exceptions.iter().position(|(p, _)| matches(p, label)) {
                Some(i) => {
                    used[i] += 1;
                    "excepted"
                }
                None => {
                    bad.push(format!("{label}: {why}"));
                    "wrong"
                }
            },
        };
        *counts.entry(outcome).or_default() += 1;
    }
    println!("libpcap's tests: {} cases, {counts:?}", cases.len());
    assert!(bad.is_empty(), "{}", bad.join("\n"));
    for ((pattern, why), used) in exceptions.iter().zip(&used) {
        assert!(*used > 0, "{pattern} is no exception any more ({why})");
    }
    let share = used.iter().sum::<usize>() as f64 * 100.0 / cases.len() as f64;
    assert!(share <= MOST_EXCEPTIONS, "{share:.2} % exceptions");
}

/// Patterns of labels, and why these cases are not judged as libpcap does.
fn exceptions() -> Vec<(String, String)> {
    let text = include_str!("data/libpcap_exceptions.tsv");
    let rows = text.lines().filter(|l| !l.starts_with('#') && !l.is_empty());
    let row = |l: &str| l.split_once('\t').map(|(p, why)| (p.to_owned(), why.to_owned()));
    rows.map(|l| row(l).expect("a pattern, a tabulator, a reason")).collect()
}

fn matches(pattern: &str, label: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == label,
        Some((start, rest)) => label
            .strip_prefix(start)
            .is_some_and(|l| (0..=l.len()).any(|i| l.is_char_boundary(i) && matches(rest, &l[i..]))),
    }
}

/// What became of a case.
enum Judged {
    Right(&'static str),
    Wrong(String),
}

fn judge(case: &Value) -> Judged {
    let text = |key: &str| case[key].as_str().unwrap_or_default();
    match text("func") {
        "run_filter_accept_test" => match Filter::compile(text("expr"), &options_of(case)) {
            Ok(_) => Judged::Right("accepted"),
            Err(e) => Judged::Wrong(format!("{} {}: {e}", text("DLT"), text("expr"))),
        },
        "run_filter_reject_test" if !text("DLT").is_empty() => {
            let (link, expr, expected) = (text("DLT"), text("expr"), text("expected"));
            match Filter::compile(expr, &options_of(case)) {
                Ok(_) => Judged::Wrong(format!("{link} {expr}: to be refused: {expected}")),
                Err(e) if e.to_string().contains(expected) => Judged::Right("refused, with the text"),
                Err(e) => Judged::Wrong(format!("{link} {expr}: {e} instead of {expected}")),
            }
        }
        "run_translate_accept_test" | "run_translate_reject_test" => {
            let arg = &case["cfuncarg"];
            let arg = arg.as_u64().map_or_else(
                || arg.as_str().unwrap_or_default().to_owned(),
                |n| char::from(n as u8).to_string(),
            );
            let (got, expected) = (translated(text("cfuncname"), &arg), text("expected").trim_end());
            match got {
                Some(got) if got == expected => Judged::Right("translated"),
                None if expected.starts_with("ERROR") => Judged::Right("refused to translate"),
                got => Judged::Wrong(format!("{}({arg}): {got:?} instead of {expected}", text("cfuncname"))),
            }
        }
        // These need the captures, which the suite does not hold.
        "run_filter_apply_test" => Judged::Right("for captures"),
        "run_skip_test" => Judged::Right("skipped by libpcap"),
        other => Judged::Wrong(format!("a case of another kind: {other}")),
    }
}

/// What names and addresses mean, as libpcap's functions for them answer: read off the numbers that expressions with them
/// compare with.
fn translated(function: &str, arg: &str) -> Option<String> {
    let numbers = |link, expr: String| -> Option<Vec<u32>> {
        let options = FilterOptions { optimize: false, ..options(link, &TestNames) };
        let filter = Filter::compile(&expr, &options).ok()?;
        let compared = |op: &Op| if let Op::Jump(_, Source::K(k), ..) = op { Some(*k) } else { None };
        Some(filter.program().ops().iter().filter_map(compared).collect())
    };
    Some(match function {
        "pcap_nametoeproto" | "pcap_nametollc" => {
            match numbers("LINUX_SLL2", format!("ether proto \\{arg}")).as_deref() {
                Some([n]) if function == "pcap_nametollc" => format!("OK: {n:#04x}"),
                Some([n]) => format!("OK: {n:#06x}"),
                _ => "OK: PROTO_UNDEF".into(),
            }
        }
        "pcapint_atodn" => {
            let n = (*numbers("LINUX_SLL2", format!("decnet src {arg}"))?.get(2)? as u16).swap_bytes();
            format!("OK: {}.{}", n >> 10, n & 0x3ff)
        }
        "pcapint_atoan" => format!("OK: ${:02x}", numbers("ARCNET", format!("link src {arg}"))?.first()?),
        "pcapint_xdtoi" => format!("OK: {:#04x}", numbers("ARCNET", format!("link src ${arg}"))?.first()?),
        "pcap_ether_aton" => {
            let n = numbers("EN10MB", format!("ether src {arg}"))?;
            let [low, high] = n[..] else { return None };
            let bytes = [&high.to_be_bytes()[2..], &low.to_be_bytes()].concat();
            let hex: Vec<String> = bytes.iter().map(|b| format!("{b:02x}")).collect();
            format!("OK: {}", hex.join(":"))
        }
        _ => return Some(format!("no function {function}")),
    })
}

/// Whatever the text: an answer, and what is accepted can be translated.
#[test]
fn any_text_gets_an_answer() {
    const WORDS: &[&str] = &[
        "ip",
        "ip6",
        "tcp",
        "port",
        "80",
        "host",
        "1.2.3.4",
        "::1",
        "and",
        "or",
        "not",
        "(",
        ")",
        "[",
        "]",
        ":",
        "+",
        "-",
        "*",
        "/",
        "<<",
        "=",
        "!=",
        ">",
        "len",
        "vlan",
        "mpls",
        "pppoes",
        "net",
        "10",
        "0x1f",
        "src",
        "dst",
        "ether",
        "a:b:c:d:e:f",
        "$f",
        "\\tcp",
        "proto",
        "mask",
        "&",
        "|",
        "less",
        "llc",
        "ui",
        "é",
        "decnet",
        "byte",
    ];
    arbtest::arbtest(|u| {
        let n = u.int_in_range(0..=24)?;
        let words: Vec<&str> = (0..n).map(|_| u.choose(WORDS).copied()).collect::<Result<_, _>>()?;
        let expr = words.join(*u.choose(&[" ", ""])?);
        match Filter::compile(
            &expr,
            &FilterOptions { optimize: u.arbitrary()?, ..options("EN10MB", &TestNames) },
        ) {
            Ok(f) => assert!(translate(f.program(), &skep_cbpf::Target::SOCKET_FILTER).is_ok(), "{expr}"),
            Err(e) => assert!(e.with_caret(&expr).contains('^') || expr.is_empty(), "{expr}"),
        }
        Ok(())
    });
}
