//! Where the work of a walk went, by source line.

use super::Heat;
use crate::machine::Vm;
use crate::state::Place;
use std::collections::BTreeMap;

/// Lines that are told.
const LINES: usize = 12;

impl Vm<'_> {
    /// Lines with the most instructions walked, most first.
    pub(crate) fn heat(&self) -> Vec<Heat> {
        let Some(t) = &self.trace else { return Vec::new() };
        let mut lines = BTreeMap::<(usize, u32), Heat>::new();
        let mut blame = BTreeMap::<(usize, u32), Vec<(u64, Place)>>::new();
        let key = |pc: usize| match self.program.line_at(pc) {
            // Records of one line lie apart; the file's text is one value for all of them.
            Some(l) => (l.file.as_ptr() as usize, l.line),
            None => (pc, u32::MAX),
        };
        for (pc, c) in t.counts.iter().enumerate().filter(|(_, c)| c.visits > 0) {
            let h = lines.entry(key(pc)).or_insert_with(|| Heat {
                insn: pc,
                line: self.program.line_at(pc).cloned(),
                visits: 0,
                kept: 0,
                pruned: 0,
                missed: 0,
                blame: None,
            });
            h.visits += c.visits;
            h.kept += c.kept;
            h.pruned += c.pruned;
            h.missed += c.missed;
        }
        for ((pc, place), n) in &t.blame {
            blame.entry(key(*pc)).or_default().push((*n, *place));
        }
        for (k, mut places) in blame {
            places.sort_by_key(|(n, p)| (std::cmp::Reverse(*n), p.frame, p.slot, p.index));
            if let (Some(h), Some((n, p))) = (lines.get_mut(&k), places.first()) {
                h.blame = Some(format!("{} ({n} times)", place_words(p)));
            }
        }
        let mut all: Vec<Heat> = lines.into_values().collect();
        all.sort_by_key(|h| (std::cmp::Reverse(h.visits), h.insn));
        all.truncate(LINES);
        all
    }
}

fn place_words(p: &Place) -> String {
    let frame = if p.frame > 0 { format!(" of frame {}", p.frame) } else { String::new() };
    if p.slot {
        format!("fp-{}{frame}", 8 * (u32::from(p.index) + 1))
    } else {
        format!("r{}{frame}", p.index)
    }
}
