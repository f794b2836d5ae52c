//! Any bytes as packet and context of any program type: a context or one reason why not; reading it back never fails, and
//! what a plain context reads back goes in again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use skep_hooks::PROG_TYPES;
use skep_hooks::ctx_text::{parse, render};
use skep_hooks::input::{Input, context, output};
use skep_platform::ctx::UserRun;

fuzz_target!(|input: &[u8]| {
    let [kind, attach, split, rest @ ..] = input else { return };
    let row = PROG_TYPES[*kind as usize % PROG_TYPES.len()];
    let attaches = row.attach_types.len().max(1);
    let attach = row.attach_types.get(*attach as usize % attaches).copied();
    let (data, ctx) = rest.split_at((*split as usize * 8).min(rest.len()));
    let given = Input { data: (*split > 0).then_some(data), ctx: (!ctx.is_empty()).then_some(ctx) };
    let mut made = match context(row, attach, &given) {
        Ok(made) => made,
        Err(e) => return assert!(!e.to_string().is_empty()),
    };
    let out = output(row, &mut made);
    if row.user == UserRun::Plain {
        let text = render(made.layout, &out.ctx);
        let parsed = parse(made.layout, &text).expect("rendered contexts parse").bytes;
        let lost = |i: usize| made.layout.field(i as u32).is_none_or(|f| f.kind.is_pointer());
        for (i, b) in out.ctx.iter().enumerate() {
            assert!(parsed[i] == *b || lost(i), "byte {i} of {}:\n{text}", made.layout.name);
        }
        let again = Input { data: given.data, ctx: Some(&out.ctx) };
        if !out.ctx.is_empty() && skep_hooks::ctx_text::is_text(&out.ctx) {
            return;
        }
        let mut again = context(row, attach, &again).expect("what came out goes in");
        assert_eq!(output(row, &mut again), out);
    }
});
