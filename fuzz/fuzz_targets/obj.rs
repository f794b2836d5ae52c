//! Any bytes as an object: it opens or is refused with a reason; what opens binds or has a reason; what links opens.
#![no_main]

use libfuzzer_sys::fuzz_target;
use skep_isa::asm::{AsmObject, parse};
use skep_obj::asm::{Detail, from_elf, to_elf};
use skep_obj::{BindEnv, Kconfig, Object, RelocTarget, link};

fuzz_target!(|data: &[u8]| {
    match Object::parse(data) {
        Ok(object) => bind(&object),
        Err(e) => assert!(!e.to_string().is_empty()),
    }
    for detail in [Detail::Exact, Detail::Readable] {
        if let Ok(asm) = from_elf(data, detail) {
            assemble(&asm);
        }
    }
    for parts in [&[data][..], &[data, data]] {
        match link(parts) {
            Ok(linked) => drop(Object::parse(&linked).expect("what is linked opens")),
            Err(e) => assert!(!e.to_string().is_empty()),
        }
    }
});

/// What an object says as assembly reads back equal, and makes an object or a reason why not.
fn assemble(asm: &AsmObject) {
    let text = asm.to_string();
    assert!(parse(&text).expect("what is printed assembles") == *asm, "{text}");
    match to_elf(asm) {
        Ok(file) => {
            if let Err(e) = Object::parse(&file.write()) {
                assert!(!e.to_string().is_empty());
            }
        }
        Err(e) => assert!(!e.to_string().is_empty()),
    }
}

fn bind(object: &Object) {
    let maps = vec![None; object.maps.len()];
    let _ = object.kconfig(&Kconfig { text: "CONFIG_HZ=250\nCONFIG_BPF=y\n", ..Kconfig::default() });
    let _ = object.diagnostics.iter().map(ToString::to_string).count();
    let mut env = BindEnv::new(&maps);
    for round in 0..2 {
        for (index, function) in object.functions.iter().enumerate() {
            assert!(function.relocs.iter().all(|r| (r.insn as usize) < function.insns.len()));
            assert!(function.lines.iter().all(|l| (l.insn as usize) < function.insns.len()));
            match object.bind_index(index, &mut env) {
                Ok(program) => check(object, &program),
                Err(e) => assert!(!e.to_string().is_empty()),
            }
            // A program may take in every other one: enough is enough.
            if index > 32 {
                break;
            }
        }
        if round == 0 {
            env.target_btf = object.btf.clone();
        }
    }
    let bad = |r: &RelocTarget| matches!(r, RelocTarget::Bad { .. });
    let _ = object.functions.iter().filter(|f| f.relocs.iter().any(|r| bad(&r.target))).count();
}

fn check(object: &Object, program: &skep_platform::Program) {
    let all: usize = object.functions.iter().map(|f| f.insns.len()).sum();
    assert!(program.insns.len() <= all);
    assert!(program.subprogs.windows(2).all(|w| w[0].start < w[1].start));
    assert!(program.poisoned.iter().all(|p| p.0 < program.insns.len()));
}
