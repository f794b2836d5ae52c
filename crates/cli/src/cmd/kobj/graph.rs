//! A program's blocks as a graph in the language of Graphviz: `skep prog dump xlated PROG visual | dot -Tsvg`.

use skep::isa::Insn;
use skep::isa::disasm::{Names, Notation, Style, lines, write_line};
use std::collections::BTreeSet;
use std::fmt::Write;

/// The graph: a cluster a function, a node a block, an edge a way from one to the next. `functions` has the first slot of each
/// with its prototype; a program without any is one function.
pub(super) fn dot(insns: &[Insn], functions: &[(usize, String)], names: &dyn Names) -> String {
    let mut functions = functions.to_vec();
    if functions.first().is_none_or(|f| f.0 != 0) {
        functions.insert(0, (0, "main".into()));
    }
    let starts = blocks(insns, &functions);
    let mut text = String::from("digraph \"DOT graph for eBPF program\" {\n");
    for (n, (from, name)) in functions.iter().enumerate() {
        let to = functions.get(n + 1).map_or(insns.len(), |f| f.0);
        let _ = writeln!(
            text,
            "subgraph \"cluster_{n}\" {{\n\tstyle=\"dashed\";\n\tcolor=\"black\";\n\tlabel=\"{}\";",
            escaped(name)
        );
        starts.range(from..&to).for_each(|start| node(&mut text, insns, &starts, *start, names));
        text.push_str("}\n");
    }
    text.push_str("}\n");
    text
}

/// First slots of blocks: of functions, of what jumps lead to, and of what follows them.
fn blocks(insns: &[Insn], functions: &[(usize, String)]) -> BTreeSet<usize> {
    let mut starts: BTreeSet<usize> = functions.iter().map(|f| f.0).collect();
    for line in lines(insns) {
        let Ok(op) = line.op else { continue };
        let target = op.jump_target(line.pc).and_then(|t| usize::try_from(t).ok());
        if target.is_some() || op.is_terminator() {
            starts.extend(target);
            starts.insert(line.pc + 1);
        }
    }
    starts.retain(|s| *s < insns.len());
    starts
}

/// A block, and where it leads.
fn node(text: &mut String, insns: &[Insn], starts: &BTreeSet<usize>, start: usize, names: &dyn Names) {
    let end = starts.range(start + 1..).next().copied().unwrap_or(insns.len());
    let style = Style { notation: Notation::Kernel, numbers: true, bytes: false, source: false };
    let (mut label, mut edges) = (String::new(), String::new());
    let block = lines(insns).skip_while(|l| l.pc < start).take_while(|l| l.pc < end);
    let mut goes_on = true;
    for line in block {
        let mut one = String::new();
        let _ = write_line(&mut one, &line, names, style);
        let _ = write!(label, "{}\\l", escaped(one.trim_end()));
        let Ok(op) = line.op else { continue };
        if let Some(target) = op.jump_target(line.pc) {
            let _ = writeln!(edges, "\tbb_{start} -> bb_{target};");
        }
        goes_on = !op.is_terminator();
    }
    if goes_on && end < insns.len() {
        let _ = writeln!(edges, "\tbb_{start} -> bb_{end};");
    }
    let _ = write!(text, "\tbb_{start} [shape=box,style=filled,label=\"{label}\"];\n{edges}");
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"")
}

#[cfg(test)]
mod tests {
    use super::*;
    use skep::isa::asm::parse_insns;
    use skep::isa::disasm::NoNames;

    #[test]
    fn blocks_and_edges() {
        let insns = parse_insns("r0 = 0\nif r1 == 0 goto out\nr0 = 1\nout:\nexit\nr0 = 2\nexit\n")
            .unwrap_or_default();
        let text = dot(&insns, &[(0, "int a(\"x\")".into()), (4, "b".into())], &NoNames);
        let edges: Vec<&str> = text.lines().filter(|l| l.contains("->")).map(str::trim).collect();
        assert_eq!(edges, ["bb_0 -> bb_3;", "bb_0 -> bb_2;", "bb_2 -> bb_3;"]);
        assert!(text.contains("label=\"int a(\\\"x\\\")\"") && text.contains("bb_4 [shape=box"), "{text}");
        assert_eq!(text.matches('{').count(), text.matches('}').count());
    }
}
