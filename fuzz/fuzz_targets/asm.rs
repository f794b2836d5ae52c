//! Any text: it assembles or has located errors; what assembles prints to text that reads back equal.
#![no_main]

use libfuzzer_sys::fuzz_target;
use skep_isa::asm::{MAX_ERRORS, NoObjectNames, ObjectStyle, parse, print};

fuzz_target!(|text: &str| {
    match parse(text) {
        Ok(object) => {
            for (labels, bytes) in [(false, false), (true, true)] {
                let printed = print(&object, &NoObjectNames, ObjectStyle { labels, bytes, source: true });
                assert_eq!(parse(&printed).expect("printed objects assemble"), object, "{printed}");
            }
        }
        Err(errors) => {
            assert!(!errors.0.is_empty() && errors.0.len() <= MAX_ERRORS);
            let lines = text.lines().count();
            assert!(errors.0.iter().all(|e| (1..=lines).contains(&e.line) && e.column > 0));
            let _ = errors.to_string();
        }
    }
});
