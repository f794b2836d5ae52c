//! Every program of a folder of objects: none may panic, run away, or be judged against its own annotation.
//!
//! `SKEP_OBJECTS` names the folder; without it the test says so and checks nothing. Programs that carry the kernel
//! tests' annotations (`__success`, `__failure`, BTF decl tags) are compared with these, the rest is listed when it is
//! refused. `SKEP_LIST=1` lists every case, `SKEP_MODE=bpf` or `unprivileged` judges for such loaders.
#![allow(clippy::print_stdout)]

mod support;

use skep_btf::{Btf, Type};
use skep_verifier::{Mode, Options, Rule, verify_full};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use support::{objects::Opened, raw::PLATFORM};

struct Expect {
    accept: bool,
    explicit: bool,
    flags: i64,
}

fn expectation(btf: &Btf, func: u32) -> Expect {
    let mut e = Expect { accept: true, explicit: false, flags: 0 };
    for (_, ty) in btf.own_types() {
        let Type::DeclTag(t) = ty else { continue };
        if t.type_id != func {
            continue;
        }
        let Some((_, tag)) = t.name.split_once("test_") else { continue };
        if tag == "expect_failure" {
            (e.accept, e.explicit) = (false, true);
        } else if tag == "expect_success" {
            (e.accept, e.explicit) = (true, true);
        } else if let Some(f) = tag.strip_prefix("prog_flags=") {
            e.flags |= match f {
                "BPF_F_STRICT_ALIGNMENT" => 1,
                "BPF_F_ANY_ALIGNMENT" => 2,
                "BPF_F_TEST_STATE_FREQ" => 8,
                _ => f.parse().unwrap_or(0),
            };
        }
    }
    e
}

#[test]
fn judges_every_program() {
    let Some(folder) = std::env::var_os("SKEP_OBJECTS").map(PathBuf::from) else {
        println!("SKEP_OBJECTS is not set: nothing was checked");
        return;
    };
    let list = std::env::var_os("SKEP_LIST").is_some();
    let only = std::env::var("SKEP_ONLY").ok();
    let mut paths: Vec<PathBuf> = std::fs::read_dir(&folder)
        .expect("the folder is readable")
        .filter_map(|e| e.ok().map(|e| e.path()))
        .filter(|p| p.extension().is_some_and(|e| e == "o"))
        .collect();
    paths.sort();
    let config = support::objects::config();
    let mode = match std::env::var("SKEP_MODE").as_deref() {
        Ok("bpf") => Mode::Bpf,
        Ok("unprivileged") => Mode::Unprivileged,
        _ => Mode::Privileged,
    };
    let mut cases = BTreeMap::<&str, Vec<String>>::new();
    let (mut total, mut insns, mut time) = (0, 0u64, std::time::Duration::ZERO);
    let mut slow = Vec::new();
    for path in paths {
        let file = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let Ok(o) = Opened::open(&path) else {
            cases.entry("object refused").or_default().push(file);
            continue;
        };
        let Some(btf) = o.object.btf.clone() else { continue };
        for f in o.object.programs() {
            let name = format!("{file}:{}", f.name);
            if only.as_ref().is_some_and(|o| !name.contains(o.as_str())) {
                continue;
            }
            let expect = expectation(&btf, f.type_id);
            let program = match o.bind(&f.name) {
                Ok(p) => p,
                Err(e) => {
                    cases.entry("not bound").or_default().push(format!("{name}\n    {e}"));
                    continue;
                }
            };
            total += 1;
            let options = Options {
                strict_alignment: expect.flags & 3 == 1,
                test_state_freq: expect.flags & 8 != 0,
                cpus: 2,
                mode,
                config: config.clone(),
                log_level: if only.is_some() { 2 } else { 0 },
                ..Options::default()
            };
            let result = verify_full(&Arc::new(program), &PLATFORM, &options);
            let stats = match &result {
                Ok(o) => o.stats,
                Err(e) => e.stats,
            };
            if only.is_some() {
                match &result {
                    Ok(o) => println!("=== {name}\n{}accepted {:?}", o.log, o.stats),
                    Err(e) => println!("=== {name}\n{}{e}", e.log),
                }
            }
            insns += stats.insns;
            time += stats.time;
            slow.push((stats.time, stats.insns, name.clone()));
            let kind = match (&result, expect.accept, expect.explicit) {
                (Ok(_), true, true) => "agree: accept",
                (Err(_), false, _) => "agree: refuse",
                (Ok(_), false, _) => "WE ACCEPT",
                (Ok(_), true, false) => "accepted, no annotation",
                (Err(e), true, _) if e.rule() == Rule::NotYet => "not judged yet",
                (Err(_), true, true) => "we refuse",
                (Err(_), true, false) => "refused, no annotation",
            };
            if list {
                let verdict =
                    result.as_ref().map_or_else(|e| e.message().replace('\n', " "), |_| "accept".to_owned());
                println!("@{name}\t{verdict}\t{}", stats.insns);
            }
            let why =
                result.err().map_or(String::new(), |e| e.to_string().lines().next().unwrap_or("").to_owned());
            cases.entry(kind).or_default().push(format!("{name}\n    {why}"));
        }
    }
    println!("{total} programs, {insns} insns, {time:?}");
    slow.sort();
    for (t, n, name) in slow.iter().rev().take(12) {
        println!("  {t:?} {n} {name}");
    }
    for (kind, c) in &cases {
        println!("{kind}: {}", c.len());
        if list && !kind.starts_with("agree") && !kind.starts_with("accepted") {
            c.iter().for_each(|c| println!("  {c}"));
        }
    }
}
