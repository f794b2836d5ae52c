//! Any text as a `.data` file of the conformance suite: it is read or refused, and what is read decodes where legal.
#![no_main]

use libfuzzer_sys::fuzz_target;
use skep_isa::conformance;

fuzz_target!(|text: &str| {
    match conformance::parse(text) {
        Ok(test) => assert!(!test.program.is_empty() || test.raw.is_some() || text.contains("asm")),
        Err(e) => assert!(!e.to_string().is_empty()),
    }
    let _ = conformance::program_from_hex(text);
});
