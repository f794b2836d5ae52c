//! The C output compiled by clang, where that is installed, and compared with the BTF that it came from.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use skep_btf::{Btf, CDumpOptions, Composite, Type, dump_c};

fn clang() -> Option<&'static str> {
    let found = ["clang-19", "clang"].into_iter().find(|c| Command::new(c).arg("--version").output().is_ok());
    if found.is_none() {
        eprintln!("skipped: no clang");
    }
    found
}

fn vmlinux() -> Option<Btf> {
    let data = std::fs::read("/sys/kernel/btf/vmlinux").ok();
    if data.is_none() {
        eprintln!("skipped: no /sys/kernel/btf/vmlinux");
    }
    Some(Btf::parse(&data?).unwrap())
}

fn scratch(name: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::create_dir_all(&dir).unwrap();
    dir
}

fn compile(clang: &str, dir: &Path, source: &str, args: &[&str]) {
    std::fs::write(dir.join("t.c"), source).unwrap();
    let out = Command::new(clang)
        .current_dir(dir)
        .args(["--target=bpf", "-Wall", "-Werror", "-c", "t.c", "-o", "t.o"])
        .args(args)
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
}

/// Named members with their places, those of anonymous structs included.
fn places(btf: &Btf, c: Composite<'_>, at: u32, out: &mut BTreeMap<String, (u32, u32, Option<u32>)>) {
    for m in c.members {
        let inner = btf.resolve(m.type_id).unwrap().1.composite();
        match inner {
            Some(inner) if m.name.is_empty() => places(btf, inner, at + m.bit_offset, out),
            _ => {
                // keywords get a trailing underscore
                out.insert(
                    m.name.trim_end_matches('_').to_owned(),
                    (at + m.bit_offset, m.bitfield_size, btf.size_of(m.type_id)),
                );
            }
        }
    }
}

/// Structs and unions by their tags, with size and members.
type Layouts = BTreeMap<String, (u32, BTreeMap<String, (u32, u32, Option<u32>)>)>;

fn layouts(btf: &Btf) -> Layouts {
    let mut out = Layouts::new();
    let mut seen: BTreeMap<&str, u32> = BTreeMap::new();
    for (_, t) in btf.types() {
        let is_tag = matches!(t, Type::Struct(_) | Type::Union(_) | Type::Enum(_) | Type::Enum64(_));
        let nth = seen.entry(if is_tag { t.name() } else { "" }).or_default();
        *nth += 1;
        if let Type::Struct(c) | Type::Union(c) = t
            && !c.name.is_empty()
        {
            let mut members = BTreeMap::new();
            places(btf, c, 0, &mut members);
            let number = if *nth == 1 { String::new() } else { format!("___{nth}") };
            let tag = format!("{} {}{number}", if c.is_union { "union" } else { "struct" }, c.name);
            out.insert(tag, (c.size, members));
        }
    }
    out
}

/// Compiles the header with a pointer to each `every`th struct and compares the BTF that clang makes of it; the sizes
/// of the others are checked by the compiler.
fn check_layouts(name: &str, btf: &Btf, every: usize) -> usize {
    let Some(clang) = clang() else { return 0 };
    let dir = scratch(name);
    std::fs::write(dir.join("dump.h"), dump_c(btf, &CDumpOptions::default()).unwrap()).unwrap();
    let wanted = layouts(btf);
    let mut source = String::from("#define BPF_NO_PRESERVE_ACCESS_INDEX\n#include \"dump.h\"\n");
    for (i, (tag, (size, _))) in wanted.iter().enumerate() {
        source += &format!("_Static_assert(sizeof({tag}) == {size}, \"{tag}\");\n");
        if i % every == 0 {
            source += &format!("{tag} *p{i};\n");
        }
    }
    compile(clang, &dir, &source, &["-g", "-O2"]);
    let section = dir.join("t.btf");
    let dumped = Command::new("llvm-objcopy-19")
        .arg(format!("--dump-section=.BTF={}", section.display()))
        .arg(dir.join("t.o"))
        .arg("/dev/null")
        .status();
    if !dumped.is_ok_and(|s| s.success()) {
        eprintln!("skipped: no llvm-objcopy-19");
        return 0;
    }
    let compiled = layouts(&Btf::parse(&std::fs::read(section).unwrap()).unwrap());
    let sample = || wanted.iter().step_by(every);
    for (tag, (size, members)) in sample() {
        let (got_size, mut got) = compiled.get(tag).unwrap_or_else(|| panic!("{tag} is missing")).clone();
        got.retain(|name, _| !name.starts_with("__padding") || members.contains_key(name));
        assert_eq!((size, members), (&got_size, &got), "{tag}");
    }
    sample().count()
}

#[test]
fn layouts_of_the_running_kernel() {
    let Some(btf) = vmlinux() else { return };
    eprintln!("{} structs and unions have the right layout", check_layouts("sample", &btf, 16));
}

#[test]
#[ignore = "takes clang half a minute: cargo test -p skep-btf --test clang -- --ignored"]
fn layouts_of_the_running_kernel_all() {
    let Some(btf) = vmlinux() else { return };
    eprintln!("{} structs and unions have the right layout", check_layouts("all", &btf, 1));
}

#[test]
fn programs_compile_with_libbpf_headers() {
    let (Some(btf), Some(clang)) = (vmlinux(), clang()) else { return };
    if !Path::new("/usr/include/bpf/bpf_helpers.h").exists() {
        eprintln!("skipped: no libbpf headers");
        return;
    }
    let dir = scratch("headers");
    std::fs::write(dir.join("vmlinux.h"), dump_c(&btf, &CDumpOptions::default()).unwrap()).unwrap();
    let source = "
        #include \"vmlinux.h\"
        #include <bpf/bpf_helpers.h>
        #include <bpf/bpf_core_read.h>
        #include <bpf/bpf_tracing.h>
        #include <bpf/bpf_endian.h>
        SEC(\"kprobe/do_exit\") int BPF_KPROBE(exits, long code)
        {
            struct task_struct *t = (void *)bpf_get_current_task();
            return BPF_CORE_READ(t, parent, pid) + code;
        }
        char _license[] SEC(\"license\") = \"GPL\";
    ";
    for std in ["gnu11", "gnu17", "gnu23"] {
        let std = format!("-std={std}");
        compile(clang, &dir, source, &["-g", "-O2", "-D__TARGET_ARCH_x86", "-isystem", "/usr/include", &std]);
    }
}

#[test]
fn layouts_that_are_hard() {
    for name in ["types", "core_target", "core_local", "merge_b", "odd"] {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/data/{name}.btf"));
        let btf = Btf::parse(&std::fs::read(file).unwrap()).unwrap();
        eprintln!("{name}: {} structs and unions have the right layout", check_layouts(name, &btf, 1));
    }
}
